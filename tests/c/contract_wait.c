/*
 * The contract of waiting: log_wait, log_cursor_wait, log_event_fd, and log_wait_durable of who follows. Each holds for
 * the handle that writes and for one that only reads.
 */
#include "contract.h"
#include "logs.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/time.h>

/* What must happen happens within this, or the test fails; what must not is given QUIET_MS to happen. */
enum { SOON_MS = 20000, QUIET_MS = 60 };

static log_config_t reading(void) {
  log_config_t config = default_config();
  config.flags = LOG_READ_ONLY;
  return config;
}

/* --- a thread that waits --------------------------------------------------------------------------------------- */

typedef struct {
  log_t *log;           /* log_wait, or log_wait_durable if so */
  log_cursor_t *cursor; /* else log_cursor_wait */
  uint64_t offset;
  int64_t timeout_ms;
  int durable;
  log_status_t status;
  log_error_t error;
  volatile int done;
  pthread_t thread;
} waiter_t;

static void *wait_in_thread(void *argument) {
  waiter_t *waiter = (waiter_t *)argument;
  mark_error(&waiter->error);
  if (waiter->cursor != NULL) waiter->status = log_cursor_wait(waiter->cursor, waiter->timeout_ms, &waiter->error);
  else if (waiter->durable)
    waiter->status = log_wait_durable(waiter->log, waiter->offset, waiter->timeout_ms, &waiter->error);
  else waiter->status = log_wait(waiter->log, waiter->offset, waiter->timeout_ms, &waiter->error);
  __sync_synchronize();
  waiter->done = 1;
  return NULL;
}

/* For ever. When this returns it most likely sleeps; where it does not yet, the test holds all the same. */
static void start(waiter_t *waiter, log_t *log, log_cursor_t *cursor, uint64_t offset, int durable) {
  memset(waiter, 0, sizeof *waiter);
  waiter->log = log;
  waiter->cursor = cursor;
  waiter->offset = offset;
  waiter->timeout_ms = -1;
  waiter->durable = durable;
  NEED(pthread_create(&waiter->thread, NULL, wait_in_thread, waiter) == 0);
  pause_ms(QUIET_MS);
}

static void ends_with(waiter_t *waiter, log_status_t status, const char *file, int line) {
  const uint64_t started = clock_of(CLOCK_MONOTONIC);
  while (!waiter->done && clock_of(CLOCK_MONOTONIC) - started < SOON_MS) pause_ms(1);
  if (!check_that(waiter->done, file, line, "the wait ends")) {
    printf("  waited for %s\n", log_status_name(status));
    exit(1); /* the thread still has the test's variables */
  }
  NEED(pthread_join(waiter->thread, NULL) == 0);
  check_status(status, waiter->status, file, line, "the wait");
}

#define ENDS_WITH(waiter, status) ends_with((waiter), (status), __FILE__, __LINE__)
#define STILL_WAITS(waiter) CHECK(!(waiter)->done)

/* A log of ten records, the handle that writes it and one that reads it. */
typedef struct {
  check_path_t dir;
  log_t *writer, *reader;
} pair_t;

static pair_t open_pair(void) {
  const log_config_t config = quick_config(65536), follow = reading();
  pair_t pair;
  pair.dir = fresh_path();
  pair.writer = OPEN(pair.dir.text, &config);
  APPEND_NUMBERED(pair.writer, 0, 10);
  pair.reader = OPEN(pair.dir.text, &follow);
  return pair;
}

static void close_pair(const pair_t *pair) {
  CLOSE(pair->reader);
  CLOSE(pair->writer);
}

/* --- log_wait -------------------------------------------------------------------------------------------------- */

