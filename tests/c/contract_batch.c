/*
 * The contract of log_append_batch: all of it or nothing, one behind the other, whatever else is appended meanwhile.
 */
#include "contract.h"
#include "logs.h"

#include <pthread.h>
#include <sys/mman.h>

static void a_batch_is_consecutive(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_bytes_t batch[4];
  uint64_t first = UNTOUCHED_U64;
  int round;
  log_t *log = OPEN(dir.text, &config);
  CHECK_EQ(0, APPEND_TEXT(log, "before"));
  batch[0] = text_of("one");
  batch[1] = bytes_of(NULL, 0); /* an empty record */
  batch[2] = text_of("three");
  batch[3] = text_of("four");
  CHECK_STATUS(LOG_OK, log_append_batch(log, batch, 4, &first, NULL));
  CHECK_EQ(1, first);
  CHECK_EQ(5, APPEND_TEXT(log, "behind"));
  for (round = 0; round < 2; round++) {
    CHECK_READ_TEXT(log, 0, "before");
    CHECK_READ_TEXT(log, 1, "one");
    CHECK_READ(log, 2, "", 0);
    CHECK_READ_TEXT(log, 3, "three");
    CHECK_READ_TEXT(log, 4, "four");
    CHECK_READ_TEXT(log, 5, "behind");
    CLOSE(log);
    log = OPEN(dir.text, &config);
    CHECK_EQ(6, STAT(log).next_offset);
  }
  CLOSE(log);
}

static void a_batch_of_none_does_nothing(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  const log_bytes_t batch = text_of("not taken");
  uint64_t first = UNTOUCHED_U64;
  log_t *log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_append_batch(log, NULL, 0, &first, NULL));
  CHECK_EQ(0, first);
  CHECK_EQ(0, APPEND_TEXT(log, "a"));
  CHECK_STATUS(LOG_OK, log_append_batch(log, &batch, 0, &first, NULL));
  CHECK_EQ(1, first);
  CHECK_STATUS(LOG_OK, log_append_batch(log, NULL, 0, NULL, NULL));
  CHECK_EQ(1, STAT(log).next_offset);
  CLOSE(log);
}

