/*
 * Processes that fork while logs are open: what the child gets, what it leaves alone, and that the parent goes on.
 * functions.h, which tests/handles.rs makes of the header, has every function that takes a handle. A child ends with
 * status 0 if all that it checked held; none may hang, so each has an alarm.
 */
#define CHECK_MAIN
#include "logs.h"

#include "functions.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

enum { FUNCTIONS = sizeof functions / sizeof functions[0], PATIENCE_S = 120 };

/* --- processes ------------------------------------------------------------------------------------------------- */

static pid_t forked(void) {
  pid_t pid;
  fflush(stdout);
  pid = fork();
  NEED(pid >= 0);
  if (pid == 0) {
    check_state.failures = 0;
    alarm(PATIENCE_S);
  }
  return pid;
}

static void child_ends(void) {
  fflush(stdout);
  _exit(check_state.failures == 0 ? 0 : 1);
}

static int end_of(pid_t pid) {
  int status = 0;
  pid_t waited;
  do waited = waitpid(pid, &status, 0);
  while (waited < 0 && errno == EINTR);
  NEED(waited == pid);
  return status;
}

/* Ends a process that waits for that, and waits for its end. */
static void end_it(pid_t pid) {
  NEED(kill(pid, SIGKILL) == 0);
  (void)end_of(pid);
}

static void wait_for_ever(void) {
  alarm(PATIENCE_S);
  for (;;) pause();
}

/* Says one byte to another process, and hears one. */
static void say(int to) { NEED(write(to, "x", 1) == 1); }

static int hear(int from) {
  char byte;
  ssize_t got;
  do got = read(from, &byte, 1);
  while (got < 0 && errno == EINTR);
  return got == 1;
}

/* --- every function -------------------------------------------------------------------------------------------- */

/* Each says LOG_E_FORKED, with whatever else it is called; those that close do so last. */
static void all_say_forked(log_t *log, log_cursor_t *cursor, int line) {
  log_error_t error;
  int i, closing;
  for (closing = 0; closing < 2; closing++) {
    for (i = 0; i < FUNCTIONS; i++) {
      const function_t *function = &functions[i];
      void *handle = function->takes_cursor ? (void *)cursor : (void *)log;
      if (function->closes != closing) continue;
      mark_error(&error);
      if (strcmp(function->name, "log_cursor_close") == 0) (void)function->call(handle, NULL);
      else
        check_error(function->call(handle, &error), &error, LOG_E_FORKED, 0, LOG_NO_OFFSET, __FILE__, line,
                    function->name);
    }
  }
  /* It is closed now, in this process. */
  CHECK_STATUS(LOG_E_ARGUMENT, log_close(log, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_cursor_seek(cursor, 0, NULL));
}

/* What a handle may be. */
typedef enum { WRITES, WRITES_WITHOUT_THREADS, WRITES_DURABLY, FOLLOWS, KINDS } kind_t;

static log_config_t config_of(kind_t kind) {
  log_config_t config = quick_config(65536);
  if (kind == WRITES_WITHOUT_THREADS) config.flags = LOG_NO_THREAD;
  if (kind == WRITES_DURABLY) config.sync = LOG_SYNC_ALWAYS;
  if (kind == FOLLOWS) config.flags = LOG_READ_ONLY;
  return config;
}

static void every_function_says_forked(void) {
  int kind;
  for (kind = 0; kind < KINDS; kind++) {
    const check_path_t dir = fresh_path();
    const log_config_t writing = config_of(WRITES), config = config_of((kind_t)kind);
    log_t *writer = kind == FOLLOWS ? OPEN(dir.text, &writing) : NULL;
    log_t *log = OPEN(dir.text, &config), *appends = writer != NULL ? writer : log;
    log_cursor_t *cursor = NULL;
    log_record_t record;
    pid_t pid;
    REQUIRE(log != NULL);
    APPEND_NUMBERED(appends, 0, 500);
    CHECK_STATUS(LOG_OK, log_cursor_open(log, 400, &cursor, NULL));
    CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
    pid = forked();
    if (pid == 0) {
      /* A view that a cursor gave is memory like any other. */
      CHECK(record.offset == 400 && is_record(record.payload.data, record.payload.len, 400));
      all_say_forked(log, cursor, __LINE__);
      CHECK(is_record(record.payload.data, record.payload.len, 400));
      child_ends();
    }
    CHECK_EQ(0, end_of(pid));
    /* The parent goes on undisturbed, and still has the lock. */
    APPEND_NUMBERED(appends, 500, 100);
    CHECK_NUMBERED(log, 0, 600);
    CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
    CHECK_EQ(401, record.offset);
    CHECK_STATUS(LOG_OK, log_sync(appends, NULL));
    CHECK_STATUS(LOG_E_LOCKED, log_open(dir.text, &writing, &writer, NULL));
    log_cursor_close(cursor);
    if (appends != log) CLOSE(appends);
    CLOSE(log);
    log = OPEN(dir.text, &writing);
    CHECK_NUMBERED(log, 0, 600);
    CHECK_EQ(0, STAT(log).dropped_bytes);
    CLOSE(log);
  }
}

static void a_grandchild_is_told_too(void) {
  const check_path_t dir = fresh_path(), other = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config);
  log_cursor_t *cursor = NULL;
  pid_t pid;
  REQUIRE(log != NULL);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  pid = forked();
  if (pid == 0) {
    log_t *own = OPEN(other.text, &config);
    log_cursor_t *own_cursor = NULL;
    CHECK_STATUS(LOG_OK, log_cursor_open(own, 0, &own_cursor, NULL));
    pid = forked();
    if (pid == 0) {
      log_t *third = NULL;
      CHECK_STATUS(LOG_E_LOCKED, log_open(other.text, &config, &third, NULL));
      all_say_forked(log, cursor, __LINE__);
      all_say_forked(own, own_cursor, __LINE__);
      child_ends();
    }
    CHECK_EQ(0, end_of(pid));
    CHECK_EQ(0, APPEND_TEXT(own, "the child's own"));
    CHECK_STATUS(LOG_E_FORKED, log_append(log, "x", 1, NULL, NULL));
    log_cursor_close(own_cursor);
    CLOSE(own);
    child_ends();
  }
  CHECK_EQ(0, end_of(pid));
  CHECK_EQ(0, APPEND_TEXT(log, "the parent's"));
  log_cursor_close(cursor);
  CLOSE(log);
  log = OPEN(other.text, &config);
  CHECK_READ_TEXT(log, 0, "the child's own");
  CLOSE(log);
}

