/*
 * The contract of durability and of the flags beside it: log_wait_durable, LOG_SYNC_INTERVAL, LOG_NO_THREAD,
 * LOG_NO_CREATE, LOG_NO_VERIFY.
 */
#include "contract.h"
#include "logs.h"

/* --- log_wait_durable ------------------------------------------------------------------------------------------ */

static void wait_durable_with_null(void) {
  log_error_t error;
  CHECK_ARGUMENT("log", log_wait_durable(NULL, 0, 0, &error));
  CHECK_ARGUMENT("log", log_wait_durable(NULL, 0, -1, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_wait_durable(NULL, 0, 1, NULL));
}

/* 0 looks once and begins no sync; any other timeout is a sync for one record. */
static void wait_durable_looks_once_or_syncs(void) {
  static const int64_t timeouts[] = {-1, INT64_MIN, 60000, INT64_MAX};
  size_t i;
  for (i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
    const check_path_t dir = fresh_path();
    const log_config_t config = quick_config(65536);
    log_error_t error;
    log_t *log = OPEN(dir.text, &config);
    APPEND_NUMBERED(log, 0, 10);
    CHECK_EQ(0, STAT(log).durable_offset);
    CHECK_ERROR(LOG_TIMEOUT, 0, 0, log_wait_durable(log, 0, 0, &error));
    CHECK_ERROR(LOG_TIMEOUT, 0, 9, log_wait_durable(log, 9, 0, &error));
    CHECK_STATUS(LOG_TIMEOUT, log_wait_durable(log, 9, 0, NULL));
    CHECK_EQ(0, STAT(log).durable_offset);
    CHECK_STATUS(LOG_OK, log_wait_durable(log, 4, timeouts[i], NULL));
    CHECK(STAT(log).durable_offset > 4);
    CHECK_STATUS(LOG_OK, log_wait_durable(log, 4, 0, NULL));
    CHECK_STATUS(LOG_OK, log_wait_durable(log, 9, timeouts[i], NULL));
    CHECK_STATUS(LOG_OK, log_wait_durable(log, 9, 0, NULL));
    CHECK_EQ(10, STAT(log).durable_offset);
    CLOSE(log);
  }
}

/* No record yet: an answer at once, however long one would wait. */
static void wait_durable_past_the_end_is_beyond(void) {
  static const int64_t timeouts[] = {0, -1, 60000};
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  size_t i;
  log_t *log = OPEN(dir.text, &config);
  for (i = 0; i < 3; i++) CHECK_ERROR(LOG_E_BEYOND, 0, 0, log_wait_durable(log, 0, timeouts[i], &error));
  APPEND_NUMBERED(log, 0, 5);
  for (i = 0; i < 3; i++) {
    CHECK_ERROR(LOG_E_BEYOND, 0, 5, log_wait_durable(log, 5, timeouts[i], &error));
    CHECK_ERROR(LOG_E_BEYOND, 0, UINT64_MAX, log_wait_durable(log, UINT64_MAX, timeouts[i], &error));
  }
  CHECK_STATUS(LOG_OK, log_truncate(log, 3, NULL));
  CHECK_ERROR(LOG_E_BEYOND, 0, 3, log_wait_durable(log, 3, 0, &error));
  CHECK_STATUS(LOG_OK, log_wait_durable(log, 2, 0, NULL));
  CLOSE(log);
}

/* Over segments that are full and not synced yet; with and without the thread. */
static void wait_durable_covers_full_segments(void) {
  static const uint32_t flags[] = {0, LOG_NO_THREAD};
  size_t i;
  for (i = 0; i < 2; i++) {
    const check_path_t dir = fresh_path();
    log_config_t config = quick_config(4096);
    log_t *log;
    config.flags = flags[i];
    log = OPEN(dir.text, &config);
    APPEND_NUMBERED(log, 0, 300);
    CHECK_STATUS(LOG_OK, log_wait_durable(log, 150, -1, NULL));
    CHECK(STAT(log).durable_offset > 150);
    CHECK_STATUS(LOG_OK, log_wait_durable(log, 299, 60000, NULL));
    CHECK_EQ(300, STAT(log).durable_offset);
    CLOSE(log);
  }
}

/* --- LOG_SYNC_INTERVAL ----------------------------------------------------------------------------------------- */

/* Nobody calls anything, and the records become durable: with a limit that only a hang would reach. */
static void interval_makes_records_durable_by_itself(void) {
  static const uint32_t intervals[] = {0, 1, 20, 250};
  size_t i;
  for (i = 0; i < sizeof intervals / sizeof intervals[0]; i++) {
    const check_path_t dir = fresh_path();
    log_config_t config = quick_config(65536);
    uint64_t started;
    int round;
    log_t *log;
    config.sync = LOG_SYNC_INTERVAL;
    config.sync_interval_ms = intervals[i];
    log = OPEN(dir.text, &config);
    for (round = 0; round < 3; round++) {
      APPEND_NUMBERED(log, (uint64_t)round * 50, 50);
      started = clock_of(CLOCK_MONOTONIC);
      while (STAT(log).durable_offset < (uint64_t)round * 50 + 50 && clock_of(CLOCK_MONOTONIC) - started < 30000) pause_ms(5);
      CHECK_EQ(round * 50 + 50, STAT(log).durable_offset);
    }
    CLOSE(log);
  }
}

/* With an hour's interval, nothing is synced before its time, but for those who ask; and closing does not wait. */
static void a_long_interval_waits(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  uint64_t started = clock_of(CLOCK_MONOTONIC);
  log_t *log;
  config.sync = LOG_SYNC_INTERVAL;
  config.sync_interval_ms = 3600000;
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 50);
  pause_ms(250); /* the default would have synced by now */
  CHECK_EQ(0, STAT(log).durable_offset);
  CHECK_STATUS(LOG_OK, log_wait_durable(log, 49, -1, NULL));
  CHECK_EQ(50, STAT(log).durable_offset);
  APPEND_NUMBERED(log, 50, 50);
  CHECK_STATUS(LOG_OK, log_sync(log, NULL));
  CHECK_EQ(100, STAT(log).durable_offset);
  APPEND_NUMBERED(log, 100, 50);
  CLOSE(log);
  config.sync_interval_ms = UINT32_MAX;
  log = OPEN(dir.text, &config);
  CHECK_NUMBERED(log, 0, 150);
  CLOSE(log);
  CHECK(clock_of(CLOCK_MONOTONIC) - started < 600000);
}

