/*
 * The contract of log_append and log_sync: offsets, lengths, limits, rolling, durability, and many threads at once.
 */
#include "contract.h"
#include "logs.h"

#include <pthread.h>

static void offsets_are_consecutive_from_zero(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config);
  CHECK_EQ(0, APPEND_TEXT(log, "first"));
  CHECK_EQ(1, APPEND_TEXT(log, "second"));
  CHECK_EQ(2, APPEND_TEXT(log, "third"));
  CHECK_READ_TEXT(log, 0, "first");
  CHECK_READ_TEXT(log, 1, "second");
  CHECK_READ_TEXT(log, 2, "third");
  CLOSE(log);
}

static void append_with_null(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  uint64_t offset = UNTOUCHED_U64;
  log_t *log = OPEN(dir.text, &config);
  CHECK_ARGUMENT("log", log_append(NULL, "x", 1, &offset, &error));
  CHECK_ARGUMENT("data", log_append(log, NULL, 1, &offset, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append(NULL, "x", 1, &offset, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append(log, NULL, 1, &offset, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append(NULL, NULL, 0, NULL, NULL));
  CHECK_EQ(UNTOUCHED_U64, offset);
  CHECK_EQ(0, STAT(log).next_offset);
  CHECK_STATUS(LOG_OK, log_append(log, NULL, 0, &offset, NULL)); /* an empty record */
  CHECK_EQ(0, offset);
  CHECK_STATUS(LOG_OK, log_append(log, "x", 1, NULL, NULL));
  CHECK_READ(log, 0, "", 0);
  CHECK_READ_TEXT(log, 1, "x");
  CLOSE(log);
}

static void sync_with_null(void) {
  log_error_t error;
  CHECK_ARGUMENT("log", log_sync(NULL, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_sync(NULL, NULL));
}

static void empty_records_are_records(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  uint64_t number;
  log_t *log = OPEN(dir.text, &config);
  for (number = 0; number < 1000; number++) CHECK_EQ(number, APPEND(log, number % 2 ? "" : NULL, 0));
  CHECK_EQ(0, STAT(log).payload_bytes);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(1000, STAT(log).next_offset);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  for (number = 0; number < 1000; number++) {
    CHECK_READ(log, number, "", 0);
    CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
    if (!CHECK(view_is(&record, number, NULL, 0) && record.payload.data != NULL)) break; /* a place, if not a byte */
  }
  log_cursor_close(cursor);
  CLOSE(log);
}

/* Every byte value, and every length up to several words, comes back as it went in. */
static void records_are_bytes(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  unsigned char data[700];
  size_t i;
  log_t *log = OPEN(dir.text, &config);
  for (i = 0; i < sizeof data; i++) data[i] = (unsigned char)i;
  for (i = 0; i < sizeof data; i++) CHECK_EQ(i, APPEND(log, data, i));
  for (i = 0; i < sizeof data; i++)
    if (!CHECK_READ(log, i, data, i)) break;
  CLOSE(log);
  log = OPEN(dir.text, &config);
  for (i = 0; i < sizeof data; i++)
    if (!CHECK_READ(log, i, data, i)) break;
  CLOSE(log);
}

/* No alignment is asked of the caller's memory. */
static void data_may_stand_anywhere(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  unsigned char data[128 + 16];
  size_t shift;
  log_t *log = OPEN(dir.text, &config);
  fill_record(data, sizeof data, 5);
  for (shift = 0; shift < 16; shift++) {
    CHECK_EQ(shift, APPEND(log, data + shift, 128));
    CHECK_READ(log, shift, data + shift, 128);
  }
  CLOSE(log);
}

static void a_record_over_the_limit_is_too_large(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  log_error_t error;
  uint64_t offset = UNTOUCHED_U64;
  unsigned char data[101];
  log_t *log;
  fill_record(data, sizeof data, 1);
  config.record_max_bytes = 100;
  log = OPEN(dir.text, &config);
  CHECK_EQ(0, APPEND(log, data, 100));
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append(log, data, 101, &offset, &error));
  CHECK(message_names(&error, "record_max_bytes"));
  CHECK_STATUS(LOG_E_TOO_LARGE, log_append(log, data, 101, &offset, NULL));
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append(log, data, SIZE_MAX, &offset, &error));
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append(log, data, SIZE_MAX / 2 + 1, &offset, &error));
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append(log, data, (size_t)1 << 32, &offset, &error));
  CHECK_EQ(UNTOUCHED_U64, offset);
  CHECK_EQ(1, STAT(log).next_offset);
  CHECK_EQ(1, APPEND(log, data, 100)); /* nothing was changed */
  CHECK_READ(log, 1, data, 100);
  CLOSE(log);
}

