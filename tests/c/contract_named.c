/*
 * The contract of named positions and metas: names and their limits, what is given back, in which order they are told,
 * who may set them, what cuts of the log do to a position, what a trim leaves to those who have not passed it, and what
 * damaged or planted files do.
 */
#include "contract.h"
#include "logs.h"

enum { NAME_ROOM = 101, META_LIMIT = 4096 };

static uint64_t position_at(log_t *log, const char *name, const char *file, int line) {
  uint64_t offset = UNTOUCHED_U64;
  check_status(LOG_OK, log_position_load(log, name, &offset, NULL), file, line, "log_position_load");
  return offset;
}

#define CHECK_POSITION(expected, log, name)                                                                            \
  check_u64((expected), position_at((log), (name), __FILE__, __LINE__), __FILE__, __LINE__, "position " name)

static int meta_is(log_t *log, const char *name, const void *data, size_t len, const char *file, int line) {
  unsigned char buffer[META_LIMIT + 1];
  size_t length = UNTOUCHED_SIZE;
  buffer[len] = 0xA5;
  return check_status(LOG_OK, log_meta_get(log, name, buffer, len, &length, NULL), file, line, "log_meta_get") &&
         check_u64(len, length, file, line, "log_meta_get: *out_len") &&
         check_that(len == 0 || memcmp(buffer, data, len) == 0, file, line, "the meta's bytes") &&
         check_that(buffer[len] == 0xA5, file, line, "nothing behind the meta");
}

#define CHECK_META(log, name, data, len) meta_is((log), (name), (data), (len), __FILE__, __LINE__)
#define CHECK_META_TEXT(log, name, text) meta_is((log), (name), (text), strlen(text), __FILE__, __LINE__)

static void named_with_null(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  char name[NAME_ROOM];
  log_t *log = OPEN(dir.text, &config);
  CHECK_ARGUMENT("log", log_position_save(NULL, "a", 0, &error));
  CHECK_ARGUMENT("name", log_position_save(log, NULL, 0, &error));
  CHECK_ARGUMENT("log", log_position_load(NULL, "a", NULL, &error));
  CHECK_ARGUMENT("name", log_position_load(log, NULL, NULL, &error));
  CHECK_ARGUMENT("log", log_position_remove(NULL, "a", &error));
  CHECK_ARGUMENT("name", log_position_remove(log, NULL, &error));
  CHECK_ARGUMENT("log", log_position_at(NULL, 0, name, sizeof name, NULL, &error));
  CHECK_ARGUMENT("name", log_position_at(log, 0, NULL, 0, NULL, &error));
  CHECK_ARGUMENT("log", log_meta_set(NULL, "a", "b", 1, &error));
  CHECK_ARGUMENT("name", log_meta_set(log, NULL, "b", 1, &error));
  CHECK_ARGUMENT("data", log_meta_set(log, "a", NULL, 1, &error));
  CHECK_ARGUMENT("log", log_meta_get(NULL, "a", name, sizeof name, NULL, &error));
  CHECK_ARGUMENT("name", log_meta_get(log, NULL, name, sizeof name, NULL, &error));
  CHECK_ARGUMENT("buf", log_meta_get(log, "a", NULL, 1, NULL, &error));
  CHECK_ARGUMENT("log", log_meta_remove(NULL, "a", &error));
  CHECK_ARGUMENT("name", log_meta_remove(log, NULL, &error));
  CHECK_ARGUMENT("log", log_meta_at(NULL, 0, name, sizeof name, &error));
  CHECK_ARGUMENT("name", log_meta_at(log, 0, NULL, 0, &error));
  CHECK(!path_exists(path_join(dir.text, "positions").text) && !path_exists(path_join(dir.text, "meta").text));
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 0, NULL));
  CHECK_STATUS(LOG_OK, log_position_load(log, "a", NULL, NULL)); /* whether there is one */
  CHECK_STATUS(LOG_OK, log_position_at(log, 0, name, sizeof name, NULL, NULL));
  CHECK_STATUS(LOG_OK, log_meta_set(log, "a", NULL, 0, NULL));
  CHECK_STATUS(LOG_OK, log_meta_get(log, "a", NULL, 0, NULL, NULL));
  CLOSE(log);
}

