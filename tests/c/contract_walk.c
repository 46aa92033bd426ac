/*
 * The contract of walking: cursors backwards and elsewhere (log_cursor_prev, log_cursor_seek), cursors beside trim,
 * truncate and reset, closing in any order, and the row of segments (log_segment_at).
 */
#include "contract.h"
#include "logs.h"

static log_cursor_t *cursor_at(log_t *log, uint64_t offset, const char *file, int line) {
  log_cursor_t *cursor = NULL;
  check_status(LOG_OK, log_cursor_open(log, offset, &cursor, NULL), file, line, "log_cursor_open");
  return cursor;
}

static int steps_to(log_status_t status, const log_record_t *record, uint64_t number, const char *file, int line,
                    const char *text) {
  return check_status(LOG_OK, status, file, line, text) && check_u64(number, record->offset, file, line, text) &&
         check_u64(length_of(number), record->payload.len, file, line, text) &&
         check_that(is_record(record->payload.data, record->payload.len, number), file, line, text);
}

#define CURSOR(log, offset) cursor_at((log), (offset), __FILE__, __LINE__)
/* The step gives the record of this number; `record` is a variable of the test. */
#define CHECK_NEXT(number, cursor)                                                                                     \
  steps_to(log_cursor_next((cursor), &record, NULL), &record, (number), __FILE__, __LINE__, "log_cursor_next")
#define CHECK_PREV(number, cursor)                                                                                     \
  steps_to(log_cursor_prev((cursor), &record, NULL), &record, (number), __FILE__, __LINE__, "log_cursor_prev")

static void walk_with_null(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_cursor_t *cursor;
  log_record_t record;
  log_segment_t segment;
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 3);
  cursor = CURSOR(log, 1);
  memset(&record, 0xA5, sizeof record);
  CHECK_ARGUMENT("cursor", log_cursor_prev(NULL, &record, &error));
  CHECK_ARGUMENT("out_record", log_cursor_prev(cursor, NULL, &error));
  CHECK_ARGUMENT("cursor", log_cursor_seek(NULL, 0, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_prev(NULL, &record, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_prev(cursor, NULL, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_prev(NULL, NULL, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_seek(NULL, 0, NULL));
  CHECK_EQ(UNTOUCHED_U64, record.offset);
  CHECK_NEXT(1, cursor); /* none of these was a step */
  log_cursor_close(cursor);

  memset(&segment, 0xA5, sizeof segment);
  segment.struct_size = (uint32_t)sizeof segment;
  CHECK_ARGUMENT("log", log_segment_at(NULL, 0, &segment, &error));
  CHECK_ARGUMENT("out_segment", log_segment_at(log, 0, NULL, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_segment_at(NULL, 0, NULL, NULL));
  segment.struct_size = 0;
  CHECK_ARGUMENT("struct_size", log_segment_at(log, 0, &segment, &error));
  CHECK_ARGUMENT("struct_size", log_segment_at(log, 99, &segment, &error)); /* also where there is no segment */
  segment.struct_size = 3;
  CHECK_ARGUMENT("struct_size", log_segment_at(log, 0, &segment, &error));
  CHECK_EQ(UNTOUCHED_U64, segment.base_offset);
  CLOSE(log);
}

static void next_then_prev_is_the_same_record(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor;
  log_record_t record;
  log_error_t error;
  uint64_t number;
  int round;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 200);
  for (round = 0; round < 2; round++) {
    cursor = CURSOR(log, 0);
    CHECK_ERROR(LOG_END, 0, ANY_OFFSET, log_cursor_prev(cursor, &record, &error));
    for (number = 0; number < 200; number++) {
      REQUIRE(CHECK_NEXT(number, cursor));
      REQUIRE(CHECK_PREV(number, cursor));
      REQUIRE(CHECK_NEXT(number, cursor));
    }
    CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
    for (number = 200; number-- > 0;) REQUIRE(CHECK_PREV(number, cursor));
    CHECK_STATUS(LOG_END, log_cursor_prev(cursor, &record, NULL));
    CHECK_STATUS(LOG_END, log_cursor_prev(cursor, &record, NULL));
    REQUIRE(CHECK_NEXT(0, cursor)); /* an end is no step */
    log_cursor_close(cursor);
    CLOSE(log);
    log = OPEN(dir.text, &config);
  }
  CLOSE(log);
}

/* Batches and steps back are one walk. */
static void prev_follows_a_batch(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_record_t record, records[16];
  log_cursor_t *cursor;
  size_t count = 0;
  uint64_t at = 0;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 300);
  cursor = CURSOR(log, 0);
  while (log_cursor_next_batch(cursor, records, 16, &count, NULL) == LOG_OK) {
    REQUIRE(CHECK_EQ(at, records[0].offset));
    at += count;
    REQUIRE(CHECK_PREV(at - 1, cursor));
    if (at >= 2) REQUIRE(CHECK_PREV(at - 2, cursor)) ;
    REQUIRE(CHECK_NEXT(at - 2, cursor));
    REQUIRE(CHECK_NEXT(at - 1, cursor));
  }
  CHECK_EQ(300, at);
  log_cursor_close(cursor);
  CLOSE(log);
}

static void seek_goes_from_first_to_next(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor;
  log_record_t record;
  log_error_t error;
  uint64_t i;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 200);
  CHECK_STATUS(LOG_OK, log_trim(log, 50, NULL));
  cursor = CURSOR(log, 100);
  CHECK_ERROR(LOG_E_TRIMMED, 0, 49, log_cursor_seek(cursor, 49, &error));
  CHECK_ERROR(LOG_E_TRIMMED, 0, 0, log_cursor_seek(cursor, 0, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, 201, log_cursor_seek(cursor, 201, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, UINT64_MAX, log_cursor_seek(cursor, UINT64_MAX, &error));
  CHECK_NEXT(100, cursor); /* it stayed where it was */
  for (i = 0; i < 151; i++) { /* all of them, in no order: 64 and 151 share no divisor */
    const uint64_t to = 50 + i * 64 % 151;
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, to, NULL)));
    if (to > 50 && i % 2 == 0) {
      REQUIRE(CHECK_PREV(to - 1, cursor));
      REQUIRE(CHECK_NEXT(to - 1, cursor));
    }
    if (to < 200) REQUIRE(CHECK_NEXT(to, cursor));
    else CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
  }
  CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, 50, NULL));
  CHECK_STATUS(LOG_END, log_cursor_prev(cursor, &record, NULL)); /* 49 was trimmed */
  CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, 200, NULL));
  APPEND_NUMBERED(log, 200, 1);
  CHECK_NEXT(200, cursor);
  log_cursor_close(cursor);
  CLOSE(log);
}

