/*
 * Handles that are none: closed, never opened, of the other kind, in use by another thread. functions.h, which
 * tests/handles.rs makes of the header, has every function that takes one.
 */
#define CHECK_MAIN
#include "logs.h"

#include "functions.h"
#include <pthread.h>
#include <time.h>

enum { FUNCTIONS = sizeof functions / sizeof functions[0] };

/* Every function refuses this, whatever else it is given, and says in the message what it is. */
static void all_refuse(void *log, void *cursor, const char *word, int line) {
  log_error_t error;
  int i;
  for (i = 0; i < FUNCTIONS; i++) {
    const function_t *function = &functions[i];
    void *handle = function->takes_cursor ? cursor : log;
    if (strcmp(function->name, "log_cursor_close") == 0) {
      (void)function->call(handle, NULL);
      continue;
    }
    mark_error(&error);
    if (check_error(function->call(handle, &error), &error, LOG_E_ARGUMENT, 0, LOG_NO_OFFSET, __FILE__, line,
                    function->name))
      check_that(message_names(&error, word), __FILE__, line, error.message);
  }
}

#define ALL_REFUSE(log, cursor, word) all_refuse((log), (cursor), (word), __LINE__)

static void a_closed_handle_is_told(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config);
  log_cursor_t *cursor = NULL;
  REQUIRE(log != NULL);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  log_cursor_close(cursor);
  CLOSE(log);
  ALL_REFUSE(log, cursor, "closed");
  ALL_REFUSE(log, cursor, "closed");
}

/* The most common mistake: the handle of before, when others have been opened since. */
static void a_closed_handle_is_told_when_others_came(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config), *later;
  log_cursor_t *cursor = NULL, *cursors[100];
  int i;
  REQUIRE(log != NULL);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  log_cursor_close(cursor);
  CLOSE(log);
  later = OPEN(dir.text, &config);
  REQUIRE(later != NULL);
  CHECK(later != log);
  for (i = 0; i < 100; i++) CHECK_STATUS(LOG_OK, log_cursor_open(later, 0, &cursors[i], NULL));
  ALL_REFUSE(log, cursor, "closed");
  CHECK_EQ(0, APPEND_TEXT(later, "untouched"));
  for (i = 0; i < 100; i++) log_cursor_close(cursors[i]);
  for (i = 0; i < 100; i++) {
    CHECK_STATUS(LOG_OK, log_cursor_open(later, 0, &cursors[0], NULL));
    log_cursor_close(cursors[0]);
  }
  ALL_REFUSE(log, cursor, "closed");
  CLOSE(later);
}

static void memory_that_is_no_handle_is_told(void) {
  uint64_t memory[64];
  size_t i;
  memset(memory, 0, sizeof memory);
  ALL_REFUSE(memory, memory, "never");
  for (i = 0; i < 64; i++) memory[i] = i * UINT64_C(0x9E3779B97F4A7C15);
  ALL_REFUSE(memory, memory, "never");
  ALL_REFUSE((char *)memory + 1, (char *)memory + 4, "never");
  memset(memory, 0xFF, sizeof memory);
  ALL_REFUSE(memory, memory, "never");
}

static void null_is_told(void) {
  log_error_t error;
  int i;
  for (i = 0; i < FUNCTIONS; i++) {
    if (functions[i].closes) CHECK_EQ(LOG_OK, functions[i].call(NULL, NULL));
    else CHECK_ARGUMENT(functions[i].takes_cursor ? "cursor" : "log", functions[i].call(NULL, &error));
  }
}

static void a_log_is_no_cursor(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir.text, &config);
  log_cursor_t *cursor = NULL;
  log_record_t record;
  REQUIRE(log != NULL);
  CHECK_EQ(0, APPEND_TEXT(log, "here"));
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursor, NULL));
  ALL_REFUSE(cursor, log, "wanted");
  CHECK_STATUS(LOG_OK, log_cursor_next(cursor, &record, NULL));
  CHECK(view_is_text(&record, 0, "here"));
  log_cursor_close(cursor);
  CHECK_READ_TEXT(log, 0, "here");
  CLOSE(log);
}

