/*
 * The contract of cursors: where they open, what they show in which order, and how long a view lives.
 */
#include "contract.h"
#include "logs.h"

#include <time.h>

static void cursor_with_null(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_error_t error;
  size_t count = UNTOUCHED_SIZE;
  log_t *log = OPEN(dir.text, &config);
  APPEND_TEXT(log, "a");
  CHECK_ARGUMENT("log", log_cursor_open(NULL, 0, &cursor, &error));
  CHECK_ARGUMENT("out_cursor", log_cursor_open(log, 0, NULL, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_open(NULL, 0, &cursor, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_open(log, 0, NULL, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_open(NULL, 0, NULL, NULL));
  CHECK(cursor == NULL);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));

  memset(&record, 0xA5, sizeof record);
  CHECK_ARGUMENT("cursor", log_cursor_next(NULL, &record, &error));
  CHECK_ARGUMENT("out_record", log_cursor_next(cursor, NULL, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_next(NULL, &record, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_next(cursor, NULL, NULL));
  CHECK_EQ(UNTOUCHED_U64, record.offset);

  CHECK_ARGUMENT("cursor", log_cursor_next_batch(NULL, &record, 1, &count, &error));
  CHECK_ARGUMENT("out_records", log_cursor_next_batch(cursor, NULL, 1, &count, &error));
  CHECK_ARGUMENT("capacity", log_cursor_next_batch(cursor, &record, 0, &count, &error));
  CHECK_ARGUMENT("out_count", log_cursor_next_batch(cursor, &record, 1, NULL, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_next_batch(NULL, &record, 1, &count, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_next_batch(cursor, NULL, 1, &count, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_next_batch(cursor, &record, 0, &count, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_next_batch(cursor, &record, 1, NULL, NULL));
  CHECK_EQ(UNTOUCHED_SIZE, count);

  /* None of these was a step. */
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK(view_is_text(&record, 0, "a"));
  log_cursor_close(cursor);
  log_cursor_close(NULL);
  CLOSE(log);
}

static void cursor_opens_from_first_to_next(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(4096);
  char elsewhere = 0;
  log_cursor_t *const marked = (log_cursor_t *)(void *)&elsewhere;
  log_cursor_t *cursor = marked;
  log_record_t record;
  log_error_t error;
  uint64_t offset;
  log_t *log;
  config.initial_offset = 10;
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 10, 100);
  CHECK_ERROR(LOG_E_TRIMMED, 0, 0, log_cursor_open(log, 0, &cursor, &error));
  CHECK_ERROR(LOG_E_TRIMMED, 0, 9, log_cursor_open(log, 9, &cursor, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, 111, log_cursor_open(log, 111, &cursor, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, UINT64_MAX, log_cursor_open(log, UINT64_MAX, &cursor, &error));
  CHECK_STATUS(LOG_E_TRIMMED, log_cursor_open(log, 9, &cursor, NULL));
  CHECK_STATUS(LOG_E_BEYOND, log_cursor_open(log, 111, &cursor, NULL));
  CHECK(cursor == marked);
  for (offset = 10; offset < 110; offset++) {
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_open(log, offset, &cursor, NULL)));
    CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
    CHECK(record.offset == offset && is_record(record.payload.data, record.payload.len, offset));
    log_cursor_close(cursor);
  }
  REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_open(log, 110, &cursor, NULL)));
  CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
  log_cursor_close(cursor);
  CLOSE(log);
}

static void cursor_on_an_empty_log(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_error_t error;
  size_t count = UNTOUCHED_SIZE;
  log_t *log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_E_BEYOND, 0, 1, log_cursor_open(log, 1, &cursor, &error));
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  CHECK_ERROR(LOG_END, 0, ANY_OFFSET, log_cursor_next(cursor, &record, &error));
  CHECK_ERROR(LOG_END, 0, ANY_OFFSET, log_cursor_next_batch(cursor, &record, 1, &count, &error));
  CHECK_EQ(0, count);
  CHECK_EQ(0, APPEND_TEXT(log, "now"));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK(view_is_text(&record, 0, "now"));
  log_cursor_close(cursor);
  CLOSE(log);
}

/* Opened where nothing is yet, it shows each record as soon as it is appended. */
static void cursor_at_the_end_sees_what_comes(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  uint64_t number;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 10);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 10, &cursor, NULL));
  for (number = 10; number < 300; number++) {
    CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
    CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
    APPEND_NUMBERED(log, number, 1);
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL)));
    REQUIRE(CHECK(record.offset == number && is_record(record.payload.data, record.payload.len, number)));
  }
  log_cursor_close(cursor);
  CLOSE(log);
}

/* The whole log: in one step a record, and in batches of several sizes, which may give fewer but never none. */
static void cursors_read_the_whole_log(void) {
  static const size_t capacities[] = {1, 2, 7, 64, 500};
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(16384);
  const uint64_t total = 2000;
  log_record_t records[500], record;
  log_cursor_t *cursor = NULL;
  uint64_t number;
  size_t i, j, count;
  int round;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, total);
  for (round = 0; round < 2; round++) {
    CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
    for (number = 0; number < total; number++) {
      REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL)));
      REQUIRE(CHECK_EQ(number, record.offset));
      REQUIRE(CHECK_EQ(length_of(number), record.payload.len));
      REQUIRE(CHECK(is_record(record.payload.data, record.payload.len, number)));
    }
    CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
    log_cursor_close(cursor);
    for (i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
      CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
      for (number = 0; number < total;) {
        count = UNTOUCHED_SIZE;
        REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next_batch(cursor, records, capacities[i], &count, NULL)));
        REQUIRE(CHECK(count >= 1 && count <= capacities[i] && number + count <= total));
        for (j = 0; j < count; j++, number++) {
          REQUIRE(CHECK_EQ(number, records[j].offset));
          REQUIRE(CHECK_EQ(length_of(number), records[j].payload.len));
          REQUIRE(CHECK(is_record(records[j].payload.data, records[j].payload.len, number)));
        }
      }
      count = UNTOUCHED_SIZE;
      CHECK_STATUS(LOG_END, log_cursor_next_batch(cursor, records, capacities[i], &count, NULL));
      CHECK_EQ(0, count);
      log_cursor_close(cursor);
    }
    CLOSE(log);
    log = OPEN(dir.text, &config);
  }
  CLOSE(log);
}

