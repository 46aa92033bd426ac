/*
 * The contract of statuses, of log_error_t and of the version; and what a failing system call and a failed write do.
 */
#include "children.h"
#include "contract.h"

#include <dirent.h>
#include <locale.h>
#include <sys/resource.h>

typedef struct {
  log_status_t status;
  log_status_t number;
  const char *name;
} status_row_t;

#define STATUS(name, number)                                                                                           \
  { name, number, #name }

static const status_row_t statuses[] = {
    STATUS(LOG_OK, 0),           STATUS(LOG_END, 1),          STATUS(LOG_TIMEOUT, 2),     STATUS(LOG_STOPPED, 3),
    STATUS(LOG_E_ARGUMENT, 10),  STATUS(LOG_E_TOO_LARGE, 11), STATUS(LOG_E_BUFFER, 12),   STATUS(LOG_E_TRIMMED, 13),
    STATUS(LOG_E_BEYOND, 14),    STATUS(LOG_E_READ_ONLY, 15), STATUS(LOG_E_CONFLICT, 16), STATUS(LOG_E_NOT_FOUND, 20),
    STATUS(LOG_E_LOCKED, 21),    STATUS(LOG_E_EXISTS, 22),    STATUS(LOG_E_IO, 30),       STATUS(LOG_E_NO_SPACE, 31),
    STATUS(LOG_E_MEMORY, 32),    STATUS(LOG_E_CORRUPT, 40),   STATUS(LOG_E_FORMAT, 41),   STATUS(LOG_E_LOST, 42),
    STATUS(LOG_E_POISONED, 50),  STATUS(LOG_E_FORKED, 51),    STATUS(LOG_E_BUG, 90),
};

static void version_is_that_of_the_header(void) {
  CHECK_EQ(LOG_VERSION, log_version());
  CHECK_EQ((LOG_VERSION_MAJOR << 16) | (LOG_VERSION_MINOR << 8) | LOG_VERSION_PATCH, log_version());
}

static void constants_have_their_numbers(void) {
  CHECK_EQ(1, LOG_READ_ONLY);
  CHECK_EQ(2, LOG_NO_CREATE);
  CHECK_EQ(4, LOG_NO_THREAD);
  CHECK_EQ(8, LOG_NO_VERIFY);
  CHECK_EQ(16, LOG_KEEP_UNCONSUMED);
  CHECK_EQ(0, LOG_SYNC_ALWAYS);
  CHECK_EQ(1, LOG_SYNC_INTERVAL);
  CHECK_EQ(2, LOG_SYNC_NEVER);
  CHECK_EQ(0, LOG_IO_AUTO);
  CHECK_EQ(1, LOG_IO_MAPPED);
  CHECK_EQ(2, LOG_IO_FILE);
  CHECK_EQ(UINT64_MAX, LOG_NO_OFFSET);
}

/* The layout is the ABI: a program compiled against 0.1 relies on each of these places. */
static void structs_have_their_layout(void) {
  if (sizeof(void *) != 8) return;
  CHECK_EQ(4, sizeof(log_status_t));
  CHECK_EQ(16, sizeof(log_bytes_t));
  CHECK_EQ(8, offsetof(log_bytes_t, len));
  CHECK_EQ(32, sizeof(log_record_t));
  CHECK_EQ(8, offsetof(log_record_t, timestamp_ns));
  CHECK_EQ(16, offsetof(log_record_t, payload));
  CHECK_EQ(256, sizeof(log_error_t));
  CHECK_EQ(4, offsetof(log_error_t, os_error));
  CHECK_EQ(8, offsetof(log_error_t, offset));
  CHECK_EQ(16, offsetof(log_error_t, message));
  CHECK_EQ(72, sizeof(log_config_t));
  CHECK_EQ(4, offsetof(log_config_t, flags));
  CHECK_EQ(8, offsetof(log_config_t, segment_max_bytes));
  CHECK_EQ(16, offsetof(log_config_t, index_max_bytes));
  CHECK_EQ(24, offsetof(log_config_t, initial_offset));
  CHECK_EQ(32, offsetof(log_config_t, record_max_bytes));
  CHECK_EQ(40, offsetof(log_config_t, sync));
  CHECK_EQ(44, offsetof(log_config_t, sync_interval_ms));
  CHECK_EQ(48, offsetof(log_config_t, retain_bytes));
  CHECK_EQ(56, offsetof(log_config_t, retain_ms));
  CHECK_EQ(64, offsetof(log_config_t, io));
  CHECK_EQ(68, offsetof(log_config_t, reserved));
  CHECK_EQ(112, sizeof(log_stat_t));
  CHECK_EQ(4, offsetof(log_stat_t, segment_count));
  CHECK_EQ(8, offsetof(log_stat_t, first_offset));
  CHECK_EQ(16, offsetof(log_stat_t, next_offset));
  CHECK_EQ(24, offsetof(log_stat_t, durable_offset));
  CHECK_EQ(32, offsetof(log_stat_t, disk_bytes));
  CHECK_EQ(40, offsetof(log_stat_t, payload_bytes));
  CHECK_EQ(48, offsetof(log_stat_t, recovered_records));
  CHECK_EQ(56, offsetof(log_stat_t, dropped_bytes));
  CHECK_EQ(64, offsetof(log_stat_t, appends));
  CHECK_EQ(72, offsetof(log_stat_t, syncs));
  CHECK_EQ(80, offsetof(log_stat_t, syncs_shared));
  CHECK_EQ(88, offsetof(log_stat_t, io));
  CHECK_EQ(92, offsetof(log_stat_t, writer_pid));
  CHECK_EQ(96, offsetof(log_stat_t, log_id));
}

static void every_status_has_its_number_and_name(void) {
  size_t i;
  for (i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
    CHECK_EQ(statuses[i].number, statuses[i].status);
    CHECK(strcmp(statuses[i].name, log_status_name(statuses[i].status)) == 0);
  }
}

static void every_status_has_a_text_of_its_own(void) {
  size_t i, other;
  for (i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
    const char *text = log_status_text(statuses[i].status);
    REQUIRE(text != NULL);
    CHECK(text[0] != '\0');
    for (other = 0; other < i; other++) CHECK(strcmp(text, log_status_text(statuses[other].status)) != 0);
  }
}

static void an_unknown_status_has_a_name_too(void) {
  static const log_status_t unknown[] = {-1, 4, 9, 17, 99, 1000, INT32_MIN, INT32_MAX};
  size_t i;
  for (i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
    CHECK(strcmp(log_status_name(unknown[i]), "LOG_STATUS_UNKNOWN") == 0);
    REQUIRE(log_status_text(unknown[i]) != NULL);
    CHECK(log_status_text(unknown[i])[0] != '\0');
  }
}

static void success_leaves_the_error_as_it_is(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_bytes_t batch = text_of("b");
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_stat_t stat;
  log_error_t error;
  log_t *log = NULL;
  char buffer[8];
  size_t count;

  stat.struct_size = (uint32_t)sizeof stat;
  mark_error(&error);
  CHECK_STATUS(LOG_OK, log_open(dir.text, &config, &log, &error));
  CHECK_STATUS(LOG_OK, log_append(log, "a", 1, NULL, &error));
  CHECK_STATUS(LOG_OK, log_append_batch(log, &batch, 1, NULL, &error));
  CHECK_STATUS(LOG_OK, log_sync(log, &error));
  CHECK_STATUS(LOG_OK, log_read(log, 0, buffer, sizeof buffer, NULL, &error));
  CHECK_STATUS(LOG_OK, log_stat(log, &stat, &error));
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, &error));
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, &error));
  CHECK_STATUS(LOG_OK, log_cursor_next_batch(cursor, &record, 1, &count, &error));
  log_cursor_close(cursor);
  CHECK_STATUS(LOG_OK, log_close(log, &error));
  CHECK_STATUS(LOG_OK, log_remove(dir.text, &error));
  CHECK(error_is_marked(&error));
}

