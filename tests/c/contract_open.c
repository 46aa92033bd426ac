/*
 * The contract of log_open and log_close: what they make, who else may hold the log, and what a later open finds.
 */
#include "children.h"
#include "contract.h"

#include <dirent.h>
#include <signal.h>

static void open_makes_the_directory_and_an_empty_log(void) {
  const check_path_t dir = fresh_path();
  log_t *log = OPEN(dir.text, NULL);
  log_stat_t stat = STAT(log);
  CHECK_EQ(0, stat.first_offset);
  CHECK_EQ(0, stat.next_offset);
  CHECK(path_exists(path_join(dir.text, "LIVE").text));
  CHECK(path_exists(path_join(dir.text, FIRST_SEGMENT ".store").text));
  CLOSE(log);
}

static void open_takes_an_empty_directory_and_leaves_foreign_files(void) {
  const check_path_t dir = fresh_dir();
  const char *const names[] = {"notes.txt", "LIVE.bak", "0.store", "00000000000000000000-0000000g.store", "x.tmp"};
  size_t i, size;
  CHECK(mkdir(path_join(dir.text, "folder").text, 0777) == 0);
  for (i = 0; i < sizeof names / sizeof names[0]; i++) write_file(path_join(dir.text, names[i]).text, names[i], 5);
  CLOSE(OPEN(dir.text, NULL));
  CLOSE(OPEN(dir.text, NULL));
  CHECK(path_exists(path_join(dir.text, "folder").text));
  for (i = 0; i < sizeof names / sizeof names[0]; i++) {
    unsigned char *data = file_bytes(path_join(dir.text, names[i]).text, &size);
    CHECK(size == 5 && memcmp(data, names[i], 5) == 0);
    free(data);
  }
}

/* The owner's alone, whatever the umask allows: records may be secret. */
static void what_open_makes_is_its_owners_alone(void) {
  static const char *const files[] = {"LIVE", FIRST_SEGMENT ".store", FIRST_SEGMENT ".index"};
  const check_path_t dir = fresh_path();
  const mode_t mask = umask(0);
  struct stat status;
  size_t i;
  CLOSE(OPEN(dir.text, NULL));
  (void)umask(mask);
  NEED(stat(dir.text, &status) == 0);
  CHECK_EQ(0700, status.st_mode & 07777);
  for (i = 0; i < sizeof files / sizeof files[0]; i++) {
    NEED(stat(path_join(dir.text, files[i]).text, &status) == 0);
    CHECK_EQ(0600, status.st_mode & 07777);
  }
}

/* And the umask may take more away. */
static void what_open_makes_heeds_the_umask(void) {
  const check_path_t dir = fresh_path();
  const mode_t mask = umask(0277);
  struct stat status;
  log_t *log = NULL;
  (void)log_open(dir.text, NULL, &log, NULL); /* a user who is not root cannot go on in such a directory */
  (void)umask(mask);
  NEED(stat(dir.text, &status) == 0);
  CHECK_EQ(0500, status.st_mode & 07777);
  if (log != NULL) CLOSE(log);
  NEED(chmod(dir.text, 0700) == 0);
}

static void open_makes_one_level_only(void) {
  const check_path_t parent = fresh_path(), dir = path_join(parent.text, "log");
  log_error_t error;
  log_t *log = NULL;
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOENT, LOG_NO_OFFSET, log_open(dir.text, NULL, &log, &error));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_open(dir.text, NULL, &log, NULL));
  CHECK(log == NULL);
  CHECK(!path_exists(parent.text));
}

