/*
 * The contract of what takes records away: log_trim at the front, log_truncate at the end, log_reset of all. Offsets at,
 * past and below both ends; what stays, what is gone, what never comes back; disk space; time.
 */
#include "contract.h"
#include "logs.h"

#include <dirent.h>

/* Some segments of records that are their offset's: small ones, so that cuts fall in the middle of the row. */
enum { RECORDS = 200 };

static log_t *numbered_log(const check_path_t *dir) {
  const log_config_t config = quick_config(4096);
  log_t *log = OPEN(dir->text, &config);
  APPEND_NUMBERED(log, 0, RECORDS);
  return log;
}

static log_t *reopened(log_t *log, const check_path_t *dir) {
  const log_config_t config = quick_config(4096);
  CLOSE(log);
  return OPEN(dir->text, &config);
}

/* The log is exactly the records from first to next, each its offset's, and says so in every way. */
static int is_exactly(log_t *log, uint64_t first, uint64_t next, const char *file, int line) {
  const log_stat_t stat = stat_at(log, file, line);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_error_t error;
  uint64_t number = first;
  int fine = check_u64(first, stat.first_offset, file, line, "first_offset") &
             check_u64(next, stat.next_offset, file, line, "next_offset") &
             check_u64(numbered_bytes(first, next - first), stat.payload_bytes, file, line, "payload_bytes");
  check_numbered_at(log, first, next - first, file, line);
  if (first > 0) {
    mark_error(&error);
    fine &= check_error(log_read(log, first - 1, NULL, 0, NULL, &error), &error, LOG_E_TRIMMED, 0, first - 1, file,
                        line, "log_read before the first");
    fine &= check_status(LOG_E_TRIMMED, log_read(log, 0, NULL, 0, NULL, NULL), file, line, "log_read of 0");
  }
  mark_error(&error);
  fine &= check_error(log_read(log, next, NULL, 0, NULL, &error), &error, LOG_E_BEYOND, 0, next, file, line,
                      "log_read of the next");
  if (!check_status(LOG_OK, log_cursor_open(log, first, &cursor, NULL), file, line, "log_cursor_open")) return 0;
  while (log_cursor_next(cursor, &record, NULL) == LOG_OK) {
    if (!check_u64(number, record.offset, file, line, "the cursor's record")) break;
    if (!check_that(is_record(record.payload.data, record.payload.len, number), file, line, "its bytes")) break;
    number++;
  }
  fine &= check_u64(next, number, file, line, "where the cursor ends");
  log_cursor_close(cursor);
  return fine;
}

#define CHECK_EXACTLY(log, first, next) is_exactly((log), (first), (next), __FILE__, __LINE__)