/* --- the lock -------------------------------------------------------------------------------------------------- */

/* The child's own open: of another log at once, of the same one when the parent has closed it. */
static void a_child_opens_its_own(void) {
  const check_path_t dir = fresh_path(), other = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config);
  int closed[2], tried[2];
  pid_t pid;
  REQUIRE(log != NULL);
  APPEND_NUMBERED(log, 0, 10);
  NEED(pipe(closed) == 0 && pipe(tried) == 0);
  pid = forked();
  if (pid == 0) {
    log_t *own = NULL;
    CHECK_STATUS(LOG_E_LOCKED, log_open(dir.text, &config, &own, NULL));
    say(tried[1]);
    own = OPEN(other.text, &config);
    APPEND_NUMBERED(own, 0, 300);
    CHECK_NUMBERED(own, 0, 300);
    CLOSE(own);
    NEED(close(closed[1]) == 0);
    NEED(hear(closed[0]));
    own = OPEN(dir.text, &config);
    CHECK_NUMBERED(own, 0, 20);
    APPEND_NUMBERED(own, 20, 10);
    CHECK_STATUS(LOG_E_FORKED, log_close(log, NULL));
    /* Closing what was the parent's has closed nothing of the child's. */
    APPEND_NUMBERED(own, 30, 10);
    CHECK_STATUS(LOG_OK, log_sync(own, NULL));
    CLOSE(own);
    child_ends();
  }
  NEED(close(tried[1]) == 0);
  CHECK(hear(tried[0]));
  APPEND_NUMBERED(log, 10, 10);
  CLOSE(log);
  say(closed[1]);
  CHECK_EQ(0, end_of(pid));
  log = OPEN(dir.text, &config);
  CHECK_NUMBERED(log, 0, 40);
  CLOSE(log);
  NEED(close(closed[0]) == 0 && close(closed[1]) == 0 && close(tried[0]) == 0);
}

/* How a process that is about to be killed has started another one, which lives on. */
typedef enum { BY_FORK, BY_FORK_TWICE, BY_FORK_AND_EXEC, BY_SPAWN, BY_VFORK, WAYS } way_t;