static void the_default_limit_is_16_mib(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(0);
  const size_t limit = (size_t)16 << 20;
  unsigned char *data = (unsigned char *)malloc(limit + 1);
  log_error_t error;
  log_t *log;
  NEED(data != NULL);
  fill_record(data, limit + 1, 3);
  log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append(log, data, limit + 1, NULL, &error));
  CHECK_EQ(0, APPEND(log, data, limit));
  CHECK_READ(log, 0, data, limit);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_READ(log, 0, data, limit);
  CLOSE(log);
  free(data);
}

/* Longer than a segment, than a quarter of the ring, than the ring: each between small ones. */
static void a_record_longer_than_a_segment_gets_its_own(void) {
  static const size_t lengths[] = {4032, 4033, 4048, 4096, 5000, 70000, RING_BYTES / 4 - 16, RING_BYTES / 4,
                                   RING_BYTES / 4 + 1, RING_BYTES - 16, RING_BYTES, RING_BYTES + 1, 3000000};
  const size_t count = sizeof lengths / sizeof lengths[0];
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  unsigned char *data = (unsigned char *)malloc(3000000);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_t *log;
  size_t i;
  int round;
  NEED(data != NULL);
  log = OPEN(dir.text, &config);
  for (i = 0; i < count; i++) {
    fill_record(data, lengths[i], i);
    CHECK_EQ(2 * i, APPEND(log, data, lengths[i]));
    CHECK_READ(log, 2 * i, data, lengths[i]);
    CHECK_EQ(2 * i + 1, APPEND_TEXT(log, "small"));
  }
  for (round = 0; round < 2; round++) {
    CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
    for (i = 0; i < count; i++) {
      fill_record(data, lengths[i], i);
      CHECK_READ(log, 2 * i, data, lengths[i]);
      CHECK_READ_TEXT(log, 2 * i + 1, "small");
      CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
      CHECK(view_is(&record, 2 * i, data, lengths[i]));
      CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
      CHECK(view_is_text(&record, 2 * i + 1, "small"));
    }
    log_cursor_close(cursor);
    CLOSE(log);
    log = OPEN(dir.text, &config);
    CHECK_EQ(2 * count, STAT(log).next_offset);
  }
  CLOSE(log);
  free(data);
}

/* segment_max_bytes counts frames, with what is kept for the segment's end. */
static void a_full_segment_rolls(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  const size_t frame = 128, fitting = (4096 - SEAL_BYTES) / frame;
  unsigned char data[128];
  uint64_t number;
  char name[64];
  log_t *log = OPEN(dir.text, &config);
  for (number = 0; number < 3 * fitting + 1; number++) {
    CHECK_EQ(number / fitting + (number == 0 || number % fitting != 0), STAT(log).segment_count);
    fill_record(data, frame - FRAME_HEADER_BYTES, number);
    CHECK_EQ(number, APPEND(log, data, frame - FRAME_HEADER_BYTES));
  }
  CHECK_EQ(4, STAT(log).segment_count);
  for (number = 0; number < 4; number++) {
    NEED(snprintf(name, sizeof name, "%020" PRIu64 "-00000000.store", number * fitting) > 0);
    CHECK(path_exists(path_join(dir.text, name).text));
  }
  for (number = 0; number < 3 * fitting + 1; number++) {
    fill_record(data, frame - FRAME_HEADER_BYTES, number);
    CHECK_READ(log, number, data, frame - FRAME_HEADER_BYTES);
  }
  CLOSE(log);
}