/* However long the names in it are. */
static void a_message_ends_within_its_array(void) {
  check_path_t dir = fresh_dir();
  char part[201];
  log_error_t error;
  log_t *log, *second = NULL;
  int depth;

  memset(part, 'p', sizeof part - 1);
  part[sizeof part - 1] = '\0';
  for (depth = 0; depth < 4; depth++) {
    dir = path_join(dir.text, part);
    NEED(mkdir(dir.text, 0777) == 0);
  }
  log = OPEN(dir.text, NULL);
  CHECK_ERROR(LOG_E_LOCKED, ANY_OS_ERROR, LOG_NO_OFFSET, log_open(dir.text, NULL, &second, &error));
  CHECK(strlen(error.message) > 100);
  CHECK(second == NULL);
  CLOSE(log);
}

static void a_message_names_the_directory(void) {
  const check_path_t dir = path_join(fresh_path().text, "none");
  log_error_t error;
  log_t *log = NULL;
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOENT, LOG_NO_OFFSET, log_open(dir.text, NULL, &log, &error));
  if (strlen(dir.text) < 160) CHECK(strstr(error.message, dir.text) != NULL);
}

/* EMFILE: no more file handles for this process. */
static void no_file_handle_left_is_memory(void) {
  const check_path_t dir = fresh_dir(), made = fresh_path();
  struct rlimit before, none;
  log_error_t error;
  log_status_t opened, removed;
  log_t *log = NULL;

  CLOSE(OPEN(made.text, NULL));
  NEED(getrlimit(RLIMIT_NOFILE, &before) == 0);
  none = before;
  none.rlim_cur = 0;
  NEED(setrlimit(RLIMIT_NOFILE, &none) == 0);
  mark_error(&error);
  opened = log_open(dir.text, NULL, &log, &error);
  removed = log_remove(made.text, NULL);
  NEED(setrlimit(RLIMIT_NOFILE, &before) == 0);

  check_error(opened, &error, LOG_E_MEMORY, EMFILE, LOG_NO_OFFSET, __FILE__, __LINE__, "log_open");
  CHECK(log == NULL);
  CHECK_STATUS(LOG_E_MEMORY, removed);
  CLOSE(OPEN(dir.text, NULL));
  CLOSE(OPEN(made.text, NULL));
}