/* A log at rest costs no syncs. */
static void interval_syncs_nothing_where_nothing_is_new(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  uint64_t syncs;
  log_t *log;
  config.sync = LOG_SYNC_INTERVAL;
  config.sync_interval_ms = 1;
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 50);
  CHECK_STATUS(LOG_OK, log_sync(log, NULL));
  syncs = STAT(log).syncs;
  pause_ms(100);
  CHECK_EQ(syncs, STAT(log).syncs);
  CLOSE(log);
}

static void interval_and_its_time_go_together(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  log_error_t error;
  log_t *log = NULL;
  config.sync_interval_ms = 100;
  CHECK_ARGUMENT("sync_interval_ms", log_open(dir.text, &config, &log, &error));
  config.sync = LOG_SYNC_ALWAYS;
  CHECK_ARGUMENT("sync_interval_ms", log_open(dir.text, &config, &log, &error));
  config.sync = LOG_SYNC_INTERVAL;
  config.flags = LOG_NO_THREAD;
  CHECK_ARGUMENT("LOG_NO_THREAD", log_open(dir.text, &config, &log, &error));
  config.sync_interval_ms = 0;
  CHECK_ARGUMENT("LOG_NO_THREAD", log_open(dir.text, &config, &log, &error));
  CHECK(log == NULL);
  CHECK(!path_exists(dir.text));
}

/* --- LOG_NO_THREAD --------------------------------------------------------------------------------------------- */