static void wait_with_null(void) {
  const pair_t pair = open_pair();
  log_error_t error;
  int fd = 0;
  CHECK_ARGUMENT("log", log_wait(NULL, 0, 0, &error));
  CHECK_ARGUMENT("log", log_wait(NULL, 0, -1, &error));
  CHECK_ARGUMENT("cursor", log_cursor_wait(NULL, -1, &error));
  CHECK_ARGUMENT("log", log_event_fd(NULL, &fd, &error));
  CHECK_ARGUMENT("out_fd", log_event_fd(pair.writer, NULL, &error));
  CHECK_ARGUMENT("out_fd", log_event_fd(pair.reader, NULL, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_wait(NULL, 0, 1, NULL));
  CHECK_EQ(0, fd);
  close_pair(&pair);
}

/* A record that is there is there at once, whatever the timeout; one that is not takes the time, and no more. */
static void a_timeout_is_kept(void) {
  static const int64_t timeouts[] = {0, 1, -1, INT64_MIN, INT64_MAX, 60000};
  const pair_t pair = open_pair();
  log_t *handles[2];
  log_error_t error;
  size_t i, n;
  handles[0] = pair.writer, handles[1] = pair.reader;
  for (i = 0; i < 2; i++) {
    log_cursor_t *cursor = NULL;
    uint64_t started;
    for (n = 0; n < sizeof timeouts / sizeof timeouts[0]; n++) {
      CHECK_STATUS(LOG_OK, log_wait(handles[i], 0, timeouts[n], NULL));
      CHECK_STATUS(LOG_OK, log_wait(handles[i], 9, timeouts[n], NULL));
    }
    CHECK_ERROR(LOG_TIMEOUT, 0, 10, log_wait(handles[i], 10, 0, &error));
    CHECK_ERROR(LOG_TIMEOUT, 0, 1000, log_wait(handles[i], 1000, 1, &error));
    CHECK_STATUS(LOG_TIMEOUT, log_wait(handles[i], 10, 1, NULL));
    started = clock_of(CLOCK_MONOTONIC);
    CHECK_ERROR(LOG_TIMEOUT, 0, 10, log_wait(handles[i], 10, 120, &error));
    CHECK(clock_of(CLOCK_MONOTONIC) - started >= 119 && clock_of(CLOCK_MONOTONIC) - started < 10000);
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_open(handles[i], 9, &cursor, NULL)));
    CHECK_STATUS(LOG_OK, log_cursor_wait(cursor, -1, NULL));
    CHECK_STATUS(LOG_OK, log_cursor_wait(cursor, 0, NULL));
    CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, 10, NULL));
    CHECK_ERROR(LOG_TIMEOUT, 0, 10, log_cursor_wait(cursor, 0, &error));
    CHECK_ERROR(LOG_TIMEOUT, 0, 10, log_cursor_wait(cursor, 30, &error));
    log_cursor_close(cursor);
    for (n = 0; n < sizeof timeouts / sizeof timeouts[0]; n++)
      CHECK_ARGUMENT("LOG_NO_OFFSET", log_wait(handles[i], LOG_NO_OFFSET, timeouts[n], &error));
  }
  close_pair(&pair);
}