/* Steps and batches are one walk. */
static void steps_and_batches_mix(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL;
  log_record_t records[5];
  uint64_t number = 0;
  size_t count, i;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  while (number < 100) {
    count = 1;
    if (number % 3 == 0) REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next(cursor, records, NULL)));
    else REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next_batch(cursor, records, 5, &count, NULL)));
    for (i = 0; i < count; i++, number++)
      REQUIRE(CHECK(records[i].offset == number && is_record(records[i].payload.data, records[i].payload.len, number)));
  }
  CHECK_EQ(100, number);
  log_cursor_close(cursor);
  CLOSE(log);
}

/*
 * A view lives until the next call on its cursor: over appends that come round the ring and roll segments, over
 * other cursors, and over log_close.
 */
static void a_view_stays_until_the_next_call(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(UINT64_C(1) << 19);
  log_cursor_t *old_one = NULL, *fresh_one = NULL, *batch_one = NULL;
  log_record_t old_view, fresh_view, batch[40];
  unsigned char *large = (unsigned char *)malloc(65536);
  size_t count = 0, i;
  uint64_t number;
  log_t *log = OPEN(dir.text, &config);
  NEED(large != NULL);
  fill_record(large, 65536, 1);
  APPEND_NUMBERED(log, 0, 1000);
  CHECK_STATUS(LOG_OK, log_sync(log, NULL)); /* these stand in the store */
  APPEND_NUMBERED(log, 1000, 100);           /* these in the ring alone */

  CHECK_STATUS(LOG_OK, log_cursor_open(log, 500, &old_one, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 1050, &fresh_one, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 990, &batch_one, NULL));
  REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next(old_one, &old_view, NULL)));
  REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next(fresh_one, &fresh_view, NULL)));
  REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next_batch(batch_one, batch, 40, &count, NULL)));

  for (number = 1100; number < 1164; number++) CHECK_EQ(number, APPEND(log, large, 65536)); /* 4 MiB */
  CHECK(STAT(log).segment_count > 6);
  CHECK(view_is(&old_view, 500, old_view.payload.data, length_of(500)));
  CHECK(is_record(old_view.payload.data, old_view.payload.len, 500));
  CHECK(view_is(&fresh_view, 1050, fresh_view.payload.data, length_of(1050)));
  CHECK(is_record(fresh_view.payload.data, fresh_view.payload.len, 1050));
  for (i = 0; i < count; i++)
    CHECK(batch[i].offset == 990 + i && is_record(batch[i].payload.data, batch[i].payload.len, 990 + i));

  CLOSE(log);
  CHECK(is_record(old_view.payload.data, old_view.payload.len, 500));
  CHECK(is_record(fresh_view.payload.data, fresh_view.payload.len, 1050));
  for (i = 0; i < count; i++) CHECK(is_record(batch[i].payload.data, batch[i].payload.len, 990 + i));
  CHECK_STATUS(LOG_OK, log_cursor_next(old_one, &old_view, NULL));
  CHECK(old_view.offset == 501 && is_record(old_view.payload.data, old_view.payload.len, 501));
  CHECK_STATUS(LOG_OK, log_cursor_next(fresh_one, &fresh_view, NULL));
  CHECK(fresh_view.offset == 1051 && is_record(fresh_view.payload.data, fresh_view.payload.len, 1051));
  log_cursor_close(old_one);
  log_cursor_close(fresh_one);
  log_cursor_close(batch_one);
  free(large);
}

static uint64_t now_ns(void) {
  struct timespec now;
  NEED(clock_gettime(CLOCK_REALTIME, &now) == 0);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Times are the clock's, to within what a coarse clock lacks, and never go back: not over segments, nor a reopen. */
static void timestamps_never_go_back(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  const uint64_t second = 1000000000u, before = now_ns();
  log_cursor_t *cursor = NULL;
  log_record_t record;
  uint64_t previous = 0, count = 0;
  int round;
  log_t *log;
  for (round = 0; round < 3; round++) {
    log = OPEN(dir.text, &config);
    APPEND_NUMBERED(log, (uint64_t)round * 100, 100);
    CLOSE(log);
  }
  log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  while (log_cursor_next(cursor, &record, NULL) == LOG_OK) {
    REQUIRE(CHECK(record.timestamp_ns >= previous));
    REQUIRE(CHECK(record.timestamp_ns + second >= before && record.timestamp_ns <= now_ns() + second));
    previous = record.timestamp_ns;
    count++;
  }
  CHECK_EQ(300, count);
  log_cursor_close(cursor);
  CLOSE(log);
}

static const check_test_t tests[] = {
    TEST(cursor_with_null),
    TEST(cursor_opens_from_first_to_next),
    TEST(cursor_on_an_empty_log),
    TEST(cursor_at_the_end_sees_what_comes),
    TEST(cursors_read_the_whole_log),
    TEST(steps_and_batches_mix),
    TEST(a_view_stays_until_the_next_call),
    TEST(timestamps_never_go_back),
};

test_group_t cursor_tests(void) { return GROUP_OF(tests); }