static void no_thread_starts_none(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(4096);
  const unsigned before = threads_settled(1); /* those of the tests before are gone */
  log_t *log = OPEN(dir.text, &config);
  CHECK_EQ(before + 2, threads_settled(before + 2)); /* the two threads that log_open tells of */
  CLOSE(log);
  CHECK_EQ(before, threads_settled(before));
  config.flags = LOG_NO_THREAD;
  log = OPEN(dir.text, &config);
  CHECK_EQ(before, threads_settled(before));
  APPEND_NUMBERED(log, 0, 500);
  CHECK(STAT(log).segment_count > 10);
  CHECK_EQ(before, threads_settled(before));
  /* Who rolled has synced what was full: all but the last segment. */
  CHECK(STAT(log).durable_offset > 400);
  CHECK_NUMBERED(log, 0, 500);
  CHECK_STATUS(LOG_OK, log_trim(log, 100, NULL));
  CHECK_STATUS(LOG_OK, log_truncate(log, 400, NULL));
  APPEND_NUMBERED(log, 400, 100);
  CHECK_EQ(before, threads_settled(before));
  CLOSE(log);
  config.sync = LOG_SYNC_ALWAYS;
  log = OPEN(dir.text, &config);
  CHECK_NUMBERED(log, 100, 400);
  APPEND_NUMBERED(log, 500, 50);
  CHECK_EQ(550, STAT(log).durable_offset);
  CHECK_EQ(before, threads_settled(before));
  CLOSE(log);
}

/* --- LOG_NO_CREATE --------------------------------------------------------------------------------------------- */

static void no_create_makes_nothing(void) {
  const check_path_t missing = fresh_path(), empty = fresh_dir(), foreign = fresh_dir(), file = fresh_path();
  const check_path_t below = path_join(missing.text, "below"), note = path_join(foreign.text, "note.txt");
  log_config_t config = quick_config(65536);
  log_error_t error;
  log_t *log = NULL;
  config.flags = LOG_NO_CREATE;
  write_file(note.text, "no log", 6);
  write_file(file.text, "no directory", 12);
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOENT, ANY_OFFSET, log_open(missing.text, &config, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOENT, ANY_OFFSET, log_open(below.text, &config, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, 0, LOG_NO_OFFSET, log_open(empty.text, &config, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, 0, LOG_NO_OFFSET, log_open(foreign.text, &config, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, ANY_OFFSET, log_open(file.text, &config, &log, &error));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_open(empty.text, &config, &log, NULL));
  CHECK(log == NULL);
  CHECK(!path_exists(missing.text));
  CHECK_EQ(0, entries_of(empty.text));
  CHECK_EQ(1, entries_of(foreign.text));
}

static void no_create_opens_what_is_there(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(4096);
  log_t *log = OPEN(dir.text, &config), *other = NULL;
  config.flags = LOG_NO_CREATE;
  CHECK_STATUS(LOG_E_LOCKED, log_open(dir.text, &config, &other, NULL));
  CLOSE(log); /* an empty log is a log */
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_STATUS(LOG_OK, log_truncate(log, 0, NULL));
  CHECK_STATUS(LOG_OK, log_reset(log, 50, NULL));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(50, STAT(log).next_offset);
  CLOSE(log);
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_open(dir.text, &config, &other, NULL));
  CHECK(!path_exists(dir.text));
}

/* --- LOG_NO_VERIFY --------------------------------------------------------------------------------------------- */

/* Rotten bytes are given as they are; without the flag they are damage. */
static void no_verify_gives_rotten_bytes(void) {
  const check_path_t dir = fresh_path();
  const check_path_t store = path_join(dir.text, FIRST_SEGMENT ".store");
  log_config_t config = quick_config(65536);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_error_t error;
  char text[32];
  size_t length = 0;
  log_t *log = OPEN(dir.text, &config);
  APPEND_TEXT(log, "record number zero");
  APPEND_TEXT(log, "record number one");
  APPEND_TEXT(log, "record number two");
  CLOSE(log);
  flip_bit(store.text, find_in_file(store.text, "record number one"));
  log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_E_CORRUPT, 0, 1, log_read(log, 1, text, sizeof text, &length, &error));
  CLOSE(log);
  config.flags = LOG_NO_VERIFY;
  log = OPEN(dir.text, &config);
  CHECK_READ_TEXT(log, 0, "record number zero");
  CHECK_READ_TEXT(log, 1, "becord number one"); /* 'r' with the flipped bit */
  CHECK_READ_TEXT(log, 2, "record number two");
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK(view_is_text(&record, 1, "becord number one"));
  CHECK_STATUS(LOG_OK, log_cursor_prev(cursor, &record, NULL));
  CHECK(view_is_text(&record, 1, "becord number one"));
  log_cursor_close(cursor);
  CLOSE(log);
}