static void names_have_limits(void) {
  static const char *const bad[] = {"",   ".",    "..",    "a/b", "/",     "/etc/passwd", "../LIVE", "a b",
                                    "a~", "~new", "a\n", "\x7f", "\xff", "n\xc3\xa4me",  "a*",      "a\\b"};
  static const char *const good[] = {"a", "...", ".a", "-", "_", "Z9._-", "a.tmp", "LIVE", "00000000000000000000"};
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  char longest[NAME_ROOM + 1], name[NAME_ROOM];
  uint64_t offset = 0;
  log_error_t error;
  size_t i;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 10);
  memset(longest, 'x', sizeof longest);
  longest[NAME_ROOM] = '\0'; /* 101 of them */
  for (i = 0; i <= sizeof bad / sizeof bad[0]; i++) {
    const char *text = i < sizeof bad / sizeof bad[0] ? bad[i] : longest;
    offset = UNTOUCHED_U64;
    CHECK_ARGUMENT("name", log_position_save(log, text, 1, &error));
    CHECK_ARGUMENT("name", log_position_load(log, text, &offset, &error));
    CHECK_EQ(UNTOUCHED_U64, offset);
    CHECK_ARGUMENT("name", log_position_remove(log, text, &error));
    CHECK_ARGUMENT("name", log_meta_set(log, text, "x", 1, &error));
    CHECK_ARGUMENT("name", log_meta_get(log, text, name, sizeof name, NULL, &error));
    CHECK_ARGUMENT("name", log_meta_remove(log, text, &error));
  }
  CHECK(!path_exists(path_join(dir.text, "positions").text) && !path_exists(path_join(dir.text, "meta").text));
  longest[NAME_ROOM - 1] = '\0'; /* 100 */
  for (i = 0; i <= sizeof good / sizeof good[0]; i++) {
    const char *text = i < sizeof good / sizeof good[0] ? good[i] : longest;
    CHECK_STATUS(LOG_OK, log_position_save(log, text, i, NULL));
    CHECK_STATUS(LOG_OK, log_meta_set(log, text, text, strlen(text), NULL));
  }
  for (i = 0; i <= sizeof good / sizeof good[0]; i++) {
    const char *text = i < sizeof good / sizeof good[0] ? good[i] : longest;
    CHECK_STATUS(LOG_OK, log_position_load(log, text, &offset, NULL));
    CHECK_EQ(i, offset);
    CHECK_META_TEXT(log, text, text);
  }
  CLOSE(log);
}

static void a_position_is_what_was_saved_last(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  uint64_t offset = UNTOUCHED_U64;
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_E_NOT_FOUND, ANY_OS_ERROR, LOG_NO_OFFSET, log_position_load(log, "a", &offset, &error));
  CHECK_EQ(UNTOUCHED_U64, offset);
  CHECK(message_names(&error, "a"));
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 0, NULL)); /* of an empty log */
  CHECK_ERROR(LOG_E_BEYOND, 0, 1, log_position_save(log, "a", 1, &error));
  CHECK_ERROR(LOG_E_BEYOND, 0, LOG_NO_OFFSET, log_position_save(log, "a", UINT64_MAX, &error));
  APPEND_NUMBERED(log, 0, 50);
  for (offset = 0; offset <= 50; offset += 10) {
    CHECK_STATUS(LOG_OK, log_position_save(log, "a", offset, NULL));
    CHECK_POSITION(offset, log, "a");
  }
  CHECK_ERROR(LOG_E_BEYOND, 0, 51, log_position_save(log, "a", 51, &error));
  CHECK_POSITION(50, log, "a");
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 7, NULL)); /* back, too */
  CHECK_STATUS(LOG_OK, log_position_save(log, "b", 8, NULL));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_POSITION(7, log, "a");
  CHECK_POSITION(8, log, "b");
  CHECK_STATUS(LOG_OK, log_trim(log, 30, NULL));
  CHECK_POSITION(7, log, "a"); /* before the first record: the consumer has missed some */
  CHECK_STATUS(LOG_OK, log_position_save(log, "b", 9, NULL));
  CHECK_STATUS(LOG_OK, log_position_remove(log, "a", NULL));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_position_load(log, "a", &offset, NULL));
  CHECK_ERROR(LOG_E_NOT_FOUND, 0, LOG_NO_OFFSET, log_position_remove(log, "a", &error));
  CHECK_POSITION(9, log, "b");
  CLOSE(log);
}

