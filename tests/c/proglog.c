/*
 * The tests of proglog's log (Travis Jeffery, "Distributed Services with Go", internal/log/log_test.go), carried
 * over: append and read back, out of range, reopen with the same offsets, read the whole log. Its truncate test waits
 * for log_trim. Like there, segments are as small as they can be, and each record is "hello world".
 */
#define CHECK_MAIN
#include "logs.h"

static const char hello[] = "hello world";
enum { HELLO_BYTES = sizeof hello - 1 };

/* testAppendRead */
static void append_and_read_a_record_succeeds(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  char buffer[HELLO_BYTES];
  size_t length = 0;
  uint64_t offset = UNTOUCHED_U64;
  log_t *log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_append(log, hello, HELLO_BYTES, &offset, NULL));
  CHECK_EQ(0, offset);
  CHECK_STATUS(LOG_OK, log_read(log, offset, buffer, sizeof buffer, &length, NULL));
  CHECK(length == HELLO_BYTES && memcmp(buffer, hello, HELLO_BYTES) == 0);
  CLOSE(log);
}

/* testOutOfRangeErr */
static void offset_out_of_range_is_an_error(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_error_t error;
  char buffer[HELLO_BYTES];
  log_t *log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_E_BEYOND, 0, 1, log_read(log, 1, buffer, sizeof buffer, NULL, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, 0, log_read(log, 0, buffer, sizeof buffer, NULL, &error));
  CLOSE(log);
}

/* testInitExisting */
static void init_with_existing_segments(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_stat_t stat;
  int i;
  log_t *log = OPEN(dir.text, &config);
  for (i = 0; i < 3; i++) APPEND(log, hello, HELLO_BYTES);
  stat = STAT(log);
  CHECK_EQ(0, stat.first_offset);
  CHECK_EQ(3, stat.next_offset); /* proglog's highest offset, 2, could not tell an empty log from one record */
  CLOSE(log);
  log = OPEN(dir.text, &config);
  stat = STAT(log);
  CHECK_EQ(0, stat.first_offset);
  CHECK_EQ(3, stat.next_offset);
  CHECK_EQ(3, APPEND(log, hello, HELLO_BYTES));
  CLOSE(log);
}

/* testReader; proglog hands out the bytes of its store files, length prefixes and all, libseglog the records */
static void reader_reads_the_whole_log(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  const uint64_t total = 1000;
  log_cursor_t *cursor = NULL;
  log_record_t record;
  uint64_t number;
  log_t *log = OPEN(dir.text, &config);
  for (number = 0; number < total; number++) CHECK_EQ(number, APPEND(log, hello, HELLO_BYTES));
  CHECK(STAT(log).segment_count > 1);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, STAT(log).first_offset, &cursor, NULL));
  for (number = 0; number < total; number++) {
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL)));
    REQUIRE(CHECK(view_is_text(&record, number, hello)));
  }
  CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
  log_cursor_close(cursor);
  CLOSE(log);
}

int main(int argc, char **argv) {
  static const check_test_t tests[] = {
      TEST(append_and_read_a_record_succeeds),
      TEST(offset_out_of_range_is_an_error),
      TEST(init_with_existing_segments),
      TEST(reader_reads_the_whole_log),
  };
  const char *part = check_arguments(argc, argv);
  return check_run(tests, sizeof tests / sizeof tests[0], part);
}