/* Each way to append wakes who waits, on either handle; and only who waits for what came. */
static void every_append_wakes(void) {
  static const size_t large = 700000; /* goes to the store directly */
  const pair_t pair = open_pair();
  char *data = (char *)calloc(1, large);
  uint64_t next = 10;
  int way;
  NEED(data != NULL);
  for (way = 0; way < 5; way++) {
    waiter_t writing, reading_one, batch_end, distant;
    const log_bytes_t batch[3] = {text_of("a"), text_of("b"), text_of("c")};
    log_record_t record;
    const uint64_t before = next;
    start(&writing, pair.writer, NULL, next, 0);
    start(&reading_one, pair.reader, NULL, next, 0);
    start(&batch_end, pair.reader, NULL, next + 2, 0);
    start(&distant, pair.reader, NULL, next + 3, 0);
    STILL_WAITS(&writing);
    STILL_WAITS(&reading_one);
    switch (way) {
    case 0: CHECK_STATUS(LOG_OK, log_append(pair.writer, "x", 1, NULL, NULL)), next += 1; break;
    case 1: CHECK_STATUS(LOG_OK, log_append_at(pair.writer, next, "x", 1, NULL)), next += 1; break;
    case 2: CHECK_STATUS(LOG_OK, log_append_batch(pair.writer, batch, 3, NULL, NULL)), next += 3; break;
    case 3:
      record.offset = next, record.timestamp_ns = UINT64_MAX / 4, record.payload = text_of("imported");
      CHECK_STATUS(LOG_OK, log_append_records(pair.writer, &record, 1, NULL)), next += 1;
      break;
    default: CHECK_STATUS(LOG_OK, log_append(pair.writer, data, large, NULL, NULL)), next += 1; break;
    }
    ENDS_WITH(&writing, LOG_OK);
    ENDS_WITH(&reading_one, LOG_OK);
    pause_ms(QUIET_MS);
    STILL_WAITS(&distant);
    while (next < before + 3) APPEND_TEXT(pair.writer, "y"), next++;
    ENDS_WITH(&batch_end, LOG_OK);
    STILL_WAITS(&distant);
    APPEND_TEXT(pair.writer, "z"), next++;
    ENDS_WITH(&distant, LOG_OK);
  }
  free(data);
  close_pair(&pair);
}

/* Many wait for different records; appends come one by one, and each is woken by its own. */
static void each_of_many_is_woken(void) {
  enum { COUNT = 12 };
  const pair_t pair = open_pair();
  waiter_t waiters[COUNT];
  uint64_t n;
  for (n = 0; n < COUNT; n++) {
    /* Not in their order. */
    const uint64_t offset = 10 + (n * 7 + 3) % COUNT;
    start(&waiters[offset - 10], n % 2 == 0 ? pair.writer : pair.reader, NULL, offset, 0);
  }
  for (n = 0; n < COUNT; n++) {
    if (n + 1 < COUNT) STILL_WAITS(&waiters[n + 1]);
    APPEND_TEXT(pair.writer, "x");
    ENDS_WITH(&waiters[n], LOG_OK);
  }
  close_pair(&pair);
}

/* What takes records away: who waits for one that can never come is told, and who waits for one that can waits on. */
static void trims_truncations_and_resets_beside_waits(void) {
  int side;
  for (side = 0; side < 2; side++) {
    const pair_t pair = open_pair();
    log_t *const log = side == 0 ? pair.writer : pair.reader;
    log_cursor_t *cursor = NULL;
    waiter_t waiter, on_cursor;
    log_error_t error;
    CHECK_STATUS(LOG_OK, log_trim(pair.writer, 5, NULL));
    CHECK_ERROR(LOG_E_TRIMMED, 0, 4, log_wait(log, 4, -1, &error));
    CHECK_STATUS(LOG_OK, log_wait(log, 5, -1, NULL));
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_open(log, 10, &cursor, NULL)));
    start(&waiter, log, NULL, 10, 0);
    start(&on_cursor, NULL, cursor, 0, 0);
    CHECK_STATUS(LOG_OK, log_truncate(pair.writer, 8, NULL));
    APPEND_TEXT(pair.writer, "8");
    APPEND_TEXT(pair.writer, "9");
    pause_ms(QUIET_MS);
    STILL_WAITS(&waiter);
    STILL_WAITS(&on_cursor);
    APPEND_TEXT(pair.writer, "10");
    ENDS_WITH(&waiter, LOG_OK);
    ENDS_WITH(&on_cursor, LOG_OK);
    CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, 11, NULL));
    start(&waiter, log, NULL, 11, 0);
    start(&on_cursor, NULL, cursor, 0, 0);
    CHECK_STATUS(LOG_OK, log_reset(pair.writer, 20, NULL));
    ENDS_WITH(&waiter, LOG_E_TRIMMED);
    CHECK_EQ(11, waiter.error.offset);
    ENDS_WITH(&on_cursor, LOG_E_TRIMMED);
    CHECK_STATUS(LOG_OK, log_cursor_seek(cursor, 20, NULL));
    start(&on_cursor, NULL, cursor, 0, 0);
    CHECK_STATUS(LOG_OK, log_reset(pair.writer, 3, NULL));
    pause_ms(QUIET_MS);
    STILL_WAITS(&on_cursor);
    APPEND_NUMBERED(pair.writer, 3, 18);
    ENDS_WITH(&on_cursor, LOG_OK);
    log_cursor_close(cursor);
    close_pair(&pair);
  }
}

