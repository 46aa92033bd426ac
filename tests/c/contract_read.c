/*
 * The contract of log_read: what it copies, what it says of a buffer and of an offset, and that a changed byte is
 * never given as good.
 */
#include "contract.h"
#include "logs.h"

static void read_copies_the_record(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  unsigned char buffer[16];
  size_t length = 0;
  log_t *log = OPEN(dir.text, &config);
  APPEND_TEXT(log, "0123456789");
  memset(buffer, 0xA5, sizeof buffer);
  CHECK_STATUS(LOG_OK, log_read(log, 0, buffer, sizeof buffer, &length, NULL));
  CHECK_EQ(10, length);
  CHECK(memcmp(buffer, "0123456789", 10) == 0);
  CHECK(buffer[10] == 0xA5 && buffer[15] == 0xA5);
  CHECK_STATUS(LOG_OK, log_read(log, 0, buffer, 10, NULL, NULL)); /* exactly, and without the length */
  CLOSE(log);
}

static void read_with_null(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  char buffer[8];
  size_t length = UNTOUCHED_SIZE;
  log_t *log = OPEN(dir.text, &config);
  APPEND_TEXT(log, "text");
  CHECK_ARGUMENT("log", log_read(NULL, 0, buffer, sizeof buffer, &length, &error));
  CHECK_ARGUMENT("buf", log_read(log, 0, NULL, 4, &length, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_read(NULL, 0, buffer, sizeof buffer, &length, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_read(log, 0, NULL, 4, &length, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_read(NULL, 0, NULL, 0, NULL, NULL));
  CHECK_EQ(UNTOUCHED_SIZE, length);
  CHECK_STATUS(LOG_OK, log_read(log, 0, buffer, sizeof buffer, NULL, NULL));
  CLOSE(log);
}

static void a_small_buffer_is_told_the_length(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  unsigned char buffer[10];
  size_t capacity, length, i;
  int round;
  log_t *log = OPEN(dir.text, &config);
  APPEND_TEXT(log, "0123456789");
  for (round = 0; round < 2; round++) { /* from the ring, then from the store */
    for (capacity = 0; capacity < 10; capacity++) {
      length = 0;
      memset(buffer, 0xA5, sizeof buffer);
      CHECK_ERROR(LOG_E_BUFFER, 0, 0, log_read(log, 0, buffer, capacity, &length, &error));
      CHECK_EQ(10, length);
      for (i = 0; i < sizeof buffer; i++) CHECK(buffer[i] == 0xA5); /* no part of the record either */
      CHECK_STATUS(LOG_E_BUFFER, log_read(log, 0, buffer, capacity, NULL, NULL));
    }
    /* Asked for the length alone. */
    length = 0;
    CHECK_STATUS(LOG_E_BUFFER, log_read(log, 0, NULL, 0, &length, NULL));
    CHECK_EQ(10, length);
    CLOSE(log);
    log = OPEN(dir.text, &config);
  }
  CLOSE(log);
}

static void capacity_0_takes_an_empty_record(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  size_t length = UNTOUCHED_SIZE;
  char buffer = 'x';
  log_t *log = OPEN(dir.text, &config);
  APPEND(log, NULL, 0);
  CHECK_STATUS(LOG_OK, log_read(log, 0, NULL, 0, &length, NULL));
  CHECK_EQ(0, length);
  length = UNTOUCHED_SIZE;
  CHECK_STATUS(LOG_OK, log_read(log, 0, &buffer, 0, &length, NULL));
  CHECK_EQ(0, length);
  CHECK_STATUS(LOG_OK, log_read(log, 0, &buffer, 1, NULL, NULL));
  CHECK(buffer == 'x');
  CLOSE(log);
}

/* "It surely fits" is said by some callers with the largest number there is. */
static void any_capacity_is_fine(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  char buffer[4];
  size_t length = 0;
  log_t *log = OPEN(dir.text, &config);
  APPEND_TEXT(log, "four");
  CHECK_STATUS(LOG_OK, log_read(log, 0, buffer, SIZE_MAX, &length, NULL));
  CHECK(length == 4 && memcmp(buffer, "four", 4) == 0);
  CLOSE(log);
}

static void check_beyond(log_t *log, uint64_t offset) {
  log_error_t error;
  char buffer[8];
  size_t length = UNTOUCHED_SIZE;
  CHECK_ERROR(LOG_E_BEYOND, 0, offset, log_read(log, offset, buffer, sizeof buffer, &length, &error));
  CHECK_STATUS(LOG_E_BEYOND, log_read(log, offset, buffer, sizeof buffer, &length, NULL));
  CHECK_STATUS(LOG_E_BEYOND, log_read(log, offset, NULL, 0, &length, NULL));
  CHECK_EQ(UNTOUCHED_SIZE, length);
}

static void check_trimmed(log_t *log, uint64_t offset) {
  log_error_t error;
  char buffer[8];
  size_t length = UNTOUCHED_SIZE;
  CHECK_ERROR(LOG_E_TRIMMED, 0, offset, log_read(log, offset, buffer, sizeof buffer, &length, &error));
  CHECK_STATUS(LOG_E_TRIMMED, log_read(log, offset, buffer, sizeof buffer, &length, NULL));
  CHECK_EQ(UNTOUCHED_SIZE, length);
}

static void an_offset_at_or_past_the_next_is_beyond(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_t *log = OPEN(dir.text, &config);
  check_beyond(log, 0);
  check_beyond(log, UINT64_MAX);
  APPEND_NUMBERED(log, 0, 100);
  check_beyond(log, 100);
  check_beyond(log, 101);
  check_beyond(log, UINT64_C(1) << 32);
  check_beyond(log, UINT64_C(1) << 63);
  check_beyond(log, UINT64_MAX - 1);
  check_beyond(log, UINT64_MAX);
  CLOSE(log);
}

static void an_offset_before_the_first_is_trimmed(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(4096);
  log_t *log;
  config.initial_offset = 1000;
  log = OPEN(dir.text, &config);
  check_trimmed(log, 0);
  check_trimmed(log, 999);
  check_beyond(log, 1000);
  APPEND_NUMBERED(log, 1000, 100);
  check_trimmed(log, 0);
  check_trimmed(log, 999);
  check_beyond(log, 1100);
  CLOSE(log);
}

/* Far more than the ring holds, over many segments, in any order. */
static void every_record_can_be_read_at_any_time(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(131072);
  const uint64_t count = 15000; /* about 2.5 MB of frames */
  uint64_t number, step;
  log_t *log = OPEN(dir.text, &config);
  for (number = 0; number < count; number += 500) {
    APPEND_NUMBERED(log, number, 500);
    CHECK_NUMBERED(log, number, 500); /* fresh */
    CHECK_NUMBERED(log, number / 2, 1);
    CHECK_NUMBERED(log, 0, 1); /* the oldest */
  }
  for (step = 0, number = 1; step < 3000; step++, number = (number * 48271 + 11) % count)
    CHECK_NUMBERED(log, number, 1);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK(STAT(log).segment_count > 15);
  CHECK_NUMBERED(log, 0, count);
  CLOSE(log);
}

/* The log of three segments' worth of lines, closed; line 7 is "number 7". */
static void write_lines(const char *dir, int count) {
  const log_config_t config = quick_config(65536);
  char line[32];
  int number;
  log_t *log = OPEN(dir, &config);
  for (number = 0; number < count; number++) {
    NEED(snprintf(line, sizeof line, "number %d, unbroken", number) > 0);
    CHECK_EQ(number, APPEND_TEXT(log, line));
  }
  CLOSE(log);
}

static int line_is(log_t *log, int number) {
  char line[32];
  NEED(snprintf(line, sizeof line, "number %d, unbroken", number) > 0);
  return CHECK_READ_TEXT(log, (uint64_t)number, line);
}

/* `bytes_before` the payload of record 5, one bit is another: 5 is corrupt, and all others read back. */
static void one_rotten_record(long bytes_before) {
  const check_path_t dir = fresh_path(), store = path_join(dir.text, FIRST_SEGMENT ".store");
  const log_config_t config = quick_config(65536);
  log_cursor_t *cursor = NULL;
  log_record_t record, records[20];
  log_error_t error;
  char line[32];
  size_t length = UNTOUCHED_SIZE, count, i;
  uint64_t seen = 0;
  int number;
  log_t *log;

  write_lines(dir.text, 10);
  flip_bit(store.text, find_in_file(store.text, "number 5, unbroken") - bytes_before);
  log = OPEN(dir.text, &config);
  CHECK_EQ(10, STAT(log).next_offset);

  CHECK_ERROR(LOG_E_CORRUPT, 0, 5, log_read(log, 5, line, sizeof line, &length, &error));
  CHECK(strstr(error.message, FIRST_SEGMENT ".store") != NULL);
  CHECK_EQ(UNTOUCHED_SIZE, length);
  CHECK_STATUS(LOG_E_CORRUPT, log_read(log, 5, line, sizeof line, NULL, NULL));
  for (number = 0; number < 10; number++)
    if (number != 5) line_is(log, number);

  /* A cursor says so when it steps onto it, and goes on behind it. */
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  for (number = 0; number < 10; number++) {
    NEED(snprintf(line, sizeof line, "number %d, unbroken", number) > 0);
    if (number == 5) CHECK_ERROR(LOG_E_CORRUPT, 0, 5, log_cursor_next(cursor, &record, &error));
    else if (CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL)))
      CHECK(view_is_text(&record, (uint64_t)number, line));
  }
  CHECK_STATUS(LOG_END, log_cursor_next(cursor, &record, NULL));
  log_cursor_close(cursor);

  /* In batches: what comes before it first, then it, then the rest. */
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  for (number = 0; number < 20; number++) {
    log_status_t status;
    count = UNTOUCHED_SIZE;
    mark_error(&error);
    status = log_cursor_next_batch(cursor, records, 20, &count, &error);
    if (status == LOG_END) break;
    if (status == LOG_E_CORRUPT) {
      CHECK_EQ(5, seen);
      check_error(status, &error, LOG_E_CORRUPT, 0, 5, __FILE__, __LINE__, "log_cursor_next_batch");
      CHECK_EQ(UNTOUCHED_SIZE, count);
      seen++;
      continue;
    }
    if (!CHECK_STATUS(LOG_OK, status)) break;
    CHECK(count >= 1 && seen + count <= 10 && (seen > 5 || seen + count <= 5));
    for (i = 0; i < count && i < 20; i++, seen++) {
      NEED(snprintf(line, sizeof line, "number %d, unbroken", (int)seen) > 0);
      CHECK(view_is_text(&records[i], seen, line));
    }
  }
  CHECK_EQ(10, seen);
  log_cursor_close(cursor);

  /* A cursor can be opened at it and behind it. */
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 5, &cursor, NULL));
  CHECK_STATUS(LOG_E_CORRUPT, log_cursor_next(cursor, &record, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK_EQ(6, record.offset);
  log_cursor_close(cursor);

  CHECK_EQ(10, APPEND_TEXT(log, "the log goes on"));
  CLOSE(log);
}

static void a_rotten_payload_is_corrupt_and_the_rest_is_fine(void) { one_rotten_record(0); }

static void a_rotten_timestamp_is_corrupt_and_the_rest_is_fine(void) { one_rotten_record(8); }

static void a_rotten_checksum_is_corrupt_and_the_rest_is_fine(void) { one_rotten_record(12); }

static void a_rotten_length_is_corrupt_and_the_rest_is_fine(void) {
  one_rotten_record(16); /* its lowest bit */
  one_rotten_record(13); /* its highest byte: a length beyond the file */
}

static const check_test_t tests[] = {
    TEST(read_copies_the_record),
    TEST(read_with_null),
    TEST(a_small_buffer_is_told_the_length),
    TEST(capacity_0_takes_an_empty_record),
    TEST(any_capacity_is_fine),
    TEST(an_offset_at_or_past_the_next_is_beyond),
    TEST(an_offset_before_the_first_is_trimmed),
    TEST(every_record_can_be_read_at_any_time),
    TEST(a_rotten_payload_is_corrupt_and_the_rest_is_fine),
    TEST(a_rotten_timestamp_is_corrupt_and_the_rest_is_fine),
    TEST(a_rotten_checksum_is_corrupt_and_the_rest_is_fine),
    TEST(a_rotten_length_is_corrupt_and_the_rest_is_fine),
};

test_group_t read_tests(void) { return GROUP_OF(tests); }
