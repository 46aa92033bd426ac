/*
 * The contract of LOG_READ_ONLY: a handle that reads what others write, in this or in another process, and makes and
 * changes nothing. (tests/follow.rs has the stress.)
 */
#include "children.h"
#include "contract.h"

#include <dirent.h>
#include <pthread.h>

static log_config_t reading(void) {
  log_config_t config = default_config();
  config.flags = LOG_READ_ONLY;
  return config;
}

static log_t *follow_at(const char *dir, const char *file, int line) {
  const log_config_t config = reading();
  return open_at(dir, &config, file, line);
}

#define FOLLOW(dir) follow_at((dir), __FILE__, __LINE__)

/* How many names stand in it, and a sum that another set of names or sizes would not have. */
static uint64_t listing_of(const char *path) {
  DIR *stream = opendir(path);
  const struct dirent *entry;
  uint64_t sum = 0;
  NEED(stream != NULL);
  while ((entry = readdir(stream)) != NULL) {
    uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a */
    const char *at;
    for (at = entry->d_name; *at != '\0'; at++) hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001B3);
    sum += hash;
  }
  closedir(stream);
  return sum;
}

static void where_no_log_is_none_is_made(void) {
  const check_path_t missing = fresh_path(), empty = fresh_dir(), foreign = fresh_dir();
  const log_config_t config = reading();
  log_error_t error;
  log_t *log = NULL;
  write_file(path_join(foreign.text, "notes.txt").text, "mine", 4);
  write_file(path_join(foreign.text, "LIVE").text, "mine", 4);
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOENT, LOG_NO_OFFSET, log_open(missing.text, &config, &log, &error));
  CHECK(!path_exists(missing.text));
  CHECK_ERROR(LOG_E_NOT_FOUND, 0, LOG_NO_OFFSET, log_open(empty.text, &config, &log, &error));
  CHECK(rmdir(empty.text) == 0);
  CHECK_ERROR(LOG_E_NOT_FOUND, 0, LOG_NO_OFFSET, log_open(foreign.text, &config, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, LOG_NO_OFFSET,
              log_open(path_join(foreign.text, "notes.txt").text, &config, &log, &error));
  CHECK(log == NULL);
}