static volatile sig_atomic_t signals;

static void on_signal(int number) {
  (void)number;
  signals = signals + 1;
}

/* A handler that runs does not end a wait, nor does it prolong one. */
static void signals_do_not_end_a_wait(void) {
  const pair_t pair = open_pair();
  struct sigaction action, before;
  struct itimerval often, never;
  int side, round;
  memset(&action, 0, sizeof action);
  memset(&never, 0, sizeof never);
  action.sa_handler = on_signal; /* without SA_RESTART */
  NEED(sigaction(SIGALRM, &action, &before) == 0);
  often.it_interval.tv_sec = 0, often.it_interval.tv_usec = 3000, often.it_value = often.it_interval;
  for (side = 0; side < 2; side++) {
    signals = 0;
    NEED(setitimer(ITIMER_REAL, &often, NULL) == 0);
    /* On a busy machine many signals become one. */
    for (round = 0; round < 100 && signals <= 5; round++) {
      const uint64_t started = clock_of(CLOCK_MONOTONIC);
      CHECK_STATUS(LOG_TIMEOUT, log_wait(side == 0 ? pair.writer : pair.reader, 10, 200, NULL));
      CHECK(clock_of(CLOCK_MONOTONIC) - started >= 199 && clock_of(CLOCK_MONOTONIC) - started < 10000);
    }
    NEED(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(signals > 5);
  }
  NEED(sigaction(SIGALRM, &before, NULL) == 0);
  close_pair(&pair);
}

/* Who sleeps takes no processor time; nor does who must look by itself more than a little. */
static void a_wait_uses_no_processor_time(void) {
  const pair_t pair = open_pair();
  uint64_t used = 40;
  int tries;
  for (tries = 0; tries < 10 && used >= 40; tries++) { /* valgrind translates what it meets for the first time */
    const uint64_t started = clock_of(CLOCK_THREAD_CPUTIME_ID);
    CHECK_STATUS(LOG_TIMEOUT, log_wait(pair.writer, 10, 400, NULL));
    CHECK_STATUS(LOG_TIMEOUT, log_wait(pair.reader, 10, 400, NULL));
    used = clock_of(CLOCK_THREAD_CPUTIME_ID) - started;
  }
  CHECK(used < 40);
  close_pair(&pair);
}

/* --- the writer comes and goes --------------------------------------------------------------------------------- */

/* A reader waits on while nobody writes, and goes on with the next writer, on the same LIVE or on another one. */
static void a_reader_waits_for_the_next_writer(void) {
  int without_live;
  for (without_live = 0; without_live < 2; without_live++) {
    const pair_t pair = open_pair();
    const log_config_t config = quick_config(65536);
    log_cursor_t *cursor = NULL;
    waiter_t waiter, durable, on_cursor;
    log_t *writer;
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_open(pair.reader, 10, &cursor, NULL)));
    start(&waiter, pair.reader, NULL, 11, 0);
    start(&on_cursor, NULL, cursor, 0, 0);
    CLOSE(pair.writer);
    pause_ms(QUIET_MS);
    STILL_WAITS(&waiter);
    STILL_WAITS(&on_cursor);
    if (without_live) NEED(unlink(path_join(pair.dir.text, "LIVE").text) == 0);
    writer = OPEN(pair.dir.text, &config);
    pause_ms(QUIET_MS);
    STILL_WAITS(&waiter);
    APPEND_TEXT(writer, "10");
    ENDS_WITH(&on_cursor, LOG_OK);
    STILL_WAITS(&waiter);
    APPEND_TEXT(writer, "11");
    ENDS_WITH(&waiter, LOG_OK);
    start(&durable, pair.reader, NULL, 11, 1);
    STILL_WAITS(&durable);
    CHECK_STATUS(LOG_OK, log_sync(writer, NULL));
    ENDS_WITH(&durable, LOG_OK);
    log_cursor_close(cursor);
    CLOSE(pair.reader);
    CLOSE(writer);
  }
}

