/*
 * The contract of writes that say where: log_append_at and log_append_records. The expected offset, gaps, times, and
 * that a refused write changes nothing.
 */
#include "contract.h"
#include "logs.h"

static log_record_t record_of(uint64_t offset, uint64_t timestamp_ns, const char *text) {
  log_record_t record;
  record.offset = offset;
  record.timestamp_ns = timestamp_ns;
  record.payload = text_of(text);
  return record;
}

/* The record stands there with this time. */
static int stands(log_t *log, const log_record_t *expected, const char *file, int line) {
  log_cursor_t *cursor = NULL;
  log_record_t record;
  int fine;
  if (!check_status(LOG_OK, log_cursor_open(log, expected->offset, &cursor, NULL), file, line, "log_cursor_open"))
    return 0;
  fine = check_status(LOG_OK, log_cursor_next(cursor, &record, NULL), file, line, "log_cursor_next") &&
         check_that(view_is(&record, expected->offset, expected->payload.data, expected->payload.len), file, line,
                    "the record") &&
         check_u64(expected->timestamp_ns, record.timestamp_ns, file, line, "timestamp_ns");
  log_cursor_close(cursor);
  return fine;
}

#define CHECK_STANDS(log, record) stands((log), (record), __FILE__, __LINE__)

static void at_with_null(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_record_t record = record_of(0, 5, "a");
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  CHECK_ARGUMENT("log", log_append_at(NULL, 0, "a", 1, &error));
  CHECK_ARGUMENT("data", log_append_at(log, 0, NULL, 1, &error));
  CHECK_ARGUMENT("log", log_append_records(NULL, &record, 1, &error));
  CHECK_ARGUMENT("log", log_append_records(NULL, NULL, 0, &error));
  CHECK_ARGUMENT("records", log_append_records(log, NULL, 1, &error));
  record.payload.data = NULL;
  CHECK_ARGUMENT("data", log_append_records(log, &record, 1, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append_at(NULL, 0, "a", 1, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append_at(log, 0, NULL, 1, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append_records(log, &record, 1, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append_records(log, NULL, 1, NULL));
  CHECK_EQ(0, STAT(log).next_offset);
  record.payload.len = 0;
  CHECK_STATUS(LOG_OK, log_append_at(log, 0, NULL, 0, NULL));
  record.offset = 1;
  record.timestamp_ns = UINT64_MAX; /* nobody's clock, but no time before it */
  CHECK_STATUS(LOG_OK, log_append_records(log, &record, 1, NULL));
  CHECK_STATUS(LOG_OK, log_append_records(log, NULL, 0, NULL));
  CHECK_EQ(2, STAT(log).next_offset);
  CHECK_READ_TEXT(log, 0, "");
  CHECK_READ_TEXT(log, 1, "");
  CLOSE(log);
}

static void append_at_the_next_offset_only(void) {
  static const uint64_t wrong[] = {0, 9, 11, 12, UINT64_C(1) << 63, UINT64_MAX};
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  size_t i;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 10);
  for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    CHECK_ERROR(LOG_E_CONFLICT, 0, 10, log_append_at(log, wrong[i], "x", 1, &error));
    CHECK_STATUS(LOG_E_CONFLICT, log_append_at(log, wrong[i], "x", 1, NULL));
  }
  CHECK_EQ(10, STAT(log).next_offset);
  CHECK_STATUS(LOG_OK, log_append_at(log, 10, "ten", 3, &error));
  CHECK_ERROR(LOG_E_CONFLICT, 0, 11, log_append_at(log, 10, "ten", 3, &error));
  CHECK_READ_TEXT(log, 10, "ten");
  CLOSE(log);
}

/* After a cut, the expected offset is the new one. */
static void append_at_follows_the_ends(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_STATUS(LOG_OK, log_truncate(log, 40, NULL));
  CHECK_ERROR(LOG_E_CONFLICT, 0, 40, log_append_at(log, 100, "x", 1, &error));
  CHECK_STATUS(LOG_OK, log_append_at(log, 40, "forty", 5, NULL));
  CHECK_STATUS(LOG_OK, log_trim(log, 41, NULL));
  CHECK_STATUS(LOG_OK, log_append_at(log, 41, "and one", 7, NULL));
  CHECK_STATUS(LOG_OK, log_reset(log, 7, NULL));
  CHECK_ERROR(LOG_E_CONFLICT, 0, 7, log_append_at(log, 42, "x", 1, &error));
  CHECK_STATUS(LOG_OK, log_append_at(log, 7, "seven", 5, NULL));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_append_at(log, 8, "eight", 5, NULL));
  CHECK_READ_TEXT(log, 7, "seven");
  CLOSE(log);
}

/* A record may be wrong in more than one way; none of them is appended, none poisons, and ALWAYS is durable. */
static void append_at_has_the_limits_of_append(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = default_config();
  log_error_t error;
  log_record_t record = record_of(0, 1, "eleven byte");
  log_t *log;
  config.record_max_bytes = 10;
  log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append_at(log, 0, "eleven byte", 11, &error));
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append_records(log, &record, 1, &error));
  CHECK_EQ(0, STAT(log).next_offset);
  CHECK_STATUS(LOG_OK, log_append_at(log, 0, "ten bytes!", 10, NULL));
  CHECK_EQ(1, STAT(log).durable_offset);
  record = record_of(1, UINT64_MAX, "ten bytes!");
  CHECK_STATUS(LOG_OK, log_append_records(log, &record, 1, NULL));
  CHECK_EQ(2, STAT(log).durable_offset);
  CLOSE(log);
}

