/*
 * The contract of log_config_t: short and long structs, every limit, and what a
 * later open may change.
 */
#include "contract.h"
#include "logs.h"

#include <sys/mman.h>

/* Opening is refused, the message names the field, and nothing was made. */
static int refused(const log_config_t *config, const char *name, const char *file, int line) {
  const check_path_t dir = fresh_path();
  log_error_t error;
  log_t *log = NULL;
  log_status_t status;
  int fine;
  mark_error(&error);
  status = log_open(dir.text, config, &log, &error);
  fine = check_error(status, &error, LOG_E_ARGUMENT, 0, LOG_NO_OFFSET, file, line, name) &&
         check_named(&error, name, file, line, "log_open") && check_that(log == NULL, file, line, "no handle") &&
         check_that(!path_exists(dir.text), file, line, "nothing was made");
  if (log != NULL) (void)log_close(log, NULL);
  return fine;
}

static int taken(const log_config_t *config, const char *name, const char *file, int line) {
  const check_path_t dir = fresh_path();
  log_error_t error;
  log_t *log = NULL;
  log_status_t status;
  mark_error(&error);
  status = log_open(dir.text, config, &log, &error);
  if (!check_status(LOG_OK, status, file, line, name)) {
    printf("  message  \"%.*s\"\n", (int)sizeof error.message, error.message);
    return 0;
  }
  append_at(log, name, strlen(name), file, line);
  close_at(log, file, line);
  remove_tree(dir.text);
  return 1;
}

#define REFUSED(config, name) refused((config), (name), __FILE__, __LINE__)
#define TAKEN(config, name) taken((config), (name), __FILE__, __LINE__)

/* Sets one field of an otherwise quick configuration, and looks at what log_open says. */
#define FIELD_REFUSED(field, value)                                                                                    \
  do {                                                                                                                 \
    log_config_t one_field = quick_config(65536);                                                                      \
    one_field.field = (value);                                                                                         \
    REFUSED(&one_field, #field);                                                                                       \
  } while (0)
#define FIELD_TAKEN(field, value)                                                                                      \
  do {                                                                                                                 \
    log_config_t one_field = quick_config(65536);                                                                      \
    one_field.field = (value);                                                                                         \
    TAKEN(&one_field, #field " = " #value);                                                                            \
  } while (0)

static void all_zero_is_a_usable_configuration(void) {
  const log_config_t config = default_config();
  TAKEN(&config, "all zero");
  TAKEN(NULL, "NULL");
}

static void struct_size_must_be_set(void) {
  static const uint32_t sizes[] = {0, 1, 3, 4097, 65536, UINT32_MAX};
  size_t i;
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) FIELD_REFUSED(struct_size, sizes[i]);
}

/* Each shorter struct works, and no byte behind it is read: the next page cannot be. */
static void a_shorter_struct_is_an_older_caller(void) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const log_config_t whole = default_config();
  const check_path_t dir = fresh_path();
  unsigned char *pages =
      (unsigned char *)mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  size_t size;
  NEED(pages != (unsigned char *)MAP_FAILED && mprotect(pages + page, page, PROT_NONE) == 0);
  for (size = sizeof(uint32_t); size <= sizeof whole; size += sizeof(uint32_t)) {
    unsigned char *at = pages + page - size;
    const uint32_t struct_size = (uint32_t)size;
    log_t *log = NULL;
    if (((uintptr_t)at & 7) != 0) continue; /* no caller's struct stands there */
    memcpy(at, &whole, size);
    memcpy(at, &struct_size, sizeof struct_size);
    CHECK_STATUS(LOG_OK, log_open(dir.text, (const log_config_t *)(const void *)at, &log, NULL));
    CLOSE(log);
  }
  NEED(munmap(pages, 2 * page) == 0);
}

/* What lies behind struct_size is not part of it: the field that says NEVER, or nonsense, is not seen. */
static void what_lies_behind_struct_size_is_zero(void) {
  log_config_t config = default_config();
  config.struct_size = (uint32_t)offsetof(log_config_t, sync);
  config.sync = 77;
  config.reserved = 77;
  TAKEN(&config, "struct_size up to sync");
  memset(&config, 0x77, sizeof config);
  config.struct_size = sizeof config.struct_size;
  TAKEN(&config, "struct_size alone");
}

static void a_longer_struct_is_a_newer_caller(void) {
  struct {
    log_config_t config;
    uint64_t tail[503];
  } longer;
  const uint32_t sizes[] = {sizeof(log_config_t) + 8, sizeof(log_config_t) + 256, 4096};
  size_t i;
  memset(&longer, 0, sizeof longer);
  longer.config = quick_config(65536);
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    longer.config.struct_size = sizes[i];
    TAKEN(&longer.config, "a longer struct with a tail of zeros");
  }
  /* The first and the last byte of a tail that this version cannot know. */
  longer.config.struct_size = 4096;
  ((unsigned char *)&longer)[sizeof(log_config_t)] = 1;
  REFUSED(&longer.config, "config");
  ((unsigned char *)&longer)[sizeof(log_config_t)] = 0;
  ((unsigned char *)&longer)[4095] = 1;
  REFUSED(&longer.config, "config");
  ((unsigned char *)&longer)[4095] = 0;
  /* What stands behind the struct is not part of it. */
  longer.config.struct_size = sizeof(log_config_t) + 8;
  longer.tail[1] = 1;
  TAKEN(&longer.config, "a longer struct, and something behind it");
}

