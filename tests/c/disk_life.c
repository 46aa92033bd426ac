/*
 * disk_life.c - a log's life, told by a number, for tests/power.rs and tests/injected.rs.
 *
 *   disk_life run   DIR NOTES BLOCKS SEED OPS SYNC SEGMENT FLAGS   opens DIR and makes the operations 1 to OPS
 *   disk_life check DIR SEED LOW HIGH                              opens what is left of it: it must be what the operations up
 *                                                                  to some one from LOW to HIGH made, record by record
 *
 * What operation n does hangs on SEED and n, and on what the log is by then; so whoever knows the seed knows every state.
 * Each record names the operation that wrote it and its offset.
 *
 * NOTES gets a struct note before each operation (BEGUN), behind it (RETURNED), and when operations are known to be durable
 * (DURABLE): by what a call returned, or by `durable_offset`. Operation 0 is the open. BLOCKS is the log of qemu's driver blklogwrites or `-`; a note says how many
 * entries that had. An operation that fails must leave the log as it was or do what it should, and say which; it is made again,
 * on the same handle where that goes on, else on a new one. LOW of `check` is -1 where not even the open was durable.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <seglog.h>

enum { RECORDS_MAX = 1 << 15, BATCH_MAX = 9, HEAD = 16, SMALL = 700, LARGE = 300000, TRIES = 4 };
enum verb { APPEND, BATCH, APPEND_LARGE, SYNC, TRIM, TRUNCATE, RESET, REOPEN };
enum { BEGUN, DURABLE, RETURNED };

struct note {
    uint32_t kind, operation;
    uint64_t blocks;
};

/* The log as it is after `operation`: who wrote each record from first to next. */
struct model {
    uint64_t first, next;
    unsigned operation;
    uint16_t writer[RECORDS_MAX];
};

/* An operation, with what it needs to know of the log before it. */
struct work {
    enum verb verb;
    uint64_t value; /* how many records, or the offset */
};

static uint64_t seed;
static struct model model, after;
static int notes = -1, blocks = -1;
static unsigned durable_up_to;
static uint64_t next_after[1 << 16];

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void die(const char *what, const log_error_t *error)
{
    printf("operation %u: %s", model.operation + 1, what);
    if (error != NULL) printf(": %s (errno %d): %s", log_status_name(error->status), error->os_error, error->message);
    printf("\n");
    fflush(stdout);
    _exit(3);
}

/* Seed 0 is a short life that has everything; the others are drawn. */
static enum verb verb_of(unsigned n)
{
    static const enum verb shorts[] = {
        APPEND, BATCH, SYNC, BATCH, BATCH, TRIM, APPEND_LARGE, APPEND, REOPEN, BATCH, TRUNCATE, APPEND, SYNC, RESET,
        BATCH, APPEND, TRIM, REOPEN, APPEND, BATCH, TRUNCATE, BATCH,
    };
    uint64_t draw = mix(seed * 1000003 + n) % 200;
    if (seed == 0) return shorts[(n - 1) % (sizeof shorts / sizeof shorts[0])];
    if (draw < 120) return APPEND;
    if (draw < 150) return BATCH;
    if (draw < 152) return APPEND_LARGE;
    if (draw < 170) return SYNC;
    if (draw < 178) return TRIM;
    if (draw < 188) return TRUNCATE;
    if (draw < 191) return RESET;
    return draw < 195 ? REOPEN : APPEND;
}

static struct work work_of(unsigned n, const struct model *before)
{
    uint64_t draw = mix(seed * 999983 + n), there = before->next - before->first, most = there < 40 ? there : 40;
    struct work work = {verb_of(n), 0};
    switch (work.verb) {
    case APPEND:
    case APPEND_LARGE: work.value = 1; break;
    case BATCH: work.value = 2 + draw % (BATCH_MAX - 1); break;
    case TRIM: work.value = before->first + draw % (most + 1); break;
    case TRUNCATE: work.value = before->next - draw % (most + 1); break;
    case RESET: work.value = draw % 4000; break;
    case SYNC:
    case REOPEN: break;
    }
    return work;
}

/* What the operation makes of the log. */
static void step(struct model *log)
{
    unsigned n = log->operation + 1;
    struct work work = work_of(n, log);
    switch (work.verb) {
    case APPEND:
    case APPEND_LARGE:
    case BATCH:
        if (log->next + work.value > RECORDS_MAX) die("too many records for the model", NULL);
        for (uint64_t i = 0; i < work.value; i++) log->writer[log->next++] = (uint16_t)n;
        break;
    case TRIM: log->first = work.value; break;
    case TRUNCATE: log->next = work.value; break;
    case RESET: log->first = log->next = work.value; break;
    case SYNC:
    case REOPEN: break;
    }
    log->operation = n;
}

