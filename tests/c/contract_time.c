/*
 * The contract of log_find_time: the first record at or after a time, both ends, times alike, trimmed starts.
 */
#include "contract.h"
#include "logs.h"

/* Records with the times 1000, 1010, 1020, ...; each time twice. */
static void append_timed(log_t *log, uint64_t count) {
  uint64_t offset;
  for (offset = 0; offset < count; offset++) {
    log_record_t record;
    record.offset = offset;
    record.timestamp_ns = 1000 + offset / 2 * 10;
    record.payload = text_of("a record of some length, so that there are several segments");
    if (!CHECK_STATUS(LOG_OK, log_append_records(log, &record, 1, NULL))) return;
  }
}

static uint64_t found_at(log_t *log, uint64_t timestamp_ns, const char *file, int line) {
  uint64_t offset = UNTOUCHED_U64;
  check_status(LOG_OK, log_find_time(log, timestamp_ns, &offset, NULL), file, line, "log_find_time");
  return offset;
}

#define CHECK_FOUND(expected, log, timestamp_ns)                                                                       \
  check_u64((expected), found_at((log), (timestamp_ns), __FILE__, __LINE__), __FILE__, __LINE__, "log_find_time")

static void find_time_with_null(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_error_t error;
  uint64_t offset = UNTOUCHED_U64;
  log_t *log = OPEN(dir.text, &config);
  CHECK_ARGUMENT("log", log_find_time(NULL, 0, &offset, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, 0, log_find_time(log, 0, &offset, &error)); /* an empty log has no record */
  CHECK_EQ(UNTOUCHED_U64, offset);
  append_timed(log, 1);
  CHECK_STATUS(LOG_OK, log_find_time(log, 0, NULL, NULL)); /* whether there is one */
  CLOSE(log);
}

static void find_time_gives_the_first_at_or_after(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(4096);
  log_error_t error;
  log_t *log = OPEN(dir.text, &config), *reader;
  uint64_t offset;
  int who;
  append_timed(log, 600);
  config.flags = LOG_READ_ONLY;
  reader = OPEN(dir.text, &config);
  for (who = 0; who < 2; who++) {
    log_t *handle = who == 0 ? log : reader;
    CHECK_FOUND(0, handle, 0);
    CHECK_FOUND(0, handle, 1000);
    for (offset = 2; offset < 600; offset += 2) {
      CHECK_FOUND(offset, handle, 1000 + offset / 2 * 10);
      CHECK_FOUND(offset, handle, 1000 + offset / 2 * 10 - 1);
    }
    CHECK_ERROR(LOG_E_BEYOND, 0, 600, log_find_time(handle, 1000 + 299 * 10 + 1, &offset, &error));
    CHECK_ERROR(LOG_E_BEYOND, 0, 600, log_find_time(handle, UINT64_MAX, &offset, &error));
  }
  CHECK_STATUS(LOG_OK, log_trim(log, 301, NULL)); /* the second of two of one time */
  for (who = 0; who < 2; who++) {
    log_t *handle = who == 0 ? log : reader;
    CHECK_FOUND(301, handle, 0);
    CHECK_FOUND(301, handle, 1000 + 150 * 10);
    CHECK_FOUND(302, handle, 1000 + 150 * 10 + 1);
  }
  CHECK_STATUS(LOG_OK, log_trim(log, 600, NULL));
  CHECK_ERROR(LOG_E_BEYOND, 0, 600, log_find_time(log, 0, &offset, &error));
  APPEND_TEXT(log, "of now");
  CHECK_FOUND(600, log, 5000);
  CHECK_FOUND(600, reader, 5000);
  CLOSE(reader);
  CLOSE(log);
}

test_group_t time_tests(void) {
  static const check_test_t tests[] = {
      TEST(find_time_with_null),
      TEST(find_time_gives_the_first_at_or_after),
  };
  return GROUP_OF(tests);
}