static void whatever_writes_is_read_only(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  const log_bytes_t batch = text_of("x");
  log_record_t record;
  uint64_t offset = UNTOUCHED_U64;
  log_error_t error;
  log_t *log = OPEN(dir.text, &config), *reader;
  APPEND_NUMBERED(log, 0, 10);
  reader = FOLLOW(dir.text);
  memset(&record, 0, sizeof record);
  record.offset = 10;
  record.payload = batch;
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_append(reader, "x", 1, &offset, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_append_at(reader, 10, "x", 1, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_append_batch(reader, &batch, 1, &offset, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_append_batch(reader, NULL, 0, &offset, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_append_records(reader, &record, 1, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_sync(reader, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_trim(reader, 5, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_retain(reader, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_truncate(reader, 5, &error));
  CHECK_ERROR(LOG_E_READ_ONLY, 0, LOG_NO_OFFSET, log_reset(reader, 5, &error));
  CHECK(offset == UNTOUCHED_U64);
  CHECK_NUMBERED(reader, 0, 10);
  CHECK_EQ(10, STAT(log).next_offset);
  CLOSE(reader);
  CLOSE(log);
}

static void reads_say_what_they_say_to_a_writer(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  unsigned char data[300];
  size_t length = 0;
  log_error_t error;
  log_t *log = OPEN(dir.text, &config), *reader;
  APPEND_NUMBERED(log, 0, 100);
  CHECK_STATUS(LOG_OK, log_trim(log, 40, NULL));
  reader = FOLLOW(dir.text);
  CHECK_NUMBERED(reader, 40, 60);
  CHECK_ERROR(LOG_E_TRIMMED, 0, 39, log_read(reader, 39, data, sizeof data, &length, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, 100, log_read(reader, 100, data, sizeof data, &length, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, LOG_NO_OFFSET, log_read(reader, LOG_NO_OFFSET, data, sizeof data, &length, &error));
  CHECK_ERROR(LOG_E_BUFFER, 0, 50, log_read(reader, 50, NULL, 0, &length, &error));
  CHECK_EQ(length_of(50), length);
  CHECK_ERROR(LOG_E_TRIMMED, 0, 39, log_cursor_open(reader, 39, &cursor, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, 101, log_cursor_open(reader, 101, &cursor, &error));
  CHECK_STATUS(LOG_OK, log_cursor_open(reader, 100, &cursor, NULL));
  CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
  APPEND_NUMBERED(log, 100, 1);
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK(record.offset == 100 && is_record(record.payload.data, record.payload.len, 100));
  CHECK_STATUS(LOG_OK, log_cursor_prev(cursor, &record, NULL));
  CHECK(record.offset == 100);
  CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, 40, NULL));
  CHECK_STATUS(LOG_END, log_cursor_prev(cursor, &record, NULL));
  /* What is damaged is said to be, and what stands beside it is read. */
  CHECK_STATUS(LOG_OK, log_sync(log, NULL));
  log_cursor_close(cursor);
  CLOSE(reader);
  CLOSE(log);
}

static void a_record_is_seen_as_soon_as_it_is_appended(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  uint64_t number;
  log_t *log = OPEN(dir.text, &config), *reader = FOLLOW(dir.text);
  CHECK_STATUS(LOG_OK, log_cursor_open(reader, 0, &cursor, NULL));
  for (number = 0; number < 500; number++) { /* over some thirty segments */
    CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
    APPEND_NUMBERED(log, number, 1);
    CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
    if (!CHECK(record.offset == number && is_record(record.payload.data, record.payload.len, number))) break;
    CHECK_NUMBERED(reader, number / 2, 1);
  }
  CHECK_EQ(STAT(log).segment_count, STAT(reader).segment_count);
  log_cursor_close(cursor);
  CLOSE(reader);
  CLOSE(log);
}

static void what_takes_records_away_is_seen_at_once(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_error_t error;
  char data[300];
  log_t *log = OPEN(dir.text, &config), *reader = FOLLOW(dir.text);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_STATUS(LOG_OK, log_cursor_open(reader, 90, &cursor, NULL));
  CHECK_NUMBERED(reader, 0, 100);
  CHECK_STATUS(LOG_OK, log_trim(log, 30, NULL));
  CHECK_ERROR(LOG_E_TRIMMED, 0, 29, log_read(reader, 29, data, sizeof data, NULL, &error));
  CHECK_STATUS(LOG_OK, log_truncate(log, 60, NULL));
  CHECK_ERROR(LOG_E_BEYOND, 0, 60, log_read(reader, 60, data, sizeof data, NULL, &error));
  CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
  APPEND_TEXT(log, "new");
  CHECK_READ_TEXT(reader, 60, "new");
  CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, 60, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK(view_is_text(&record, 60, "new"));
  CHECK_STATUS(LOG_OK, log_reset(log, 7, NULL));
  CHECK(view_is_text(&record, 60, "new")); /* a view stays */
  CHECK_ERROR(LOG_E_BEYOND, 0, 40, log_read(reader, 40, data, sizeof data, NULL, &error));
  APPEND_TEXT(log, "anew");
  CHECK_READ_TEXT(reader, 7, "anew");
  CHECK_EQ(7, STAT(reader).first_offset);
  CHECK_EQ(8, STAT(reader).next_offset);
  CHECK_EQ(4, STAT(reader).payload_bytes);
  CHECK_STATUS(LOG_OK, log_reset(log, 1000, NULL));
  CHECK_ERROR(LOG_E_TRIMMED, 0, 7, log_read(reader, 7, data, sizeof data, NULL, &error));
  CHECK_EQ(1000, STAT(reader).next_offset);
  log_cursor_close(cursor);
  CLOSE(reader);
  CLOSE(log);
}

static void stat_tells_what_the_writer_knows(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config), *reader = FOLLOW(dir.text);
  log_stat_t mine, its;
  APPEND_NUMBERED(log, 0, 1000);
  CHECK_STATUS(LOG_OK, log_trim(log, 300, NULL));
  APPEND_NUMBERED(log, 1000, 100);
  mine = STAT(reader), its = STAT(log);
  CHECK_EQ(300, mine.first_offset);
  CHECK_EQ(1100, mine.next_offset);
  CHECK_EQ(its.durable_offset, mine.durable_offset);
  CHECK_EQ(its.segment_count, mine.segment_count);
  CHECK_EQ(numbered_bytes(300, 800), mine.payload_bytes);
  CHECK(mine.disk_bytes > 0);
  CHECK_EQ(way_that_is_chosen(), mine.io);
  CHECK_EQ(0, mine.appends + mine.syncs + mine.syncs_shared + mine.recovered_records + mine.dropped_bytes);
  CHECK_EQ(getpid(), mine.writer_pid);
  CHECK(memcmp(mine.log_id, its.log_id, sizeof mine.log_id) == 0);
  CLOSE(log);
  mine = STAT(reader);
  CHECK_EQ(1100, mine.next_offset);
  CHECK_EQ(1100, mine.durable_offset);
  CHECK_EQ(0, mine.writer_pid);
  CLOSE(reader);
}

static void durability_is_waited_for(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  log_t *log = OPEN(dir.text, &config), *reader = FOLLOW(dir.text);
  CHECK_ERROR(LOG_E_BEYOND, 0, 0, log_wait_durable(reader, 0, 0, &error));
  APPEND_NUMBERED(log, 0, 10);
  CHECK_ERROR(LOG_TIMEOUT, 0, 9, log_wait_durable(reader, 9, 0, &error));
  CHECK_STATUS(LOG_TIMEOUT, log_wait_durable(reader, 9, 20, NULL));
  CHECK_STATUS(LOG_OK, log_sync(log, NULL));
  CHECK_STATUS(LOG_OK, log_wait_durable(reader, 9, 0, NULL));
  CHECK_STATUS(LOG_OK, log_wait_durable(reader, 0, -1, NULL));
  CLOSE(reader);
  CLOSE(log);
}

/* Each order of closing a writer, two readers and a cursor on each. */
static void two_readers_and_a_writer_close_in_any_order(void) {
  const log_config_t config = quick_config(4096);
  unsigned order[6], at, other, swap, rounds = 0;
  for (at = 0; at < 6; at++) order[at] = at;
  for (;;) {
    const check_path_t dir = fresh_path();
    log_t *logs[3];
    log_cursor_t *cursors[3] = {NULL, NULL, NULL};
    log_record_t record;
    unsigned n;
    logs[0] = OPEN(dir.text, &config);
    APPEND_NUMBERED(logs[0], 0, 30);
    logs[1] = FOLLOW(dir.text);
    logs[2] = FOLLOW(dir.text);
    for (n = 0; n < 3; n++) CHECK_STATUS(LOG_OK, log_cursor_open(logs[n], n, &cursors[n], NULL));
    for (at = 0; at < 6; at++) {
      if (order[at] < 3) {
        CLOSE(logs[order[at]]);
        logs[order[at]] = NULL;
      } else {
        log_cursor_close(cursors[order[at] - 3]);
        cursors[order[at] - 3] = NULL;
      }
      if (logs[0] != NULL) append_at(logs[0], "x", 1, __FILE__, __LINE__);
      for (n = 0; n < 3; n++) {
        if (logs[n] != NULL) CHECK_NUMBERED(logs[n], 29, 1);
        if (cursors[n] == NULL) continue;
        CHECK_STATUS(LOG_OK, log_cursor_next(cursors[n], &record, NULL));
        CHECK(is_record(record.payload.data, record.payload.len, record.offset));
      }
    }
    remove_tree(dir.text);
    if (check_state.failures != 0) return;
    /* The next permutation, in the order of the dictionary; one in seven of the 720 is enough under valgrind. */
    for (n = 0; n < 7; n++) {
      for (at = 5; at > 0 && order[at - 1] > order[at]; at--) continue;
      if (at == 0) break;
      for (other = 5; order[other] < order[at - 1]; other--) continue;
      swap = order[at - 1], order[at - 1] = order[other], order[other] = swap;
      for (other = 5; at < other; at++, other--) swap = order[at], order[at] = order[other], order[other] = swap;
    }
    rounds++;
    if (n < 7) break;
  }
  CHECK(rounds > 100);
}

static void a_writer_in_another_process_is_followed_and_may_be_killed(void) {
  const check_path_t dir = fresh_path();
  log_cursor_t *cursor = NULL;
  log_record_t record;
  char line[64];
  log_t *reader, *log;
  const log_config_t config = quick_config(65536);
  child_t child = child_start("hold", dir.text);
  child_line(&child, line, sizeof line);
  CHECK(strcmp(line, "LOG_OK") == 0);
  reader = FOLLOW(dir.text);
  CHECK_EQ(child.pid, STAT(reader).writer_pid);
  CHECK_NUMBERED(reader, 0, 10);
  CHECK_STATUS(LOG_OK, log_cursor_open(reader, 5, &cursor, NULL));
  child_kill(&child);
  CHECK_NUMBERED(reader, 0, 10);
  CHECK_EQ(0, STAT(reader).writer_pid);
  CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, 10, NULL));
  CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
  log = OPEN(dir.text, &config); /* a reader locks nobody out */
  APPEND_NUMBERED(log, 10, 1);
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK(is_record(record.payload.data, record.payload.len, 10));
  CHECK_EQ(10, STAT(log).recovered_records);
  CHECK_EQ(10, STAT(reader).recovered_records);
  log_cursor_close(cursor);
  CLOSE(reader);
  CLOSE(log);
}

static void nothing_is_made_and_nothing_stays_open(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  uint64_t before, open_before, round;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 200);
  CLOSE(log);
  NEED(unlink(path_join(dir.text, "LIVE").text) == 0);
  NEED(unlink(path_join(dir.text, FIRST_SEGMENT ".index").text) == 0);
  before = listing_of(dir.text);
  open_before = listing_of("/proc/self/fd");
  for (round = 0; round < 5; round++) {
    log_t *reader = FOLLOW(dir.text);
    CHECK_NUMBERED(reader, 0, 200);
    CHECK_EQ(200, STAT(reader).next_offset);
    CLOSE(reader);
  }
  CHECK_EQ(before, listing_of(dir.text));
  CHECK_EQ(open_before, listing_of("/proc/self/fd"));
}

static void a_log_that_is_removed_is_not_found(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_stat_t stat;
  log_error_t error;
  char data[300];
  log_t *log = OPEN(dir.text, &config), *reader;
  write_file(path_join(dir.text, "notes.txt").text, "mine", 4); /* so the directory stays */
  APPEND_NUMBERED(log, 0, 100);
  CLOSE(log);
  reader = FOLLOW(dir.text);
  CHECK_NUMBERED(reader, 50, 1);
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  memset(&stat, 0, sizeof stat);
  stat.struct_size = (uint32_t)sizeof stat;
  CHECK_ERROR(LOG_E_NOT_FOUND, 0, LOG_NO_OFFSET, log_read(reader, 0, data, sizeof data, NULL, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, 0, LOG_NO_OFFSET, log_stat(reader, &stat, &error));
  log = OPEN(dir.text, &config); /* another log in its place */
  APPEND_TEXT(log, "other");
  CHECK_READ_TEXT(reader, 0, "other");
  CHECK(memcmp(STAT(reader).log_id, STAT(log).log_id, sizeof stat.log_id) == 0);
  CLOSE(log);
  CLOSE(reader);
}

static void damage_is_told_and_what_stands_beside_it_is_read(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  char data[300];
  log_t *log = OPEN(dir.text, &config), *reader;
  APPEND_NUMBERED(log, 0, 10);
  APPEND_TEXT(log, "to be damaged");
  APPEND_TEXT(log, "beside it");
  CLOSE(log);
  flip_bit(path_join(dir.text, FIRST_SEGMENT ".store").text,
           find_in_file(path_join(dir.text, FIRST_SEGMENT ".store").text, "to be damaged"));
  reader = FOLLOW(dir.text);
  CHECK_ERROR(LOG_E_CORRUPT, 0, 10, log_read(reader, 10, data, sizeof data, NULL, &error));
  CHECK_READ_TEXT(reader, 11, "beside it");
  CHECK_NUMBERED(reader, 0, 10);
  CLOSE(reader);
}

/* A control page of any bytes, a short one, one of another file: they are not believed, and nothing goes wrong. */
static void a_bad_live_is_not_believed(void) {
  const log_config_t config = quick_config(65536);
  unsigned way;
  for (way = 0; way < 8; way++) {
    const check_path_t dir = fresh_path();
    const check_path_t live = path_join(dir.text, "LIVE");
    size_t size, at;
    unsigned char *bytes;
    log_t *log = OPEN(dir.text, &config), *reader;
    APPEND_NUMBERED(log, 0, 100);
    CLOSE(log);
    bytes = file_bytes(live.text, &size);
    NEED(size > 300);
    switch (way) {
      case 0: size = 0; break;
      case 1: size = 280; break;
      case 2: size -= 1; break;
      case 3: memset(bytes, 0, size); break;
      case 4: memset(bytes, 0xFF, size); break;
      case 5: for (at = 0; at < size; at++) bytes[at] = (unsigned char)(at * 7 + at / 251); break;
      case 6: bytes[20] ^= 1; break; /* the boot */
      default: NEED(unlink(live.text) == 0); break; /* another inode */
    }
    if (way < 7) write_file(live.text, bytes, size);
    else write_file(path_join(dir.text, "LIVE").text, bytes, size);
    free(bytes);
    reader = FOLLOW(dir.text);
    CHECK_NUMBERED(reader, 0, 100);
    CHECK_EQ(100, STAT(reader).next_offset);
    CHECK_EQ(0, STAT(reader).writer_pid);
    log = OPEN(dir.text, &config);
    APPEND_NUMBERED(log, 100, 1);
    CHECK_NUMBERED(reader, 100, 1);
    CLOSE(log);
    CLOSE(reader);
  }
}

/* One that is whole, and lies in every word that can be lied in: statuses, no crash. */
static void a_hostile_control_page_gives_statuses(void) {
  static const uint64_t lies[] = {0,           1,           4096,       4104,      UINT64_C(1) << 20, UINT64_C(1) << 40,
                                  INT64_MAX,   UINT64_MAX,  UINT64_MAX - 7};
  const log_config_t config = quick_config(65536);
  const check_path_t dir = fresh_path();
  long at;
  size_t lie;
  unsigned char *good;
  size_t size;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CLOSE(log);
  good = file_bytes(path_join(dir.text, "LIVE").text, &size);
  for (at = 128; at < 280; at += 8) {
    for (lie = 0; lie < sizeof lies / sizeof lies[0]; lie++) {
      log_config_t flags = reading();
      log_cursor_t *cursor = NULL;
      log_record_t record;
      log_segment_t segment;
      unsigned char data[300];
      uint64_t offset;
      log_t *reader = NULL;
      patch_file(path_join(dir.text, "LIVE").text, at, &lies[lie], 8);
      if (log_open(dir.text, &flags, &reader, NULL) == LOG_OK) {
        for (offset = 0; offset < 102; offset += 17) {
          size_t length = 0;
          if (log_read(reader, offset, data, sizeof data, &length, NULL) == LOG_OK) CHECK(is_record(data, length, offset));
        }
        (void)log_read(reader, UINT64_MAX - 1, data, sizeof data, NULL, NULL);
        if (log_cursor_open(reader, 98, &cursor, NULL) == LOG_OK) {
          unsigned steps;
          for (steps = 0; steps < 4; steps++)
            if (log_cursor_next(cursor, &record, NULL) == LOG_OK)
              CHECK(is_record(record.payload.data, record.payload.len, record.offset));
        }
        memset(&segment, 0, sizeof segment);
        segment.struct_size = (uint32_t)sizeof segment;
        (void)log_segment_at(reader, 0, &segment, NULL);
        (void)STAT(reader);
        log_cursor_close(cursor);
        CLOSE(reader);
      }
    }
    patch_file(path_join(dir.text, "LIVE").text, at, good + at, 8);
  }
  free(good);
}

typedef struct {
  log_t *log;
  uint64_t count;
  unsigned failed;
} shared_t;

static void *read_shared(void *argument) {
  shared_t *shared = (shared_t *)argument;
  unsigned char data[300];
  uint64_t number;
  for (number = 0; number < shared->count; number++) {
    size_t length = 0;
    log_status_t status;
    do status = log_read(shared->log, number, data, sizeof data, &length, NULL);
    while (status == LOG_E_BEYOND);
    if (status != LOG_OK || !is_record(data, length, number)) shared->failed++;
  }
  return NULL;
}

/* Several threads on one read-only handle, while this one writes and rolls. */
static void threads_share_a_read_only_handle(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(16384);
  log_t *log = OPEN(dir.text, &config);
  shared_t shared[2];
  pthread_t threads[2];
  log_t *reader = FOLLOW(dir.text);
  unsigned n;
  for (n = 0; n < 2; n++) {
    shared[n].log = reader;
    shared[n].count = 5000;
    shared[n].failed = 0;
    NEED(pthread_create(&threads[n], NULL, read_shared, &shared[n]) == 0);
  }
  APPEND_NUMBERED(log, 0, 5000);
  for (n = 0; n < 2; n++) {
    NEED(pthread_join(threads[n], NULL) == 0);
    CHECK_EQ(0, shared[n].failed);
  }
  CLOSE(reader);
  CLOSE(log);
}

static const check_test_t tests[] = {
    TEST(where_no_log_is_none_is_made),
    TEST(whatever_writes_is_read_only),
    TEST(reads_say_what_they_say_to_a_writer),
    TEST(a_record_is_seen_as_soon_as_it_is_appended),
    TEST(what_takes_records_away_is_seen_at_once),
    TEST(stat_tells_what_the_writer_knows),
    TEST(durability_is_waited_for),
    TEST(two_readers_and_a_writer_close_in_any_order),
    TEST(a_writer_in_another_process_is_followed_and_may_be_killed),
    TEST(nothing_is_made_and_nothing_stays_open),
    TEST(a_log_that_is_removed_is_not_found),
    TEST(damage_is_told_and_what_stands_beside_it_is_read),
    TEST(a_bad_live_is_not_believed),
    TEST(a_hostile_control_page_gives_statuses),
    TEST(threads_share_a_read_only_handle),
};

test_group_t readonly_tests(void) { return GROUP_OF(tests); }