/* One write of the record that stands for all, alone or as a batch; the calls are numbered from 0. */
typedef log_status_t (*write_fn)(log_t *log, uint64_t number, const void *data, size_t len, uint64_t *out_offset,
                                 log_error_t *error);

/*
 * A write that the system refuses (here: beyond the process's limit of file sizes, EFBIG) poisons the handle: no
 * more writes, reads go on, and the next open finds all that was acknowledged.
 */
static void a_failed_write_poisons(const log_config_t *config, write_fn write_one, size_t len) {
  const check_path_t dir = fresh_path();
  const int durable = config->sync == LOG_SYNC_ALWAYS;
  struct rlimit before, small;
  log_cursor_t *cursor = NULL;
  log_bytes_t batch = text_of("x");
  log_record_t record;
  log_status_t status = LOG_OK, after, after_batch, after_sync, read, moved;
  log_error_t error, again;
  uint64_t acknowledged = 0, offset, published, again_next;
  unsigned char data[1000], buffer[1000];
  void (*old_handler)(int);
  log_t *log;

  fill_record(data, len, 7);
  log = OPEN(dir.text, config);
  REQUIRE(log != NULL);
  old_handler = signal(SIGXFSZ, SIG_IGN);
  NEED(getrlimit(RLIMIT_FSIZE, &before) == 0);
  small = before;
  small.rlim_cur = STORE_HEADER_BYTES + 4096;
  NEED(setrlimit(RLIMIT_FSIZE, &small) == 0);
  offset = UNTOUCHED_U64;
  mark_error(&error);
  while (acknowledged < 10000) {
    offset = UNTOUCHED_U64;
    status = write_one(log, acknowledged, data, len, &offset, &error);
    if (status != LOG_OK) break;
    acknowledged++;
  }
  mark_error(&again);
  after = log_append(log, "x", 1, NULL, &again);
  after_batch = log_append_batch(log, &batch, 1, NULL, NULL);
  after_sync = log_sync(log, NULL);
  read = log_read(log, 0, buffer, sizeof buffer, NULL, NULL);
  moved = log_cursor_open(log, 0, &cursor, NULL);
  if (moved == LOG_OK) moved = log_cursor_next(cursor, &record, NULL);
  NEED(setrlimit(RLIMIT_FSIZE, &before) == 0);
  (void)signal(SIGXFSZ, old_handler);

  /* Without a ring, no more than fits below the limit. */
  CHECK(acknowledged > (config->io == LOG_IO_FILE ? 3 : 10));
  /* The log's own thread may have met it first: then this append was refused. */
  check_error(status, &error, status == LOG_E_POISONED ? LOG_E_POISONED : LOG_E_IO, EFBIG, ANY_OFFSET, __FILE__,
              __LINE__, "the write that fails");
  /* It was published, or it was not: then nothing was written here. */
  CHECK(offset == acknowledged || offset == UNTOUCHED_U64);
  published = STAT(log).next_offset;
  CHECK_EQ(offset == acknowledged ? acknowledged + 1 : acknowledged, published);
  check_error(after, &again, LOG_E_POISONED, ANY_OS_ERROR, ANY_OFFSET, __FILE__, __LINE__, "log_append");
  CHECK_STATUS(LOG_E_POISONED, after_batch);
  /* Where all that was published is durable, there is nothing to sync. */
  CHECK_STATUS(STAT(log).durable_offset == published ? LOG_OK : LOG_E_POISONED, after_sync);
  CHECK_STATUS(LOG_OK, read);
  CHECK_STATUS(LOG_OK, moved);
  CHECK(STAT(log).durable_offset <= published);
  if (durable) CHECK(STAT(log).durable_offset >= acknowledged);
  log_cursor_close(cursor);
  CHECK_ERROR(LOG_E_POISONED, ANY_OS_ERROR, ANY_OFFSET, log_close(log, &error));

  log = OPEN(dir.text, config);
  again_next = STAT(log).next_offset;
  CHECK(again_next >= acknowledged && again_next <= published);
  for (offset = 0; offset < acknowledged; offset++)
    if (!CHECK_READ(log, offset, data, len)) break;
  CHECK_EQ(again_next, APPEND_TEXT(log, "after"));
  CLOSE(log);
}