/* A follower's wait for durability: woken by a sync, told of a cut. */
static void a_follower_waits_for_durability(void) {
  const pair_t pair = open_pair();
  waiter_t durable, cut;
  CHECK_STATUS(LOG_TIMEOUT, log_wait_durable(pair.reader, 9, 20, NULL));
  start(&durable, pair.reader, NULL, 9, 1);
  APPEND_TEXT(pair.writer, "10");
  pause_ms(QUIET_MS);
  STILL_WAITS(&durable);
  CHECK_STATUS(LOG_OK, log_sync(pair.writer, NULL));
  ENDS_WITH(&durable, LOG_OK);
  APPEND_TEXT(pair.writer, "11");
  APPEND_TEXT(pair.writer, "12");
  start(&cut, pair.reader, NULL, 12, 1);
  STILL_WAITS(&cut);
  CHECK_STATUS(LOG_OK, log_truncate(pair.writer, 11, NULL));
  /* The truncation syncs all first, so either answer is true of some moment. */
  while (!cut.done) pause_ms(1);
  NEED(pthread_join(cut.thread, NULL) == 0);
  CHECK(cut.status == LOG_OK || cut.status == LOG_E_BEYOND);
  close_pair(&pair);
}

/* The log is removed: who waits for it is told, and does not wait for ever. */
static void a_log_that_is_removed_ends_its_waits(void) {
  const pair_t pair = open_pair();
  waiter_t waiter;
  CLOSE(pair.writer);
  start(&waiter, pair.reader, NULL, 10, 0);
  CHECK_STATUS(LOG_OK, log_remove(pair.dir.text, NULL));
  ENDS_WITH(&waiter, LOG_E_NOT_FOUND);
  CLOSE(pair.reader);
}

/* A LIVE that is short, of zeros, of another boot or of any bytes: no crash, no hurry, and the next writer is heard. */
static void waits_on_a_bad_live_are_patient(void) {
  int kind, tries;
  for (kind = 0; kind < 7; kind++) {
    const log_config_t config = quick_config(65536), follow = reading();
    const check_path_t dir = fresh_path(), live = path_join(dir.text, "LIVE");
    log_t *writer = OPEN(dir.text, &config), *reader;
    unsigned char *bytes;
    size_t size;
    waiter_t waiter;
    uint64_t started, used;
    APPEND_NUMBERED(writer, 0, 10);
    CLOSE(writer);
    bytes = file_bytes(live.text, &size);
    switch (kind) {
    case 0: size = 0; break;
    case 1: size = 4096; break;
    case 2: memset(bytes, 0, size); break;
    case 3: memset(bytes, 0xFF, size); break;
    case 4: fill_record(bytes, size, 99); break;
    case 5: bytes[16] ^= 1; break;               /* another boot */
    default: memset(bytes + 128, 0xA5, 64); break; /* a page that is believed, with words of any bytes */
    }
    write_file(live.text, bytes, size);
    free(bytes);
    reader = OPEN(dir.text, &follow);
    /* The quickest of ten: valgrind translates what it meets for the first time, which is this thread's time too. */
    used = 300;
    for (tries = 0; tries < 10 && used >= 100; tries++) {
      started = clock_of(CLOCK_THREAD_CPUTIME_ID);
      if (kind < 6) CHECK_STATUS(LOG_TIMEOUT, log_wait(reader, 10, 300, NULL));
      else (void)log_wait(reader, 10, 300, NULL);
      used = clock_of(CLOCK_THREAD_CPUTIME_ID) - started;
    }
    if (!CHECK(used < 100)) printf("  kind %d: %" PRIu64 " ms\n", kind, used);
    start(&waiter, reader, NULL, 10, 0);
    writer = OPEN(dir.text, &config);
    APPEND_NUMBERED(writer, 10, 1);
    ENDS_WITH(&waiter, LOG_OK);
    CHECK_NUMBERED(reader, 0, 11);
    CLOSE(writer);
    CLOSE(reader);
  }
}