static pid_t start_another(way_t way, int to) {
  static char sleep_text[] = "sleep", time_text[] = "120";
  char *arguments[] = {sleep_text, time_text, NULL};
  pid_t pid = -1;
  switch (way) {
    case BY_FORK:
    case BY_FORK_TWICE:
      pid = fork();
      if (pid == 0) {
        if (way == BY_FORK_TWICE) {
          pid = fork();
          if (pid != 0) _exit(0);
          pid = getpid();
          NEED(write(to, &pid, sizeof pid) == (ssize_t)sizeof pid);
        }
        wait_for_ever();
      }
      return way == BY_FORK_TWICE ? 0 : pid;
    case BY_FORK_AND_EXEC:
      pid = fork();
      if (pid == 0) {
        execvp(arguments[0], arguments);
        _exit(127);
      }
      return pid;
    case BY_SPAWN:
      NEED(posix_spawnp(&pid, arguments[0], NULL, NULL, arguments, environ) == 0);
      return pid;
    case BY_VFORK:
      pid = vfork();
      if (pid == 0) {
        execvp(arguments[0], arguments);
        _exit(127);
      }
      return pid;
    default: return pid;
  }
}

/*
 * The lock is that of the process that opened the log. A child that lives on when its parent was killed has no copy of
 * it: neither a descriptor nor a mapping of the file that was locked.
 */
static void who_lives_on_does_not_hold_a_dead_parents_lock(void) {
  int way, kind, tries;
  for (way = 0; way < WAYS; way++) {
    for (kind = 0; kind < FOLLOWS; kind++) {
      const check_path_t dir = fresh_path();
      const log_config_t config = config_of((kind_t)kind);
      int ready[2];
      pid_t parent, child = 0;
      log_t *log;
      NEED(pipe(ready) == 0);
      parent = forked();
      if (parent == 0) {
        log = OPEN(dir.text, &config);
        if (log != NULL) APPEND_NUMBERED(log, 0, 50);
        child = start_another((way_t)way, ready[1]);
        if (child != 0) NEED(write(ready[1], &child, sizeof child) == (ssize_t)sizeof child);
        wait_for_ever();
      }
      NEED(read(ready[0], &child, sizeof child) == (ssize_t)sizeof child);
      log = NULL;
      CHECK_STATUS(LOG_E_LOCKED, log_open(dir.text, &config, &log, NULL));
      end_it(parent);
      CHECK(kill(child, 0) == 0);
      /* The child may not have run yet since it was made. It lives for two minutes. */
      for (tries = 0; tries < 1000 && log_open(dir.text, &config, &log, NULL) == LOG_E_LOCKED; tries++) usleep(10000);
      if (log == NULL) printf("  way %d, kind %d\n", way, kind);
      REQUIRE(log != NULL);
      CHECK(kill(child, 0) == 0);
      CHECK_NUMBERED(log, 0, 50);
      CLOSE(log);
      NEED(kill(child, SIGKILL) == 0);
      NEED(close(ready[0]) == 0 && close(ready[1]) == 0);
    }
  }
}

/* A child that closes everything, ends or is killed takes nothing from its parent. */
static void a_child_never_unlocks(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config), *second = NULL;
  int round;
  REQUIRE(log != NULL);
  for (round = 0; round < 3; round++) {
    pid_t pid = forked();
    if (pid == 0) {
      if (round == 0) CHECK_STATUS(LOG_E_FORKED, log_close(log, NULL));
      if (round == 1) exit(0);
      if (round == 2) wait_for_ever();
      child_ends();
    }
    if (round == 2) end_it(pid);
    else CHECK_EQ(0, end_of(pid));
    CHECK_STATUS(LOG_E_LOCKED, log_open(dir.text, &config, &second, NULL));
    pid = forked();
    if (pid == 0) {
      CHECK_STATUS(LOG_E_LOCKED, log_open(dir.text, &config, &second, NULL));
      child_ends();
    }
    CHECK_EQ(0, end_of(pid));
  }
  CHECK_EQ(0, APPEND_TEXT(log, "still here"));
  CLOSE(log);
}