/* Large ones, and over many segments. */
static void append_at_of_every_size(void) {
  static const size_t sizes[] = {0, 1, 4000, 5000, 65536, 300000, 1500000};
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  unsigned char *data = (unsigned char *)malloc(1500000);
  uint64_t next = 0;
  size_t round, i;
  log_t *log = OPEN(dir.text, &config);
  NEED(data != NULL);
  for (round = 0; round < 3; round++) {
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++, next++) {
      log_record_t record;
      fill_record(data, sizes[i], next);
      record.offset = next;
      record.timestamp_ns = 10 + next;
      record.payload = bytes_of(data, sizes[i]);
      if (round < 2) CHECK_STATUS(LOG_OK, log_append_records(log, &record, 1, NULL));
      else CHECK_STATUS(LOG_OK, log_append_at(log, next, data, sizes[i], NULL));
      CHECK_READ(log, next, data, sizes[i]);
    }
  }
  CLOSE(log);
  log = OPEN(dir.text, &config);
  for (next = 0; next < 21; next++) {
    fill_record(data, sizes[next % 7], next);
    CHECK_READ(log, next, data, sizes[next % 7]);
  }
  CLOSE(log);
  free(data);
}

static void records_keep_their_offsets_and_times(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(4096);
  log_record_t records[4];
  int round;
  log_t *log;
  config.initial_offset = 100;
  log = OPEN(dir.text, &config);
  records[0] = record_of(100, 0, "the epoch"); /* an import may begin at time 0 */
  records[1] = record_of(101, 0, "and again");
  records[2] = record_of(102, 1, "");
  records[3] = record_of(103, UINT64_C(1) << 62, "far in the future");
  CHECK_STATUS(LOG_OK, log_append_records(log, records, 4, NULL));
  for (round = 0; round < 2; round++) {
    size_t i;
    for (i = 0; i < 4; i++) CHECK_STANDS(log, &records[i]);
    CLOSE(log);
    log = OPEN(dir.text, &config);
  }
  /* What comes after is not before it. */
  CHECK_EQ(104, APPEND_TEXT(log, "now"));
  records[0] = record_of(104, UINT64_C(1) << 62, "now");
  CHECK_STANDS(log, &records[0]);
  CLOSE(log);
}

static void records_must_continue_the_log(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  const uint64_t time = UINT64_C(1) << 62;
  log_record_t records[3];
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 10);
  records[0] = record_of(9, time, "a"), records[1] = record_of(10, time, "b"), records[2] = record_of(11, time, "c");
  CHECK_ERROR(LOG_E_CONFLICT, 0, 10, log_append_records(log, records, 3, &error));
  records[0] = record_of(11, time, "a"), records[1] = record_of(12, time, "b"), records[2] = record_of(13, time, "c");
  CHECK_ERROR(LOG_E_CONFLICT, 0, 10, log_append_records(log, records, 3, &error));
  CHECK_ERROR(LOG_E_CONFLICT, 0, 10, log_append_records(log, records, 1, &error));
  /* A gap, a record twice, one backwards: what was expected stands in the error. */
  records[0] = record_of(10, time, "a"), records[1] = record_of(12, time, "b"), records[2] = record_of(13, time, "c");
  CHECK_ERROR(LOG_E_CONFLICT, 0, 11, log_append_records(log, records, 3, &error));
  records[1] = record_of(11, time, "b"), records[2] = record_of(11, time, "c");
  CHECK_ERROR(LOG_E_CONFLICT, 0, 12, log_append_records(log, records, 3, &error));
  records[2] = record_of(10, time, "c");
  CHECK_ERROR(LOG_E_CONFLICT, 0, 12, log_append_records(log, records, 3, &error));
  records[0] = record_of(UINT64_MAX, time, "a"), records[1] = record_of(0, time, "b");
  CHECK_ERROR(LOG_E_CONFLICT, 0, ANY_OFFSET, log_append_records(log, records, 2, &error));
  CHECK_STATUS(LOG_E_CONFLICT, log_append_records(log, records, 2, NULL));
  CHECK_EQ(10, STAT(log).next_offset);
  records[0] = record_of(10, time, "a"), records[1] = record_of(11, time, "b"), records[2] = record_of(12, time, "c");
  CHECK_STATUS(LOG_OK, log_append_records(log, records, 3, NULL));
  CHECK_ERROR(LOG_E_CONFLICT, 0, 13, log_append_records(log, records, 3, &error));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(13, STAT(log).next_offset);
  CHECK_READ_TEXT(log, 12, "c");
  CLOSE(log);
}