/* --- closing --------------------------------------------------------------------------------------------------- */

/* It is the caller's mistake, but no wait hangs, and nothing is touched that is gone. */
static void a_close_ends_the_waits_on_its_handle(void) {
  int side;
  for (side = 0; side < 2; side++) {
    const pair_t pair = open_pair();
    waiter_t waiter;
    start(&waiter, side == 0 ? pair.writer : pair.reader, NULL, 10, 0);
    CLOSE(side == 0 ? pair.writer : pair.reader);
    ENDS_WITH(&waiter, LOG_E_ARGUMENT);
    CHECK(message_is_sound(&waiter.error) && message_names(&waiter.error, "closed"));
    CLOSE(side == 0 ? pair.reader : pair.writer);
  }
}

/* A cursor may be left behind: that of a writer's handle has come to its end, that of a reader's goes on. */
static void a_cursor_waits_after_its_log_was_closed(void) {
  const pair_t pair = open_pair();
  const log_config_t config = quick_config(65536);
  log_cursor_t *of_writer = NULL, *of_reader = NULL;
  waiter_t meanwhile, follows;
  log_record_t record;
  log_error_t error;
  log_t *writer;
  REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_open(pair.writer, 10, &of_writer, NULL)));
  REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_open(pair.reader, 10, &of_reader, NULL)));
  start(&meanwhile, NULL, of_writer, 0, 0);
  start(&follows, NULL, of_reader, 0, 0);
  CLOSE(pair.reader);
  CLOSE(pair.writer);
  ENDS_WITH(&meanwhile, LOG_END);
  CHECK_ERROR(LOG_END, 0, LOG_NO_OFFSET, log_cursor_wait(of_writer, -1, &error));
  CHECK_STATUS(LOG_OK, log_cursor_seek(of_writer, 4, NULL));
  CHECK_STATUS(LOG_OK, log_cursor_wait(of_writer, -1, NULL));
  STILL_WAITS(&follows);
  writer = OPEN(pair.dir.text, &config);
  APPEND_TEXT(writer, "10");
  ENDS_WITH(&follows, LOG_OK);
  CHECK_STATUS(LOG_OK, log_cursor_next(of_reader, &record, NULL));
  CHECK(view_is_text(&record, 10, "10"));
  log_cursor_close(of_writer);
  log_cursor_close(of_reader);
  CLOSE(writer);
}

/* --- log_event_fd ---------------------------------------------------------------------------------------------- */

static int readable(int fd, int timeout_ms) {
  struct pollfd poller;
  poller.fd = fd;
  poller.events = POLLIN;
  poller.revents = 0;
  return poll(&poller, 1, timeout_ms) == 1 && (poller.revents & POLLIN) != 0;
}

/* Reads the 8 bytes; whether there were any. */
static int take(int fd) {
  uint64_t count = 0;
  const ssize_t got = read(fd, &count, sizeof count);
  return got == 8 && count > 0;
}