static void a_meta_is_what_was_set_last(void) {
  static const size_t lengths[] = {0, 1, 24, META_LIMIT, 100, 4095, 0, 3};
  static unsigned char data[META_LIMIT + 1];
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  unsigned char buffer[8];
  size_t length = UNTOUCHED_SIZE, i;
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_E_NOT_FOUND, ANY_OS_ERROR, LOG_NO_OFFSET, log_meta_get(log, "m", buffer, 8, &length, &error));
  CHECK_EQ(UNTOUCHED_SIZE, length);
  for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    fill_record(data, lengths[i], i);
    CHECK_STATUS(LOG_OK, log_meta_set(log, "m", data, lengths[i], NULL));
    CHECK_META(log, "m", data, lengths[i]);
  }
  CHECK_ERROR(LOG_E_TOO_LARGE, 0, LOG_NO_OFFSET, log_meta_set(log, "m", data, META_LIMIT + 1, &error));
  memset(buffer, 0xA5, sizeof buffer);
  CHECK_ERROR(LOG_E_BUFFER, 0, LOG_NO_OFFSET, log_meta_get(log, "m", buffer, 2, &length, &error));
  CHECK(length == 3 && buffer[0] == 0xA5);
  CHECK_STATUS(LOG_E_BUFFER, log_meta_get(log, "m", NULL, 0, &length, NULL)); /* asks for the length */
  CHECK_STATUS(LOG_OK, log_position_save(log, "m", 0, NULL)); /* a name of its own */
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_META(log, "m", data, 3);
  CHECK_STATUS(LOG_OK, log_meta_remove(log, "m", NULL));
  CHECK_ERROR(LOG_E_NOT_FOUND, 0, LOG_NO_OFFSET, log_meta_remove(log, "m", &error));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_meta_get(log, "m", NULL, 0, NULL, NULL));
  CHECK_POSITION(0, log, "m");
  CLOSE(log);
}

static void they_are_told_by_name(void) {
  static const char *const names[] = {"-", ".a", "0", "A", "Z", "_", "a", "aa", "b"};
  enum { NAMES = sizeof names / sizeof names[0] };
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  char name[NAME_ROOM];
  uint64_t offset;
  log_error_t error;
  size_t i;
  log_t *log = OPEN(dir.text, &config);
  CHECK_ERROR(LOG_END, 0, LOG_NO_OFFSET, log_position_at(log, 0, name, sizeof name, &offset, &error));
  CHECK_ERROR(LOG_END, 0, LOG_NO_OFFSET, log_meta_at(log, 0, name, sizeof name, &error));
  APPEND_NUMBERED(log, 0, 20);
  for (i = NAMES; i-- > 0;) {
    CHECK_STATUS(LOG_OK, log_position_save(log, names[i], i, NULL));
    CHECK_STATUS(LOG_OK, log_meta_set(log, names[i], "x", 1, NULL));
  }
  for (i = 0; i < NAMES; i++) {
    memset(name, 0xA5, sizeof name);
    offset = UNTOUCHED_U64;
    CHECK_ERROR(LOG_E_BUFFER, 0, LOG_NO_OFFSET, log_position_at(log, i, name, strlen(names[i]), &offset, &error));
    CHECK_ERROR(LOG_E_BUFFER, 0, LOG_NO_OFFSET, log_meta_at(log, i, name, 0, &error));
    CHECK((unsigned char)name[0] == 0xA5 && offset == UNTOUCHED_U64);
    CHECK_STATUS(LOG_OK, log_position_at(log, i, name, strlen(names[i]) + 1, &offset, NULL));
    CHECK(strcmp(name, names[i]) == 0);
    CHECK_EQ(i, offset);
    CHECK_STATUS(LOG_OK, log_meta_at(log, i, name, sizeof name, NULL));
    CHECK(strcmp(name, names[i]) == 0);
  }
  CHECK_STATUS(LOG_END, log_position_at(log, NAMES, name, sizeof name, &offset, NULL));
  CHECK_STATUS(LOG_END, log_position_at(log, SIZE_MAX, name, sizeof name, &offset, NULL));
  CHECK_STATUS(LOG_END, log_meta_at(log, NAMES, name, sizeof name, NULL));
  CLOSE(log);
}