static void open_with_null(void) {
  const check_path_t dir = fresh_path();
  log_error_t error;
  log_t *log = NULL;
  CHECK_ARGUMENT("dir", log_open(NULL, NULL, &log, &error));
  CHECK_ARGUMENT("directory", log_open("", NULL, &log, &error));
  CHECK_ARGUMENT("out_log", log_open(dir.text, NULL, NULL, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_open(NULL, NULL, &log, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_open("", NULL, &log, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_open(dir.text, NULL, NULL, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_open(NULL, NULL, NULL, NULL));
  CHECK(log == NULL);
  CHECK(!path_exists(dir.text));
  CHECK_STATUS(LOG_OK, log_open(dir.text, NULL, &log, NULL));
  CHECK_STATUS(LOG_OK, log_close(log, NULL));
}

static void a_failed_open_leaves_out_log(void) {
  const check_path_t dir = path_join(fresh_path().text, "log");
  char elsewhere = 0;
  log_t *const marked = (log_t *)(void *)&elsewhere;
  log_t *log = marked;
  CHECK_STATUS(LOG_E_NOT_FOUND, log_open(dir.text, NULL, &log, NULL));
  CHECK(log == marked);
}

static void close_of_null_is_fine(void) {
  log_error_t error;
  mark_error(&error);
  CHECK_STATUS(LOG_OK, log_close(NULL, NULL));
  CHECK_STATUS(LOG_OK, log_close(NULL, &error));
  CHECK(error_is_marked(&error));
}

static void a_second_handle_is_locked_out(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  log_t *log = OPEN(dir.text, &config), *second = NULL;
  CHECK_ERROR(LOG_E_LOCKED, ANY_OS_ERROR, LOG_NO_OFFSET, log_open(dir.text, &config, &second, &error));
  CHECK_STATUS(LOG_E_LOCKED, log_open(dir.text, NULL, &second, NULL));
  CHECK(second == NULL);
  APPEND_NUMBERED(log, 0, 10); /* the first is not disturbed */
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_NUMBERED(log, 0, 10);
  CLOSE(log);
}

static void another_process_is_locked_out(void) {
  const check_path_t dir = fresh_path();
  log_t *log = OPEN(dir.text, NULL);
  child_t child = child_start("try", dir.text);
  char line[80];
  child_line(&child, line, sizeof line);
  CHECK(strcmp("LOG_E_LOCKED", line) == 0);
  (void)child_wait(&child);
  CLOSE(log);
  child = child_start("try", dir.text);
  child_line(&child, line, sizeof line);
  CHECK(strcmp("LOG_OK", line) == 0);
  CHECK_EQ(0, child_wait(&child));
}

/* How many of a process's handles lead into the directory. */
static unsigned handles_into(pid_t pid, const char *dir) {
  char folder[64], target[PATH_MAX + 1];
  const struct dirent *entry;
  unsigned count = 0;
  ssize_t length;
  DIR *handles;
  NEED(snprintf(folder, sizeof folder, "/proc/%ld/fd", (long)pid) > 0);
  handles = opendir(folder);
  NEED(handles != NULL);
  while ((entry = readdir(handles)) != NULL) {
    length = readlink(path_join(folder, entry->d_name).text, target, sizeof target - 1);
    if (length < 0) continue;
    target[length] = '\0';
    if (strncmp(target, dir, strlen(dir)) == 0) count++;
  }
  closedir(handles);
  return count;
}

/* What the host starts while a log is open keeps neither its lock nor its files. */
static void an_executed_child_inherits_nothing(void) {
  const check_path_t dir = fresh_path(), other = fresh_path();
  log_t *log = OPEN(dir.text, NULL);
  child_t child = child_start("hold", other.text);
  char line[80];
  child_line(&child, line, sizeof line);
  CHECK(strcmp("LOG_OK", line) == 0);
  CHECK(handles_into(getpid(), dir.text) > 0);
  CHECK_EQ(0, handles_into(child.pid, dir.text));
  CLOSE(log);
  CHECK_EQ(0, handles_into(getpid(), dir.text));
  log = OPEN(dir.text, NULL); /* it would be LOG_E_LOCKED */
  CHECK_EQ(0, APPEND_TEXT(log, "mine"));
  child_kill(&child);
  CLOSE(log);
}

/*
 * A child by fork alone shares memory and handles with the holder; its own open is another one all the same. (It says
 * so on a pipe: under valgrind its exit status is about what it did not free.)
 */
static void a_forked_child_is_locked_out(void) {
  const check_path_t dir = fresh_path();
  log_t *log = OPEN(dir.text, NULL);
  log_status_t said = -1;
  int ends[2];
  pid_t pid;
  NEED(pipe(ends) == 0);
  fflush(stdout);
  pid = fork();
  NEED(pid >= 0);
  if (pid == 0) {
    log_t *second = NULL;
    said = log_open(dir.text, NULL, &second, NULL);
    _exit(write(ends[1], &said, sizeof said) == (ssize_t)sizeof said ? 0 : 1);
  }
  NEED(waitpid(pid, NULL, 0) == pid);
  CHECK(read(ends[0], &said, sizeof said) == (ssize_t)sizeof said);
  CHECK_STATUS(LOG_E_LOCKED, said);
  NEED(close(ends[0]) == 0 && close(ends[1]) == 0);
  CHECK_EQ(0, APPEND_TEXT(log, "after the fork"));
  CLOSE(log);
}

/* The first process has the log; the second is told; the first is killed; the second has the log and its records. */
static void a_killed_process_leaves_its_records_and_no_lock(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  child_t child = child_start("hold", dir.text);
  log_stat_t stat;
  log_t *log = NULL;
  char line[80];
  child_line(&child, line, sizeof line);
  CHECK(strcmp("LOG_OK", line) == 0);
  CHECK_STATUS(LOG_E_LOCKED, log_open(dir.text, &config, &log, NULL));
  CHECK_STATUS(LOG_E_LOCKED, log_remove(dir.text, NULL));
  child_kill(&child);
  log = OPEN(dir.text, &config);
  stat = STAT(log);
  CHECK_EQ(10, stat.next_offset);
  CHECK_EQ(10, stat.recovered_records);
  CHECK_EQ(0, stat.dropped_bytes);
  CHECK_NUMBERED(log, 0, 10);
  APPEND_NUMBERED(log, 10, 10);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(0, STAT(log).recovered_records);
  CHECK_NUMBERED(log, 0, 20);
  CLOSE(log);
}

static void a_process_that_ends_without_closing_loses_nothing(void) {
  const check_path_t dir = fresh_path();
  child_t child = child_start("leave", dir.text);
  log_t *log;
  char line[80];
  child_line(&child, line, sizeof line);
  CHECK(strcmp("LOG_OK", line) == 0);
  CHECK_EQ(0, child_wait(&child));
  log = OPEN(dir.text, NULL);
  CHECK_EQ(10, STAT(log).next_offset);
  CHECK_NUMBERED(log, 0, 10);
  CLOSE(log);
}

static void reopen_finds_the_same_offsets_and_records(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(8192);
  uint64_t count = 0;
  int round;
  for (round = 0; round < 5; round++) {
    log_t *log = OPEN(dir.text, &config);
    log_stat_t stat = STAT(log);
    CHECK_EQ(0, stat.first_offset);
    CHECK_EQ(count, stat.next_offset);
    CHECK_EQ(count, stat.durable_offset);
    CHECK_EQ(0, stat.recovered_records);
    CHECK_EQ(0, stat.dropped_bytes);
    CHECK_NUMBERED(log, 0, count);
    APPEND_NUMBERED(log, count, 70);
    count += 70;
    CLOSE(log);
  }
}

/* The LIVE file holds nothing that a closed log needs. */
static void a_closed_log_needs_no_live_file(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(8192);
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CLOSE(log);
  CHECK(unlink(path_join(dir.text, "LIVE").text) == 0);
  log = OPEN(dir.text, &config);
  CHECK_EQ(100, STAT(log).next_offset);
  CHECK_NUMBERED(log, 0, 100);
  CLOSE(log);
}

/* Both orders: what the cursor shows stays, and it reads on to where the log ended. */
static void cursor_closes_before_the_log(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 10);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  log_cursor_close(cursor);
  CHECK_NUMBERED(log, 0, 10);
  CLOSE(log);
}

static void cursor_closes_after_the_log(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL;
  log_record_t record, last;
  log_error_t error;
  log_t *log = OPEN(dir.text, &config), *second;
  uint64_t number;

  APPEND_NUMBERED(log, 0, 200); /* some segments, and a part in the ring */
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CLOSE(log);
  CHECK(record.offset == 0 && is_record(record.payload.data, record.payload.len, 0));

  /* Another handle may write meanwhile: this cursor's log has ended. */
  second = OPEN(dir.text, &config);
  APPEND_NUMBERED(second, 200, 50);
  for (number = 1; number < 200; number++) {
    if (!CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL))) break;
    if (!CHECK(view_is(&record, number, record.payload.data, length_of(number)))) break;
    if (!CHECK(is_record(record.payload.data, record.payload.len, number))) break;
  }
  last = record;
  CHECK_ERROR(LOG_END, 0, ANY_OFFSET, log_cursor_next(cursor, &record, &error));
  CHECK_EQ(199, last.offset);
  CLOSE(second);
  log_cursor_close(cursor);
}

static void a_cursor_that_stays_holds_no_lock(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_cursor_t *cursor = NULL;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 10);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 10, 10);
  CLOSE(log);
  log_cursor_close(cursor);
}