static void ends_with_null(void) {
  log_error_t error;
  CHECK_ARGUMENT("log", log_trim(NULL, 0, &error));
  CHECK_ARGUMENT("log", log_truncate(NULL, 0, &error));
  CHECK_ARGUMENT("log", log_reset(NULL, 0, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_trim(NULL, 0, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_truncate(NULL, 0, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_reset(NULL, 0, NULL));
}

/* --- trim ------------------------------------------------------------------------------------------------------ */

/* At each offset there is, one by one: the log begins there exactly, now and after a reopen. */
static void trim_is_exact_at_every_offset(void) {
  const check_path_t dir = fresh_path();
  log_t *log = numbered_log(&dir);
  uint64_t offset;
  for (offset = 0; offset <= RECORDS; offset++) {
    REQUIRE(CHECK_STATUS(LOG_OK, log_trim(log, offset, NULL)));
    if (offset % 7 == 0) log = reopened(log, &dir);
    REQUIRE(CHECK_EXACTLY(log, offset, RECORDS));
  }
  APPEND_NUMBERED(log, RECORDS, 50);
  CHECK_EXACTLY(log, RECORDS, RECORDS + 50);
  log = reopened(log, &dir);
  CHECK_EXACTLY(log, RECORDS, RECORDS + 50);
  CLOSE(log);
}

static void trim_below_the_first_does_nothing(void) {
  const check_path_t dir = fresh_path();
  log_t *log = numbered_log(&dir);
  CHECK_STATUS(LOG_OK, log_trim(log, 0, NULL));
  CHECK_EXACTLY(log, 0, RECORDS);
  CHECK_STATUS(LOG_OK, log_trim(log, 100, NULL));
  CHECK_STATUS(LOG_OK, log_trim(log, 100, NULL));
  CHECK_STATUS(LOG_OK, log_trim(log, 99, NULL));
  CHECK_STATUS(LOG_OK, log_trim(log, 0, NULL));
  CHECK_EXACTLY(log, 100, RECORDS);
  log = reopened(log, &dir);
  CHECK_STATUS(LOG_OK, log_trim(log, 99, NULL));
  CHECK_EXACTLY(log, 100, RECORDS);
  CLOSE(log);
}

static void trim_beyond_the_next_is_refused(void) {
  const check_path_t dir = fresh_path();
  log_error_t error;
  log_t *log = numbered_log(&dir);
  CHECK_ERROR(LOG_E_BEYOND, 0, RECORDS + 1, log_trim(log, RECORDS + 1, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, UINT64_MAX, log_trim(log, UINT64_MAX, &error));
  CHECK_STATUS(LOG_E_BEYOND, log_trim(log, RECORDS + 1, NULL));
  CHECK_EXACTLY(log, 0, RECORDS);
  log = reopened(log, &dir);
  CHECK_EXACTLY(log, 0, RECORDS);
  CLOSE(log);
}

static void trim_of_an_empty_log(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(4096);
  log_error_t error;
  log_t *log;
  config.initial_offset = 10;
  log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_trim(log, 0, NULL));
  CHECK_STATUS(LOG_OK, log_trim(log, 10, NULL));
  CHECK_ERROR(LOG_E_BEYOND, 0, 11, log_trim(log, 11, &error));
  CHECK_EXACTLY(log, 10, 10);
  APPEND_NUMBERED(log, 10, 5);
  CHECK_EXACTLY(log, 10, 15);
  CLOSE(log);
}

/* Disk comes back by whole segments: after a trim of everything, little more than one is left. */
static void trim_gives_segments_back(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config);
  uint32_t segments;
  uint64_t bytes;
  APPEND_NUMBERED(log, 0, 5000);
  segments = STAT(log).segment_count;
  bytes = STAT(log).disk_bytes;
  CHECK(segments > 8);
  CHECK_STATUS(LOG_OK, log_trim(log, 2500, NULL));
  CHECK(STAT(log).segment_count <= segments / 2 + 1);
  CHECK_STATUS(LOG_OK, log_trim(log, 5000, NULL));
  CHECK_EQ(1, STAT(log).segment_count);
  CHECK(STAT(log).disk_bytes < bytes);
  CLOSE(log);
}

/* --- truncate -------------------------------------------------------------------------------------------------- */

/* From the end down to the first: no record that should stay is gone, and what follows stands behind it. */
static void truncate_is_exact_at_every_offset(void) {
  const check_path_t dir = fresh_path();
  log_t *log = numbered_log(&dir);
  uint64_t offset;
  for (offset = RECORDS + 1; offset-- > 0;) {
    REQUIRE(CHECK_STATUS(LOG_OK, log_truncate(log, offset, NULL)));
    if (offset % 7 == 0) log = reopened(log, &dir);
    REQUIRE(CHECK_EXACTLY(log, 0, offset));
    if (offset % 5 == 0) {
      APPEND_NUMBERED(log, offset, 3);
      REQUIRE(CHECK_EXACTLY(log, 0, offset + 3));
      if (offset % 10 == 0) log = reopened(log, &dir);
      REQUIRE(CHECK_EXACTLY(log, 0, offset + 3));
      REQUIRE(CHECK_STATUS(LOG_OK, log_truncate(log, offset, NULL)));
    }
  }
  CLOSE(log);
}

static void truncate_at_the_next_does_nothing(void) {
  const check_path_t dir = fresh_path();
  log_t *log = numbered_log(&dir);
  log_segment_t before, after;
  uint32_t segments = STAT(log).segment_count;
  before.struct_size = after.struct_size = (uint32_t)sizeof before;
  CHECK_STATUS(LOG_OK, log_segment_at(log, segments - 1, &before, NULL));
  CHECK_STATUS(LOG_OK, log_truncate(log, RECORDS, NULL));
  CHECK_STATUS(LOG_OK, log_truncate(log, RECORDS, NULL));
  CHECK_EQ(segments, STAT(log).segment_count);
  CHECK_STATUS(LOG_OK, log_segment_at(log, segments - 1, &after, NULL));
  CHECK_EQ(before.epoch, after.epoch);
  CHECK_EXACTLY(log, 0, RECORDS);
  CLOSE(log);
}

static void truncate_outside_is_refused(void) {
  const check_path_t dir = fresh_path();
  log_error_t error;
  log_t *log = numbered_log(&dir);
  CHECK_ERROR(LOG_E_BEYOND, 0, RECORDS + 1, log_truncate(log, RECORDS + 1, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, UINT64_MAX, log_truncate(log, UINT64_MAX, &error));
  CHECK_STATUS(LOG_OK, log_trim(log, 100, NULL));
  CHECK_ERROR(LOG_E_TRIMMED, 0, 99, log_truncate(log, 99, &error));
  CHECK_ERROR(LOG_E_TRIMMED, 0, 0, log_truncate(log, 0, &error));
  CHECK_STATUS(LOG_E_TRIMMED, log_truncate(log, 0, NULL));
  CHECK_EXACTLY(log, 100, RECORDS);
  log = reopened(log, &dir);
  CHECK_EXACTLY(log, 100, RECORDS);
  CHECK_ERROR(LOG_E_TRIMMED, 0, 99, log_truncate(log, 99, &error));
  CHECK_STATUS(LOG_OK, log_truncate(log, 100, NULL));
  CHECK_EXACTLY(log, 100, 100);
  CLOSE(log);
}

/* Where proglog fails: everything goes, and the log lives on. */
static void truncating_everything_then_appending_works(void) {
  const check_path_t dir = fresh_path();
  log_t *log = numbered_log(&dir);
  int round;
  for (round = 0; round < 4; round++) {
    CHECK_STATUS(LOG_OK, log_truncate(log, 0, NULL));
    CHECK_EXACTLY(log, 0, 0);
    if (round % 2 != 0) log = reopened(log, &dir);
    CHECK_EXACTLY(log, 0, 0);
    APPEND_NUMBERED(log, 0, 70);
    CHECK_EXACTLY(log, 0, 70);
    log = reopened(log, &dir);
    CHECK_EXACTLY(log, 0, 70);
  }
  CLOSE(log);
}

/* At the same offset, at a lower one, at one between: what was dropped stays so, over reopens. */
static void what_was_truncated_never_comes_back(void) {
  static const uint64_t cuts[][3] = {{100, 100, 100}, {150, 80, 10}, {10, 10, 5}, {120, 130, 125}, {199, 198, 197}};
  size_t i, j;
  int reopen;
  for (reopen = 0; reopen < 2; reopen++) {
    for (i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
      const check_path_t dir = fresh_path();
      log_t *log = numbered_log(&dir);
      for (j = 0; j < 3; j++) {
        const uint64_t cut = cuts[i][j], next = STAT(log).next_offset;
        if (cut > next) APPEND_NUMBERED(log, next, cut - next + 20);
        CHECK_STATUS(LOG_OK, log_truncate(log, cut, NULL));
        if (reopen) log = reopened(log, &dir);
        REQUIRE(CHECK_EXACTLY(log, 0, cut));
        /* Other bytes in the same place. */
        CHECK_EQ(cut, APPEND_TEXT(log, "a new leader's record"));
        if (reopen) log = reopened(log, &dir);
        CHECK_READ_TEXT(log, cut, "a new leader's record");
        CHECK_EQ(cut + 1, STAT(log).next_offset);
        CHECK_STATUS(LOG_OK, log_truncate(log, cut, NULL));
        REQUIRE(CHECK_EXACTLY(log, 0, cut));
        APPEND_NUMBERED(log, cut, 3);
      }
      CLOSE(log);
    }
  }
}

/* A cut in the middle of a batch: its first records stay, as they would if they had come alone. */
static void truncate_cuts_a_batch(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  const log_bytes_t batch[] = {text_of("a"), text_of("b"), text_of("c"), text_of("d")};
  log_t *log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_append_batch(log, batch, 4, NULL, NULL));
  CHECK_STATUS(LOG_OK, log_append_batch(log, batch, 4, NULL, NULL));
  CHECK_STATUS(LOG_OK, log_truncate(log, 6, NULL));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(6, STAT(log).next_offset);
  CHECK_READ_TEXT(log, 5, "b");
  CHECK_EQ(6, APPEND_TEXT(log, "e"));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(7, STAT(log).next_offset);
  CHECK_READ_TEXT(log, 4, "a");
  CHECK_READ_TEXT(log, 6, "e");
  CLOSE(log);
}

/* A Raft log changes its leader often: a cut must not leave a segment's space allocated behind it. */
static void truncate_gives_back_what_was_allocated_ahead(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = default_config(); /* segments of 64 MiB */
  uint64_t bytes = 0;
  int round;
  log_t *log;
  config.sync = LOG_SYNC_NEVER;
  log = OPEN(dir.text, &config);
  for (round = 0; round < 20; round++) {
    const uint64_t next = STAT(log).next_offset;
    if (round == 2) bytes = STAT(log).disk_bytes;
    APPEND_NUMBERED(log, next, 10);
    CHECK_STATUS(LOG_OK, log_truncate(log, next + 5, NULL));
  }
  CHECK_NUMBERED(log, 0, 100);
  CHECK(STAT(log).disk_bytes < bytes + (UINT64_C(4) << 20));
  CLOSE(log);
}

/* --- reset ----------------------------------------------------------------------------------------------------- */

static void reset_goes_forwards_and_backwards(void) {
  static const uint64_t offsets[] = {1000, 50, RECORDS, 0, 0, 7, UINT64_C(1) << 40, 3};
  size_t i;
  int reopen;
  for (reopen = 0; reopen < 2; reopen++) {
    const check_path_t dir = fresh_path();
    log_t *log = numbered_log(&dir);
    for (i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
      REQUIRE(CHECK_STATUS(LOG_OK, log_reset(log, offsets[i], NULL)));
      if (reopen) log = reopened(log, &dir);
      REQUIRE(CHECK_EXACTLY(log, offsets[i], offsets[i]));
      CHECK_EQ(1, STAT(log).segment_count);
      APPEND_NUMBERED(log, offsets[i], 60);
      REQUIRE(CHECK_EXACTLY(log, offsets[i], offsets[i] + 60));
      if (reopen) log = reopened(log, &dir);
      REQUIRE(CHECK_EXACTLY(log, offsets[i], offsets[i] + 60));
    }
    CLOSE(log);
  }
}

static void reset_has_a_highest_offset(void) {
  const uint64_t highest = UINT64_MAX - (UINT64_C(1) << 31) + 1;
  const check_path_t dir = fresh_path();
  log_error_t error;
  log_t *log = numbered_log(&dir);
  CHECK_ERROR(LOG_E_ARGUMENT, 0, ANY_OFFSET, log_reset(log, highest + 1, &error));
  CHECK_ERROR(LOG_E_ARGUMENT, 0, ANY_OFFSET, log_reset(log, UINT64_MAX, &error));
  CHECK_EXACTLY(log, 0, RECORDS);
  CHECK_STATUS(LOG_OK, log_reset(log, highest - 2, NULL));
  APPEND_NUMBERED(log, highest - 2, 2);
  CHECK_ERROR(LOG_E_ARGUMENT, 0, ANY_OFFSET, log_append(log, "x", 1, NULL, &error)); /* the offsets are used up */
  CHECK_EXACTLY(log, highest - 2, highest);
  log = reopened(log, &dir);
  CHECK_EXACTLY(log, highest - 2, highest);
  CHECK_STATUS(LOG_OK, log_truncate(log, highest - 1, NULL));
  CHECK_EXACTLY(log, highest - 2, highest - 1);
  CHECK_STATUS(LOG_OK, log_reset(log, highest, NULL));
  CHECK_EXACTLY(log, highest, highest);
  CHECK_ERROR(LOG_E_ARGUMENT, 0, ANY_OFFSET, log_append(log, "x", 1, NULL, &error));
  log = reopened(log, &dir);
  CHECK_EXACTLY(log, highest, highest);
  CHECK_STATUS(LOG_OK, log_reset(log, 0, NULL));
  APPEND_NUMBERED(log, 0, 5);
  CHECK_EXACTLY(log, 0, 5);
  CLOSE(log);
}

/* A trim says where the log begins; a reset below that voids it, also over reopens, and a later trim holds again. */
static void trim_then_reset_to_a_lower_offset(void) {
  int reopen;
  for (reopen = 0; reopen < 2; reopen++) {
    const check_path_t dir = fresh_path();
    log_t *log = numbered_log(&dir);
    CHECK_STATUS(LOG_OK, log_trim(log, 150, NULL));
    if (reopen) log = reopened(log, &dir);
    CHECK_STATUS(LOG_OK, log_reset(log, 20, NULL));
    if (reopen) log = reopened(log, &dir);
    REQUIRE(CHECK_EXACTLY(log, 20, 20));
    APPEND_NUMBERED(log, 20, 100);
    if (reopen) log = reopened(log, &dir);
    REQUIRE(CHECK_EXACTLY(log, 20, 120));
    CHECK_STATUS(LOG_OK, log_trim(log, 30, NULL));
    CHECK_STATUS(LOG_OK, log_truncate(log, 60, NULL));
    log = reopened(log, &dir);
    REQUIRE(CHECK_EXACTLY(log, 30, 60));
    CHECK_STATUS(LOG_OK, log_trim(log, 60, NULL));
    CHECK_STATUS(LOG_OK, log_reset(log, 10, NULL));
    APPEND_NUMBERED(log, 10, 10);
    log = reopened(log, &dir);
    CHECK_EXACTLY(log, 10, 20);
    CLOSE(log);
  }
}

/* --- time, durability, files ----------------------------------------------------------------------------------- */

static uint64_t time_of(log_t *log, uint64_t offset) {
  log_cursor_t *cursor = NULL;
  log_record_t record;
  uint64_t time = 0;
  CHECK_STATUS(LOG_OK, log_cursor_open(log, offset, &cursor, NULL));
  if (CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL))) time = record.timestamp_ns;
  log_cursor_close(cursor);
  return time;
}