static void segment_max_bytes_has_limits(void) {
  FIELD_REFUSED(segment_max_bytes, 1);
  FIELD_REFUSED(segment_max_bytes, 4095);
  FIELD_REFUSED(segment_max_bytes, (UINT64_C(16) << 30) + 1);
  FIELD_REFUSED(segment_max_bytes, UINT64_C(1) << 63);
  FIELD_REFUSED(segment_max_bytes, UINT64_MAX);
  FIELD_TAKEN(segment_max_bytes, 4096);
  FIELD_TAKEN(segment_max_bytes, 4097);
  FIELD_TAKEN(segment_max_bytes, 1000003);
  FIELD_TAKEN(segment_max_bytes, 0);
}

static void index_max_bytes_has_limits(void) {
  FIELD_REFUSED(index_max_bytes, 1);
  FIELD_REFUSED(index_max_bytes, 7);
  FIELD_REFUSED(index_max_bytes, (UINT64_C(4) << 30) + 1);
  FIELD_REFUSED(index_max_bytes, UINT64_C(1) << 63);
  FIELD_REFUSED(index_max_bytes, UINT64_MAX);
  FIELD_TAKEN(index_max_bytes, 8);
  FIELD_TAKEN(index_max_bytes, 9);
  FIELD_TAKEN(index_max_bytes, 0);
}

static void record_max_bytes_has_limits(void) {
  FIELD_REFUSED(record_max_bytes, UINT64_C(256) << 20);
  FIELD_REFUSED(record_max_bytes, UINT64_C(1) << 32);
  FIELD_REFUSED(record_max_bytes, UINT64_MAX);
  FIELD_TAKEN(record_max_bytes, (UINT64_C(256) << 20) - 1);
  FIELD_TAKEN(record_max_bytes, 100);
  FIELD_TAKEN(record_max_bytes, 0);
}

static void initial_offset_has_limits(void) {
  FIELD_REFUSED(initial_offset, UINT64_MAX);
  FIELD_REFUSED(initial_offset, UINT64_MAX - (UINT64_C(1) << 32) + 2);
  FIELD_TAKEN(initial_offset, UINT64_MAX - (UINT64_C(1) << 32) + 1);
  FIELD_TAKEN(initial_offset, 1);
}

static void only_the_known_sync_policies(void) {
  FIELD_TAKEN(sync, LOG_SYNC_ALWAYS);
  FIELD_TAKEN(sync, LOG_SYNC_INTERVAL);
  FIELD_TAKEN(sync, LOG_SYNC_NEVER);
  FIELD_REFUSED(sync, 3);
  FIELD_REFUSED(sync, UINT32_MAX);
}

static void only_the_known_io_ways(void) {
  FIELD_TAKEN(io, LOG_IO_AUTO);
  FIELD_TAKEN(io, LOG_IO_MAPPED);
  FIELD_TAKEN(io, LOG_IO_FILE);
  FIELD_REFUSED(io, 3);
  FIELD_REFUSED(io, UINT32_MAX);
}

static void unknown_flags_are_refused(void) {
  uint32_t flag;
  for (flag = 32; flag != 0; flag <<= 1) {
    FIELD_REFUSED(flags, flag);
    FIELD_REFUSED(flags, flag | LOG_NO_THREAD | LOG_NO_VERIFY);
  }
}

/* An interval has a meaning for LOG_SYNC_INTERVAL only; contract_durable.c has the rest of it. */
static void an_interval_without_its_policy_is_refused(void) {
  FIELD_REFUSED(sync_interval_ms, 1);
  FIELD_REFUSED(sync_interval_ms, UINT32_MAX);
}

static void fields_not_built_yet_are_refused_by_name(void) {
  FIELD_REFUSED(reserved, 1);
  FIELD_REFUSED(reserved, UINT32_MAX);
}

/* A refused configuration does no harm to a log that is there. */
static void a_refused_configuration_leaves_the_log(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config), *none = NULL;
  APPEND_NUMBERED(log, 0, 10);
  CLOSE(log);
  config.segment_max_bytes = 1;
  CHECK_STATUS(LOG_E_ARGUMENT, log_open(dir.text, &config, &none, NULL));
  log = OPEN(dir.text, NULL);
  CHECK_NUMBERED(log, 0, 10);
  CLOSE(log);
}

