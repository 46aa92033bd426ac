/*
 * kill_ends.c - trims, truncates, resets and rolls a log, to be killed at a system call; for tests/kill_ends.rs.
 *
 *   kill_ends run   DIR ACKS SYNC   does the steps below, from the first on, and writes one byte to ACKS after each
 *   kill_ends check DIR ACKS SYNC   opens what is left: it must be what the acknowledged steps made, or those and the
 *                                   one after them, record by record; then cuts and appends once more
 *
 * Every record tells the step that wrote it and its offset, so that no record that was dropped can pass for the one that
 * took its place.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <seglog.h>

enum { RECORD_BYTES = 300, RECORDS_MAX = 600 };

/*
 * The records of step FUTURE_STEP have this time, long after now, and some of them are dropped by the step after it:
 * nothing later may have an earlier time.
 */
#define FUTURE (UINT64_C(1) << 62)
enum { FUTURE_STEP = 2 };

enum verb { APPEND, TRIM, TRUNCATE, RESET, REOPEN };

struct step {
    enum verb verb;
    uint64_t value; /* how many records, or the offset */
};

/* Segments take 12 records. */
static const struct step steps[] = {
    {APPEND, 10}, {APPEND, 10}, {APPEND, 10},                               /* rolls */
    {TRUNCATE, 25}, {APPEND, 3}, {TRUNCATE, 25}, {APPEND, 3},               /* twice at the same offset */
    {REOPEN, 0},
    {TRUNCATE, 8}, {APPEND, 10}, {TRUNCATE, 8}, {APPEND, 10}, {APPEND, 10}, /* lower, in another segment */
    {TRIM, 5}, {TRIM, 20},
    {TRUNCATE, 22}, {APPEND, 10},
    {RESET, 10}, {APPEND, 10},                                              /* a trim, then a reset below it */
    {REOPEN, 0},
    {APPEND, 10}, {TRIM, 13}, {TRUNCATE, 13}, {APPEND, 10},                 /* everything goes */
    {RESET, 500}, {APPEND, 10}, {TRIM, 510}, {APPEND, 1},
    {RESET, 0}, {APPEND, 10}, {TRUNCATE, 0}, {APPEND, 2},
};
enum { STEPS = sizeof steps / sizeof steps[0] };

/* What the log is to be: the step that wrote each record from first to next. */
struct model {
    uint64_t first, next;
    unsigned char writer[RECORDS_MAX];
};

static void do_step(struct model *model, unsigned number)
{
    uint64_t value = steps[number].value;
    switch (steps[number].verb) {
    case APPEND:
        memset(model->writer + model->next, (int)number + 1, value);
        model->next += value;
        break;
    case TRIM: model->first = value; break;
    case TRUNCATE: model->next = value; break;
    case RESET: model->first = model->next = value; break;
    case REOPEN: break;
    }
}

static void fill(unsigned char *record, unsigned writer, uint64_t offset)
{
    memset(record, 'a' + (int)(writer % 26), RECORD_BYTES);
    snprintf((char *)record, RECORD_BYTES, "step %u offset %" PRIu64, writer, offset);
}

static void give_up(const char *what, const log_error_t *error)
{
    printf("%s: %s: %s\n", what, log_status_name(error->status), error->message);
    fflush(stdout);
    _exit(3);
}

static log_t *open_log(const char *dir, const char *sync)
{
    log_config_t config = {.struct_size = sizeof config, .sync = (uint32_t)atoi(sync), .segment_max_bytes = 4096};
    log_error_t error;
    log_t *log = NULL;
    if (log_open(dir, &config, &log, &error) != LOG_OK) give_up("log_open", &error);
    return log;
}

/* As append, with records of the future. */
static void import(log_t *log, unsigned writer, uint64_t first, uint64_t count)
{
    static unsigned char bytes[16][RECORD_BYTES];
    log_record_t records[16];
    log_error_t error;
    for (uint64_t n = 0; n < count; n++) {
        fill(bytes[n], writer, first + n);
        records[n] = (log_record_t){first + n, FUTURE, {bytes[n], RECORD_BYTES}};
    }
    if (log_append_records(log, records, count, &error) != LOG_OK) give_up("log_append_records", &error);
}

static void append(log_t *log, unsigned writer, uint64_t first, uint64_t count)
{
    static unsigned char bytes[16][RECORD_BYTES];
    log_bytes_t batch[16];
    log_error_t error;
    uint64_t got = LOG_NO_OFFSET;
    for (uint64_t n = 0; n < count; n++) {
        fill(bytes[n], writer, first + n);
        batch[n] = (log_bytes_t){bytes[n], RECORD_BYTES};
    }
    if (log_append_batch(log, batch, count, &got, &error) != LOG_OK) give_up("log_append_batch", &error);
    if (got != first) {
        printf("the append went to %" PRIu64 ", not to %" PRIu64 "\n", got, first);
        _exit(4);
    }
}

