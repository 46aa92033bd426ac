/*
 * The contract of log_remove: it deletes a log's own files and nothing else.
 */
#include "contract.h"
#include "logs.h"

static void remove_with_null(void) {
  log_error_t error;
  CHECK_ARGUMENT("dir", log_remove(NULL, &error));
  CHECK_ARGUMENT("directory", log_remove("", &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_remove(NULL, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_remove("", NULL));
}

static void remove_deletes_the_log_and_its_directory(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_stat_t before, after;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 300);
  before = STAT(log);
  CLOSE(log);
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK(!path_exists(dir.text));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_remove(dir.text, NULL));
  log = OPEN(dir.text, &config); /* another log, and empty */
  after = STAT(log);
  CHECK_EQ(0, after.next_offset);
  CHECK(memcmp(before.log_id, after.log_id, sizeof before.log_id) != 0);
  CLOSE(log);
}

static void remove_of_an_empty_log_works(void) {
  const check_path_t dir = fresh_path();
  CLOSE(OPEN(dir.text, NULL));
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK(!path_exists(dir.text));
}

/*
 * A directory that is a link's cannot be removed by that path, nor "DIR/.": the log was deleted, and then log_remove said LOG_E_IO,
 * so that who tried again heard that there was none.
 */
static void remove_by_a_link_or_a_dot_leaves_the_directory(void) {
  const check_path_t link = fresh_path(), target = fresh_dir(), dotted = path_join(target.text, ".");
  const char *const ways[] = {link.text, dotted.text};
  size_t i;
  NEED(symlink(target.text, link.text) == 0);
  for (i = 0; i < 2; i++) {
    log_error_t error;
    CLOSE(OPEN(ways[i], NULL));
    CHECK_STATUS(LOG_OK, log_remove(ways[i], NULL));
    CHECK(path_exists(link.text) && path_exists(target.text));
    CHECK(!path_exists(path_join(target.text, FIRST_SEGMENT ".store").text));
    CHECK(!path_exists(path_join(target.text, "LIVE").text));
    CHECK_ERROR(LOG_E_NOT_FOUND, ANY_OS_ERROR, LOG_NO_OFFSET, log_remove(ways[i], &error));
  }
  CHECK(rmdir(target.text) == 0); /* it is empty */
}

static void remove_leaves_foreign_files(void) {
  const check_path_t dir = fresh_path();
  const char *const names[] = {"notes.txt", "LIVE.bak", "0.store", "00000000000000000000-0000000g.store"};
  size_t i, entries = 0;
  check_path_t folder;
  log_error_t error;
  CLOSE(OPEN(dir.text, NULL));
  folder = path_join(dir.text, "folder");
  NEED(mkdir(folder.text, 0777) == 0);
  write_file(path_join(folder.text, FIRST_SEGMENT ".store").text, "deeper", 6);
  for (i = 0; i < sizeof names / sizeof names[0]; i++) write_file(path_join(dir.text, names[i]).text, "mine", 4);
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK(!path_exists(path_join(dir.text, "LIVE").text));
  CHECK(!path_exists(path_join(dir.text, FIRST_SEGMENT ".store").text));
  CHECK(!path_exists(path_join(dir.text, FIRST_SEGMENT ".index").text));
  CHECK(path_exists(path_join(folder.text, FIRST_SEGMENT ".store").text));
  for (i = 0; i < sizeof names / sizeof names[0]; i++)
    entries += (size_t)path_exists(path_join(dir.text, names[i]).text);
  CHECK_EQ(sizeof names / sizeof names[0], entries);
  /* Now it holds no log. */
  CHECK_ERROR(LOG_E_NOT_FOUND, ANY_OS_ERROR, LOG_NO_OFFSET, log_remove(dir.text, &error));
  CHECK(path_exists(path_join(dir.text, "notes.txt").text));
}

static void remove_of_what_is_no_log_is_not_found(void) {
  const check_path_t missing = fresh_path(), empty = fresh_dir(), foreign = fresh_dir();
  log_error_t error;
  write_file(path_join(foreign.text, "notes.txt").text, "mine", 4);
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOENT, LOG_NO_OFFSET, log_remove(missing.text, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ANY_OS_ERROR, LOG_NO_OFFSET, log_remove(empty.text, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ANY_OS_ERROR, LOG_NO_OFFSET, log_remove(foreign.text, &error));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_remove(missing.text, NULL));
  CHECK(path_exists(empty.text));
  CHECK(path_exists(path_join(foreign.text, "notes.txt").text));
  CHECK(!path_exists(path_join(foreign.text, "LIVE").text)); /* and none was made to lock it */
  CHECK(!path_exists(path_join(empty.text, "LIVE").text));
}

static void remove_refuses_a_log_that_is_written(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_error_t error;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_ERROR(LOG_E_LOCKED, ANY_OS_ERROR, LOG_NO_OFFSET, log_remove(dir.text, &error));
  CHECK_STATUS(LOG_E_LOCKED, log_remove(dir.text, NULL));
  APPEND_NUMBERED(log, 100, 100);
  CHECK_NUMBERED(log, 0, 200);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_NUMBERED(log, 0, 200);
  CLOSE(log);
}

/* A log that was copied without its LIVE file is a log. */
static void remove_needs_no_live_file(void) {
  const check_path_t dir = fresh_path();
  CLOSE(OPEN(dir.text, NULL));
  NEED(unlink(path_join(dir.text, "LIVE").text) == 0);
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK(!path_exists(dir.text));
}

static const check_test_t tests[] = {
    TEST(remove_with_null),
    TEST(remove_deletes_the_log_and_its_directory),
    TEST(remove_of_an_empty_log_works),
    TEST(remove_by_a_link_or_a_dot_leaves_the_directory),
    TEST(remove_leaves_foreign_files),
    TEST(remove_of_what_is_no_log_is_not_found),
    TEST(remove_refuses_a_log_that_is_written),
    TEST(remove_needs_no_live_file),
};

test_group_t remove_tests(void) { return GROUP_OF(tests); }