static void a_read_only_handle_sets_them_too(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  log_error_t error;
  uint64_t offset;
  log_t *reader, *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 20);
  config.flags = LOG_READ_ONLY;
  reader = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_position_save(reader, "a", 20, NULL));
  CHECK_ERROR(LOG_E_BEYOND, 0, 21, log_position_save(reader, "a", 21, &error));
  CHECK_STATUS(LOG_OK, log_meta_set(reader, "m", "by the reader", 13, NULL));
  CHECK_POSITION(20, log, "a");
  CHECK_META_TEXT(log, "m", "by the reader");
  APPEND_NUMBERED(log, 20, 5);
  CHECK_STATUS(LOG_OK, log_position_save(reader, "a", 25, NULL)); /* what was appended is seen */
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 24, NULL));
  CHECK_POSITION(24, reader, "a");
  CHECK_STATUS(LOG_OK, log_truncate(log, 10, NULL));
  CHECK_POSITION(10, reader, "a");
  CLOSE(log);
  CHECK_STATUS(LOG_OK, log_position_save(reader, "a", 5, NULL)); /* without a writer */
  CHECK_STATUS(LOG_OK, log_position_remove(reader, "a", NULL));
  CHECK_STATUS(LOG_OK, log_meta_remove(reader, "m", NULL));
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_position_save(reader, "a", 0, &error));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_position_load(reader, "a", &offset, &error));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_meta_set(reader, "a", "x", 1, &error));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_meta_get(reader, "a", NULL, 0, NULL, &error));
  CHECK(!path_exists(dir.text));
  CLOSE(reader);
}

/* A cut takes records away that a consumer had passed: it is to consume those that take their place. */
static void a_cut_brings_positions_back_for_good(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  int reopened;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_STATUS(LOG_OK, log_position_save(log, "far", 100, NULL));
  CHECK_STATUS(LOG_OK, log_position_save(log, "near", 30, NULL));
  CHECK_STATUS(LOG_OK, log_truncate(log, 60, NULL));
  CHECK_POSITION(60, log, "far");
  APPEND_NUMBERED(log, 60, 100); /* past where it had been, over some segments */
  for (reopened = 0; reopened < 2; reopened++) {
    CHECK_POSITION(60, log, "far");
    CHECK_POSITION(30, log, "near");
    CLOSE(log);
    log = OPEN(dir.text, &config);
  }
  CHECK_STATUS(LOG_OK, log_position_save(log, "new", 150, NULL)); /* of after the cut */
  CHECK_STATUS(LOG_OK, log_truncate(log, 140, NULL));
  APPEND_NUMBERED(log, 140, 30);
  CHECK_POSITION(140, log, "new");
  CHECK_POSITION(60, log, "far");
  CHECK_STATUS(LOG_OK, log_position_save(log, "far", 165, NULL));
  CHECK_POSITION(165, log, "far");
  /* The segment that the cut made is trimmed away: what is left is new to it. */
  CHECK_STATUS(LOG_OK, log_position_save(log, "new", 170, NULL));
  CHECK_STATUS(LOG_OK, log_truncate(log, 145, NULL));
  APPEND_NUMBERED(log, 145, 200);
  CHECK_POSITION(145, log, "new");
  CHECK_STATUS(LOG_OK, log_trim(log, 150, NULL));
  CHECK(position_at(log, "new", __FILE__, __LINE__) <= 150);
  /* A reset, below and above. */
  CHECK_STATUS(LOG_OK, log_position_save(log, "far", 300, NULL));
  CHECK_STATUS(LOG_OK, log_reset(log, 20, NULL));
  APPEND_NUMBERED(log, 20, 400);
  CHECK_POSITION(20, log, "far");
  CHECK_POSITION(20, log, "near"); /* 30 are other records now */
  CHECK_STATUS(LOG_OK, log_reset(log, 1000, NULL));
  APPEND_NUMBERED(log, 1000, 10);
  CHECK(position_at(log, "far", __FILE__, __LINE__) <= 1000); /* before the first, however far */
  CLOSE(log);
}

