/*
 * event_store: events of many streams (here bank accounts) in one log.
 *
 *     event_store [DIR]     plays a small bank in DIR (event-data, made anew) and checks each step
 *
 * A command decides on the state that it has seen, so its events may only be appended if nothing has come between
 * (optimistic concurrency): log_append_at appends at the offset that the state has been read up to, or says
 * LOG_E_CONFLICT. Then the store reads what came, the command decides anew, and tries again. One record holds all events
 * of a command, so they happen together or not at all. A stream's version counts its events; a caller that shows one to
 * a user can demand that it is still the same (expect_version).
 *
 * The state (a projection: each account's balance and version) lives in memory. It is rebuilt by replay, from the last
 * snapshot on: a small file beside the log that says up to which offset it has read.
 *
 * Each writer has a store of its own and they share the log_t, as threads do here. Exit status: 0 all was in order, 1 it
 * was not or something failed, 2 wrong usage.
 */
#define _POSIX_C_SOURCE 200809L /* fsync, open with O_DIRECTORY */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <seglog.h>

/* --- the store ------------------------------------------------------------------------------------------------- */

enum { ACCOUNTS = 8, EVENTS_MAX = 4, PATH_BYTES = 4096 };
#define ANY_VERSION UINT64_MAX

/* What has happened: an amount came to an account, or (below 0) left it. */
struct event {
    uint32_t account;
    uint32_t reserved; /* 0: no padding with unknown bytes goes to disk */
    int64_t amount;
};

struct account {
    int64_t balance;
    uint64_t version; /* how many events its stream has */
};

/* A projection: what all events before next_offset come to. The snapshot file is these bytes and a sum of them. */
struct state {
    uint64_t next_offset;
    struct account accounts[ACCOUNTS];
};

struct store {
    log_t *log; /* shared */
    log_cursor_t *cursor;
    struct state state;
    unsigned long conflicts, replayed;
    log_error_t error;
};

static bool apply(struct state *state, const log_record_t *record)
{
    struct event event;
    size_t count = record->payload.len / sizeof event;
    if (count == 0 || count > EVENTS_MAX || record->payload.len % sizeof event != 0) return false;
    for (size_t n = 0; n < count; n++) {
        memcpy(&event, (const char *)record->payload.data + n * sizeof event, sizeof event); /* views are not aligned */
        if (event.account >= ACCOUNTS) return false;
        state->accounts[event.account].balance += event.amount;
        state->accounts[event.account].version++;
    }
    state->next_offset = record->offset + 1;
    return true;
}

/* Reads what has been appended since, by anyone. LOG_END is its success: all is read. */
static log_status_t catch_up(struct store *store)
{
    log_record_t records[64];
    log_status_t status;
    size_t count;
    while ((status = log_cursor_next_batch(store->cursor, records, 64, &count, &store->error)) == LOG_OK)
        for (size_t n = 0; n < count; n++, store->replayed++)
            if (!apply(&store->state, &records[n])) {
                snprintf(store->error.message, sizeof store->error.message, "record %" PRIu64 " holds no events",
                         records[n].offset);
                return LOG_E_FORMAT;
            }
    return status;
}

/* Opens a store on a log that is open, from a state that was read up to some offset (all zero: from the first one). */
static log_status_t store_open(struct store *store, log_t *log, const struct state *from)
{
    *store = (struct store){.log = log, .state = *from};
    log_status_t status = log_cursor_open(log, from->next_offset, &store->cursor, &store->error);
    if (status == LOG_OK) status = catch_up(store);
    return status == LOG_END ? LOG_OK : status;
}

static void store_close(struct store *store)
{
    log_cursor_close(store->cursor);
    store->cursor = NULL;
}

/* A command: looks at the state, writes events, returns how many; 0 means that it declines. */
typedef size_t (*decide_fn)(const struct state *state, void *command, struct event *events);

enum outcome { DONE, DECLINED, STALE, FAILED };

/*
 * Decides and appends until nothing has come between. STALE: `account` no longer has the version that the caller saw.
 * After DONE the events are durable (the log's policy), and part of the state.
 */
static enum outcome store_execute(struct store *store, decide_fn decide, void *command, uint32_t account,
                                  uint64_t expect_version)
{
    struct event events[EVENTS_MAX];
    for (;;) {
        if (catch_up(store) != LOG_END) return FAILED;
        if (expect_version != ANY_VERSION && store->state.accounts[account].version != expect_version) return STALE;
        memset(events, 0, sizeof events);
        size_t count = decide(&store->state, command, events);
        if (count == 0) return DECLINED;
        log_status_t status =
            log_append_at(store->log, store->state.next_offset, events, count * sizeof events[0], &store->error);
        if (status == LOG_OK) return catch_up(store) == LOG_END ? DONE : FAILED;
        if (status != LOG_E_CONFLICT) return FAILED;
        store->conflicts++; /* another one was faster: what it appended is read, and the command decides anew */
    }
}

/* --- snapshots ------------------------------------------------------------------------------------------------- */

