/*
 * A full disk, and one that has become read-only. DIRECTORY is the root of a file system of 8 MiB that is nobody
 * else's. What must hold: LOG_E_NO_SPACE changes nothing, all that was appended stays readable, and the same call on
 * the same handle works once there is room.
 */
#define CHECK_MAIN
#include "logs.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

enum { RECORD_BYTES = 1000, MOST_RECORDS = 20000, MIB = 1 << 20 };

static uint64_t free_bytes(void) {
  struct statvfs space;
  NEED(statvfs(check_state.base, &space) == 0);
  return (uint64_t)space.f_bavail * space.f_frsize;
}

static check_path_t filler_path(void) { return path_join(check_state.base, "filler"); }

/* Takes space away until so much is left. */
static void fill_disk(uint64_t left_bytes) {
  const check_path_t path = filler_path();
  const uint64_t free_now = free_bytes();
  int handle = open(path.text, O_RDWR | O_CREAT | O_TRUNC, 0600);
  NEED(handle >= 0);
  if (free_now > left_bytes) NEED(posix_fallocate(handle, 0, (off_t)(free_now - left_bytes)) == 0);
  NEED(close(handle) == 0);
}

static void make_room(void) { NEED(unlink(filler_path().text) == 0 || errno == ENOENT); }

static log_status_t append_record(log_t *log, uint64_t number, uint64_t *out_offset, log_error_t *error) {
  unsigned char data[RECORD_BYTES];
  fill_record(data, sizeof data, number);
  return log_append(log, data, sizeof data, out_offset, error);
}

static log_status_t append_batch(log_t *log, uint64_t number, uint64_t *out_offset, log_error_t *error) {
  unsigned char data[3][RECORD_BYTES];
  log_bytes_t batch[3];
  int i;
  for (i = 0; i < 3; i++) {
    fill_record(data[i], sizeof data[i], number + (uint64_t)i);
    batch[i] = bytes_of(data[i], sizeof data[i]);
  }
  return log_append_batch(log, batch, 3, out_offset, error);
}

static void check_records(log_t *log, uint64_t count) {
  unsigned char data[RECORD_BYTES];
  log_cursor_t *cursor = NULL;
  log_record_t record;
  uint64_t number;
  size_t length;
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  for (number = 0; number < count; number++) {
    length = 0;
    if (!CHECK_STATUS(LOG_OK, log_read(log, number, data, sizeof data, &length, NULL))) break;
    if (!CHECK(length == RECORD_BYTES && is_record(data, length, number))) break;
    if (!CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL))) break;
    if (!CHECK(record.offset == number && is_record(record.payload.data, record.payload.len, number))) break;
  }
  log_cursor_close(cursor);
}

typedef log_status_t (*append_fn)(log_t *, uint64_t, uint64_t *, log_error_t *);

/* Appends until the disk is full, makes room, goes on, and finds it all again. */
static void full_and_on_again(const log_config_t *config, append_fn append, uint64_t step) {
  const check_path_t dir = fresh_path();
  log_error_t error;
  log_status_t status = LOG_OK;
  uint64_t count = 0, offset, more;
  int round, again;
  log_t *log = OPEN(dir.text, config);
  for (round = 0; round < 2; round++) {
    fill_disk((uint64_t)2 * MIB);
    for (; count < MOST_RECORDS; count += step) {
      offset = UNTOUCHED_U64;
      mark_error(&error);
      status = append(log, count, &offset, &error);
      if (status != LOG_OK) break;
      CHECK_EQ(count, offset);
    }
    check_error(status, &error, LOG_E_NO_SPACE, ENOSPC, ANY_OFFSET, __FILE__, __LINE__, "append");
    CHECK_EQ(UNTOUCHED_U64, offset);
    CHECK(count > 100);
    for (again = 0; again < 3; again++) { /* it is no poison, and it is not forgotten */
      status = append(log, count, NULL, &error);
      /* Unless the library's thread has meanwhile given back what it could not use: the next segment that did not fit. */
      if (status == LOG_OK && count < MOST_RECORDS) {
        count += step;
        again--;
        continue;
      }
      check_error(status, &error, LOG_E_NO_SPACE, ENOSPC, ANY_OFFSET, __FILE__, __LINE__, "append, again");
    }
    CHECK_EQ(count, STAT(log).next_offset);
    check_records(log, count);
    CHECK_STATUS(LOG_OK, log_sync(log, NULL));
    CHECK_EQ(count, STAT(log).durable_offset);

    make_room();
    for (more = 0; more < 300 && CHECK_STATUS(LOG_OK, append(log, count, &offset, NULL)); more += step, count += step)
      CHECK_EQ(count, offset);
    check_records(log, count);
  }
  CLOSE(log);
  log = OPEN(dir.text, config);
  CHECK_EQ(count, STAT(log).next_offset);
  CHECK_EQ(0, STAT(log).dropped_bytes);
  check_records(log, count);
  CLOSE(log);
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
}

