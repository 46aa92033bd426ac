/*
 * The contract of log_reserve, log_commit and log_abort: a record that is built where it will stand.
 */
#include "contract.h"
#include "logs.h"

#include <pthread.h>

static void reserve_with_null(void) {
  const check_path_t dir = fresh_path();
  log_error_t error;
  void *data = NULL;
  log_t *log = OPEN(dir.text, NULL);
  CHECK_ARGUMENT("log", log_reserve(NULL, 8, &data, &error));
  CHECK_ARGUMENT("out_data", log_reserve(log, 8, NULL, &error));
  CHECK_ARGUMENT("log", log_commit(NULL, 8, NULL, &error));
  CHECK_ARGUMENT("log", log_abort(NULL, &error));
  CHECK(data == NULL);
  /* None of these has reserved anything. */
  CHECK_ARGUMENT("reserved", log_commit(log, 0, NULL, &error));
  CHECK_ARGUMENT("reserved", log_abort(log, &error));
  CHECK_EQ(0, APPEND(log, "x", 1));
  CLOSE(log);
}

static void reserve_at(log_t *log, uint64_t number, size_t reserved, size_t len, const char *file, int line) {
  void *data = NULL;
  uint64_t offset = UNTOUCHED_U64;
  if (!check_status(LOG_OK, log_reserve(log, reserved, &data, NULL), file, line, "log_reserve")) return;
  check_that(data != NULL && (uintptr_t)data % 8 == 0, file, line, "an address that is a multiple of 8");
  memset(data, 0xEE, reserved);
  fill_record((unsigned char *)data, len, number);
  if (check_status(LOG_OK, log_commit(log, len, &offset, NULL), file, line, "log_commit"))
    check_u64(number, offset, file, line, "the offset of a commit");
}

#define RESERVE_NUMBERED(log, number, more) \
  reserve_at((log), (number), length_of(number) + (more), length_of(number), __FILE__, __LINE__)

static void records_that_were_built_in_place_are_records(void) {
  static const uint32_t policies[] = {LOG_SYNC_ALWAYS, LOG_SYNC_NEVER};
  size_t i;
  for (i = 0; i < 2; i++) {
    const check_path_t dir = fresh_path();
    log_config_t config = quick_config(i == 0 ? 8192 : 65536);
    uint64_t number;
    log_t *log;
    config.sync = policies[i];
    log = OPEN(dir.text, &config);
    /* In turn with appends, committed shorter than reserved, through rolls and laps of the ring. */
    for (number = 0; number < (i == 0 ? 200 : 20000); number++) {
      if (number % 3 == 0) APPEND_NUMBERED(log, number, 1);
      else RESERVE_NUMBERED(log, number, number % 40);
    }
    CHECK(STAT(log).segment_count > 1);
    CHECK_NUMBERED(log, 0, number);
    CHECK_EQ(numbered_bytes(0, number), STAT(log).payload_bytes);
    CHECK_EQ(i == 0 ? number : STAT(log).durable_offset, STAT(log).durable_offset);
    CLOSE(log);
    log = OPEN(dir.text, &config);
    CHECK_NUMBERED(log, 0, number);
    CLOSE(log);
  }
}

static void a_reservation_ends_once(void) {
  const check_path_t dir = fresh_path();
  log_error_t error;
  void *data = NULL;
  uint64_t offset = UNTOUCHED_U64;
  log_t *log = OPEN(dir.text, NULL);
  CHECK_STATUS(LOG_OK, log_reserve(log, 100, &data, NULL));
  /* Longer than reserved: refused, and the reservation stays. */
  CHECK_ARGUMENT("reserved", log_commit(log, 101, &offset, &error));
  CHECK_EQ(UNTOUCHED_U64, offset);
  CHECK_ARGUMENT("reserved", log_reserve(log, 5, &data, &error));
  CHECK_ARGUMENT("reserved", log_append(log, "x", 1, NULL, &error));
  CHECK_ARGUMENT("reserved", log_append_at(log, 0, "x", 1, &error));
  CHECK_ARGUMENT("reserved", log_truncate(log, 0, &error));
  CHECK_ARGUMENT("reserved", log_reset(log, 0, &error));
  CHECK_STATUS(LOG_OK, log_sync(log, NULL)); /* and reads, and trims, go on */
  CHECK_STATUS(LOG_OK, log_trim(log, 0, NULL));
  CHECK_EQ(0, STAT(log).next_offset);
  memcpy(data, "built", 5);
  CHECK_STATUS(LOG_OK, log_commit(log, 5, &offset, NULL));
  CHECK_EQ(0, offset);
  CHECK_ARGUMENT("reserved", log_commit(log, 5, &offset, &error));
  CHECK_ARGUMENT("reserved", log_abort(log, &error));
  /* Given up: nothing was appended. */
  CHECK_STATUS(LOG_OK, log_reserve(log, 5, &data, NULL));
  memcpy(data, "never", 5);
  CHECK_STATUS(LOG_OK, log_abort(log, NULL));
  CHECK_EQ(1, STAT(log).next_offset);
  CHECK_EQ(1, APPEND(log, "next", 4));
  /* Empty, and never ended. */
  CHECK_STATUS(LOG_OK, log_reserve(log, 0, &data, NULL));
  CHECK_STATUS(LOG_OK, log_commit(log, 0, &offset, NULL));
  CHECK_EQ(2, offset);
  CHECK_STATUS(LOG_OK, log_reserve(log, 100, &data, NULL));
  memset(data, 'x', 100);
  CLOSE(log);
  log = OPEN(dir.text, NULL);
  CHECK_EQ(3, STAT(log).next_offset);
  CHECK_EQ(0, STAT(log).dropped_bytes);
  CLOSE(log);
}