static log_status_t append_one(log_t *log, uint64_t number, const void *data, size_t len, uint64_t *out_offset,
                               log_error_t *error) {
  (void)number;
  return log_append(log, data, len, out_offset, error);
}

static log_status_t append_batch_of_one(log_t *log, uint64_t number, const void *data, size_t len,
                                        uint64_t *out_offset, log_error_t *error) {
  log_bytes_t batch = bytes_of(data, len);
  (void)number;
  return log_append_batch(log, &batch, 1, out_offset, error);
}

/*
 * The 21st is one that does not go through the ring. It is zeros, as the space that is allocated for it: what could not
 * be written looks as if it had been, and still the record must not be there when the log is opened again.
 */
static log_status_t append_a_large_one_in_the_end(log_t *log, uint64_t number, const void *data, size_t len,
                                                  uint64_t *out_offset, log_error_t *error) {
  static const unsigned char large[RING_BYTES / 2] = {0};
  return number < 20 ? log_append(log, data, len, out_offset, error)
                     : log_append(log, large, sizeof large, out_offset, error);
}

static void a_failed_append_poisons(void) {
  log_config_t config = default_config();
  config.segment_max_bytes = 1 << 20;
  a_failed_write_poisons(&config, append_one, 40);
}

static void a_failed_batch_poisons(void) {
  log_config_t config = default_config();
  config.segment_max_bytes = 1 << 20;
  a_failed_write_poisons(&config, append_batch_of_one, 40);
}

/* Unsynced, it fails when the ring is to be written out. */
static void a_failed_unsynced_append_poisons(void) {
  const log_config_t config = quick_config(1 << 21);
  a_failed_write_poisons(&config, append_one, 1000);
}

static void a_failed_large_append_poisons(void) {
  const log_config_t config = quick_config(1 << 21);
  a_failed_write_poisons(&config, append_a_large_one_in_the_end, 40);
}