static void a_trim_holds_back_what_was_not_passed(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(4096);
  log_error_t error;
  log_t *log;
  config.flags = LOG_KEEP_UNCONSUMED;
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 200);
  CHECK_STATUS(LOG_OK, log_trim(log, 20, NULL)); /* nobody consumes */
  CHECK_EQ(20, STAT(log).first_offset);
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 50, NULL));
  CHECK_STATUS(LOG_OK, log_position_save(log, "b", 120, NULL));
  CHECK_STATUS(LOG_OK, log_trim(log, 40, NULL));
  CHECK_EQ(40, STAT(log).first_offset);
  CHECK_STATUS(LOG_OK, log_trim(log, 150, NULL));
  CHECK_EQ(50, STAT(log).first_offset); /* exactly */
  CHECK_STATUS(LOG_OK, log_trim(log, 200, NULL));
  CHECK_EQ(50, STAT(log).first_offset);
  CHECK_ERROR(LOG_E_BEYOND, 0, 201, log_trim(log, 201, &error));
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 130, NULL));
  CHECK_STATUS(LOG_OK, log_trim(log, 200, NULL));
  CHECK_EQ(120, STAT(log).first_offset);
  CHECK_STATUS(LOG_OK, log_position_remove(log, "b", NULL));
  CHECK_STATUS(LOG_OK, log_truncate(log, 125, NULL)); /* "a" comes back to it */
  CHECK_STATUS(LOG_OK, log_trim(log, 125, NULL));
  CHECK_EQ(125, STAT(log).first_offset);
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 3, NULL)); /* before the first: it holds all back */
  APPEND_NUMBERED(log, 125, 50);
  CHECK_STATUS(LOG_OK, log_trim(log, 150, NULL));
  CHECK_EQ(125, STAT(log).first_offset);
  CLOSE(log);
  config.flags = 0; /* without the flag nobody is asked */
  log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_trim(log, 150, NULL));
  CHECK_EQ(150, STAT(log).first_offset);
  CLOSE(log);
}

static void a_backup_has_them_too(void) {
  const check_path_t dir = fresh_path(), copy = fresh_path();
  const log_config_t config = quick_config(4096);
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 70, NULL));
  CHECK_STATUS(LOG_OK, log_meta_set(log, "m", "a fact", 6, NULL));
  CHECK_STATUS(LOG_OK, log_truncate(log, 60, NULL)); /* the copy's position goes back with it */
  APPEND_NUMBERED(log, 60, 40);
  CHECK_STATUS(LOG_OK, log_backup(log, copy.text, NULL));
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 90, NULL));
  CLOSE(log);
  log = OPEN(copy.text, &config);
  CHECK_POSITION(60, log, "a");
  CHECK_META_TEXT(log, "m", "a fact");
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 80, NULL));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_POSITION(90, log, "a");
  CLOSE(log);
}

/* --- their files ------------------------------------------------------------------------------------------------ */

static check_path_t position_file(const check_path_t *dir, const char *name) {
  return path_join(path_join(dir->text, "positions").text, name);
}

static check_path_t meta_file(const check_path_t *dir, const char *name) {
  return path_join(path_join(dir->text, "meta").text, name);
}

static void one_damaged_slot_costs_nothing(void) {
  static const long slots[] = {0, 512}, meta_slots[] = {0, 8192};
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  uint64_t offset;
  size_t i;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 50);
  for (offset = 1; offset < 20; offset++) {
    CHECK_STATUS(LOG_OK, log_position_save(log, "a", offset, NULL));
    CHECK_STATUS(LOG_OK, log_meta_set(log, "a", "0123456789", offset % 10, NULL));
    i = offset % 2;
    flip_bit(position_file(&dir, "a").text, slots[i] + 24);
    flip_bit(meta_file(&dir, "a").text, meta_slots[i] + (offset % 10 > 0 ? 64 : 24));
    CHECK_POSITION(offset, log, "a");
    CHECK_META(log, "a", "0123456789", offset % 10);
  }
  CLOSE(log);
}

