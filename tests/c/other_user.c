/*
 * Directories of another user: that cannot be made, read or written. Root may do all, so this runs three times:
 * `other_user DIRECTORY prepare` makes the logs and takes the rights away, `other_user DIRECTORY` tries them as a
 * user without rights, and `other_user DIRECTORY verify` sees, as the first again, that each log is whole.
 */
#define CHECK_MAIN
#include "logs.h"

#include <sys/wait.h>

/* Each log is at BASE/NAME/log, so that rights can be taken from the log and from what it lies in. */
static check_path_t log_in(const char *name) { return path_join(path_join(check_state.base, name).text, "log"); }

static void mode_of(const char *path, mode_t mode) { NEED(chmod(path, mode) == 0); }

static const char *const store_name = FIRST_SEGMENT ".store";

/* Those whose log must be whole in the end. */
static const char *const logs[] = {"unsearchable",   "unreadable_live", "unreadable_store", "unwritable_log",
                                   "unreadable_log", "read_only_log",   "left_log"};

/* By a process that ends without closing it: its records are in the ring only. */
static void leave_log(const char *dir, const log_config_t *config) {
  int status = 0;
  pid_t pid;
  fflush(stdout);
  pid = fork();
  NEED(pid >= 0);
  if (pid == 0) {
    log_t *log = OPEN(dir, config);
    APPEND_NUMBERED(log, 0, 10);
    _exit(check_state.failures != 0);
  }
  NEED(waitpid(pid, &status, 0) == pid && status == 0);
}

static void prepare(void) {
  const log_config_t config = quick_config(65536);
  size_t i;
  (void)umask(0);
  NEED(mkdir(path_join(check_state.base, "unwritable").text, 0555) == 0);
  for (i = 0; i < sizeof logs / sizeof logs[0]; i++) {
    const check_path_t dir = log_in(logs[i]);
    NEED(mkdir(path_join(check_state.base, logs[i]).text, 0755) == 0);
    if (strcmp(logs[i], "left_log") == 0) {
      leave_log(dir.text, &config);
    } else {
      log_t *log = OPEN(dir.text, &config);
      APPEND_NUMBERED(log, 0, 10);
      CLOSE(log);
    }
    mode_of(path_join(dir.text, "LIVE").text, 0666);
    mode_of(path_join(dir.text, store_name).text, 0666);
    mode_of(path_join(dir.text, FIRST_SEGMENT ".index").text, 0666);
  }
  mode_of(path_join(check_state.base, "unsearchable").text, 0000);
  mode_of(path_join(log_in("unreadable_live").text, "LIVE").text, 0000);
  mode_of(path_join(log_in("unreadable_store").text, store_name).text, 0000);
  mode_of(log_in("unwritable_log").text, 0555);
  for (i = 5; i < 7; i++) {
    const check_path_t dir = log_in(logs[i]);
    mode_of(path_join(dir.text, "LIVE").text, 0444);
    mode_of(path_join(dir.text, store_name).text, 0444);
    mode_of(path_join(dir.text, FIRST_SEGMENT ".index").text, 0444);
    mode_of(dir.text, 0555);
  }
  mode_of(log_in("unreadable_log").text, 0000);
}

static void verify(void) {
  const log_config_t config = quick_config(65536);
  size_t i;
  CHECK(rmdir(path_join(check_state.base, "unwritable").text) == 0); /* still empty */
  mode_of(path_join(check_state.base, "unsearchable").text, 0755);
  for (i = 0; i < sizeof logs / sizeof logs[0]; i++) {
    const check_path_t dir = log_in(logs[i]);
    log_t *log;
    mode_of(dir.text, 0755);
    mode_of(path_join(dir.text, "LIVE").text, 0600);
    mode_of(path_join(dir.text, store_name).text, 0600);
    mode_of(path_join(dir.text, FIRST_SEGMENT ".index").text, 0600);
    log = OPEN(dir.text, &config);
    CHECK_NUMBERED(log, 0, 10);
    CHECK(STAT(log).next_offset >= 10);
    CLOSE(log);
  }
}

static void denied(const char *dir, const char *file, int line) {
  log_error_t error;
  log_t *log = NULL;
  log_status_t status;
  mark_error(&error);
  status = log_open(dir, NULL, &log, &error);
  check_error(status, &error, LOG_E_IO, EACCES, LOG_NO_OFFSET, file, line, "log_open");
  check_that(log == NULL, file, line, "no handle");
  if (log != NULL) (void)log_close(log, NULL);
  check_status(LOG_E_IO, log_open(dir, NULL, &log, NULL), file, line, "log_open");
}

static void removal_denied(const char *dir, const char *file, int line) {
  log_error_t error;
  log_status_t status;
  mark_error(&error);
  status = log_remove(dir, &error);
  check_error(status, &error, LOG_E_IO, EACCES, LOG_NO_OFFSET, file, line, "log_remove");
}