/* A damaged record is a step too, in both directions, and its neighbours are whole. */
static void a_step_onto_a_rotten_record_goes_on_behind_it(void) {
  const check_path_t dir = fresh_path();
  const check_path_t store = path_join(dir.text, FIRST_SEGMENT ".store");
  const log_config_t config = quick_config(65536);
  log_cursor_t *cursor;
  log_record_t record;
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  APPEND_TEXT(log, "record number zero");
  APPEND_TEXT(log, "record number one");
  APPEND_TEXT(log, "record number two");
  CLOSE(log);
  flip_bit(store.text, find_in_file(store.text, "record number one"));
  log = OPEN(dir.text, &config);
  cursor = CURSOR(log, 3);
  CHECK_STATUS(LOG_OK, log_cursor_prev(cursor, &record, NULL));
  CHECK(view_is_text(&record, 2, "record number two"));
  CHECK_ERROR(LOG_E_CORRUPT, 0, 1, log_cursor_prev(cursor, &record, &error));
  CHECK_STATUS(LOG_OK, log_cursor_prev(cursor, &record, NULL));
  CHECK(view_is_text(&record, 0, "record number zero"));
  CHECK_STATUS(LOG_END, log_cursor_prev(cursor, &record, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK_ERROR(LOG_E_CORRUPT, 0, 1, log_cursor_next(cursor, &record, &error));
  CHECK_ERROR(LOG_E_CORRUPT, 0, 1, log_cursor_prev(cursor, &record, &error));
  CHECK_ERROR(LOG_E_CORRUPT, 0, 1, log_cursor_next(cursor, &record, &error));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK(view_is_text(&record, 2, "record number two"));
  log_cursor_close(cursor);
  CLOSE(log);
}

/* --- beside what takes records away ---------------------------------------------------------------------------- */

/* A view stays; the step after it says what has become of its place. Both of records in a store and in the ring. */
static void a_view_stays_while_its_record_goes(void) {
  int way, synced;
  for (way = 0; way < 4; way++) {
    for (synced = 0; synced < 2; synced++) {
      const check_path_t dir = fresh_path();
      const log_config_t config = quick_config(4096);
      log_record_t record, views[8];
      log_cursor_t *one, *batch;
      size_t count = 0, i;
      log_error_t error;
      log_t *log = OPEN(dir.text, &config);
      APPEND_NUMBERED(log, 0, 200);
      if (synced) CHECK_STATUS(LOG_OK, log_sync(log, NULL));
      one = CURSOR(log, 195);
      batch = CURSOR(log, 100);
      REQUIRE(CHECK_NEXT(195, one));
      REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_next_batch(batch, views, 8, &count, NULL)));
      if (way == 0) CHECK_STATUS(LOG_OK, log_trim(log, 200, NULL));
      if (way == 1) CHECK_STATUS(LOG_OK, log_truncate(log, 10, NULL));
      if (way == 2) CHECK_STATUS(LOG_OK, log_reset(log, 1000, NULL));
      if (way == 3) CHECK_STATUS(LOG_OK, log_reset(log, 5, NULL));
      APPEND_NUMBERED(log, STAT(log).next_offset, 30);
      CHECK_STATUS(LOG_OK, log_sync(log, NULL));
      CHECK(record.offset == 195 && is_record(record.payload.data, record.payload.len, 195));
      for (i = 0; i < count; i++)
        CHECK(views[i].offset == 100 + i && is_record(views[i].payload.data, views[i].payload.len, 100 + i));
      /* 196 and 100 + count: before the first now, or past the next. */
      if (way == 0 || way == 2) {
        CHECK_ERROR(LOG_E_TRIMMED, 0, 196, log_cursor_next(one, &record, &error));
        CHECK_ERROR(LOG_E_TRIMMED, 0, 196, log_cursor_next(one, &record, &error));
        CHECK_STATUS(LOG_E_TRIMMED, log_cursor_prev(one, &record, NULL));
        CHECK_ERROR(LOG_E_TRIMMED, 0, 100 + count, log_cursor_next_batch(batch, views, 8, &count, &error));
      } else {
        CHECK_STATUS(LOG_END, log_cursor_next(one, &record, NULL));
        CHECK_STATUS(LOG_END, log_cursor_next(one, &record, NULL));
        CHECK_STATUS(LOG_E_BEYOND, log_cursor_prev(one, &record, NULL));
        CHECK_STATUS(LOG_END, log_cursor_next_batch(batch, views, 8, &count, NULL));
        CHECK_EQ(0, count);
      }
      /* A seek to where there are records is the way back. */
      CHECK_STATUS(LOG_OK, log_cursor_seek(one, STAT(log).first_offset, NULL));
      CHECK_NEXT(STAT(log).first_offset, one);
      log_cursor_close(one);
      CLOSE(log);
      log_cursor_close(batch);
    }
  }
}