/* A record of far in the future was dropped, yet what follows is not before it. */
static void time_never_runs_back_over_ends_and_reopens(void) {
  const uint64_t future = UINT64_C(1) << 62; /* the year 2116 */
  int way, reopen;
  for (way = 0; way < 3; way++) {
    for (reopen = 0; reopen < 2; reopen++) {
      const check_path_t dir = fresh_path();
      log_record_t record;
      uint64_t next;
      log_t *log = numbered_log(&dir);
      record.offset = RECORDS;
      record.timestamp_ns = future;
      record.payload = text_of("of the future");
      CHECK_STATUS(LOG_OK, log_append_records(log, &record, 1, NULL));
      if (way == 0) CHECK_STATUS(LOG_OK, log_truncate(log, 100, NULL));
      if (way == 1) CHECK_STATUS(LOG_OK, log_reset(log, 5, NULL));
      if (way == 2) CHECK_STATUS(LOG_OK, log_trim(log, RECORDS + 1, NULL));
      if (reopen) log = reopened(log, &dir);
      next = APPEND_TEXT(log, "after it");
      CHECK(time_of(log, next) >= future);
      if (reopen) log = reopened(log, &dir);
      CHECK(time_of(log, next) >= future);
      CHECK_STATUS(LOG_OK, log_truncate(log, next, NULL));
      log = reopened(log, &dir);
      next = APPEND_TEXT(log, "after that");
      CHECK(time_of(log, next) >= future);
      CLOSE(log);
    }
  }
}

