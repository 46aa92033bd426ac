/*
 * The frame of the C tests: checks that print where they failed and count, a table of tests, and a directory of its
 * own for each test. It knows nothing of logs (logs.h does).
 *
 * A program defines CHECK_MAIN in one of its units before it includes this, fills a table of check_test_t, and calls
 * check_run() from main. It is started as `PROGRAM DIRECTORY [PART_OF_A_TEST'S_NAME]`, and ends with status 0 if
 * every test passed, with 1 otherwise.
 */
#ifndef SEGLOG_TESTS_CHECK_H
#define SEGLOG_TESTS_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw, mkfifo and their kind, whatever -std says */
#endif

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

typedef struct {
  const char *name;
  void (*run)(void);
} check_test_t;

/* A row of a table of tests: the function's name is the test's. */
#define TEST(function)                                                                                                 \
  { #function, function }

/* A path by value, so that a test needs no buffer. */
typedef struct {
  char text[PATH_MAX];
} check_path_t;

typedef struct {
  const char *program;   /* this program's own path, to start it again */
  const char *base;      /* the directory that holds each test's own */
  const char *test;      /* the running test */
  unsigned dirs;         /* fresh directories that it has asked for */
  unsigned failures;     /* failed checks in it */
} check_state_t;

extern check_state_t check_state;

#ifdef CHECK_MAIN
check_state_t check_state;
#endif

/* Counts and prints a failed check. Gives `ok` back, so that a test can stop where going on makes no sense. */
static inline int check_that(int ok, const char *file, int line, const char *text) {
  if (!ok) {
    check_state.failures++;
    printf("%s:%d: %s: failed: %s\n", file, line, check_state.test, text);
    fflush(stdout);
  }
  return ok;
}

static inline int check_u64(uint64_t expected, uint64_t actual, const char *file, int line, const char *text) {
  if (expected != actual) {
    check_state.failures++;
    printf("%s:%d: %s: failed: %s is %" PRIu64 ", expected %" PRIu64 "\n", file, line, check_state.test, text, actual,
           expected);
    fflush(stdout);
  }
  return expected == actual;
}

#define CHECK(condition) check_that((condition) ? 1 : 0, __FILE__, __LINE__, #condition)
#define CHECK_EQ(expected, actual) check_u64((uint64_t)(expected), (uint64_t)(actual), __FILE__, __LINE__, #actual)

/* Ends the test function when the condition does not hold. */
#define REQUIRE(condition)                                                                                             \
  do {                                                                                                                 \
    if (!CHECK(condition)) return;                                                                                     \
  } while (0)

/* Something that the test itself needs (a directory, a pipe) did not work: nothing that follows would mean anything. */
static inline void check_need(int ok, const char *file, int line, const char *text) {
  if (ok) return;
  printf("%s:%d: %s: the test itself could not go on: %s: %s\n", file, line, check_state.test, text, strerror(errno));
  fflush(stdout);
  _exit(2);
}

#define NEED(condition) check_need((condition) ? 1 : 0, __FILE__, __LINE__, #condition)

static inline check_path_t path_join(const char *dir, const char *name) {
  check_path_t path;
  int length = snprintf(path.text, sizeof path.text, "%s/%s", dir, name);
  NEED(length > 0 && (size_t)length < sizeof path.text);
  return path;
}

/* A path that nothing stands at; its parent exists and belongs to the running test. */
static inline check_path_t fresh_path(void) {
  check_path_t own = path_join(check_state.base, check_state.test);
  char name[32];
  int length = snprintf(name, sizeof name, "%u", ++check_state.dirs);
  NEED(length > 0 && (size_t)length < sizeof name);
  NEED(mkdir(own.text, 0777) == 0 || errno == EEXIST);
  return path_join(own.text, name);
}

/* An empty directory of the running test. */
static inline check_path_t fresh_dir(void) {
  check_path_t path = fresh_path();
  NEED(mkdir(path.text, 0777) == 0);
  return path;
}

static inline int check_remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place) {
  (void)status, (void)kind, (void)place;
  return remove(path);
}

static inline void remove_tree(const char *path) { (void)nftw(path, check_remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

/* Whether something stands at the path, a dangling link included. */
static inline int path_exists(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0;
}

/* In milliseconds. */
static inline uint64_t clock_of(clockid_t clock) {
  struct timespec now;
  NEED(clock_gettime(clock, &now) == 0);
  return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static inline void pause_ms(long ms) {
  struct timespec pause;
  pause.tv_sec = ms / 1000;
  pause.tv_nsec = ms % 1000 * 1000000;
  while (nanosleep(&pause, &pause) != 0 && errno == EINTR) continue;
}

static inline unsigned entries_of(const char *path) {
  DIR *dir = opendir(path);
  const struct dirent *entry;
  unsigned entries = 0;
  NEED(dir != NULL);
  while ((entry = readdir(dir)) != NULL)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) entries++;
  closedir(dir);
  return entries;
}

/*
 * How many threads this process has. It waits for so many, since the kernel lists a thread for a moment after it was
 * joined.
 */
static inline unsigned threads_settled(unsigned expected) {
  unsigned tries, threads = entries_of("/proc/self/task");
  for (tries = 0; tries < 4000 && threads != expected; tries++) {
    usleep(5000);
    threads = entries_of("/proc/self/task");
  }
  return threads;
}

/* Runs the tests whose name contains `part` (all if NULL); what main returns. */
static inline int check_run(const check_test_t *tests, size_t count, const char *part) {
  unsigned passed = 0, failed = 0;
  size_t i;
  for (i = 0; i < count; i++) {
    check_path_t own;
    if (part != NULL && strstr(tests[i].name, part) == NULL) continue;
    check_state.test = tests[i].name;
    check_state.dirs = 0;
    check_state.failures = 0;
    tests[i].run();
    own = path_join(check_state.base, tests[i].name);
    if (check_state.failures == 0) {
      passed++;
      remove_tree(own.text); /* each log takes some megabytes of disk */
    } else {
      failed++;
      printf("%s: FAILED, its files are in %s\n", tests[i].name, own.text);
    }
  }
  printf("%u passed, %u failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

/* Reads the command line into check_state; what is left is the part of a test's name, or NULL. */
static inline const char *check_arguments(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s DIRECTORY [PART_OF_A_TEST'S_NAME]\n", argv[0]);
    exit(2);
  }
  check_state.program = argv[0];
  check_state.base = argv[1];
  check_state.test = "(start)";
  return argc > 2 ? argv[2] : NULL;
}

#endif
