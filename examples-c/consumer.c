/*
 * consumer: work on each record of a log at least once, killed and restarted at any time, in a process of its own beside
 * the one that writes the log.
 *
 *     consumer [--name NAME] [--batch N] [--follow] DIR
 *
 * It opens the log read-only, goes on at the position that it saved last under NAME ("consumer"), and prints each record
 * with a line's end: put your own work there. After each N records (1) it saves its position, durably, and only when the
 * work on them is done. So a record is worked on again if the program is killed between its work and that save, and never
 * left out: who cannot bear a record twice keeps the last offset that he worked on beside his own results. With --follow
 * it waits for more at the end, else it ends there.
 *
 * The writer that opens the log with LOG_KEEP_UNCONSUMED never trims away what a consumer has not passed.
 *
 * Exit status: 0 it reached the end, 1 something failed, 2 wrong usage.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <seglog.h>

/* The work, to be done when this returns 0: here, a line on standard output that has left this process. */
static int work_on(const log_record_t *record)
{
    fwrite(record->payload.data, 1, record->payload.len, stdout);
    fputc('\n', stdout);
    return fflush(stdout);
}

/* Where to go on: the saved position, or the first record where there is none yet. */
static log_status_t find_start(log_t *log, const char *name, uint64_t *out_offset, log_error_t *error)
{
    log_stat_t stat = {.struct_size = sizeof stat};
    log_status_t status = log_stat(log, &stat, error);
    if (status != LOG_OK) return status;
    status = log_position_load(log, name, out_offset, error);
    if (status == LOG_E_NOT_FOUND) {
        *out_offset = stat.first_offset;
        return LOG_OK;
    }
    if (status == LOG_OK && *out_offset < stat.first_offset) {
        /* The writer has trimmed what this one had not seen: say so, and go on. */
        fprintf(stderr, "consumer: records %" PRIu64 " to %" PRIu64 " were removed before they were consumed\n",
                *out_offset, stat.first_offset - 1);
        *out_offset = stat.first_offset;
    }
    return status;
}

static log_status_t consume(log_t *log, const char *name, uint64_t batch, int follow, log_error_t *error)
{
    log_cursor_t *cursor = NULL;
    log_record_t record;
    uint64_t next = 0, unsaved = 0;
    log_status_t status = find_start(log, name, &next, error);
    if (status == LOG_OK) status = log_cursor_open(log, next, &cursor, error);
    while (status == LOG_OK) {
        status = log_cursor_next(cursor, &record, error);
        if (status == LOG_OK) {
            if (work_on(&record) != 0) {
                error->status = status = LOG_E_IO;
                snprintf(error->message, sizeof error->message, "cannot write to standard output");
                break;
            }
            next = record.offset + 1;
            unsaved++;
        }
        /* At the end too: who waits for more has told how far it is. */
        if ((status == LOG_OK && unsaved >= batch) || (status == LOG_END && unsaved > 0)) {
            log_status_t saved = log_position_save(log, name, next, error);
            if (saved != LOG_OK) status = saved;
            unsaved = 0;
        }
        if (status == LOG_END && follow) status = log_cursor_wait(cursor, -1, error);
    }
    log_cursor_close(cursor);
    return status == LOG_END ? LOG_OK : status;
}

static int usage(void)
{
    fprintf(stderr, "usage: consumer [--name NAME] [--batch N] [--follow] DIR\n");
    return 2;
}

int main(int argc, char **argv)
{
    log_config_t config = {.struct_size = sizeof config, .flags = LOG_READ_ONLY};
    const char *dir = NULL, *name = "consumer";
    uint64_t batch = 1;
    int follow = 0;
    log_t *log = NULL;
    log_error_t error;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--name") == 0 && i + 1 < argc) name = argv[++i];
        else if (strcmp(argv[i], "--batch") == 0 && i + 1 < argc) batch = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--follow") == 0) follow = 1;
        else if (argv[i][0] != '-' && dir == NULL) dir = argv[i];
        else return usage();
    }
    if (dir == NULL || batch == 0) return usage();
    log_status_t status = log_open(dir, &config, &log, &error);
    if (status == LOG_OK) status = consume(log, name, batch, follow, &error);
    if (status != LOG_OK) fprintf(stderr, "consumer: %s\n", error.message);
    (void)log_close(log, NULL);
    return status == LOG_OK ? 0 : 1;
}
