/*
 * What the C tests do with logs, said once: configurations, opening and closing, records whose bytes tell their
 * offset, and the checks of a whole log_error_t. Each macro passes on the place of the test that uses it.
 */
#ifndef SEGLOG_TESTS_LOGS_H
#define SEGLOG_TESTS_LOGS_H

#include "check.h"

#include <seglog.h>

/* The name of a log's first segment, without .store or .index. */
#define FIRST_SEGMENT "00000000000000000000-00000000"

/* Of FORMAT.md: where a store's frames begin, what a frame adds to its payload, what is kept for a segment's end. */
enum { STORE_HEADER_BYTES = 4096, FRAME_HEADER_BYTES = 16, SEAL_BYTES = 48, RING_BYTES = 1 << 20 };

/* --- configurations ------------------------------------------------------------------------------------------- */

/* How files are read and written where a test does not say: SEGLOG_TEST_IO=file takes the one without mappings, so that
 * what is held with mapped files is held without. */
static inline uint32_t way_of_io(void) {
  const char *way = getenv("SEGLOG_TEST_IO");
  return way != NULL && strcmp(way, "file") == 0 ? LOG_IO_FILE : LOG_IO_AUTO;
}

/* What log_stat says then, on a file system of this machine's own. */
static inline uint32_t way_that_is_chosen(void) { return way_of_io() == LOG_IO_FILE ? LOG_IO_FILE : LOG_IO_MAPPED; }

/* All zero but struct_size, and the way of input and output: the safest one. */
static inline log_config_t default_config(void) {
  log_config_t config;
  memset(&config, 0, sizeof config);
  config.struct_size = (uint32_t)sizeof config;
  config.io = way_of_io();
  return config;
}

/* Not synced, and with segments of the given size: for tests that are not about durability. */
static inline log_config_t quick_config(uint64_t segment_max_bytes) {
  log_config_t config = default_config();
  config.sync = LOG_SYNC_NEVER;
  config.segment_max_bytes = segment_max_bytes;
  return config;
}

/* --- errors ---------------------------------------------------------------------------------------------------- */

/* An error that shows each byte that a call writes. */
static inline void mark_error(log_error_t *error) { memset(error, 0xA5, sizeof *error); }

static inline int error_is_marked(const log_error_t *error) {
  log_error_t marked;
  mark_error(&marked);
  return memcmp(&marked, error, sizeof marked) == 0;
}

/* What no library wrote: to see that a failed call leaves its out_* alone. */
#define UNTOUCHED_U64 UINT64_C(0xA5A5A5A5A5A5A5A5)
#define UNTOUCHED_SIZE ((size_t)0xA5A5A5)

static inline int is_word_byte(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '_';
}

/* Whether the message holds the word, as a whole word. */
static inline int message_names(const log_error_t *error, const char *word) {
  const char *at = error->message;
  size_t length = strlen(word);
  while ((at = strstr(at, word)) != NULL) {
    if ((at == error->message || !is_word_byte(at[-1])) && !is_word_byte(at[length])) return 1;
    at++;
  }
  return 0;
}

/* The message is a sentence of printable text that ends within its array. */
static inline int message_is_sound(const log_error_t *error) {
  const char *end = (const char *)memchr(error->message, '\0', sizeof error->message);
  const char *at;
  if (end == NULL || end - error->message < 10) return 0;
  for (at = error->message; at < end; at++)
    if ((unsigned char)*at < 0x20 || (unsigned char)*at == 0x7F) return 0;
  return 1;
}

static inline int check_status(log_status_t expected, log_status_t actual, const char *file, int line,
                               const char *text) {
  if (expected != actual) {
    check_state.failures++;
    printf("%s:%d: %s: failed: %s gave %s (%d), expected %s\n", file, line, check_state.test, text,
           log_status_name(actual), (int)actual, log_status_name(expected));
    fflush(stdout);
  }
  return expected == actual;
}

/* A status, by name when it differs. */
#define CHECK_STATUS(expected, call) check_status((expected), (call), __FILE__, __LINE__, #call)

/* For CHECK_ERROR: any error number, any offset. */
enum { ANY_OS_ERROR = -1 };
#define ANY_OFFSET (LOG_NO_OFFSET - 1)

static inline int check_error(log_status_t actual, const log_error_t *error, log_status_t expected, int os_error,
                              uint64_t offset, const char *file, int line, const char *text) {
  const char *wrong = NULL;
  if (actual != expected) wrong = "status";
  else if (error->status != expected) wrong = "error.status";
  else if (os_error != ANY_OS_ERROR && error->os_error != os_error) wrong = "error.os_error";
  else if (offset != ANY_OFFSET && error->offset != offset) wrong = "error.offset";
  else if (!message_is_sound(error)) wrong = "error.message";
  if (wrong == NULL) return 1;
  check_state.failures++;
  printf("%s:%d: %s: failed: %s: wrong %s\n", file, line, check_state.test, text, wrong);
  printf("  expected %s, os_error %d, offset %" PRIu64 "\n", log_status_name(expected), os_error, offset);
  printf("  returned %s\n", log_status_name(actual));
  if (!error_is_marked(error))
    printf("  error    %s, os_error %d, offset %" PRIu64 ", message \"%.*s\"\n", log_status_name(error->status),
           (int)error->os_error, error->offset, (int)sizeof error->message, error->message);
  fflush(stdout);
  return 0;
}