/* Reads it until nothing comes any more, which must be soon: a thread rings it, which may come late. */
static int falls_quiet(int fd) {
  const uint64_t started = clock_of(CLOCK_MONOTONIC);
  while (readable(fd, QUIET_MS)) {
    (void)take(fd);
    if (clock_of(CLOCK_MONOTONIC) - started > SOON_MS) return 0;
  }
  return 1;
}

static int event_of(log_t *log) {
  int fd = -1, again = -1;
  CHECK_STATUS(LOG_OK, log_event_fd(log, &fd, NULL));
  CHECK_STATUS(LOG_OK, log_event_fd(log, &again, NULL));
  CHECK(fd >= 0 && fd == again);
  CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  return fd;
}

/* Readable at first, then by each append, once it was read; and never lost. */
static void the_event_fd_tells_of_every_append(void) {
  int side;
  for (side = 0; side < 4; side++) {
    const log_config_t follow = reading();
    const check_path_t dir = fresh_path();
    log_config_t config = quick_config(65536);
    log_t *writer, *log;
    int fd, n;
    if (side == 1) config.flags = LOG_NO_THREAD;
    if (side == 3) config.sync = LOG_SYNC_ALWAYS;
    writer = OPEN(dir.text, &config);
    log = side < 2 ? writer : OPEN(dir.text, &follow);
    fd = event_of(log);
    CHECK(readable(fd, SOON_MS) && take(fd));
    CHECK(!readable(fd, QUIET_MS) && !take(fd));
    for (n = 0; n < 50; n++) {
      APPEND_NUMBERED(writer, (uint64_t)n, 1);
      if (!CHECK(readable(fd, SOON_MS) && take(fd))) break;
      CHECK_NUMBERED(log, (uint64_t)n, 1);
    }
    CLOSE(log);
    CHECK(fcntl(fd, F_GETFD) < 0);
    if (side >= 2) CLOSE(writer);
  }
}

/* It stays readable until it is read, and a cut of the log is told as well. */
static void the_event_fd_is_level(void) {
  int side;
  for (side = 0; side < 2; side++) {
    const pair_t pair = open_pair();
    log_t *const log = side == 0 ? pair.writer : pair.reader;
    const int fd = event_of(log);
    CHECK(readable(fd, SOON_MS));
    APPEND_NUMBERED(pair.writer, 10, 200);
    CHECK(readable(fd, SOON_MS) && readable(fd, SOON_MS) && take(fd));
    CHECK(falls_quiet(fd));
    CHECK_STATUS(LOG_OK, log_truncate(pair.writer, 100, NULL));
    CHECK(readable(fd, SOON_MS));
    pause_ms(QUIET_MS);
    CHECK(take(fd));
    APPEND_NUMBERED(pair.writer, 100, 1);
    CHECK(readable(fd, SOON_MS) && take(fd));
    CHECK_STATUS(LOG_OK, log_reset(pair.writer, 3, NULL));
    CHECK(readable(fd, SOON_MS));
    pause_ms(QUIET_MS);
    CHECK(take(fd));
    APPEND_NUMBERED(pair.writer, 3, 1);
    CHECK(readable(fd, SOON_MS) && take(fd));
    close_pair(&pair);
  }
}

/* It lives over writers, and needs a thread on a read-only handle. */
static void the_event_fd_of_a_reader(void) {
  const pair_t pair = open_pair();
  const log_config_t config = quick_config(65536);
  log_config_t threadless = reading();
  const int fd = event_of(pair.reader);
  log_error_t error;
  log_t *writer, *reader;
  int none = -7;
  CHECK(readable(fd, SOON_MS) && take(fd));
  CLOSE(pair.writer);
  writer = OPEN(pair.dir.text, &config);
  CHECK(falls_quiet(fd));
  APPEND_TEXT(writer, "10");
  CHECK(readable(fd, SOON_MS) && take(fd));
  threadless.flags |= LOG_NO_THREAD;
  reader = OPEN(pair.dir.text, &threadless);
  CHECK_ARGUMENT("LOG_NO_THREAD", log_event_fd(reader, &none, &error));
  CHECK_EQ((uint64_t)-7, (uint64_t)none);
  CHECK_STATUS(LOG_OK, log_wait(reader, 10, -1, NULL));
  CLOSE(reader);
  CLOSE(writer);
  CLOSE(pair.reader);
}