static void damage_is_told_by_name(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  unsigned char zeros[20000];
  char name[NAME_ROOM];
  uint64_t offset = UNTOUCHED_U64;
  log_error_t error;
  int reopened;
  log_t *log;
  config.flags = LOG_KEEP_UNCONSUMED;
  log = OPEN(dir.text, &config);
  memset(zeros, 0, sizeof zeros);
  APPEND_NUMBERED(log, 0, 50);
  CHECK_STATUS(LOG_OK, log_position_save(log, "bad", 20, NULL));
  CHECK_STATUS(LOG_OK, log_position_save(log, "good", 30, NULL));
  CHECK_STATUS(LOG_OK, log_meta_set(log, "bad", "x", 1, NULL));
  write_file(position_file(&dir, "bad").text, zeros, sizeof zeros);
  write_file(meta_file(&dir, "bad").text, zeros, 0);
  for (reopened = 0; reopened < 2; reopened++) {
    CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_position_load(log, "bad", &offset, &error));
    CHECK(message_names(&error, "bad"));
    CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_position_save(log, "bad", 3, &error));
    CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_position_at(log, 0, name, sizeof name, &offset, &error));
    CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_trim(log, 10, &error)); /* it may be the lowest */
    CHECK_EQ(0, STAT(log).first_offset);
    CHECK_EQ(UNTOUCHED_U64, offset);
    CHECK_STATUS(LOG_OK, log_position_at(log, 1, name, sizeof name, NULL, NULL));
    CHECK_POSITION(30, log, "good");
    CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_meta_get(log, "bad", NULL, 0, NULL, &error));
    CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_meta_set(log, "bad", "y", 1, &error));
    CHECK_STATUS(LOG_OK, log_meta_at(log, 0, name, sizeof name, NULL));
    CLOSE(log);
    log = OPEN(dir.text, &config); /* it opens all the same */
  }
  CHECK_STATUS(LOG_OK, log_position_remove(log, "bad", NULL));
  CHECK_STATUS(LOG_OK, log_position_save(log, "bad", 3, NULL));
  CHECK_POSITION(3, log, "bad");
  CHECK_STATUS(LOG_OK, log_meta_remove(log, "bad", NULL));
  CHECK_STATUS(LOG_OK, log_meta_set(log, "bad", "y", 1, NULL));
  CHECK_META_TEXT(log, "bad", "y");
  CLOSE(log);
}

static void those_of_another_log_are_told(void) {
  const check_path_t dir = fresh_path(), other = fresh_path();
  const log_config_t config = quick_config(65536);
  unsigned char *bytes;
  size_t length;
  uint64_t offset = 0;
  log_error_t error;
  log_t *log = OPEN(other.text, &config);
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 0, NULL));
  CHECK_STATUS(LOG_OK, log_meta_set(log, "a", "x", 1, NULL));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_position_save(log, "b", 0, NULL));
  CHECK_STATUS(LOG_OK, log_meta_set(log, "b", "x", 1, NULL));
  bytes = file_bytes(position_file(&other, "a").text, &length);
  write_file(position_file(&dir, "b").text, bytes, length);
  free(bytes);
  bytes = file_bytes(meta_file(&other, "a").text, &length);
  write_file(meta_file(&dir, "b").text, bytes, length);
  free(bytes);
  CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_position_load(log, "b", &offset, &error));
  CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_position_save(log, "b", 0, &error));
  CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_meta_get(log, "b", NULL, 0, NULL, &error));
  CHECK_ERROR(LOG_E_CORRUPT, 0, LOG_NO_OFFSET, log_meta_set(log, "b", "y", 1, &error));
  CLOSE(log);
}