static void run(const char *dir, const char *acks_path, const char *sync)
{
    int acks = open(acks_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct model model = {0};
    log_error_t error;
    log_t *log = open_log(dir, sync);
    if (acks < 0) _exit(5);
    for (unsigned n = 0; n < STEPS; n++) {
        uint64_t value = steps[n].value;
        log_status_t status = LOG_OK;
        switch (steps[n].verb) {
        case APPEND:
            if (n == FUTURE_STEP) import(log, n + 1, model.next, value);
            else append(log, n + 1, model.next, value);
            break;
        case TRIM: status = log_trim(log, value, &error); break;
        case TRUNCATE: status = log_truncate(log, value, &error); break;
        case RESET: status = log_reset(log, value, &error); break;
        case REOPEN:
            status = log_close(log, &error);
            if (status == LOG_OK) log = open_log(dir, sync);
            break;
        }
        if (status != LOG_OK) give_up("a step", &error);
        do_step(&model, n);
        if (write(acks, "+", 1) != 1) _exit(5);
    }
    if (log_close(log, &error) != LOG_OK) give_up("log_close", &error);
}

/* Whether the log is this, by its offsets and by a cursor; says what differs where `loud`. */
static int is_model(log_t *log, const struct model *model, int loud)
{
    log_stat_t stat = {.struct_size = sizeof stat};
    unsigned char expected[RECORD_BYTES];
    log_cursor_t *cursor = NULL;
    log_record_t record;
    log_error_t error;
    uint64_t at = model->first;
    if (log_stat(log, &stat, &error) != LOG_OK) give_up("log_stat", &error);
    int fine = stat.first_offset == model->first && stat.next_offset == model->next;
    if (fine && stat.payload_bytes != (model->next - model->first) * RECORD_BYTES) fine = 0;
    if (loud)
        printf("  wanted %" PRIu64 " to %" PRIu64 ", found %" PRIu64 " to %" PRIu64 " with %" PRIu64 " bytes\n",
               model->first, model->next, stat.first_offset, stat.next_offset, stat.payload_bytes);
    if (!fine) return 0;
    if (log_cursor_open(log, stat.first_offset, &cursor, &error) != LOG_OK) give_up("log_cursor_open", &error);
    while (log_cursor_next(cursor, &record, &error) == LOG_OK) {
        if (at >= model->next) break;
        fill(expected, model->writer[at], at);
        if (record.offset != at || record.payload.len != RECORD_BYTES ||
            memcmp(record.payload.data, expected, RECORD_BYTES) != 0) {
            if (loud) printf("  %" PRIu64 " is '%.30s', wanted '%.30s'\n", at, (const char *)record.payload.data, expected);
            break;
        }
        at++;
    }
    log_cursor_close(cursor);
    return at == model->next;
}

static void must_be(log_t *log, const struct model *model, const char *when)
{
    if (is_model(log, model, 0)) return;
    printf("%s:\n", when);
    (void)is_model(log, model, 1);
    fflush(stdout);
    _exit(6);
}

/* Whether the record's time is not before that of step FUTURE_STEP. */
static int is_of_the_future(log_t *log, uint64_t offset)
{
    log_cursor_t *cursor = NULL;
    log_record_t record;
    log_error_t error;
    if (log_cursor_open(log, offset, &cursor, &error) != LOG_OK) give_up("log_cursor_open", &error);
    if (log_cursor_next(cursor, &record, &error) != LOG_OK) give_up("log_cursor_next", &error);
    uint64_t time = record.timestamp_ns;
    log_cursor_close(cursor);
    return time >= FUTURE;
}

static void check(const char *dir, const char *acks_path, const char *sync)
{
    struct stat about;
    struct model model = {0};
    log_error_t error;
    char lost[4096];
    unsigned done = stat(acks_path, &about) == 0 ? (unsigned)about.st_size : 0;
    log_t *log = open_log(dir, sync);
    for (unsigned n = 0; n < done; n++) do_step(&model, n);
    if (done < STEPS && !is_model(log, &model, 0)) do_step(&model, done);
    if (!is_model(log, &model, 0)) {
        printf("%u steps were acknowledged, and the log is neither that nor one step more:\n", done);
        (void)is_model(log, &model, 1);
        fflush(stdout);
        _exit(6);
    }

    /* Whoever was killed comes again: a cut at the same place, one lower, other records in the place of the dropped. */
    unsigned writer = STEPS + 1;
    for (unsigned round = 0; round < 3; round++, writer++) {
        uint64_t cut = model.next - model.first > 2 * round ? model.next - 2 * round : model.next;
        if (log_truncate(log, cut, &error) != LOG_OK) give_up("log_truncate", &error);
        model.next = cut;
        must_be(log, &model, "after one more truncation");
        append(log, writer, cut, 3);
        if (done > FUTURE_STEP && !is_of_the_future(log, cut)) {
            printf("time ran back\n");
            fflush(stdout);
            _exit(8);
        }
        memset(model.writer + cut, (int)writer, 3);
        model.next += 3;
        if (log_close(log, &error) != LOG_OK) give_up("log_close", &error);
        log = open_log(dir, sync);
        must_be(log, &model, "after one more truncation, append and reopen");
    }
    if (log_trim(log, model.next, &error) != LOG_OK) give_up("log_trim", &error);
    if (log_reset(log, 3, &error) != LOG_OK) give_up("log_reset", &error);
    model.first = model.next = 3;
    if (log_close(log, &error) != LOG_OK) give_up("log_close", &error);
    log = open_log(dir, sync);
    must_be(log, &model, "after a trim, a reset below it and a reopen");
    if (log_close(log, &error) != LOG_OK) give_up("log_close", &error);
    /* Nothing was torn, so nothing was to be kept aside. */
    snprintf(lost, sizeof lost, "%s/lost", dir);
    if (access(lost, F_OK) == 0) {
        printf("there is a lost/\n");
        fflush(stdout);
        _exit(7);
    }
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "run") == 0) run(argv[2], argv[3], argv[4]);
    else if (argc == 5 && strcmp(argv[1], "check") == 0) check(argv[2], argv[3], argv[4]);
    else return 2;
    return 0;
}