static void a_record_too_large_for_the_ring_is_built_in_a_buffer(void) {
  static const size_t lengths[] = {RING_BYTES / 4 - 16, RING_BYTES / 4 - 15, RING_BYTES, 3 * RING_BYTES + 7};
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(RING_BYTES);
  log_error_t error;
  unsigned char *back = (unsigned char *)malloc(4 * RING_BYTES);
  uint64_t i;
  log_t *log;
  NEED(back != NULL);
  config.record_max_bytes = 4 * RING_BYTES;
  log = OPEN(dir.text, &config);
  for (i = 0; i < 4; i++) {
    void *data = NULL;
    size_t length = 0;
    CHECK_STATUS(LOG_OK, log_reserve(log, lengths[i], &data, NULL));
    fill_record((unsigned char *)data, lengths[i], i);
    CHECK_STATUS(LOG_OK, log_commit(log, lengths[i], NULL, NULL));
    CHECK_STATUS(LOG_OK, log_read(log, i, back, 4 * RING_BYTES, &length, NULL));
    CHECK(length == lengths[i] && is_record(back, length, i));
  }
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, LOG_NO_OFFSET, log_reserve(log, 4 * RING_BYTES + 1, (void **)&back, &error));
  CLOSE(log);
  free(back);
}

static void *appends_one(void *log) {
  return log_append((log_t *)log, "waited", 6, NULL, NULL) == LOG_OK ? log : NULL;
}

static void *commits(void *log) { return log_commit((log_t *)log, 5, NULL, NULL) == LOG_OK ? log : NULL; }

static void other_threads_wait_and_may_commit(void) {
  const check_path_t dir = fresh_path();
  pthread_t waiting, committing;
  void *data = NULL, *done = NULL;
  char text[8];
  size_t length = 0;
  log_t *log = OPEN(dir.text, NULL);
  CHECK_STATUS(LOG_OK, log_reserve(log, 5, &data, NULL));
  memcpy(data, "first", 5);
  NEED(pthread_create(&waiting, NULL, appends_one, log) == 0);
  usleep(50000);
  CHECK_EQ(0, STAT(log).next_offset);
  NEED(pthread_create(&committing, NULL, commits, log) == 0);
  NEED(pthread_join(committing, &done) == 0);
  CHECK(done == log);
  NEED(pthread_join(waiting, &done) == 0);
  CHECK(done == log);
  CHECK_STATUS(LOG_OK, log_read(log, 0, text, sizeof text, &length, NULL));
  CHECK(length == 5 && memcmp(text, "first", 5) == 0);
  CHECK_STATUS(LOG_OK, log_read(log, 1, text, sizeof text, &length, NULL));
  CHECK(length == 6 && memcmp(text, "waited", 6) == 0);
  CLOSE(log);
}

static void a_read_only_handle_reserves_nothing(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = default_config();
  log_error_t error;
  void *data = NULL;
  log_t *log;
  CLOSE(OPEN(dir.text, NULL));
  config.flags = LOG_READ_ONLY;
  log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_reserve(log, 8, &data, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_commit(log, 8, NULL, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_abort(log, &error));
  CLOSE(log);
}

static const check_test_t tests[] = {
    TEST(reserve_with_null),
    TEST(records_that_were_built_in_place_are_records),
    TEST(a_reservation_ends_once),
    TEST(a_record_too_large_for_the_ring_is_built_in_a_buffer),
    TEST(other_threads_wait_and_may_commit),
    TEST(a_read_only_handle_reserves_nothing),
};

test_group_t reserve_tests(void) { return GROUP_OF(tests); }