/* A segment is full when its index is, however much room its store has. */
static void a_full_index_rolls(void) {
  static const uint64_t sizes[] = {8, 64, 256};
  size_t i;
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    const check_path_t dir = fresh_path();
    log_config_t config = quick_config(65536);
    const uint64_t entries = sizes[i] / sizeof(uint32_t), count = 3 * entries + 1;
    log_t *log;
    config.index_max_bytes = sizes[i];
    log = OPEN(dir.text, &config);
    APPEND_NUMBERED(log, 0, count);
    CHECK(STAT(log).segment_count >= 4); /* each holds `entries` records at most */
    CHECK(STAT(log).segment_count <= count);
    CHECK_NUMBERED(log, 0, count);
    CLOSE(log);
    log = OPEN(dir.text, &config);
    CHECK_NUMBERED(log, 0, count);
    CLOSE(log);
  }
}

static void always_is_durable_when_append_returns(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = default_config();
  log_bytes_t batch[3];
  uint64_t number;
  log_stat_t stat;
  log_t *log;
  config.segment_max_bytes = 4096;
  log = OPEN(dir.text, &config);
  for (number = 0; number < 60; number++) {
    CHECK_EQ(number, APPEND(log, "sixty-four bytes, more or less, so that some segments are rolled", 64));
    stat = STAT(log);
    CHECK_EQ(number + 1, stat.next_offset);
    CHECK_EQ(number + 1, stat.durable_offset);
  }
  batch[0] = batch[1] = batch[2] = text_of("batch");
  CHECK_STATUS(LOG_OK, log_append_batch(log, batch, 3, NULL, NULL));
  CHECK_EQ(63, STAT(log).durable_offset);
  CHECK(STAT(log).segment_count > 1);
  CHECK(STAT(log).syncs >= 61);
  CHECK_EQ(0, STAT(log).syncs_shared); /* there was nobody to share with */
  CLOSE(log);
}

static void never_is_durable_after_log_sync(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_stat_t stat;
  log_t *log = OPEN(dir.text, &config);
  int round;
  for (round = 0; round < 3; round++) {
    APPEND_NUMBERED(log, (uint64_t)round * 100, 100);
    stat = STAT(log);
    CHECK(stat.durable_offset <= stat.next_offset);
    CHECK_STATUS(LOG_OK, log_sync(log, NULL));
    stat = STAT(log);
    CHECK_EQ(stat.next_offset, stat.durable_offset);
    CHECK_STATUS(LOG_OK, log_sync(log, NULL)); /* with nothing new is fine */
  }
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(300, STAT(log).durable_offset);
  CHECK_NUMBERED(log, 0, 300);
  CLOSE(log);
}

static void sync_of_an_empty_log_is_fine(void) {
  const check_path_t dir = fresh_path();
  log_t *log = OPEN(dir.text, NULL);
  CHECK_STATUS(LOG_OK, log_sync(log, NULL));
  CHECK_EQ(0, STAT(log).durable_offset);
  CLOSE(log);
}

/* --- many threads ---------------------------------------------------------------------------------------------- */

enum { WRITERS = 4, PER_WRITER = 250 };

typedef struct {
  log_t *log;
  uint32_t writer;
  uint64_t offsets[PER_WRITER];
  int failed;
} writer_t;

typedef struct {
  uint32_t writer, number;
} stamp_t;

static void *write_stamps(void *context) {
  writer_t *writer = (writer_t *)context;
  stamp_t stamp;
  stamp.writer = writer->writer;
  for (stamp.number = 0; stamp.number < PER_WRITER; stamp.number++)
    if (log_append(writer->log, &stamp, sizeof stamp, &writer->offsets[stamp.number], NULL) != LOG_OK)
      writer->failed = 1;
  return NULL;
}