/* The same for what only log_sync writes out: what is in the ring. */
static void a_failed_sync_poisons(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(1 << 20);
  struct rlimit before, small;
  log_status_t status, after, after_append;
  log_error_t error, again;
  void (*old_handler)(int);
  log_t *log;

  config.io = LOG_IO_MAPPED;
  log = OPEN(dir.text, &config);

  REQUIRE(log != NULL);
  APPEND_NUMBERED(log, 0, 200);
  old_handler = signal(SIGXFSZ, SIG_IGN);
  NEED(getrlimit(RLIMIT_FSIZE, &before) == 0);
  small = before;
  small.rlim_cur = STORE_HEADER_BYTES + 4096;
  NEED(setrlimit(RLIMIT_FSIZE, &small) == 0);
  mark_error(&error);
  status = log_sync(log, &error);
  mark_error(&again);
  after = log_sync(log, &again);
  after_append = log_append(log, "x", 1, NULL, NULL);
  NEED(setrlimit(RLIMIT_FSIZE, &before) == 0);
  (void)signal(SIGXFSZ, old_handler);

  check_error(status, &error, LOG_E_IO, EFBIG, ANY_OFFSET, __FILE__, __LINE__, "log_sync");
  check_error(after, &again, LOG_E_POISONED, ANY_OS_ERROR, ANY_OFFSET, __FILE__, __LINE__, "log_sync, again");
  CHECK_STATUS(LOG_E_POISONED, after_append);
  CHECK_NUMBERED(log, 0, 200);
  CHECK_ERROR(LOG_E_POISONED, ANY_OS_ERROR, ANY_OFFSET, log_close(log, &error));
}

/* log_close frees the handle all the same, and what a killed process would leave is there: the records. */
static void a_failed_close_says_so(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(1 << 20);
  struct rlimit before, small;
  log_status_t status;
  log_error_t error;
  void (*old_handler)(int);
  log_t *log;

  config.io = LOG_IO_MAPPED;
  log = OPEN(dir.text, &config);

  REQUIRE(log != NULL);
  APPEND_NUMBERED(log, 0, 200);
  old_handler = signal(SIGXFSZ, SIG_IGN);
  NEED(getrlimit(RLIMIT_FSIZE, &before) == 0);
  small = before;
  small.rlim_cur = STORE_HEADER_BYTES + 4096;
  NEED(setrlimit(RLIMIT_FSIZE, &small) == 0);
  mark_error(&error);
  status = log_close(log, &error);
  NEED(setrlimit(RLIMIT_FSIZE, &before) == 0);
  (void)signal(SIGXFSZ, old_handler);

  check_error(status, &error, LOG_E_IO, EFBIG, ANY_OFFSET, __FILE__, __LINE__, "log_close");
  log = OPEN(dir.text, &config);
  CHECK_EQ(200, STAT(log).next_offset);
  CHECK_NUMBERED(log, 0, 200);
  CLOSE(log);
}

/* File handles, threads and mappings of this process: none stays behind a log that is closed or did not open. */
static void nothing_stays_open(void) {
  const check_path_t dir = fresh_path(), none = path_join(fresh_path().text, "none");
  const log_config_t config = quick_config(4096);
  log_config_t bad = config;
  unsigned handles, threads;
  log_cursor_t *cursor = NULL;
  log_record_t record;
  log_t *log, *second = NULL;
  int round;

  bad.reserved = 1;
  CLOSE(OPEN(dir.text, &config)); /* what the first use keeps for good is no leak */
  handles = entries_of("/proc/self/fd");
  threads = threads_settled(1);
  for (round = 0; round < 3; round++) {
    log = OPEN(dir.text, &config);
    APPEND_NUMBERED(log, STAT(log).next_offset, 100);
    CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
    while (log_cursor_next(cursor, &record, NULL) == LOG_OK) continue;
    CHECK_STATUS(LOG_E_LOCKED, log_open(dir.text, &config, &second, NULL));
    CHECK_STATUS(LOG_E_NOT_FOUND, log_open(none.text, &config, &second, NULL));
    CHECK_STATUS(LOG_E_ARGUMENT, log_open(dir.text, &bad, &second, NULL));
    CHECK_STATUS(LOG_E_LOCKED, log_remove(dir.text, NULL));
    if (round == 1) CLOSE(log);
    log_cursor_close(cursor);
    if (round != 1) CLOSE(log);
  }
  CHECK_EQ(handles, entries_of("/proc/self/fd"));
  CHECK_EQ(threads, threads_settled(threads));
}