/* A child by a bare clone(), in which no handler runs. What the kernel wipes tells it all the same. */
static void a_bare_clone_is_told(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log;
  pid_t pid;
  if (getenv("SEGLOG_NO_WIPE") != NULL) return;
  log = OPEN(dir.text, &config);
  REQUIRE(log != NULL);
  fflush(stdout);
  pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  NEED(pid >= 0);
  if (pid == 0) {
    log_status_t appended = log_append(log, "x", 1, NULL, NULL), closed = log_close(log, NULL);
    _exit(appended == LOG_E_FORKED && closed == LOG_E_FORKED ? 0 : 1);
  }
  CHECK_EQ(0, end_of(pid));
  CHECK_EQ(0, APPEND_TEXT(log, "the first"));
  CLOSE(log);
}

/* --- threads --------------------------------------------------------------------------------------------------- */

typedef struct {
  log_t *log;
  check_path_t own;
  uint64_t appended;
  int kind, stop, wrong;
} worker_t;

static int is_stopped(worker_t *worker) { return __atomic_load_n(&worker->stop, __ATOMIC_RELAXED); }

static void *work(void *argument) {
  worker_t *worker = (worker_t *)argument;
  const log_config_t config = quick_config(65536);
  unsigned char data[200];
  memset(data, worker->kind, sizeof data);
  while (!is_stopped(worker)) {
    log_cursor_t *cursor = NULL;
    log_record_t record;
    size_t length;
    log_t *own = NULL;
    switch (worker->kind) {
      case 0:
      case 1:
        if (log_append(worker->log, data, sizeof data, NULL, NULL) != LOG_OK) worker->wrong = 1;
        worker->appended++;
        break;
      case 2:
        if (log_sync(worker->log, NULL) != LOG_OK) worker->wrong = 1;
        break;
      case 3:
        if (log_cursor_open(worker->log, 0, &cursor, NULL) != LOG_OK) worker->wrong = 1;
        else if (log_cursor_next(cursor, &record, NULL) >= LOG_E_ARGUMENT) worker->wrong = 1;
        log_cursor_close(cursor);
        if (log_read(worker->log, 0, data, sizeof data, &length, NULL) == LOG_E_FORKED) worker->wrong = 1;
        break;
      default:
        if (log_open(worker->own.text, &config, &own, NULL) != LOG_OK) worker->wrong = 1;
        else if (log_close(own, NULL) != LOG_OK) worker->wrong = 1;
    }
  }
  return NULL;
}

/*
 * Whatever other threads are at when the process forks, the child gets its answers and can open a log: no mutex is
 * left locked for it. And no record of the parent's is lost.
 */
static void threads_at_work_when_the_process_forks(void) {
  enum { WORKERS = 5, FORKS = 30 };
  const check_path_t dir = fresh_path(), child_dir = fresh_path();
  const log_config_t config = quick_config(65536);
  static worker_t workers[WORKERS];
  pthread_t threads[WORKERS];
  log_t *log = OPEN(dir.text, &config);
  log_cursor_t *cursor = NULL;
  uint64_t appended = 0;
  int i;
  REQUIRE(log != NULL);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  for (i = 0; i < WORKERS; i++) {
    workers[i].log = log;
    workers[i].kind = i;
    workers[i].own = fresh_path();
    NEED(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
  }
  for (i = 0; i < FORKS; i++) {
    pid_t pid = forked();
    if (pid == 0) {
      log_t *own;
      all_say_forked(log, cursor, __LINE__);
      own = OPEN(child_dir.text, &config);
      if (own != NULL) {
        log_cursor_t *own_cursor = NULL;
        (void)APPEND_TEXT(own, "the child's");
        CHECK_STATUS(LOG_OK, log_cursor_open(own, 0, &own_cursor, NULL));
        log_cursor_close(own_cursor);
        CLOSE(own);
      }
      child_ends();
    }
    if (!CHECK_EQ(0, end_of(pid))) break;
  }
  for (i = 0; i < WORKERS; i++) __atomic_store_n(&workers[i].stop, 1, __ATOMIC_RELAXED);
  for (i = 0; i < WORKERS; i++) {
    NEED(pthread_join(threads[i], NULL) == 0);
    CHECK_EQ(0, workers[i].wrong);
    appended += workers[i].appended;
  }
  CHECK(appended > FORKS);
  CHECK_EQ(appended, STAT(log).next_offset);
  log_cursor_close(cursor);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(appended, STAT(log).next_offset);
  CHECK_EQ(200 * appended, STAT(log).payload_bytes);
  CLOSE(log);
}

/* Whether the lock of a file is held through this descriptor, as the kernel tells: LIVE is open more than once. */
static int holds_a_lock(int fd) {
  char path[64], line[256];
  int found = 0;
  FILE *info;
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  info = fopen(path, "r");
  while (info != NULL && fgets(line, sizeof line, info) != NULL) found |= strstr(line, "FLOCK") != NULL;
  if (info != NULL) fclose(info);
  return found;
}

/* What stays open in a child, which may live for long, is no lock of its parent's. */
static void a_child_has_no_descriptor_of_the_lock(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  const check_path_t live = path_join(dir.text, "LIVE");
  log_t *log = OPEN(dir.text, &config);
  struct stat wanted, found;
  int fd, held = 0;
  pid_t pid;
  REQUIRE(log != NULL);
  NEED(stat(live.text, &wanted) == 0);
  for (fd = 0; fd < 1024; fd++)
    held += fstat(fd, &found) == 0 && found.st_ino == wanted.st_ino && found.st_dev == wanted.st_dev && holds_a_lock(fd);
  CHECK_EQ(1, held); /* the parent's, so that the next check can fail */
  pid = forked();
  if (pid == 0) {
    for (fd = 0; fd < 1024; fd++)
      CHECK(fstat(fd, &found) != 0 || found.st_ino != wanted.st_ino || found.st_dev != wanted.st_dev ||
            !holds_a_lock(fd));
    child_ends();
  }
  CHECK_EQ(0, end_of(pid));
  CLOSE(log);
}

/* Locked descriptors of files in a log's folders of named values. */
static int locks_on_named_values(void) {
  int fd, held = 0;
  for (fd = 0; fd < 1024; fd++) {
    char link[64], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) continue;
    path[length] = 0;
    held += (strstr(path, "/positions") != NULL || strstr(path, "/meta") != NULL) && holds_a_lock(fd);
  }
  return held;
}