/* Each of them is durable on return, whatever the policy, and so is what stays. */
static void ends_are_durable_whatever_the_policy(void) {
  const check_path_t dir = fresh_path();
  log_t *log = numbered_log(&dir);
  CHECK_STATUS(LOG_OK, log_trim(log, 150, NULL));
  CHECK(STAT(log).durable_offset >= 150);
  CHECK_STATUS(LOG_OK, log_truncate(log, 180, NULL));
  CHECK_EQ(180, STAT(log).durable_offset);
  APPEND_NUMBERED(log, 180, 3);
  CHECK_STATUS(LOG_OK, log_reset(log, 20, NULL));
  CHECK_EQ(20, STAT(log).durable_offset);
  APPEND_NUMBERED(log, 20, 3);
  CHECK_STATUS(LOG_OK, log_reset(log, 500, NULL));
  CHECK_EQ(500, STAT(log).durable_offset);
  APPEND_NUMBERED(log, 500, 3);
  CHECK_STATUS(LOG_OK, log_sync(log, NULL));
  CHECK_EQ(503, STAT(log).durable_offset);
  CLOSE(log);
}

static unsigned stores_in(const char *path) {
  DIR *dir = opendir(path);
  struct dirent *entry;
  unsigned stores = 0;
  NEED(dir != NULL);
  while ((entry = readdir(dir)) != NULL)
    if (strstr(entry->d_name, ".store") != NULL) stores++;
  closedir(dir);
  return stores;
}