static void unsynced_appends(void) {
  const log_config_t config = quick_config(262144);
  full_and_on_again(&config, append_record, 1);
}

static void durable_appends(void) {
  log_config_t config = default_config();
  config.segment_max_bytes = 262144;
  full_and_on_again(&config, append_record, 1);
}

static void unsynced_batches(void) {
  const log_config_t config = quick_config(262144);
  full_and_on_again(&config, append_batch, 3);
}

static void durable_batches(void) {
  log_config_t config = default_config();
  config.segment_max_bytes = 65536;
  full_and_on_again(&config, append_batch, 3);
}

/* A record that needs more than there is fails alone: smaller ones go on. */
static void a_record_larger_than_what_is_left(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(262144);
  unsigned char *large = (unsigned char *)calloc(1, 8 * MIB);
  log_error_t error;
  uint64_t offset = UNTOUCHED_U64;
  log_t *log = OPEN(dir.text, &config);
  NEED(large != NULL);
  CHECK_STATUS(LOG_OK, append_record(log, 0, NULL, NULL));
  CHECK_ERROR(LOG_E_NO_SPACE, ENOSPC, ANY_OFFSET, log_append(log, large, 8 * MIB, &offset, &error));
  CHECK_EQ(UNTOUCHED_U64, offset);
  CHECK_STATUS(LOG_OK, append_record(log, 1, &offset, NULL));
  CHECK_EQ(1, offset);
  check_records(log, 2);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  check_records(log, 2);
  CHECK_EQ(2, STAT(log).next_offset);
  CLOSE(log);
  free(large);
}

/* No room for a new log: refused, and nothing that hinders the next try. */
static void a_new_log_on_a_full_disk(void) {
  static const uint64_t left[] = {0, 4096, 65536, 524288, MIB};
  const log_config_t config = quick_config(262144);
  size_t i;
  for (i = 0; i < sizeof left / sizeof left[0]; i++) {
    const check_path_t dir = fresh_dir();
    log_error_t error;
    log_t *log = NULL;
    fill_disk(left[i]);
    CHECK_ERROR(LOG_E_NO_SPACE, ENOSPC, LOG_NO_OFFSET, log_open(dir.text, &config, &log, &error));
    CHECK(log == NULL);
    make_room();
    log = OPEN(dir.text, &config);
    CHECK_STATUS(LOG_OK, append_record(log, 0, NULL, NULL));
    CLOSE(log);
    CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  }
}