/*
 * A length that rotted must not lead out of the file, nor out of what is mapped: each bit of a record's first four bytes,
 * flipped, gives an answer, be it damage. The record before it stays as it is.
 */
static void no_verify_keeps_the_bounds(void) {
  enum { FIRST_FRAME = STORE_HEADER_BYTES, FIRST_BYTES = FRAME_HEADER_BYTES + 8 };
  const check_path_t dir = fresh_path();
  const check_path_t store = path_join(dir.text, FIRST_SEGMENT ".store");
  log_config_t config = quick_config(4096);
  unsigned char *room = (unsigned char *)malloc(4096);
  unsigned bit;
  size_t size;
  unsigned char *good;
  log_t *log = OPEN(dir.text, &config);
  NEED(room != NULL);
  APPEND_TEXT(log, "eight by");
  APPEND_TEXT(log, "the one that rots");
  APPEND_TEXT(log, "behind it");
  CLOSE(log);
  good = file_bytes(store.text, &size);
  config.flags = LOG_NO_VERIFY;
  for (bit = 0; bit < 32; bit++) {
    const long at = FIRST_FRAME + FIRST_BYTES + (long)(bit / 8);
    unsigned char byte = (unsigned char)(good[at] ^ (1u << bit % 8));
    log_cursor_t *cursor = NULL;
    log_record_t record;
    size_t length = 0, steps = 0;
    log_status_t status;
    patch_file(store.text, at, &byte, 1);
    log = OPEN(dir.text, &config);
    CHECK_READ_TEXT(log, 0, "eight by");
    status = log_read(log, 1, room, 4096, &length, NULL);
    CHECK(status == LOG_OK || status == LOG_E_CORRUPT || status == LOG_E_BUFFER);
    if (status == LOG_OK) CHECK(length <= size);
    CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
    do {
      status = log_cursor_next(cursor, &record, NULL);
      if (status == LOG_OK && record.payload.len > 0) {
        /* Every byte of the view is there: valgrind or the MMU would say so. */
        CHECK(record.payload.len < size);
        memcpy(room, record.payload.data, record.payload.len < 4096 ? record.payload.len : 4096);
      }
    } while (status != LOG_END && ++steps < 10);
    CHECK_STATUS(LOG_END, status);
    log_cursor_close(cursor);
    CLOSE(log);
    patch_file(store.text, at, good + at, 1);
  }
  free(good);
  free(room);
}

static const check_test_t tests[] = {
    TEST(wait_durable_with_null),
    TEST(wait_durable_looks_once_or_syncs),
    TEST(wait_durable_past_the_end_is_beyond),
    TEST(wait_durable_covers_full_segments),
    TEST(interval_makes_records_durable_by_itself),
    TEST(a_long_interval_waits),
    TEST(interval_syncs_nothing_where_nothing_is_new),
    TEST(interval_and_its_time_go_together),
    TEST(no_thread_starts_none),
    TEST(no_create_makes_nothing),
    TEST(no_create_opens_what_is_there),
    TEST(no_verify_gives_rotten_bytes),
    TEST(no_verify_keeps_the_bounds),
};

test_group_t durable_tests(void) { return GROUP_OF(tests); }