/* FNV-1a: enough to tell a file that was cut short or rotted. */
static uint64_t sum_of(const void *data, size_t length)
{
    const unsigned char *bytes = data;
    uint64_t sum = UINT64_C(14695981039346656037);
    for (size_t n = 0; n < length; n++) sum = (sum ^ bytes[n]) * UINT64_C(1099511628211);
    return sum;
}

static bool write_all(int file, const void *data, size_t length)
{
    const char *bytes = data;
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes += written, length -= (size_t)written;
    }
    return true;
}

/*
 * Replaces the snapshot, durably: the new one is whole on disk before it gets the name, so that after a crash there is
 * the old one or the new one. It must not say more than the log holds after a power loss, so the log is synced first.
 */
static bool snapshot_write(struct store *store, const char *dir)
{
    char path[PATH_BYTES], made[PATH_BYTES];
    uint64_t sum = sum_of(&store->state, sizeof store->state);
    if (log_sync(store->log, &store->error) != LOG_OK) return false;
    snprintf(path, sizeof path, "%s/snapshot", dir);
    snprintf(made, sizeof made, "%s/snapshot.new", dir);
    int file = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) return false;
    bool ok = write_all(file, &store->state, sizeof store->state) && write_all(file, &sum, sizeof sum) &&
              fsync(file) == 0;
    ok = close(file) == 0 && ok;
    if (!ok || rename(made, path) != 0) return false;
    int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return false;
    ok = fsync(folder) == 0; /* the name, too */
    return close(folder) == 0 && ok;
}

/* Without a good snapshot the state is that before all events, and the replay takes longer. */
static struct state snapshot_read(const char *dir)
{
    char path[PATH_BYTES];
    struct state state;
    uint64_t sum;
    snprintf(path, sizeof path, "%s/snapshot", dir);
    FILE *file = fopen(path, "rb");
    bool good = file != NULL && fread(&state, sizeof state, 1, file) == 1 && fread(&sum, sizeof sum, 1, file) == 1 &&
                sum == sum_of(&state, sizeof state);
    if (file != NULL) fclose(file);
    return good ? state : (struct state){0};
}

/* --- the bank -------------------------------------------------------------------------------------------------- */

struct transfer {
    uint32_t from, to;
    int64_t amount;
    pthread_barrier_t *meet; /* not NULL: the first try waits here, so that two decide on the same state */
};

/* Two events, of two streams: both or none. No account goes below 0; that is what the expected offset protects. */
static size_t decide_transfer(const struct state *state, void *command, struct event *events)
{
    struct transfer *transfer = command;
    if (transfer->meet != NULL) pthread_barrier_wait(transfer->meet);
    transfer->meet = NULL;
    if (state->accounts[transfer->from].balance < transfer->amount) return 0;
    events[0] = (struct event){.account = transfer->from, .amount = -transfer->amount};
    events[1] = (struct event){.account = transfer->to, .amount = transfer->amount};
    return 2;
}

/* Money comes from outside; `from` is not looked at. */
static size_t decide_deposit(const struct state *state, void *command, struct event *events)
{
    const struct transfer *transfer = command;
    (void)state;
    events[0] = (struct event){.account = transfer->to, .amount = transfer->amount};
    return 1;
}

static int64_t total_of(const struct state *state)
{
    int64_t total = 0;
    for (int n = 0; n < ACCOUNTS; n++) total += state->accounts[n].balance;
    return total;
}

enum { TRANSFERS = 200 };

struct writer {
    log_t *log;
    pthread_barrier_t *meet;
    uint32_t seed;
    unsigned done, declined;
    unsigned long conflicts;
    bool ok;
};

/* A teller: moves money between random accounts. It knows nothing of the other one but what it reads in the log. */
static void *work(void *argument)
{
    struct writer *writer = argument;
    const struct state nothing = {0};
    struct store store;
    writer->ok = store_open(&store, writer->log, &nothing) == LOG_OK;
    if (!writer->ok) pthread_barrier_wait(writer->meet); /* the other one waits there */
    for (unsigned n = 0; writer->ok && n < TRANSFERS; n++) {
        writer->seed = writer->seed * 1664525 + 1013904223; /* Numerical Recipes' generator */
        uint32_t from = (writer->seed >> 8) % ACCOUNTS, by = 1 + (writer->seed >> 16) % (ACCOUNTS - 1);
        struct transfer transfer = {from, (from + by) % ACCOUNTS, 1 + (int64_t)(writer->seed >> 24) % 90, NULL};
        /* Left alone, two threads seldom decide at the same moment; the first transfers of both are made to. */
        if (n == 0) transfer = (struct transfer){0, writer->seed % 2 + 1, 1, writer->meet};
        switch (store_execute(&store, decide_transfer, &transfer, 0, ANY_VERSION)) {
        case DONE: writer->done++; break;
        case DECLINED: writer->declined++; break;
        default: writer->ok = false;
        }
        for (int i = 0; i < ACCOUNTS; i++) writer->ok = writer->ok && store.state.accounts[i].balance >= 0;
    }
    if (!writer->ok) fprintf(stderr, "event_store: a writer: %s\n", store.error.message);
    writer->conflicts = store.conflicts;
    store_close(&store);
    return NULL;
}