/* Under a value's name, and under the folder's. */
static void planted_ones_are_not_followed(void) {
  const check_path_t dir = fresh_path(), target = fresh_path();
  log_config_t config = quick_config(65536);
  check_path_t place;
  unsigned char *bytes;
  size_t length;
  char name[NAME_ROOM];
  uint64_t offset;
  log_error_t error;
  int kind;
  log_t *log;
  config.flags = LOG_KEEP_UNCONSUMED;
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 50);
  CHECK_STATUS(LOG_OK, log_position_save(log, "good", 9, NULL));
  CHECK_STATUS(LOG_OK, log_meta_set(log, "good", "x", 1, NULL));
  write_file(target.text, "the target", 10);
  for (kind = 0; kind < 6; kind++) {
    const int in_meta = kind >= 3;
    place = in_meta ? meta_file(&dir, "bad") : position_file(&dir, "bad");
    switch (kind % 3) {
      case 0: NEED(symlink(target.text, place.text) == 0); break;
      case 1: NEED(mkfifo(place.text, 0666) == 0); break;
      default: NEED(mkdir(place.text, 0777) == 0); break;
    }
    if (in_meta) {
      CHECK_STATUS(LOG_E_IO, log_meta_set(log, "bad", "y", 1, &error));
      CHECK_STATUS(LOG_E_IO, log_meta_get(log, "bad", NULL, 0, NULL, &error));
      CHECK_STATUS(LOG_END, log_meta_at(log, 1, name, sizeof name, NULL));
    } else {
      CHECK_STATUS(LOG_E_IO, log_position_save(log, "bad", 1, &error));
      CHECK_STATUS(LOG_E_IO, log_position_load(log, "bad", &offset, &error));
      CHECK_STATUS(LOG_END, log_position_at(log, 1, name, sizeof name, &offset, NULL));
    }
    CHECK_STATUS(LOG_OK, log_trim(log, 1 + (uint64_t)kind, NULL));
    CLOSE(log);
    log = OPEN(dir.text, &config);
    if (kind % 3 == 2) {
      CHECK_STATUS(LOG_E_IO, in_meta ? log_meta_remove(log, "bad", NULL) : log_position_remove(log, "bad", NULL));
      NEED(rmdir(place.text) == 0);
    } else {
      CHECK_STATUS(LOG_OK, in_meta ? log_meta_remove(log, "bad", NULL) : log_position_remove(log, "bad", NULL));
      CHECK(!path_exists(place.text));
    }
  }
  CHECK_STATUS(LOG_OK, log_position_remove(log, "good", NULL));
  CHECK_STATUS(LOG_OK, log_meta_remove(log, "good", NULL));
  for (kind = 0; kind < 3; kind++) {
    place = path_join(dir.text, "positions");
    NEED(kind > 0 || rmdir(place.text) == 0);
    switch (kind) {
      case 0: NEED(symlink(check_state.base, place.text) == 0); break;
      case 1: NEED(mkfifo(place.text, 0666) == 0); break;
      default: write_file(place.text, "a file", 6); break;
    }
    CHECK_STATUS(LOG_E_IO, log_position_save(log, "a", 1, &error));
    CHECK_STATUS(LOG_E_IO, log_position_load(log, "a", &offset, &error));
    CHECK_STATUS(LOG_E_IO, log_position_at(log, 0, name, sizeof name, &offset, &error));
    CHECK_STATUS(LOG_E_IO, log_position_remove(log, "a", &error));
    CLOSE(log);
    log = OPEN(dir.text, &config); /* what is foreign is left alone */
    CHECK(path_exists(place.text));
    NEED(unlink(place.text) == 0);
  }
  CLOSE(log);
  bytes = file_bytes(target.text, &length);
  CHECK(length == 10 && memcmp(bytes, "the target", 10) == 0);
  free(bytes);
}

static void what_a_killed_maker_left_is_cleaned(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 0, NULL));
  CHECK_STATUS(LOG_OK, log_meta_set(log, "a", "x", 1, NULL));
  write_file(position_file(&dir, "~new").text, "half", 4);
  write_file(meta_file(&dir, "~new").text, "half", 4);
  CHECK_STATUS(LOG_OK, log_position_save(log, "b", 0, NULL)); /* over it */
  CHECK(!path_exists(position_file(&dir, "~new").text));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK(!path_exists(meta_file(&dir, "~new").text));
  CHECK_POSITION(0, log, "a");
  CHECK_META_TEXT(log, "a", "x");
  CLOSE(log);
}

static void remove_takes_them_along(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 0, NULL));
  CHECK_STATUS(LOG_OK, log_meta_set(log, "a", "x", 1, NULL));
  CLOSE(log);
  write_file(position_file(&dir, "~new").text, "half", 4);
  write_file(position_file(&dir, "damaged").text, "", 0);
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK(!path_exists(dir.text));
  log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_position_save(log, "a", 0, NULL));
  CLOSE(log);
  write_file(position_file(&dir, "my own notes").text, "mine", 4); /* no name of ours */
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK(path_exists(position_file(&dir, "my own notes").text));
  CHECK(!path_exists(position_file(&dir, "a").text));
}

test_group_t named_tests(void) {
  static const check_test_t tests[] = {
      TEST(named_with_null),
      TEST(names_have_limits),
      TEST(a_position_is_what_was_saved_last),
      TEST(a_meta_is_what_was_set_last),
      TEST(they_are_told_by_name),
      TEST(a_read_only_handle_sets_them_too),
      TEST(a_cut_brings_positions_back_for_good),
      TEST(a_trim_holds_back_what_was_not_passed),
      TEST(a_backup_has_them_too),
      TEST(one_damaged_slot_costs_nothing),
      TEST(damage_is_told_by_name),
      TEST(those_of_another_log_are_told),
      TEST(planted_ones_are_not_followed),
      TEST(what_a_killed_maker_left_is_cleaned),
      TEST(remove_takes_them_along),
  };
  return GROUP_OF(tests);
}