typedef struct {
  log_t *log;
  uint64_t count;
} appender_t;

static void *append_in_thread(void *argument) {
  const appender_t *appender = (const appender_t *)argument;
  uint64_t n;
  for (n = 0; n < appender->count; n++)
    if (log_append(appender->log, "x", 1, NULL, NULL) != LOG_OK) break;
  return NULL;
}

/* Two logs in one loop, as the example does it, while threads append: whoever goes by the fd alone sees each record. */
static void a_loop_over_several_logs_sees_every_record(void) {
  enum { RECORDS = 3000 };
  const pair_t pairs[2] = {open_pair(), open_pair()};
  log_cursor_t *cursors[2] = {NULL, NULL};
  uint64_t seen[2] = {10, 10};
  appender_t appenders[2];
  pthread_t threads[2];
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const uint64_t started = clock_of(CLOCK_MONOTONIC);
  int n;
  NEED(epoll >= 0);
  for (n = 0; n < 2; n++) {
    log_t *const log = n == 0 ? pairs[n].writer : pairs[n].reader;
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.u32 = (uint32_t)n;
    NEED(epoll_ctl(epoll, EPOLL_CTL_ADD, event_of(log), &event) == 0);
    REQUIRE(CHECK_STATUS(LOG_OK, log_cursor_open(log, 10, &cursors[n], NULL)));
  }
  for (n = 0; n < 2; n++) {
    appenders[n].log = pairs[n].writer;
    appenders[n].count = RECORDS;
    NEED(pthread_create(&threads[n], NULL, append_in_thread, &appenders[n]) == 0);
  }
  while (seen[0] < 10 + RECORDS || seen[1] < 10 + RECORDS) {
    struct epoll_event event;
    log_record_t record;
    int fd = -1;
    if (!CHECK(clock_of(CLOCK_MONOTONIC) - started < 4 * SOON_MS)) break;
    if (!CHECK(epoll_wait(epoll, &event, 1, SOON_MS) == 1)) break;
    n = (int)event.data.u32;
    CHECK_STATUS(LOG_OK, log_event_fd(n == 0 ? pairs[n].writer : pairs[n].reader, &fd, NULL));
    CHECK(take(fd));
    while (log_cursor_next(cursors[n], &record, NULL) == LOG_OK) CHECK_EQ(seen[n], record.offset), seen[n]++;
  }
  for (n = 0; n < 2; n++) {
    NEED(pthread_join(threads[n], NULL) == 0);
    log_cursor_close(cursors[n]);
    close_pair(&pairs[n]);
  }
  close(epoll);
}

test_group_t wait_tests(void) {
  static const check_test_t tests[] = {
      TEST(wait_with_null),
      TEST(a_timeout_is_kept),
      TEST(every_append_wakes),
      TEST(each_of_many_is_woken),
      TEST(trims_truncations_and_resets_beside_waits),
      TEST(signals_do_not_end_a_wait),
      TEST(a_wait_uses_no_processor_time),
      TEST(a_reader_waits_for_the_next_writer),
      TEST(a_follower_waits_for_durability),
      TEST(a_log_that_is_removed_ends_its_waits),
      TEST(waits_on_a_bad_live_are_patient),
      TEST(a_close_ends_the_waits_on_its_handle),
      TEST(a_cursor_waits_after_its_log_was_closed),
      TEST(the_event_fd_tells_of_every_append),
      TEST(the_event_fd_is_level),
      TEST(the_event_fd_of_a_reader),
      TEST(a_loop_over_several_logs_sees_every_record),
  };
  return GROUP_OF(tests);
}