static size_t record_bytes(unsigned writer, uint64_t offset)
{
    if (writer != 0xffff && verb_of(writer) == APPEND_LARGE) return LARGE;
    return HEAD + mix(seed ^ (uint64_t)writer << 40 ^ offset) % SMALL;
}

static size_t fill(unsigned char *record, unsigned writer, uint64_t offset)
{
    size_t len = record_bytes(writer, offset);
    uint64_t word = mix(writer * 7919 + offset), at = writer;
    memcpy(record, &at, 8);
    memcpy(record + 8, &offset, 8);
    for (size_t i = HEAD; i < len; i++) {
        if (i % 8 == 0) word = mix(word);
        record[i] = (unsigned char)(word >> i % 8 * 8);
    }
    return len;
}

/* A failed call says one of these, in one sentence. */
static void check_clean(log_status_t status, const log_error_t *error)
{
    if (status != LOG_E_IO && status != LOG_E_NO_SPACE && status != LOG_E_MEMORY && status != LOG_E_POISONED)
        die("no status for a call that failed", error);
    if (error->message[0] == '\0' || strchr(error->message, '\n') != NULL) die("no sentence", error);
}

/* Whether to ask again what only looks: where a call failed, it says so cleanly, and the next one works. */
static int again(log_status_t status, const log_error_t *error, int *tries)
{
    if (status < LOG_E_ARGUMENT) return 0;
    check_clean(status, error);
    if (++*tries > TRIES) die("reading fails again and again", error);
    return 1;
}

/* The log is this: by its offsets, by a cursor, and (where there are few, or for some) by offset. */
static int is_model(log_t *log, const struct model *wanted, int loud)
{
    static unsigned char expected[LARGE], read[LARGE];
    log_stat_t stat = {.struct_size = sizeof stat};
    log_cursor_t *cursor = NULL;
    log_record_t record;
    log_error_t error;
    uint64_t at;
    size_t len, got;
    int tries = 0;
    while (again(log_stat(log, &stat, &error), &error, &tries)) {}
    if (loud)
        printf("after operation %u: wanted %" PRIu64 " to %" PRIu64 ", found %" PRIu64 " to %" PRIu64 "\n", wanted->operation,
               wanted->first, wanted->next, stat.first_offset, stat.next_offset);
    if (stat.first_offset != wanted->first || stat.next_offset != wanted->next) return 0;
    while (again(log_cursor_open(log, wanted->first, &cursor, &error), &error, &tries)) {}
    for (at = wanted->first; at < wanted->next; at++) {
        len = fill(expected, wanted->writer[at], at);
        log_status_t status;
        while (again(status = log_cursor_next(cursor, &record, &error), &error, &tries)) {}
        if (status != LOG_OK) die("the cursor is at the end", NULL);
        if (record.offset != at || record.payload.len != len || memcmp(record.payload.data, expected, len) != 0) break;
        if (at % 8 == 0 || at + 20 > wanted->next) {
            while (again(log_read(log, at, read, sizeof read, &got, &error), &error, &tries)) {}
            if (got != len || memcmp(read, expected, len) != 0) die("log_read gives other bytes than the cursor", NULL);
        }
    }
    if (at == wanted->next && log_cursor_next(cursor, &record, &error) != LOG_END) die("more records than there are", NULL);
    if (loud && at < wanted->next) {
        uint64_t writer = 0;
        if (record.payload.len >= 8) memcpy(&writer, record.payload.data, 8);
        printf("  record %" PRIu64 " is operation %" PRIu64 "'s, wanted %u's\n", at, writer, wanted->writer[at]);
    }
    log_cursor_close(cursor);
    return at == wanted->next;
}

static void must_be(log_t *log, const struct model *wanted, const char *when)
{
    if (is_model(log, wanted, 0)) return;
    printf("%s:\n", when);
    (void)is_model(log, wanted, 1);
    die("the log is another one", NULL);
}

/* --- run -------------------------------------------------------------------------------------------------------------- */

static const char *dir;
static log_config_t config = {.struct_size = sizeof config};

static void say(uint32_t kind, unsigned operation)
{
    struct note note = {kind, operation, 0};
    /* The third word of the log's first sector. */
    if (blocks >= 0 && pread(blocks, &note.blocks, 8, 16) != 8) die("the log of blocks cannot be read", NULL);
    if (write(notes, &note, sizeof note) != (ssize_t)sizeof note) die("no note can be made", NULL);
}