/* What is gone leaves no files, and nothing in lost/. */
static void nothing_is_left_of_what_is_gone(void) {
  const check_path_t dir = fresh_path();
  const check_path_t lost = path_join(dir.text, "lost");
  log_t *log = numbered_log(&dir);
  CHECK_STATUS(LOG_OK, log_trim(log, 60, NULL));
  CHECK_EQ(STAT(log).segment_count, stores_in(dir.text));
  CHECK_STATUS(LOG_OK, log_truncate(log, 120, NULL));
  CHECK_EQ(STAT(log).segment_count, stores_in(dir.text));
  CHECK_STATUS(LOG_OK, log_reset(log, 70, NULL));
  CHECK_EQ(1, stores_in(dir.text));
  log = reopened(log, &dir);
  CHECK_EQ(1, stores_in(dir.text));
  CHECK(!path_exists(lost.text));
  CHECK_STATUS(LOG_OK, log_trim(log, 70, NULL));
  APPEND_NUMBERED(log, 70, 100);
  CHECK_STATUS(LOG_OK, log_trim(log, 90, NULL));
  CLOSE(log);
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK(!path_exists(dir.text)); /* START was one of its own files */
}

static const check_test_t tests[] = {
    TEST(ends_with_null),
    TEST(trim_is_exact_at_every_offset),
    TEST(trim_below_the_first_does_nothing),
    TEST(trim_beyond_the_next_is_refused),
    TEST(trim_of_an_empty_log),
    TEST(trim_gives_segments_back),
    TEST(truncate_is_exact_at_every_offset),
    TEST(truncate_at_the_next_does_nothing),
    TEST(truncate_outside_is_refused),
    TEST(truncating_everything_then_appending_works),
    TEST(what_was_truncated_never_comes_back),
    TEST(truncate_cuts_a_batch),
    TEST(truncate_gives_back_what_was_allocated_ahead),
    TEST(reset_goes_forwards_and_backwards),
    TEST(reset_has_a_highest_offset),
    TEST(trim_then_reset_to_a_lower_offset),
    TEST(time_never_runs_back_over_ends_and_reopens),
    TEST(ends_are_durable_whatever_the_policy),
    TEST(nothing_is_left_of_what_is_gone),
};

test_group_t ends_tests(void) { return GROUP_OF(tests); }