static void initial_offset_is_that_of_the_first_record(void) {
  static const uint64_t initials[] = {1, 1000, UINT64_C(1) << 32, (UINT64_C(1) << 63) + 5,
                                      UINT64_MAX - (UINT64_C(1) << 32) + 1};
  size_t i;
  for (i = 0; i < sizeof initials / sizeof initials[0]; i++) {
    const check_path_t dir = fresh_path();
    const uint64_t initial = initials[i];
    log_config_t config = quick_config(4096);
    log_cursor_t *cursor = NULL;
    log_record_t record;
    uint64_t number;
    log_t *log;
    config.initial_offset = initial;
    log = OPEN(dir.text, &config);
    CHECK_EQ(initial, STAT(log).first_offset);
    CHECK_EQ(initial, STAT(log).next_offset);
    APPEND_NUMBERED(log, initial, 100); /* some segments */
    CLOSE(log);

    config.initial_offset = 7; /* holds for a new log only */
    log = OPEN(dir.text, &config);
    CHECK_EQ(initial, STAT(log).first_offset);
    CHECK_EQ(initial + 100, STAT(log).next_offset);
    CHECK_NUMBERED(log, initial, 100);
    APPEND_NUMBERED(log, initial + 100, 10);
    CHECK_STATUS(LOG_OK, log_cursor_open(log, initial, &cursor, NULL));
    for (number = initial; number < initial + 110; number++) {
      if (!CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL))) break;
      if (!CHECK_EQ(number, record.offset)) break;
      if (!CHECK(is_record(record.payload.data, record.payload.len, number))) break;
    }
    log_cursor_close(cursor);
    CLOSE(log);
  }
}

static void initial_offset_of_an_empty_log_stays(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(4096);
  log_t *log;
  config.initial_offset = 50;
  CLOSE(OPEN(dir.text, &config));
  config.initial_offset = 60;
  log = OPEN(dir.text, &config);
  CHECK_EQ(50, STAT(log).next_offset);
  CHECK_EQ(50, APPEND_TEXT(log, "fifty"));
  CLOSE(log);
}

/* proglog cannot do this: the active segment is larger than what is now allowed. */
static void a_smaller_segment_size_at_reopen_works(void) {
  static const uint64_t sizes[] = {UINT64_C(1) << 20, 65536, 4096, 32768, 4096};
  const check_path_t dir = fresh_path();
  uint64_t count = 0;
  size_t i;
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    const log_config_t config = quick_config(sizes[i]);
    log_t *log = OPEN(dir.text, &config);
    CHECK_EQ(count, STAT(log).next_offset);
    CHECK_NUMBERED(log, 0, count);
    APPEND_NUMBERED(log, count, 400);
    count += 400;
    CHECK_NUMBERED(log, 0, count);
    CLOSE(log);
  }
}

/* The size holds for segments made from then on. */
static void a_smaller_segment_size_holds_for_new_segments(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(16384);
  uint32_t large, small;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 1000);
  large = STAT(log).segment_count;
  CLOSE(log);
  config.segment_max_bytes = 4096;
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 1000, 1000);
  small = STAT(log).segment_count - large;
  CHECK(small > 3 * large);
  CHECK_NUMBERED(log, 0, 2000);
  CLOSE(log);
}

static void a_smaller_record_limit_at_reopen_leaves_what_is_there(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 50);
  CLOSE(log);
  config.record_max_bytes = 10;
  log = OPEN(dir.text, &config);
  CHECK_NUMBERED(log, 0, 50);
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, ANY_OFFSET, log_append(log, "eleven byte", 11, NULL, &error));
  CHECK_EQ(50, APPEND_TEXT(log, "ten bytes!"));
  CLOSE(log);
}

static const check_test_t tests[] = {
    TEST(all_zero_is_a_usable_configuration),
    TEST(struct_size_must_be_set),
    TEST(a_shorter_struct_is_an_older_caller),
    TEST(what_lies_behind_struct_size_is_zero),
    TEST(a_longer_struct_is_a_newer_caller),
    TEST(segment_max_bytes_has_limits),
    TEST(index_max_bytes_has_limits),
    TEST(record_max_bytes_has_limits),
    TEST(initial_offset_has_limits),
    TEST(only_the_known_sync_policies),
    TEST(only_the_known_io_ways),
    TEST(unknown_flags_are_refused),
    TEST(an_interval_without_its_policy_is_refused),
    TEST(fields_not_built_yet_are_refused_by_name),
    TEST(a_refused_configuration_leaves_the_log),
    TEST(initial_offset_is_that_of_the_first_record),
    TEST(initial_offset_of_an_empty_log_stays),
    TEST(a_smaller_segment_size_at_reopen_works),
    TEST(a_smaller_segment_size_holds_for_new_segments),
    TEST(a_smaller_record_limit_at_reopen_leaves_what_is_there),
};

test_group_t config_tests(void) { return GROUP_OF(tests); }