static void expect(bool held, const log_error_t *error, const char *what)
{
    printf("%s  %s\n", held ? "ok    " : "FAILED", what);
    if (held) return;
    fprintf(stderr, "event_store: the last error: %s\n", error->message);
    exit(1);
}

/* Two tellers at once. Says how often one had to decide anew. */
static void run_writers(log_t *log, unsigned *out_done)
{
    struct writer writers[2] = {{.log = log, .seed = 1}, {.log = log, .seed = 2}};
    pthread_barrier_t meet;
    pthread_t threads[2];
    const log_error_t none = {.message = "none"};
    if (pthread_barrier_init(&meet, NULL, 2) != 0) abort();
    for (int n = 0; n < 2; n++) {
        writers[n].meet = &meet;
        if (pthread_create(&threads[n], NULL, work, &writers[n]) != 0) abort();
    }
    for (int n = 0; n < 2; n++) pthread_join(threads[n], NULL);
    pthread_barrier_destroy(&meet);
    expect(writers[0].ok && writers[1].ok, &none, "two writers transfer at once, and no balance ever was below 0");
    *out_done = writers[0].done + writers[1].done;
    expect(writers[0].conflicts + writers[1].conflicts > 0, &none, "who came second decided anew");
    printf("        %u transfers, %u declined, %lu conflicts tried again\n", *out_done,
           writers[0].declined + writers[1].declined, writers[0].conflicts + writers[1].conflicts);
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "event-data";
    const struct state nothing = {0};
    struct store store = {0}, other = {0};
    struct state before;
    log_t *log = NULL;
    log_error_t error = {.message = "none"};
    char path[PATH_BYTES];
    unsigned done = 0;
    if (argc > 2 || dir[0] == '-' || strlen(dir) > PATH_BYTES - 32) {
        fprintf(stderr, "usage: event_store [DIR]   (default: event-data; a store that is there is removed)\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/snapshot", dir);
    (void)unlink(path);
    log_status_t status = log_remove(dir, &error);
    if (status != LOG_OK && status != LOG_E_NOT_FOUND) {
        fprintf(stderr, "event_store: %s\n", error.message);
        return 1;
    }

    expect(log_open(dir, NULL, &log, &error) == LOG_OK, &error, "the log is opened");
    expect(store_open(&store, log, &nothing) == LOG_OK, &store.error, "a store on it is empty");
    for (uint32_t n = 0; n < ACCOUNTS; n++) {
        struct transfer deposit = {0, n, 100, NULL};
        expect(store_execute(&store, decide_deposit, &deposit, n, 0) == DONE, &store.error, "an account is opened");
    }

    /* Someone looked at account 0 when it had one event. Then another store's command changed it. */
    struct transfer transfer = {0, 1, 30, NULL}, too_much = {0, 1, 1000, NULL};
    expect(store_open(&other, log, &nothing) == LOG_OK && other.replayed == ACCOUNTS, &other.error,
           "another store on the same log replays what there is");
    expect(store_execute(&other, decide_transfer, &transfer, 0, 1) == DONE, &other.error, "it makes a transfer");
    expect(store_execute(&store, decide_transfer, &transfer, 0, 1) == STALE, &store.error,
           "a command for the version before that is refused");
    expect(store_execute(&store, decide_transfer, &transfer, 0, 2) == DONE, &store.error, "for the new one it is done");
    expect(store_execute(&store, decide_transfer, &too_much, 0, ANY_VERSION) == DECLINED, &store.error,
           "what an account does not hold cannot leave it");
    expect(store.state.accounts[0].balance == 40 && store.state.accounts[1].balance == 160, &store.error,
           "the balances are right");
    store_close(&other);

    run_writers(log, &done);
    expect(catch_up(&store) == LOG_END && total_of(&store.state) == 100 * ACCOUNTS, &store.error,
           "no money was made or lost");
    expect(store.state.next_offset == ACCOUNTS + 2 + done, &store.error, "each command is one record");

    expect(snapshot_write(&store, dir), &store.error, "a snapshot is written");
    run_writers(log, &done);
    expect(catch_up(&store) == LOG_END, &store.error, "the store reads what they did");
    before = store.state;
    store_close(&store);
    expect(log_close(log, &error) == LOG_OK, &error, "the log is closed");

    struct state snapshot = snapshot_read(dir);
    expect(log_open(dir, NULL, &log, &error) == LOG_OK, &error, "the log is opened again");
    expect(store_open(&store, log, &snapshot) == LOG_OK && store.replayed == done, &store.error,
           "the replay reads what came after the snapshot, and no more");
    expect(memcmp(&store.state, &before, sizeof before) == 0, &store.error, "and the state is as it was");
    expect(store_open(&other, log, &nothing) == LOG_OK && memcmp(&other.state, &before, sizeof before) == 0,
           &other.error, "a replay from the first event comes to the same");
    store_close(&store);
    store_close(&other);
    expect(log_close(log, &error) == LOG_OK, &error, "the log is closed");
    return fflush(stdout) == 0 ? 0 : 1;
}