#define DENIED(dir) denied((dir), __FILE__, __LINE__)
#define REMOVAL_DENIED(dir) removal_denied((dir), __FILE__, __LINE__)

static void this_user_has_no_rights(void) { CHECK(access(log_in("unsearchable").text, F_OK) != 0 && errno == EACCES); }

static void a_directory_that_cannot_be_made(void) { DENIED(path_join(check_state.base, "unwritable/log").text); }

static void an_empty_directory_that_cannot_be_written(void) {
  DENIED(path_join(check_state.base, "unwritable").text);
}

static void a_directory_that_cannot_be_reached(void) {
  DENIED(log_in("unsearchable").text);
  REMOVAL_DENIED(log_in("unsearchable").text);
}

static void a_log_whose_lock_cannot_be_opened(void) {
  DENIED(log_in("unreadable_live").text);
  REMOVAL_DENIED(log_in("unreadable_live").text);
}

static void a_log_whose_records_cannot_be_read(void) { DENIED(log_in("unreadable_store").text); }

static void a_log_that_cannot_be_listed(void) {
  DENIED(log_in("unreadable_log").text);
  REMOVAL_DENIED(log_in("unreadable_log").text);
}

/* Its files may be written, but none can be made or deleted: each call says so or works, and nothing is lost. */
static void a_log_whose_directory_cannot_be_written(void) {
  const log_config_t config = quick_config(4096);
  const check_path_t dir = log_in("unwritable_log");
  log_error_t error;
  log_t *log = NULL;
  log_status_t status;
  mark_error(&error);
  status = log_open(dir.text, &config, &log, &error);
  if (status == LOG_OK) CHECK_STATUS(LOG_OK, log_close(log, NULL));
  else check_error(status, &error, LOG_E_IO, EACCES, LOG_NO_OFFSET, __FILE__, __LINE__, "log_open");
  REMOVAL_DENIED(dir.text);
}

/* Read-only it is read all the same, whether it was closed or its writer was killed. */
static void reads(const char *name) {
  log_config_t config = quick_config(65536);
  const check_path_t dir = log_in(name);
  log_t *log;
  DENIED(dir.text);
  config.flags = LOG_READ_ONLY;
  log = OPEN(dir.text, &config);
  CHECK_NUMBERED(log, 0, 10);
  CHECK_EQ(10, STAT(log).next_offset);
  CHECK_STATUS(LOG_E_READ_ONLY, log_append(log, "x", 1, NULL, NULL));
  CLOSE(log);
}

static void a_log_of_read_only_files_is_read(void) { reads("read_only_log"); }

static void a_log_of_read_only_files_that_was_left_is_read(void) { reads("left_log"); }

static void a_log_that_cannot_be_read_is_not_read_read_only_either(void) {
  static const char *const names[] = {"unreadable_live", "unreadable_store", "unreadable_log", "unsearchable"};
  log_config_t config = default_config();
  size_t i;
  config.flags = LOG_READ_ONLY;
  for (i = 0; i < sizeof names / sizeof names[0]; i++) {
    log_error_t error;
    log_t *log = NULL;
    char data[300];
    log_status_t status;
    mark_error(&error);
    status = log_open(log_in(names[i]).text, &config, &log, &error);
    /* What the page tells needs no store. */
    if (status == LOG_OK) status = log_read(log, 0, data, sizeof data, NULL, &error);
    check_error(status, &error, LOG_E_IO, EACCES, ANY_OFFSET, __FILE__, __LINE__, names[i]);
    if (log != NULL) CLOSE(log);
  }
}

int main(int argc, char **argv) {
  static const check_test_t tests[] = {
      TEST(this_user_has_no_rights),
      TEST(a_directory_that_cannot_be_made),
      TEST(an_empty_directory_that_cannot_be_written),
      TEST(a_directory_that_cannot_be_reached),
      TEST(a_log_whose_lock_cannot_be_opened),
      TEST(a_log_whose_records_cannot_be_read),
      TEST(a_log_that_cannot_be_listed),
      TEST(a_log_whose_directory_cannot_be_written),
      TEST(a_log_of_read_only_files_is_read),
      TEST(a_log_of_read_only_files_that_was_left_is_read),
      TEST(a_log_that_cannot_be_read_is_not_read_read_only_either),
  };
  static const check_test_t preparation[] = {TEST(prepare)}, verification[] = {TEST(verify)};
  const char *part = check_arguments(argc, argv);
  if (part != NULL && strcmp(part, "prepare") == 0) return check_run(preparation, 1, part);
  if (part != NULL && strcmp(part, "verify") == 0) return check_run(verification, 1, part);
  return check_run(tests, sizeof tests / sizeof tests[0], part);
}