static void batch_with_null(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  const log_bytes_t batch = text_of("x");
  log_error_t error;
  uint64_t first = UNTOUCHED_U64;
  log_t *log = OPEN(dir.text, &config);
  CHECK_ARGUMENT("log", log_append_batch(NULL, &batch, 1, &first, &error));
  CHECK_ARGUMENT("records", log_append_batch(log, NULL, 1, &first, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append_batch(NULL, &batch, 1, &first, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append_batch(log, NULL, 1, &first, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_append_batch(NULL, NULL, 0, NULL, NULL));
  CHECK_EQ(UNTOUCHED_U64, first);
  CHECK_EQ(0, STAT(log).next_offset);
  CHECK_STATUS(LOG_OK, log_append_batch(log, &batch, 1, NULL, NULL));
  CHECK_READ_TEXT(log, 0, "x");
  CLOSE(log);
}

/* The first, the middle and the last member in turn. */
static void a_bad_member_changes_nothing(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  log_error_t error;
  log_bytes_t batch[5];
  uint64_t first = UNTOUCHED_U64;
  unsigned char data[101];
  size_t bad, i;
  log_t *log;
  memset(data, 'x', sizeof data);
  config.record_max_bytes = 100;
  log = OPEN(dir.text, &config);
  APPEND_TEXT(log, "before");
  for (bad = 0; bad < 5; bad += 2) {
    for (i = 0; i < 5; i++) batch[i] = bytes_of(data, 100);
    batch[bad] = bytes_of(NULL, 7);
    CHECK_ARGUMENT("data", log_append_batch(log, batch, 5, &first, &error));
    batch[bad] = bytes_of(data, 101);
    CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append_batch(log, batch, 5, &first, &error));
    batch[bad] = bytes_of(data, SIZE_MAX);
    CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append_batch(log, batch, 5, &first, &error));
  }
  CHECK_EQ(UNTOUCHED_U64, first);
  CHECK_EQ(1, STAT(log).next_offset);
  CHECK_EQ(1, APPEND_TEXT(log, "behind"));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(2, STAT(log).next_offset);
  CHECK_READ_TEXT(log, 0, "before");
  CHECK_READ_TEXT(log, 1, "behind");
  CLOSE(log);
}

static log_bytes_t *numbered_batch(unsigned char *data, uint64_t first, size_t count, size_t len) {
  log_bytes_t *batch = (log_bytes_t *)malloc(count * sizeof *batch);
  size_t i;
  NEED(batch != NULL);
  for (i = 0; i < count; i++) {
    fill_record(data + i * len, len, first + i);
    batch[i] = bytes_of(data + i * len, len);
  }
  return batch;
}

/* Longer than a segment, than a quarter of the ring, than the ring, each between single records. */
static void a_batch_longer_than_a_segment_gets_its_own(void) {
  static const size_t counts[] = {31, 32, 100, 600, 2400, 20000};
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  const size_t len = 112;
  unsigned char *data = (unsigned char *)malloc(20000 * len);
  uint64_t next = 0;
  size_t i, member;
  int round;
  log_t *log;
  NEED(data != NULL);
  log = OPEN(dir.text, &config);
  for (i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    log_bytes_t *batch;
    uint64_t first = UNTOUCHED_U64;
    const uint32_t segments = STAT(log).segment_count;
    CHECK_EQ(next, APPEND_TEXT(log, "single"));
    batch = numbered_batch(data, next + 1, counts[i], len);
    CHECK_STATUS(LOG_OK, log_append_batch(log, batch, counts[i], &first, NULL));
    CHECK_EQ(next + 1, first);
    CHECK(STAT(log).segment_count <= segments + 3); /* not spread over many */
    free(batch);
    next += 1 + counts[i];
    CHECK_EQ(next, STAT(log).next_offset);
  }
  for (round = 0; round < 2; round++) {
    uint64_t offset = 0;
    for (i = 0; i < sizeof counts / sizeof counts[0]; i++) {
      CHECK_READ_TEXT(log, offset++, "single");
      for (member = 0; member < counts[i]; member++, offset++) {
        fill_record(data, len, offset);
        if (!CHECK_READ(log, offset, data, len)) break;
      }
    }
    CLOSE(log);
    log = OPEN(dir.text, &config);
    CHECK_EQ(next, STAT(log).next_offset);
  }
  CLOSE(log);
  free(data);
}

static void a_batch_with_more_records_than_an_index_holds(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  log_bytes_t *batch;
  unsigned char data[100 * 8];
  uint64_t first = UNTOUCHED_U64, offset;
  log_t *log;
  config.index_max_bytes = 64;
  log = OPEN(dir.text, &config);
  CHECK_EQ(0, APPEND_TEXT(log, "before"));
  batch = numbered_batch(data, 1, 100, 8);
  CHECK_STATUS(LOG_OK, log_append_batch(log, batch, 100, &first, NULL));
  CHECK_EQ(1, first);
  CHECK_EQ(101, APPEND_TEXT(log, "behind"));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  for (offset = 1; offset <= 100; offset++) CHECK_READ(log, offset, data + (offset - 1) * 8, 8);
  CHECK_READ_TEXT(log, 101, "behind");
  CLOSE(log);
  free(batch);
}

/* Over 1 GiB of frames: refused before a byte of it is looked at (these pages may not be read). */
static void a_batch_over_one_gib_is_too_large(void) {
  const check_path_t dir = fresh_path();
  const size_t len = ((size_t)256 << 20) - 1;
  log_config_t config = quick_config(65536);
  log_error_t error;
  log_bytes_t batch[5];
  uint64_t first = UNTOUCHED_U64;
  log_t *log;
  void *pages = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  NEED(pages != MAP_FAILED);
  batch[0] = batch[1] = batch[2] = batch[3] = batch[4] = bytes_of(pages, len);
  config.record_max_bytes = len;
  log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append_batch(log, batch, 5, &first, &error));
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append_batch(log, batch, 4, &first, &error)); /* 64 bytes over */
  CHECK_EQ(UNTOUCHED_U64, first);
  CHECK_EQ(0, APPEND_TEXT(log, "fine"));
  CLOSE(log);
  NEED(munmap(pages, len) == 0);
}

/* More records than 1 GiB of empty frames: the count alone is too much, and the array is not looked at. */
static void a_batch_of_impossible_count_is_too_large(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  log_error_t error;
  uint64_t first = UNTOUCHED_U64;
  void *pages = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const log_bytes_t *batch = (const log_bytes_t *)pages;
  log_t *log = OPEN(dir.text, &config);
  NEED(pages != MAP_FAILED);
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append_batch(log, batch, SIZE_MAX, &first, &error));
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append_batch(log, batch, SIZE_MAX / 16 + 1, &first, &error));
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append_batch(log, batch, ((size_t)1 << 26) + 1, &first, &error));
  CHECK_EQ(UNTOUCHED_U64, first);
  CHECK_EQ(0, APPEND_TEXT(log, "fine"));
  CLOSE(log);
  NEED(munmap(pages, page) == 0);
}

/* --- many threads ---------------------------------------------------------------------------------------------- */

/* A batch of nearly a quarter of the ring: long enough in the making that a half of one would be seen. */
enum { WRITERS = 3, BATCHES = 50, MEMBERS = 60 };