/*
 * A call that does not give LOG_OK, and all that it writes into the error. The call must pass `&error`, a variable of
 * the test.
 */
#define CHECK_ERROR(expected, os_error, offset, call)                                                                  \
  (mark_error(&error),                                                                                                 \
   check_error((call), &error, (expected), (os_error), (offset), __FILE__, __LINE__, #call))

static inline int check_named(const log_error_t *error, const char *name, const char *file, int line,
                              const char *text) {
  if (message_names(error, name)) return 1;
  check_state.failures++;
  printf("%s:%d: %s: failed: %s: the message does not name %s: \"%.*s\"\n", file, line, check_state.test, text, name,
         (int)sizeof error->message, error->message);
  fflush(stdout);
  return 0;
}

static inline int check_argument(log_status_t actual, const log_error_t *error, const char *name, const char *file,
                                 int line, const char *text) {
  return check_error(actual, error, LOG_E_ARGUMENT, 0, LOG_NO_OFFSET, file, line, text) &&
         check_named(error, name, file, line, text);
}

/* The same for LOG_E_ARGUMENT: it concerns no offset, and the message names what is wrong. */
#define CHECK_ARGUMENT(name, call)                                                                                     \
  (mark_error(&error), check_argument((call), &error, (name), __FILE__, __LINE__, #call))

/* --- open, close, stat ----------------------------------------------------------------------------------------- */

/* Prints what went wrong and gives NULL, with which every later call fails cleanly. */
static inline log_t *open_at(const char *dir, const log_config_t *config, const char *file, int line) {
  log_error_t error;
  log_t *log = NULL;
  log_status_t status;
  mark_error(&error);
  status = log_open(dir, config, &log, &error);
  if (check_status(LOG_OK, status, file, line, "log_open")) check_that(log != NULL, file, line, "log_open: a handle");
  else printf("  message  \"%.*s\"\n", (int)sizeof error.message, error.message);
  return log;
}

static inline void close_at(log_t *log, const char *file, int line) {
  log_error_t error;
  log_status_t status;
  mark_error(&error);
  status = log_close(log, &error);
  if (!check_status(LOG_OK, status, file, line, "log_close"))
    printf("  message  \"%.*s\"\n", (int)sizeof error.message, error.message);
}

static inline log_stat_t stat_at(log_t *log, const char *file, int line) {
  log_stat_t stat;
  memset(&stat, 0, sizeof stat);
  stat.struct_size = (uint32_t)sizeof stat;
  check_status(LOG_OK, log_stat(log, &stat, NULL), file, line, "log_stat");
  return stat;
}

#define OPEN(dir, config) open_at((dir), (config), __FILE__, __LINE__)
#define CLOSE(log) close_at((log), __FILE__, __LINE__)
#define STAT(log) stat_at((log), __FILE__, __LINE__)

/* --- records --------------------------------------------------------------------------------------------------- */

static inline uint64_t append_at(log_t *log, const void *data, size_t len, const char *file, int line) {
  uint64_t offset = LOG_NO_OFFSET;
  log_error_t error;
  log_status_t status;
  mark_error(&error);
  status = log_append(log, data, len, &offset, &error);
  if (!check_status(LOG_OK, status, file, line, "log_append"))
    printf("  message  \"%.*s\"\n", (int)sizeof error.message, error.message);
  return offset;
}

/* Appends, and gives the record's offset. */
#define APPEND(log, data, len) append_at((log), (data), (len), __FILE__, __LINE__)
#define APPEND_TEXT(log, text) append_at((log), (text), strlen(text), __FILE__, __LINE__)

static inline int read_at(log_t *log, uint64_t offset, const void *data, size_t len, const char *file, int line) {
  unsigned char *buffer = (unsigned char *)malloc(len + 1);
  size_t length = UNTOUCHED_SIZE;
  int fine;
  NEED(buffer != NULL);
  buffer[len] = 0xA5;
  fine = check_status(LOG_OK, log_read(log, offset, buffer, len, &length, NULL), file, line, "log_read") &&
         check_u64(len, length, file, line, "log_read: *out_len") &&
         check_that(len == 0 || memcmp(buffer, data, len) == 0, file, line, "log_read: the record's bytes") &&
         check_that(buffer[len] == 0xA5, file, line, "log_read: nothing behind the record");
  free(buffer);
  return fine;
}

/* The record at the offset is exactly this. */
#define CHECK_READ(log, offset, data, len) read_at((log), (offset), (data), (len), __FILE__, __LINE__)
#define CHECK_READ_TEXT(log, offset, text) read_at((log), (offset), (text), strlen(text), __FILE__, __LINE__)

/* A record whose bytes all depend on its number, so that no other can pass for it. */
static inline void fill_record(unsigned char *data, size_t len, uint64_t number) {
  uint64_t state = number * UINT64_C(0x9E3779B97F4A7C15) + 1;
  size_t i;
  for (i = 0; i < len; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* Marsaglia's xorshift64 */
    data[i] = (unsigned char)(state >> 32);
  }
}

static inline int is_record(const void *data, size_t len, uint64_t number) {
  const unsigned char *bytes = (const unsigned char *)data;
  uint64_t state = number * UINT64_C(0x9E3779B97F4A7C15) + 1;
  size_t i;
  for (i = 0; i < len; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    if (bytes[i] != (unsigned char)(state >> 32)) return 0;
  }
  return 1;
}

/* Lengths from 0 to 299 that no power of two divides evenly, by number. */
static inline size_t length_of(uint64_t number) { return (size_t)((number * 37 + 11) % 300); }

static inline void append_numbered_at(log_t *log, uint64_t first, uint64_t count, const char *file, int line) {
  unsigned char data[300];
  uint64_t number;
  for (number = first; number < first + count; number++) {
    size_t len = length_of(number);
    fill_record(data, len, number);
    if (!check_u64(number, append_at(log, data, len, file, line), file, line, "the offset of an append")) return;
  }
}

static inline void check_numbered_at(log_t *log, uint64_t first, uint64_t count, const char *file, int line) {
  unsigned char data[300];
  uint64_t number;
  for (number = first; number < first + count; number++) {
    size_t length = UNTOUCHED_SIZE;
    if (!check_status(LOG_OK, log_read(log, number, data, sizeof data, &length, NULL), file, line, "log_read") ||
        !check_u64(length_of(number), length, file, line, "log_read: *out_len") ||
        !check_that(is_record(data, length, number), file, line, "log_read: the record's bytes")) {
      printf("  at offset %" PRIu64 "\n", number);
      return;
    }
  }
}

/* The records with the numbers first, first + 1, ...: a record's number is its offset. */
#define APPEND_NUMBERED(log, first, count) append_numbered_at((log), (first), (count), __FILE__, __LINE__)
#define CHECK_NUMBERED(log, first, count) check_numbered_at((log), (first), (count), __FILE__, __LINE__)

static inline uint64_t numbered_bytes(uint64_t first, uint64_t count) {
  uint64_t bytes = 0, number;
  for (number = first; number < first + count; number++) bytes += length_of(number);
  return bytes;
}

static inline log_bytes_t bytes_of(const void *data, size_t len) {
  log_bytes_t bytes;
  bytes.data = data;
  bytes.len = len;
  return bytes;
}

static inline log_bytes_t text_of(const char *text) { return bytes_of(text, strlen(text)); }

static inline int view_is(const log_record_t *record, uint64_t offset, const void *data, size_t len) {
  return record->offset == offset && record->payload.len == len &&
         (len == 0 || memcmp(record->payload.data, data, len) == 0);
}

static inline int view_is_text(const log_record_t *record, uint64_t offset, const char *text) {
  return view_is(record, offset, text, strlen(text));
}

/* --- a log's files --------------------------------------------------------------------------------------------- */

static inline unsigned char *file_bytes(const char *path, size_t *out_len) {
  FILE *file = fopen(path, "rb");
  unsigned char *data;
  long size;
  NEED(file != NULL && fseek(file, 0, SEEK_END) == 0);
  size = ftell(file);
  NEED(size >= 0 && fseek(file, 0, SEEK_SET) == 0);
  data = (unsigned char *)malloc((size_t)size + 1);
  NEED(data != NULL && fread(data, 1, (size_t)size, file) == (size_t)size);
  fclose(file);
  *out_len = (size_t)size;
  return data;
}

static inline void write_file(const char *path, const void *data, size_t len) {
  FILE *file = fopen(path, "wb");
  NEED(file != NULL && fwrite(data, 1, len, file) == len);
  NEED(fclose(file) == 0);
}

/* Writes over bytes that the file has. */
static inline void patch_file(const char *path, long at, const void *data, size_t len) {
  FILE *file = fopen(path, "r+b");
  NEED(file != NULL && fseek(file, at, SEEK_SET) == 0 && fwrite(data, 1, len, file) == len);
  NEED(fclose(file) == 0);
}

/* Where the text stands in the file; the test cannot go on if it does not. */
static inline long find_in_file(const char *path, const char *text) {
  size_t size, length = strlen(text), at;
  unsigned char *data = file_bytes(path, &size);
  for (at = 0; at + length <= size; at++)
    if (memcmp(data + at, text, length) == 0) break;
  free(data);
  NEED(at + length <= size);
  return (long)at;
}

/* Changes one bit of the file. */
static inline void flip_bit(const char *path, long at) {
  size_t size;
  unsigned char *data = file_bytes(path, &size);
  unsigned char byte;
  NEED((size_t)at < size);
  byte = (unsigned char)(data[at] ^ 0x10);
  patch_file(path, at, &byte, 1);
  free(data);
}

#endif