/* A cursor that stands at the cut sees what is appended there, never what stood there before. */
static void a_cursor_at_the_cut_sees_the_new_records(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *read, *unread, *back;
  log_record_t record;
  uint64_t cut;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  for (cut = 95; cut >= 20; cut -= 15) {
    const uint64_t next = STAT(log).next_offset;
    read = CURSOR(log, cut - 1);
    unread = CURSOR(log, cut);
    back = CURSOR(log, next);
    REQUIRE(CHECK_NEXT(cut - 1, read));
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_prev(back, &record, NULL)));
    CHECK_STATUS(LOG_OK, log_truncate(log, cut, NULL));
    CHECK_STATUS(LOG_END, log_cursor_next(read, &record, NULL));
    CHECK_STATUS(LOG_END, log_cursor_next(unread, &record, NULL));
    CHECK_EQ(cut, APPEND_TEXT(log, "new"));
    CHECK_STATUS(LOG_OK, log_cursor_next(read, &record, NULL));
    CHECK(view_is_text(&record, cut, "new"));
    CHECK_STATUS(LOG_OK, log_cursor_next(unread, &record, NULL));
    CHECK(view_is_text(&record, cut, "new"));
    CHECK_STATUS(LOG_OK, log_cursor_prev(read, &record, NULL));
    CHECK(view_is_text(&record, cut, "new"));
    REQUIRE(CHECK_PREV(cut - 1, read));
    log_cursor_close(read);
    log_cursor_close(unread);
    log_cursor_close(back);
  }
  CLOSE(log);
}