static log_t *open_log(void)
{
    log_error_t error;
    log_t *log = NULL;
    for (int n = 0; n < TRIES; n++) {
        log_status_t status = log_open(dir, &config, &log, &error);
        if (status == LOG_OK) return log;
        check_clean(status, &error);
    }
    die("log_open", &error);
    return NULL;
}

/* One call; `exists`: an append that failed has its records all the same. */
static log_status_t make(log_t **log, unsigned n, const struct work *work, int *exists, log_error_t *error)
{
    static unsigned char bytes[BATCH_MAX][LARGE];
    log_bytes_t batch[BATCH_MAX];
    uint64_t first = LOG_NO_OFFSET;
    log_status_t status = LOG_OK;
    switch (work->verb) {
    case APPEND:
    case APPEND_LARGE:
    case BATCH:
        for (uint64_t i = 0; i < work->value; i++)
            batch[i] = (log_bytes_t){bytes[i], fill(bytes[i], n, model.next + i)};
        if (work->verb == BATCH) status = log_append_batch(*log, batch, work->value, &first, error);
        else status = log_append(*log, batch[0].data, batch[0].len, &first, error);
        if (first != LOG_NO_OFFSET && first != model.next) die("another offset than the next one", NULL);
        if (status == LOG_OK && first == LOG_NO_OFFSET) die("no offset", NULL);
        *exists = first != LOG_NO_OFFSET;
        break;
    case SYNC: status = log_sync(*log, error); break;
    case TRIM: status = log_trim(*log, work->value, error); break;
    case TRUNCATE: status = log_truncate(*log, work->value, error); break;
    case RESET: status = log_reset(*log, work->value, error); break;
    case REOPEN:
        status = log_close(*log, error);
        if (status != LOG_OK) check_clean(status, error);
        *log = open_log();
        status = LOG_OK;
        break;
    }
    return status;
}

/* The call failed: reads go on; the log is what it was or what it was to be. Whether it is the latter. */
static int look_after_failure(log_t **log, const struct work *work, log_status_t status, int exists, log_error_t *error)
{
    int is_append = work->verb == APPEND || work->verb == BATCH || work->verb == APPEND_LARGE;
    check_clean(status, error);
    if (status == LOG_E_NO_SPACE && exists) die("no space, and yet appended", error);
    after = model;
    step(&after);
    if (is_append) must_be(*log, exists ? &after : &model, "after an append that failed");
    else if (!is_model(*log, &model, 0)) must_be(*log, &after, "after an operation that failed");
    if (status == LOG_E_NO_SPACE || status == LOG_E_MEMORY) {
        if (is_append || work->verb == SYNC) return exists;
        return !is_model(*log, &model, 0);
    }
    /* Nothing is appended there: a handle that goes on says that the offset is another. */
    status = log_append_at(*log, LOG_NO_OFFSET - 1, "", 0, error);
    if (status != LOG_E_CONFLICT) {
        if (status != LOG_E_POISONED) die("an append after a failure", error);
        status = log_close(*log, error);
        if (status != LOG_E_POISONED) die("a close after a failure", error);
        *log = open_log();
    }
    if (is_append) must_be(*log, exists ? &after : &model, "opened after an append that failed");
    else if (!is_model(*log, &model, 0)) must_be(*log, &after, "opened after an operation that failed");
    return is_append ? exists : !is_model(*log, &model, 0);
}

static void note_durable(log_t *log, int all)
{
    log_stat_t stat = {.struct_size = sizeof stat};
    log_error_t error;
    unsigned before = durable_up_to;
    if (log_stat(log, &stat, &error) != LOG_OK) return;
    if (stat.durable_offset > stat.next_offset) die("durable_offset is past the log's end", NULL);
    if (all && stat.durable_offset != stat.next_offset) die("a durable operation, and durable_offset is behind", NULL);
    if (all) durable_up_to = model.operation;
    /* Only appends stand between the last durable operation and this one. */
    while (durable_up_to < model.operation && next_after[durable_up_to + 1] <= stat.durable_offset) durable_up_to++;
    if (durable_up_to > before) say(DURABLE, durable_up_to);
}