/* Handles that are open at once are bounded by memory alone, and their shells are used again. */
static void many_handles_come_and_go(void) {
  enum { ROUNDS = 20, AT_ONCE = 1000 };
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  static log_cursor_t *cursors[AT_ONCE];
  log_t *log = OPEN(dir.text, &config);
  log_record_t record;
  int round, i;
  REQUIRE(log != NULL);
  CHECK_EQ(0, APPEND_TEXT(log, "one"));
  for (round = 0; round < ROUNDS; round++) {
    for (i = 0; i < AT_ONCE; i++) CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &cursors[i], NULL));
    for (i = 0; i < AT_ONCE; i++) {
      CHECK_STATUS(LOG_OK, log_cursor_next(cursors[i], &record, NULL));
      CHECK(view_is_text(&record, 0, "one"));
      CHECK_STATUS(LOG_END, log_cursor_next(cursors[i], &record, NULL));
      log_cursor_close(cursors[i]);
    }
  }
  CLOSE(log);
}

typedef struct {
  log_cursor_t *cursor;
  int stop;
  uint64_t records, told;
} shared_cursor_t;

/* Only the first of these threads may use the cursor; the others do by mistake, with calls that never change it. */
static void *steps(void *argument) {
  shared_cursor_t *shared = (shared_cursor_t *)argument;
  log_error_t error;
  while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
    log_status_t status;
    mark_error(&error);
    status = log_cursor_seek(shared->cursor, 1000, &error); /* beyond the end: it stays where it is */
    if (status == LOG_E_ARGUMENT && message_names(&error, "thread")) __atomic_add_fetch(&shared->told, 1, __ATOMIC_RELAXED);
    else if (status != LOG_E_BEYOND) __atomic_store_n(&shared->stop, 2, __ATOMIC_RELAXED);
  }
  return NULL;
}

/* Seen as soon as a thread is stopped, or the other core is, inside the longer call: at the latest after some time. */
static void a_cursor_of_two_threads_is_told(void) {
  enum { RECORDS = 900, THREADS = 2 };
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(1 << 20);
  static log_record_t records[RECORDS];
  shared_cursor_t shared;
  pthread_t threads[THREADS];
  log_t *log = OPEN(dir.text, &config);
  log_error_t error;
  size_t count;
  time_t until = time(NULL) + 60;
  int i, round;
  REQUIRE(log != NULL);
  memset(&shared, 0, sizeof shared);
  APPEND_NUMBERED(log, 0, RECORDS);
  CHECK_STATUS(LOG_OK, log_cursor_open(log, 0, &shared.cursor, NULL));
  for (i = 0; i < THREADS; i++) NEED(pthread_create(&threads[i], NULL, steps, &shared) == 0);
  for (round = 0; round < 100 || (time(NULL) < until && __atomic_load_n(&shared.told, __ATOMIC_RELAXED) < 3); round++) {
    log_status_t status = log_cursor_next_batch(shared.cursor, records, RECORDS, &count, &error);
    if (status == LOG_E_ARGUMENT) CHECK(message_names(&error, "thread"));
    else CHECK(status == LOG_OK || status == LOG_END);
    status = log_cursor_seek(shared.cursor, 0, &error);
    CHECK(status == LOG_OK || status == LOG_E_ARGUMENT);
  }
  CHECK_EQ(0, __atomic_exchange_n(&shared.stop, 1, __ATOMIC_RELAXED));
  for (i = 0; i < THREADS; i++) NEED(pthread_join(threads[i], NULL) == 0);
  CHECK(shared.told > 0);
  log_cursor_close(shared.cursor);
  CLOSE(log);
}

int main(int argc, char **argv) {
  static const check_test_t tests[] = {
      TEST(a_closed_handle_is_told),
      TEST(a_closed_handle_is_told_when_others_came),
      TEST(memory_that_is_no_handle_is_told),
      TEST(null_is_told),
      TEST(a_log_is_no_cursor),
      TEST(many_handles_come_and_go),
      TEST(a_cursor_of_two_threads_is_told),
  };
  const char *part = check_arguments(argc, argv);
  return check_run(tests, sizeof tests / sizeof tests[0], part);
}