/* After the log was closed, a cursor still walks both ways through what was there. */
static void closing_in_any_order(void) {
  int way;
  for (way = 0; way < 4; way++) {
    const check_path_t dir = fresh_path();
    const log_config_t config = quick_config(4096);
    log_cursor_t *a, *b, *c;
    log_record_t record;
    uint64_t number;
    log_t *log = OPEN(dir.text, &config);
    APPEND_NUMBERED(log, 0, 100);
    a = CURSOR(log, 100);
    b = CURSOR(log, 0);
    c = CURSOR(log, 50);
    REQUIRE(CHECK_NEXT(50, c));
    if (way == 1) CHECK_STATUS(LOG_OK, log_truncate(log, 60, NULL));
    if (way == 2) CHECK_STATUS(LOG_OK, log_trim(log, 40, NULL));
    if (way == 3) CHECK_STATUS(LOG_OK, log_reset(log, 70, NULL));
    CLOSE(log);
    CHECK(is_record(record.payload.data, record.payload.len, 50));
    if (way == 0) {
      for (number = 100; number-- > 0;) REQUIRE(CHECK_PREV(number, a));
      CHECK_STATUS(LOG_OK, log_cursor_seek(a, 33, NULL));
      CHECK_NEXT(33, a);
    }
    if (way == 1) CHECK_STATUS(LOG_E_BEYOND, log_cursor_prev(a, &record, NULL));
    if (way == 2 || way == 3) CHECK_STATUS(LOG_E_TRIMMED, log_cursor_next(b, &record, NULL));
    if (way < 2) CHECK_NEXT(0, b);
    log_cursor_close(b);
    log = OPEN(dir.text, &config); /* no cursor holds the lock */
    if (way < 3) CHECK_NEXT(51, c);
    else CHECK_STATUS(LOG_E_TRIMMED, log_cursor_next(c, &record, NULL));
    log_cursor_close(a);
    CLOSE(log);
    log_cursor_close(c);
  }
}

/* --- the row of segments --------------------------------------------------------------------------------------- */

/* Each begins where the one before it ends, the last ends at the next offset, and times do not run back. */
static uint32_t check_row(log_t *log, int line) {
  const log_stat_t stat = STAT(log);
  uint64_t at = 0, disk = 0, time = 0;
  uint32_t n, epoch = 0;
  log_segment_t segment;
  log_error_t error;
  for (n = 0; n < stat.segment_count; n++) {
    memset(&segment, 0xA5, sizeof segment);
    segment.struct_size = (uint32_t)sizeof segment;
    if (!check_status(LOG_OK, log_segment_at(log, n, &segment, NULL), __FILE__, line, "log_segment_at")) return epoch;
    check_u64(sizeof segment, segment.struct_size, __FILE__, line, "struct_size");
    if (n == 0) check_that(segment.base_offset <= stat.first_offset, __FILE__, line, "the first segment's base");
    else check_u64(at, segment.base_offset, __FILE__, line, "base_offset");
    check_that(segment.next_offset >= segment.base_offset, __FILE__, line, "next_offset");
    check_that(segment.epoch >= epoch, __FILE__, line, "epoch");
    check_that(segment.first_timestamp_ns >= time, __FILE__, line, "first_timestamp_ns");
    check_that(segment.last_timestamp_ns >= segment.first_timestamp_ns, __FILE__, line, "last_timestamp_ns");
    check_that(segment.file_bytes >= 4096, __FILE__, line, "file_bytes");
    at = segment.next_offset, epoch = segment.epoch, time = segment.last_timestamp_ns, disk += segment.disk_bytes;
  }
  check_u64(stat.next_offset, at, __FILE__, line, "the last segment's next_offset");
  check_that(disk <= stat.disk_bytes, __FILE__, line, "disk_bytes");
  mark_error(&error);
  check_error(log_segment_at(log, n, &segment, &error), &error, LOG_END, 0, ANY_OFFSET, __FILE__, line, "past it");
  check_status(LOG_END, log_segment_at(log, SIZE_MAX, &segment, NULL), __FILE__, line, "far past it");
  return epoch;
}