/* Rule 8: nothing of the process is changed, and its threads' signals are its own. */
static void the_process_stays_as_it_was(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  char before[PATH_MAX], after[PATH_MAX];
  void (*handlers[32])(int);
  mode_t mask;
  sigset_t blocked_before, blocked;
  struct sigaction action;
  log_t *log;
  int number;

  for (number = 1; number < 32; number++) {
    NEED(sigaction(number, NULL, &action) == 0);
    handlers[number] = action.sa_handler;
  }
  NEED(sigprocmask(SIG_SETMASK, NULL, &blocked_before) == 0);
  NEED(setlocale(LC_ALL, "C") != NULL);
  mask = umask(0);
  (void)umask(mask);
  NEED(getcwd(before, sizeof before) != NULL);

  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_STATUS(LOG_OK, log_sync(log, NULL));

  CHECK_EQ(mask, umask(mask));
  NEED(getcwd(after, sizeof after) != NULL);
  CHECK(strcmp(before, after) == 0);
  CHECK(strcmp("C", setlocale(LC_ALL, NULL)) == 0);
  NEED(sigprocmask(SIG_SETMASK, NULL, &blocked) == 0);
  for (number = 1; number < 32; number++) {
    CHECK_EQ(sigismember(&blocked_before, number), sigismember(&blocked, number));
    NEED(sigaction(number, NULL, &action) == 0);
    CHECK(action.sa_handler == handlers[number]);
  }
  CLOSE(log);
}

/* A signal of the host is delivered to a thread of the host: the library's own blocks all that can be blocked. */
static void the_librarys_thread_takes_no_signal(void) {
  const check_path_t dir = fresh_path();
  const unsigned before = threads_settled(1);
  log_t *log = OPEN(dir.text, NULL);
  DIR *tasks = opendir("/proc/self/task");
  const struct dirent *entry;
  int others = 0;
  CHECK_EQ(1, before);
  NEED(tasks != NULL);
  while ((entry = readdir(tasks)) != NULL) {
    uint64_t blocked = 0;
    char line[256];
    FILE *status;
    if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == (long)getpid()) continue;
    others++;
    status = fopen(path_join(path_join("/proc/self/task", entry->d_name).text, "status").text, "r");
    NEED(status != NULL);
    while (fgets(line, sizeof line, status) != NULL)
      if (strncmp(line, "SigBlk:", 7) == 0) blocked = strtoull(line + 7, NULL, 16);
    fclose(status);
    CHECK((blocked & (UINT64_C(1) << (SIGTERM - 1))) != 0);
    CHECK((blocked & (UINT64_C(1) << (SIGALRM - 1))) != 0);
    CHECK((blocked & (UINT64_C(1) << (SIGUSR1 - 1))) != 0);
    CHECK((blocked & (UINT64_C(1) << (SIGCHLD - 1))) != 0);
  }
  closedir(tasks);
  CHECK(others <= 2);
  CLOSE(log);
}

static const check_test_t tests[] = {
    TEST(version_is_that_of_the_header),
    TEST(constants_have_their_numbers),
    TEST(structs_have_their_layout),
    TEST(every_status_has_its_number_and_name),
    TEST(every_status_has_a_text_of_its_own),
    TEST(an_unknown_status_has_a_name_too),
    TEST(success_leaves_the_error_as_it_is),
    TEST(a_message_ends_within_its_array),
    TEST(a_message_names_the_directory),
    TEST(no_file_handle_left_is_memory),
    TEST(a_failed_append_poisons),
    TEST(a_failed_batch_poisons),
    TEST(a_failed_unsynced_append_poisons),
    TEST(a_failed_large_append_poisons),
    TEST(a_failed_sync_poisons),
    TEST(a_failed_close_says_so),
    TEST(nothing_stays_open),
    TEST(the_process_stays_as_it_was),
    TEST(the_librarys_thread_takes_no_signal),
};

test_group_t error_tests(void) { return GROUP_OF(tests); }
