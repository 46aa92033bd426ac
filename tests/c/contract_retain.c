/*
 * The contract of retain_bytes and retain_ms: the oldest segments go, whole, and what was lent of them stays.
 */
#include "contract.h"
#include "logs.h"

enum { SEGMENT_BYTES = 16384 };

static log_config_t retaining(uint64_t retain_bytes, uint64_t retain_ms) {
  log_config_t config = quick_config(SEGMENT_BYTES);
  config.flags = LOG_NO_THREAD; /* then it is the append that rolls which retains, and nothing is left to time */
  config.retain_bytes = retain_bytes;
  config.retain_ms = retain_ms;
  return config;
}

static void retention_by_bytes_deletes_whole_segments(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = retaining(8 * SEGMENT_BYTES, 0);
  log_segment_t segment;
  log_error_t error;
  char buffer[300];
  uint64_t first;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 5000);
  first = STAT(log).first_offset;
  CHECK(first > 0);
  memset(&segment, 0, sizeof segment);
  segment.struct_size = (uint32_t)sizeof segment;
  CHECK_STATUS(LOG_OK, log_segment_at(log, 0, &segment, NULL));
  CHECK_EQ(first, segment.base_offset);
  CHECK(STAT(log).segment_count >= 2);
  CHECK_NUMBERED(log, first, 5000 - first);
  CHECK_ERROR(LOG_E_TRIMMED, 0, first - 1, log_read(log, first - 1, buffer, sizeof buffer, NULL, &error));
  CLOSE(log);
  config.retain_bytes = 0; /* keeps all from now on, and brings nothing back */
  log = OPEN(dir.text, &config);
  CHECK_EQ(first, STAT(log).first_offset);
  APPEND_NUMBERED(log, 5000, 5000);
  CHECK_EQ(first, STAT(log).first_offset);
  CLOSE(log);
}

/* Records of 1970 are too old for an hour, and those of now are not. */
static void retention_by_age_deletes_what_is_old(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = retaining(0, 3600 * 1000);
  static unsigned char data[300];
  uint64_t number;
  log_t *log = OPEN(dir.text, &config);
  for (number = 0; number < 500; number++) {
    log_record_t record;
    record.offset = record.timestamp_ns = number;
    fill_record(data, length_of(number), number);
    record.payload = bytes_of(data, length_of(number));
    CHECK_STATUS(LOG_OK, log_append_records(log, &record, 1, NULL));
  }
  APPEND_NUMBERED(log, 500, 500);
  CHECK(STAT(log).first_offset > 0);
  CHECK(STAT(log).first_offset <= 500);
  CHECK_NUMBERED(log, 500, 500);
  CLOSE(log);
}

static void retention_disturbs_no_view_and_tells_the_cursor(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = retaining(4 * SEGMENT_BYTES, 0);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 7, &cursor, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  APPEND_NUMBERED(log, 100, 3000);
  CHECK(STAT(log).first_offset > 7);
  CHECK(record.payload.len == length_of(7) && is_record(record.payload.data, record.payload.len, 7));
  CHECK_ERROR(LOG_E_TRIMMED, 0, 8, log_cursor_next(cursor, &record, &error));
  CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, STAT(log).first_offset, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  log_cursor_close(cursor);
  CLOSE(log);
}

static void retention_holds_back_for_consumers(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = retaining(4 * SEGMENT_BYTES, 0);
  log_t *log;
  config.flags |= LOG_KEEP_UNCONSUMED;
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 10);
  CHECK_STATUS(LOG_OK, log_position_save(log, "consumer", 3, NULL));
  APPEND_NUMBERED(log, 10, 3000);
  CHECK(STAT(log).first_offset <= 3);
  CHECK_NUMBERED(log, 3, 3007);
  CHECK_STATUS(LOG_OK, log_position_save(log, "consumer", 2500, NULL));
  APPEND_NUMBERED(log, 3010, 300);
  CHECK(STAT(log).first_offset > 3);
  CHECK(STAT(log).first_offset <= 2500);
  CHECK_STATUS(LOG_OK, log_position_remove(log, "consumer", NULL));
  APPEND_NUMBERED(log, 3310, 300);
  CHECK(STAT(log).first_offset > 2500);
  CLOSE(log);
}

static const check_test_t tests[] = {
    TEST(retention_by_bytes_deletes_whole_segments),
    TEST(retention_by_age_deletes_what_is_old),
    TEST(retention_disturbs_no_view_and_tells_the_cursor),
    TEST(retention_holds_back_for_consumers),
};

test_group_t retain_tests(void) { return GROUP_OF(tests); }