static void segment_at_lists_the_row_without_gaps(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  int round;
  log_t *log = OPEN(dir.text, &config);
  CHECK_EQ(0, check_row(log, __LINE__));
  for (round = 0; round < 2; round++) {
    uint32_t epoch;
    APPEND_NUMBERED(log, STAT(log).next_offset, 200);
    epoch = check_row(log, __LINE__);
    CHECK_STATUS(LOG_OK, log_trim(log, STAT(log).first_offset + 70, NULL));
    CHECK_EQ(epoch, check_row(log, __LINE__));
    CHECK_STATUS(LOG_OK, log_truncate(log, STAT(log).next_offset - 50, NULL));
    CHECK(check_row(log, __LINE__) > epoch);
    APPEND_NUMBERED(log, STAT(log).next_offset, 100);
    epoch = check_row(log, __LINE__);
    CLOSE(log);
    log = OPEN(dir.text, &config);
    CHECK_EQ(epoch, check_row(log, __LINE__));
    CHECK_STATUS(LOG_OK, log_truncate(log, STAT(log).first_offset, NULL));
    check_row(log, __LINE__);
    APPEND_NUMBERED(log, STAT(log).next_offset, 100);
    CHECK_STATUS(LOG_OK, log_trim(log, STAT(log).next_offset, NULL));
    epoch = check_row(log, __LINE__);
    CHECK_STATUS(LOG_OK, log_reset(log, 30, NULL));
    CHECK(check_row(log, __LINE__) > epoch);
  }
  CLOSE(log);
}

/* Times of records that are known, of an empty segment, and of one whose first record was trimmed. */
static void segment_at_tells_times(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_segment_t segment;
  log_record_t records[3];
  uint64_t i;
  log_t *log = OPEN(dir.text, &config);
  for (i = 0; i < 3; i++) {
    records[i].offset = i;
    records[i].timestamp_ns = 100 + 10 * i;
    records[i].payload = text_of("x");
  }
  CHECK_STATUS(LOG_OK, log_append_records(log, records, 3, NULL));
  segment.struct_size = (uint32_t)sizeof segment;
  CHECK_STATUS(LOG_OK, log_segment_at(log, 0, &segment, NULL));
  CHECK_EQ(0, segment.base_offset);
  CHECK_EQ(3, segment.next_offset);
  CHECK_EQ(100, segment.first_timestamp_ns);
  CHECK_EQ(120, segment.last_timestamp_ns);
  CHECK_STATUS(LOG_OK, log_trim(log, 3, NULL));
  CHECK_STATUS(LOG_OK, log_segment_at(log, 0, &segment, NULL));
  CHECK_EQ(120, segment.last_timestamp_ns);
  CHECK_STATUS(LOG_OK, log_reset(log, 9, NULL));
  CHECK_STATUS(LOG_OK, log_segment_at(log, 0, &segment, NULL));
  CHECK_EQ(9, segment.base_offset);
  CHECK_EQ(9, segment.next_offset);
  CHECK_EQ(120, segment.first_timestamp_ns);
  CHECK_EQ(120, segment.last_timestamp_ns);
  CLOSE(log);
}

/* An older caller's struct gets its part, a newer one's tail is zero, and not a byte behind either is written. */
static void segment_at_short_and_long_structs(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  union {
    log_segment_t segment;
    unsigned char bytes[256];
  } given;
  log_segment_t whole;
  size_t size, i;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 3);
  whole.struct_size = (uint32_t)sizeof whole;
  CHECK_STATUS(LOG_OK, log_segment_at(log, 0, &whole, NULL));
  for (size = sizeof(uint32_t); size < sizeof given; size += sizeof(uint32_t)) {
    memset(&given, 0xA5, sizeof given);
    given.segment.struct_size = (uint32_t)size;
    CHECK_STATUS(LOG_OK, log_segment_at(log, 0, &given.segment, NULL));
    CHECK_EQ(size, given.segment.struct_size);
    for (i = sizeof(uint32_t); i < sizeof given; i++) {
      const unsigned char expected = i >= size ? 0xA5 : i >= sizeof whole ? 0 : ((unsigned char *)&whole)[i];
      REQUIRE(CHECK_EQ(expected, given.bytes[i]));
    }
  }
  CLOSE(log);
}

static const check_test_t tests[] = {
    TEST(walk_with_null),
    TEST(next_then_prev_is_the_same_record),
    TEST(prev_follows_a_batch),
    TEST(seek_goes_from_first_to_next),
    TEST(a_step_onto_a_rotten_record_goes_on_behind_it),
    TEST(a_view_stays_while_its_record_goes),
    TEST(a_cursor_at_the_cut_sees_the_new_records),
    TEST(closing_in_any_order),
    TEST(segment_at_lists_the_row_without_gaps),
    TEST(segment_at_tells_times),
    TEST(segment_at_short_and_long_structs),
};

test_group_t walk_tests(void) { return GROUP_OF(tests); }