static void *save_and_set(void *argument) {
  worker_t *worker = (worker_t *)argument;
  uint64_t n;
  for (n = 0; !is_stopped(worker); n++) {
    const char *name = n % 4 == 0 ? "anew" : "kept";
    if (log_position_save(worker->log, name, 0, NULL) != LOG_OK) worker->wrong = 1;
    if (log_meta_set(worker->log, name, &n, sizeof n, NULL) != LOG_OK) worker->wrong = 1;
    if (n % 4 == 0) {
      if (log_position_remove(worker->log, name, NULL) != LOG_OK) worker->wrong = 1;
      if (log_meta_remove(worker->log, name, NULL) != LOG_OK) worker->wrong = 1;
    }
  }
  return NULL;
}

/* A child that was forked while its parent saved a position had the locked descriptor as well, or one that was locked
   a moment later: had the parent been killed then, nobody could have saved that position again for as long as the child
   lived. */
static void a_child_has_no_lock_of_a_named_value(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  worker_t worker = {.log = OPEN(dir.text, &config)};
  pthread_t thread;
  int n, held = 0;
  REQUIRE(worker.log != NULL);
  NEED(pthread_create(&thread, NULL, save_and_set, &worker) == 0);
  for (n = 0; n < 100 || (held == 0 && n < 10000); n++) {
    pid_t pid;
    held += locks_on_named_values();
    pid = forked();
    if (pid == 0) {
      CHECK_EQ(0, locks_on_named_values());
      child_ends();
    }
    CHECK_EQ(0, end_of(pid));
  }
  CHECK(held > 0); /* the parent's, so that the check can fail */
  __atomic_store_n(&worker.stop, 1, __ATOMIC_RELAXED);
  NEED(pthread_join(thread, NULL) == 0);
  CHECK_EQ(0, worker.wrong);
  CLOSE(worker.log);
}

int main(int argc, char **argv) {
  static const check_test_t tests[] = {
      TEST(every_function_says_forked),
      TEST(a_grandchild_is_told_too),
      TEST(a_child_opens_its_own),
      TEST(who_lives_on_does_not_hold_a_dead_parents_lock),
      TEST(a_child_never_unlocks),
      TEST(a_bare_clone_is_told),
      TEST(threads_at_work_when_the_process_forks),
      TEST(a_child_has_no_descriptor_of_the_lock),
      TEST(a_child_has_no_lock_of_a_named_value),
  };
  const char *part = check_arguments(argc, argv);
  return check_run(tests, sizeof tests / sizeof tests[0], part);
}