/* Room for a part of its files, page by page: it opens or it does not, and what it acknowledged is there. */
static void a_new_log_on_an_almost_full_disk(void) {
  const log_config_t config = quick_config(131072);
  uint64_t left;
  for (left = RING_BYTES; left < RING_BYTES + 300000; left += 8192) {
    const check_path_t dir = fresh_dir();
    log_error_t error;
    log_status_t status;
    uint64_t count = 0;
    log_t *log = NULL;
    fill_disk(left);
    mark_error(&error);
    status = log_open(dir.text, &config, &log, &error);
    if (status == LOG_OK) {
      while (count < 200 && (status = append_record(log, count, NULL, &error)) == LOG_OK) count++;
      check_records(log, count);
      CLOSE(log);
    }
    if (status != LOG_OK)
      check_error(status, &error, LOG_E_NO_SPACE, ENOSPC, ANY_OFFSET, __FILE__, __LINE__, "log_open or log_append");
    make_room();
    log = OPEN(dir.text, &config);
    CHECK_EQ(count, STAT(log).next_offset);
    CHECK_STATUS(LOG_OK, append_record(log, count, NULL, NULL));
    check_records(log, count + 1);
    CLOSE(log);
    CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  }
}

/* Closed and opened while it is full: it works, or it says why and loses nothing. */
static void a_log_is_reopened_on_a_full_disk(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(262144);
  log_error_t error;
  log_status_t status;
  uint64_t count = 0;
  log_t *log = OPEN(dir.text, &config);
  fill_disk(MIB);
  while (count < MOST_RECORDS && append_record(log, count, NULL, NULL) == LOG_OK) count++;
  CHECK(count > 100);
  fill_disk(0);
  CLOSE(log);
  log = NULL;
  mark_error(&error);
  status = log_open(dir.text, &config, &log, &error);
  if (status == LOG_OK) {
    check_records(log, count);
    CLOSE(log);
  } else {
    check_error(status, &error, LOG_E_NO_SPACE, ENOSPC, LOG_NO_OFFSET, __FILE__, __LINE__, "log_open");
  }
  make_room();
  log = OPEN(dir.text, &config);
  CHECK_EQ(count, STAT(log).next_offset);
  CHECK_STATUS(LOG_OK, append_record(log, count, NULL, NULL));
  check_records(log, count + 1);
  CLOSE(log);
}

static void a_read_only_disk(void) {
  const check_path_t dir = fresh_path(), empty = fresh_dir(), none = fresh_path();
  const log_config_t config = quick_config(262144);
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, append_record(log, 0, NULL, NULL));
  CLOSE(log);
  NEED(mount(NULL, check_state.base, NULL, MS_REMOUNT | MS_RDONLY, "size=8m") == 0);
  log = NULL;
  CHECK_ERROR(LOG_E_IO, EROFS, LOG_NO_OFFSET, log_open(dir.text, &config, &log, &error));
  CHECK_ERROR(LOG_E_IO, EROFS, LOG_NO_OFFSET, log_open(empty.text, &config, &log, &error));
  CHECK_ERROR(LOG_E_IO, EROFS, LOG_NO_OFFSET, log_open(none.text, &config, &log, &error));
  CHECK_ERROR(LOG_E_IO, EROFS, LOG_NO_OFFSET, log_remove(dir.text, &error));
  CHECK(log == NULL);
  NEED(mount(NULL, check_state.base, NULL, MS_REMOUNT, "size=8m") == 0);
  log = OPEN(dir.text, &config);
  check_records(log, 1);
  CLOSE(log);
}

int main(int argc, char **argv) {
  static const check_test_t tests[] = {
      TEST(unsynced_appends),
      TEST(durable_appends),
      TEST(unsynced_batches),
      TEST(durable_batches),
      TEST(a_record_larger_than_what_is_left),
      TEST(a_new_log_on_a_full_disk),
      TEST(a_new_log_on_an_almost_full_disk),
      TEST(a_log_is_reopened_on_a_full_disk),
      TEST(a_read_only_disk),
  };
  const char *part = check_arguments(argc, argv);
  NEED(free_bytes() <= (uint64_t)8 * MIB); /* it is the small disk, not the machine's */
  return check_run(tests, sizeof tests / sizeof tests[0], part);
}