static void two_logs_live_side_by_side(void) {
  const check_path_t first = fresh_path(), second = fresh_path();
  const log_config_t config = quick_config(4096);
  log_t *one = OPEN(first.text, &config), *two = OPEN(second.text, &config);
  APPEND_NUMBERED(one, 0, 50);
  APPEND_NUMBERED(two, 0, 20);
  APPEND_NUMBERED(one, 50, 50);
  CHECK_NUMBERED(two, 0, 20);
  CHECK_EQ(20, STAT(two).next_offset);
  CLOSE(two);
  CHECK_NUMBERED(one, 0, 100);
  CLOSE(one);
}

/* The log is where it was opened, wherever the host goes afterwards. */
static void a_relative_path_holds_when_the_host_moves_on(void) {
  const check_path_t parent = fresh_dir(), elsewhere = fresh_dir();
  const log_config_t config = quick_config(4096);
  char before[PATH_MAX];
  log_t *log;
  NEED(getcwd(before, sizeof before) != NULL && chdir(parent.text) == 0);
  log = OPEN("log", &config);
  NEED(chdir(elsewhere.text) == 0);
  APPEND_NUMBERED(log, 0, 300);
  CHECK(STAT(log).segment_count > 5);
  CHECK_NUMBERED(log, 0, 300);
  CLOSE(log);
  CHECK(!path_exists("log"));
  NEED(chdir(parent.text) == 0);
  log = OPEN("./log/", &config);
  CHECK_NUMBERED(log, 0, 300);
  CLOSE(log);
  CHECK_STATUS(LOG_OK, log_remove("log", NULL));
  CHECK(!path_exists("log"));
  NEED(chdir(before) == 0);
}

static const check_test_t tests[] = {
    TEST(open_makes_the_directory_and_an_empty_log),
    TEST(open_takes_an_empty_directory_and_leaves_foreign_files),
    TEST(what_open_makes_is_its_owners_alone),
    TEST(what_open_makes_heeds_the_umask),
    TEST(open_makes_one_level_only),
    TEST(open_with_null),
    TEST(a_failed_open_leaves_out_log),
    TEST(close_of_null_is_fine),
    TEST(a_second_handle_is_locked_out),
    TEST(another_process_is_locked_out),
    TEST(an_executed_child_inherits_nothing),
    TEST(a_forked_child_is_locked_out),
    TEST(a_killed_process_leaves_its_records_and_no_lock),
    TEST(a_process_that_ends_without_closing_loses_nothing),
    TEST(reopen_finds_the_same_offsets_and_records),
    TEST(a_closed_log_needs_no_live_file),
    TEST(cursor_closes_before_the_log),
    TEST(cursor_closes_after_the_log),
    TEST(a_cursor_that_stays_holds_no_lock),
    TEST(two_logs_live_side_by_side),
    TEST(a_relative_path_holds_when_the_host_moves_on),
};

test_group_t open_tests(void) { return GROUP_OF(tests); }