typedef struct {
  uint32_t writer, batch, member;
  unsigned char ballast[4000];
} stamp_t;

typedef struct {
  log_t *log;
  uint32_t writer;
  int failed;
} writer_t;

static void *write_batches(void *context) {
  writer_t *writer = (writer_t *)context;
  stamp_t *stamps = (stamp_t *)calloc(MEMBERS, sizeof *stamps);
  log_bytes_t records[MEMBERS];
  uint32_t batch, member;
  NEED(stamps != NULL);
  for (batch = 0; batch < BATCHES; batch++) {
    for (member = 0; member < MEMBERS; member++) {
      stamps[member].writer = writer->writer;
      stamps[member].batch = batch;
      stamps[member].member = member;
      records[member] = bytes_of(&stamps[member], sizeof stamps[member]);
    }
    if (log_append_batch(writer->log, records, MEMBERS, NULL, NULL) != LOG_OK) writer->failed = 1;
  }
  free(stamps);
  return NULL;
}

static int is_there(log_t *log, uint64_t offset) { return log_read(log, offset, NULL, 0, NULL, NULL) != LOG_E_BEYOND; }

/* Beside the writers: as soon as a batch's first record is there, its last one is; for a cursor and log_stat too. */
static void *watch_the_end(void *context) {
  writer_t *watcher = (writer_t *)context;
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_stat_t stat;
  uint64_t first, read = 0;
  stat.struct_size = (uint32_t)sizeof stat;
  if (log_cursor_open(watcher->log, 0, &cursor, NULL) != LOG_OK) watcher->failed = 1;
  for (first = 0; !watcher->failed && first < WRITERS * BATCHES * MEMBERS; first += MEMBERS) {
    while (!is_there(watcher->log, first)) continue;
    if (!is_there(watcher->log, first + MEMBERS - 1)) watcher->failed = 1;
    if (first % (8 * MEMBERS) != 0) continue; /* who is slow sees little */
    while (log_cursor_next(cursor, &record, NULL) == LOG_OK) read++;
    if (read % MEMBERS != 0 || read < first + MEMBERS) watcher->failed = 1;
    if (log_stat(watcher->log, &stat, NULL) != LOG_OK || stat.next_offset % MEMBERS != 0) watcher->failed = 1;
  }
  log_cursor_close(cursor);
  return NULL;
}

static void a_batch_is_whole_for_everybody(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(1 << 20);
  writer_t writers[WRITERS + 1];
  pthread_t threads[WRITERS + 1];
  log_cursor_t *cursor = NULL;
  log_record_t record;
  stamp_t stamp, expected;
  uint32_t next[WRITERS] = {0}, i;
  uint64_t count = 0;
  log_t *log = OPEN(dir.text, &config);
  REQUIRE(log != NULL);
  for (i = 0; i <= WRITERS; i++) {
    const uint32_t who = WRITERS - i; /* the watcher first */
    writers[who].log = log;
    writers[who].writer = who;
    writers[who].failed = 0;
    NEED(pthread_create(&threads[who], NULL, who < WRITERS ? write_batches : watch_the_end, &writers[who]) == 0);
  }
  for (i = 0; i <= WRITERS; i++) {
    NEED(pthread_join(threads[i], NULL) == 0);
    CHECK(!writers[i].failed);
  }
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  memset(&expected, 0, sizeof expected);
  while (log_cursor_next(cursor, &record, NULL) == LOG_OK) {
    if (!CHECK(record.payload.len == sizeof stamp)) break;
    memcpy(&stamp, record.payload.data, sizeof stamp);
    if (count % MEMBERS == 0) {
      if (!CHECK(stamp.writer < WRITERS && stamp.batch == next[stamp.writer] && stamp.member == 0)) break;
      next[stamp.writer]++;
    } else if (!CHECK(stamp.writer == expected.writer && stamp.batch == expected.batch &&
                      stamp.member == expected.member)) {
      break;
    }
    expected = stamp;
    expected.member++;
    count++;
  }
  CHECK_EQ(WRITERS * BATCHES * MEMBERS, count);
  log_cursor_close(cursor);
  CLOSE(log);
}

static const check_test_t tests[] = {
    TEST(a_batch_is_consecutive),
    TEST(a_batch_of_none_does_nothing),
    TEST(batch_with_null),
    TEST(a_bad_member_changes_nothing),
    TEST(a_batch_longer_than_a_segment_gets_its_own),
    TEST(a_batch_with_more_records_than_an_index_holds),
    TEST(a_batch_over_one_gib_is_too_large),
    TEST(a_batch_of_impossible_count_is_too_large),
    TEST(a_batch_is_whole_for_everybody),
};

test_group_t batch_tests(void) { return GROUP_OF(tests); }