static void times_that_go_back_are_refused(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_record_t records[3];
  log_error_t error;
  int round;
  log_t *log = OPEN(dir.text, &config);
  records[0] = record_of(0, 100, "a"), records[1] = record_of(1, 99, "b"), records[2] = record_of(2, 100, "c");
  CHECK_ERROR(LOG_E_ARGUMENT, 0, 1, log_append_records(log, records, 3, &error));
  CHECK_EQ(0, STAT(log).next_offset);
  records[1].timestamp_ns = 100, records[2].timestamp_ns = 101;
  CHECK_STATUS(LOG_OK, log_append_records(log, records, 3, NULL));
  for (round = 0; round < 2; round++) {
    records[0] = record_of(3, 100, "too early");
    CHECK_ERROR(LOG_E_ARGUMENT, 0, 3, log_append_records(log, records, 1, &error));
    records[0].timestamp_ns = 0;
    CHECK_ERROR(LOG_E_ARGUMENT, 0, 3, log_append_records(log, records, 1, &error));
    CHECK_STATUS(LOG_E_ARGUMENT, log_append_records(log, records, 1, NULL));
    CHECK_EQ(3, STAT(log).next_offset);
    CLOSE(log);
    log = OPEN(dir.text, &config); /* a reopen forgets no time */
  }
  records[0].timestamp_ns = 101;
  CHECK_STATUS(LOG_OK, log_append_records(log, records, 1, NULL));
  CLOSE(log);
}

/* All or none: a batch that is longer than a segment too. */
static void records_are_one_batch(void) {
  enum { COUNT = 500 };
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_record_t *records = (log_record_t *)malloc(COUNT * sizeof(log_record_t));
  unsigned char *bytes = (unsigned char *)malloc(COUNT * 300);
  uint64_t i;
  log_t *log = OPEN(dir.text, &config);
  NEED(records != NULL && bytes != NULL);
  for (i = 0; i < COUNT; i++) {
    fill_record(bytes + 300 * i, length_of(i), i);
    records[i].offset = i;
    records[i].timestamp_ns = i;
    records[i].payload = bytes_of(bytes + 300 * i, length_of(i));
  }
  records[COUNT - 1].timestamp_ns = 3;
  CHECK_STATUS(LOG_E_ARGUMENT, log_append_records(log, records, COUNT, NULL));
  CHECK_EQ(0, STAT(log).next_offset);
  records[COUNT - 1].timestamp_ns = COUNT;
  CHECK_STATUS(LOG_OK, log_append_records(log, records, COUNT, NULL));
  CHECK_NUMBERED(log, 0, COUNT);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_NUMBERED(log, 0, COUNT);
  CHECK_EQ(COUNT, STAT(log).next_offset);
  CLOSE(log);
  free(records);
  free(bytes);
}

/* What a cursor gives is what log_append_records takes: a replica is a loop. */
static void a_replica_is_the_same_log(void) {
  const check_path_t from_dir = fresh_path(), to_dir = fresh_path();
  log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL, *copied = NULL;
  log_record_t records[64], a, b;
  size_t count = 0;
  uint64_t seen = 0;
  log_t *from = OPEN(from_dir.text, &config), *to;
  APPEND_NUMBERED(from, 0, 500);
  CHECK_STATUS(LOG_OK, log_trim(from, 123, NULL));
  config.initial_offset = 123;
  config.segment_max_bytes = 16384;
  to = OPEN(to_dir.text, &config);
  CHECK_STATUS(LOG_OK, log_cursor_open(from, 123, &cursor, NULL));
  while (log_cursor_next_batch(cursor, records, 64, &count, NULL) == LOG_OK)
    REQUIRE(CHECK_STATUS(LOG_OK, log_append_records(to, records, count, NULL)));
  CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, 123, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_open(to, 123, &copied, NULL));
  while (log_cursor_next(cursor, &a, NULL) == LOG_OK) {
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next(copied, &b, NULL)));
    CHECK_EQ(a.timestamp_ns, b.timestamp_ns);
    REQUIRE(CHECK(view_is(&b, a.offset, a.payload.data, a.payload.len)));
    seen++;
  }
  CHECK_EQ(377, seen);
  CHECK_STATUS(LOG_END, log_cursor_next(copied, &b, NULL));
  log_cursor_close(cursor);
  log_cursor_close(copied);
  CLOSE(from);
  CLOSE(to);
}

static const check_test_t tests[] = {
    TEST(at_with_null),
    TEST(append_at_the_next_offset_only),
    TEST(append_at_follows_the_ends),
    TEST(append_at_has_the_limits_of_append),
    TEST(append_at_of_every_size),
    TEST(records_keep_their_offsets_and_times),
    TEST(records_must_continue_the_log),
    TEST(times_that_go_back_are_refused),
    TEST(records_are_one_batch),
    TEST(a_replica_is_the_same_log),
};

test_group_t at_tests(void) { return GROUP_OF(tests); }