static void run(unsigned operations)
{
    log_error_t error;
    log_t *log;
    say(BEGUN, 0);
    log = open_log();
    say(DURABLE, 0);
    say(RETURNED, 0);
    while (model.operation < operations) {
        unsigned n = model.operation + 1, tries = 0;
        struct work work = work_of(n, &model);
        int done = 0, durable = 0, exists = 0;
        say(BEGUN, n);
        while (!done) {
            log_status_t status = make(&log, n, &work, &exists, &error);
            if (++tries > TRIES) die("it fails again and again", &error);
            durable = status == LOG_OK && (work.verb >= SYNC || config.sync == LOG_SYNC_ALWAYS);
            /* These have nothing to do, and so sync nothing. */
            if (work.verb == TRIM && work.value == model.first) durable = 0;
            if (work.verb == TRUNCATE && work.value == model.next) durable = 0;
            done = status == LOG_OK || look_after_failure(&log, &work, status, exists, &error);
        }
        step(&model);
        next_after[n] = model.next;
        say(RETURNED, n);
        if (blocks >= 0) note_durable(log, durable);
        if (config.sync == LOG_SYNC_INTERVAL && mix(n) % 4 == 0) usleep(3000);
    }
    must_be(log, &model, "at the end");
    log_status_t status = log_close(log, &error);
    if (status == LOG_OK) say(DURABLE, model.operation);
    else check_clean(status, &error);
}

/* --- check ------------------------------------------------------------------------------------------------------------ */

static log_t *open_again(const char *when, int is_first)
{
    log_stat_t stat = {.struct_size = sizeof stat};
    log_error_t error;
    log_t *log = NULL;
    if (log_open(dir, &config, &log, &error) != LOG_OK) die(when, &error);
    if (log_stat(log, &stat, &error) != LOG_OK) die("log_stat", &error);
    if (stat.durable_offset != stat.next_offset) die("what an open found is durable, says the manual", NULL);
    if (!is_first && (stat.recovered_records != 0 || stat.dropped_bytes != 0)) {
        printf("recovered %" PRIu64 ", dropped %" PRIu64 "\n", stat.recovered_records, stat.dropped_bytes);
        die("an open after a clean close found something to recover", NULL);
    }
    return log;
}

static void append_here(log_t *log, uint64_t count)
{
    static unsigned char bytes[HEAD + SMALL];
    log_error_t error;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t got = 0;
        size_t len = fill(bytes, 0xffff, model.next);
        if (log_append(log, bytes, len, &got, &error) != LOG_OK) die("an append afterwards", &error);
        if (got != model.next) die("an append afterwards got another offset", NULL);
        model.writer[model.next++] = 0xffff;
    }
}

static void check(long low, long high)
{
    log_error_t error;
    log_t *log;
    config.segment_max_bytes = 8192;
    if (low >= 0) config.flags = LOG_NO_CREATE;
    log = open_again("log_open of what is left", 1);
    while ((long)model.operation < low) step(&model);
    while (!is_model(log, &model, 0)) {
        if ((long)model.operation >= high) {
            printf("operations up to %ld were durable, %ld was begun, and the log is none of what they made:\n", low, high);
            for (memset(&model, 0, sizeof model); (long)model.operation < low; step(&model)) {}
            for (;; step(&model)) {
                if ((long)model.operation + 12 >= high) (void)is_model(log, &model, 1);
                if ((long)model.operation >= high) break;
            }
            die("this log", NULL);
        }
        step(&model);
    }
    printf("found %u of %ld to %ld\n", model.operation, low, high);
    if (log_close(log, &error) != LOG_OK) die("log_close", &error);
    log = open_again("the second open", 0);
    must_be(log, &model, "opened a second time");
    append_here(log, 30);
    if (log_truncate(log, model.next - 3, &error) != LOG_OK) die("log_truncate", &error);
    model.next -= 3;
    append_here(log, 5);
    if (log_close(log, &error) != LOG_OK) die("log_close", &error);
    log = open_again("the third open", 0);
    must_be(log, &model, "after appends, a truncation, appends, and a third open");
    if (log_close(log, &error) != LOG_OK) die("log_close", &error);
}

int main(int argc, char **argv)
{
    if (argc > 2) dir = argv[2];
    if (argc == 10 && strcmp(argv[1], "run") == 0) {
        for (int n = 0; n < TRIES && notes < 0; n++) notes = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (strcmp(argv[4], "-") != 0) blocks = open(argv[4], O_RDONLY | O_CLOEXEC);
        seed = strtoull(argv[5], NULL, 10);
        config.sync = (uint32_t)atoi(argv[7]);
        config.sync_interval_ms = config.sync == LOG_SYNC_INTERVAL ? 4 : 0;
        config.segment_max_bytes = strtoull(argv[8], NULL, 10);
        config.flags = (uint32_t)atoi(argv[9]);
        run((unsigned)atoi(argv[6]));
    } else if (argc == 6 && strcmp(argv[1], "check") == 0) {
        seed = strtoull(argv[3], NULL, 10);
        check(atol(argv[4]), atol(argv[5]));
    } else {
        return 2;
    }
    return 0;
}