static void threads_append_in_order(const log_config_t *config) {
  const check_path_t dir = fresh_path();
  static writer_t writers[WRITERS];
  unsigned char seen[WRITERS * PER_WRITER];
  pthread_t threads[WRITERS];
  log_cursor_t *cursor = NULL;
  log_record_t record;
  uint32_t next[WRITERS] = {0}, i, number;
  uint64_t previous;
  stamp_t stamp;
  log_t *log = OPEN(dir.text, config);

  REQUIRE(log != NULL);
  memset(seen, 0, sizeof seen);
  for (i = 0; i < WRITERS; i++) {
    writers[i].log = log;
    writers[i].writer = i;
    writers[i].failed = 0;
    NEED(pthread_create(&threads[i], NULL, write_stamps, &writers[i]) == 0);
  }
  for (i = 0; i < WRITERS; i++) NEED(pthread_join(threads[i], NULL) == 0);
  CHECK_EQ(WRITERS * PER_WRITER, STAT(log).next_offset);
  CHECK_EQ(WRITERS * PER_WRITER, STAT(log).appends);
  if (config->sync == LOG_SYNC_ALWAYS) {
    log_stat_t stat = STAT(log);
    CHECK_EQ(stat.next_offset, stat.durable_offset);
    CHECK(stat.syncs + stat.syncs_shared >= WRITERS * PER_WRITER);
  }
  /* The offsets that the writers were given: each once, and each writer's own ascend. */
  for (i = 0; i < WRITERS; i++) {
    CHECK(!writers[i].failed);
    for (number = 0; number < PER_WRITER; number++) {
      const uint64_t offset = writers[i].offsets[number];
      if (!CHECK(offset < sizeof seen && !seen[offset])) break;
      seen[offset] = 1;
      previous = number == 0 ? 0 : writers[i].offsets[number - 1];
      if (!CHECK(number == 0 || offset > previous)) break;
    }
  }
  /* And what stands there. */
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  while (log_cursor_next(cursor, &record, NULL) == LOG_OK) {
    if (!CHECK(record.payload.len == sizeof stamp)) break;
    memcpy(&stamp, record.payload.data, sizeof stamp);
    if (!CHECK(stamp.writer < WRITERS && stamp.number == next[stamp.writer])) break;
    next[stamp.writer]++;
    CHECK_EQ(writers[stamp.writer].offsets[stamp.number], record.offset);
  }
  for (i = 0; i < WRITERS; i++) CHECK_EQ(PER_WRITER, next[i]);
  log_cursor_close(cursor);
  CLOSE(log);
}

static void threads_append_in_order_unsynced(void) {
  const log_config_t config = quick_config(4096);
  threads_append_in_order(&config);
}

static void threads_append_in_order_durably(void) {
  log_config_t config = default_config();
  config.segment_max_bytes = 16384;
  threads_append_in_order(&config);
}

static const check_test_t tests[] = {
    TEST(offsets_are_consecutive_from_zero),
    TEST(append_with_null),
    TEST(sync_with_null),
    TEST(empty_records_are_records),
    TEST(records_are_bytes),
    TEST(data_may_stand_anywhere),
    TEST(a_record_over_the_limit_is_too_large),
    TEST(the_default_limit_is_16_mib),
    TEST(a_record_longer_than_a_segment_gets_its_own),
    TEST(a_full_segment_rolls),
    TEST(a_full_index_rolls),
    TEST(always_is_durable_when_append_returns),
    TEST(never_is_durable_after_log_sync),
    TEST(sync_of_an_empty_log_is_fine),
    TEST(threads_append_in_order_unsynced),
    TEST(threads_append_in_order_durably),
};

test_group_t append_tests(void) { return GROUP_OF(tests); }
