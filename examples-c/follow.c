/*
 * follow: prints each record of a log as it is appended, from another process: tail -f.
 *
 *     follow [--from N] [--count N] [--idle-ms N] DIR
 *
 * It opens the log with LOG_READ_ONLY, so it needs no right to write and holds nobody up. It goes on when the writer
 * closes the log or is killed, and when a new one comes. While nothing is appended it sleeps and uses no processor time.
 *
 * Exit status: 0 it printed --count records, or its reader has gone, or nothing came for --idle-ms; 1 something failed;
 * 2 wrong usage.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <seglog.h>

/* How often it is looked whether the log was cut before the place where this program stands. */
enum { LOOK_MS = 1000 };

struct options {
    const char *dir;
    uint64_t from;   /* LOG_NO_OFFSET: what is appended from now on */
    uint64_t count;  /* UINT64_MAX: no end */
    int64_t idle_ms; /* -1: for ever */
};

static void usage(FILE *out)
{
    fprintf(out, "usage: follow [options] DIR\n"
                 "Prints each record of the log in DIR as it is appended, one a line.\n"
                 "\n"
                 "  --from N     begin at offset N (default: at what is appended from now on)\n"
                 "  --count N    end after N records (default: never)\n"
                 "  --idle-ms N  end when nothing was appended for N milliseconds (default: never)\n"
                 "  --help       print this\n");
}

static bool parse_u64(const char *text, uint64_t *out)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') return false; /* strtoull takes signs and blanks */
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0') return false;
    *out = value;
    return true;
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    enum { FROM = 1, COUNT, IDLE, HELP };
    static const struct option known[] = {
        {"from", required_argument, NULL, FROM},    {"count", required_argument, NULL, COUNT},
        {"idle-ms", required_argument, NULL, IDLE}, {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    uint64_t value;
    int option;
    options->from = LOG_NO_OFFSET;
    options->count = UINT64_MAX;
    options->idle_ms = -1;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == HELP) {
            usage(stdout);
            exit(fflush(stdout) == 0 ? 0 : 1);
        }
        if (option == '?') return false; /* getopt_long has said what is wrong */
        if (!parse_u64(optarg, &value) || (option == IDLE && value > INT64_MAX)) {
            fprintf(stderr, "follow: '%s' is no number\n", optarg);
            return false;
        }
        if (option == FROM) options->from = value;
        if (option == COUNT) options->count = value;
        if (option == IDLE) options->idle_ms = (int64_t)value;
    }
    if (argc - optind != 1) return false;
    options->dir = argv[optind];
    return true;
}

/* Where the log begins and ends now. */
static log_status_t stand(log_t *log, log_stat_t *stat, log_error_t *error)
{
    memset(stat, 0, sizeof *stat);
    stat->struct_size = sizeof *stat;
    return log_stat(log, stat, error);
}

/* Moves the cursor to where there is, or will be, a record again. */
static log_status_t find_place(log_t *log, log_cursor_t *cursor, uint64_t *next, log_error_t *error)
{
    log_stat_t stat;
    log_status_t status = stand(log, &stat, error);
    if (status != LOG_OK) return status;
    if (*next >= stat.first_offset && *next <= stat.next_offset) return LOG_OK;
    uint64_t place = *next < stat.first_offset ? stat.first_offset : stat.next_offset;
    fprintf(stderr, "follow: record %" PRIu64 " is gone; going on at %" PRIu64 "\n", *next, place);
    *next = place;
    return log_cursor_seek(cursor, place, error);
}

/* Prints what there is; LOG_END then. */
static log_status_t print_all(log_cursor_t *cursor, uint64_t *next, uint64_t *left, log_error_t *error)
{
    while (*left > 0) {
        log_record_t record;
        log_status_t status = log_cursor_next(cursor, &record, error);
        if (status == LOG_E_CORRUPT || status == LOG_E_LOST) {
            /* It concerns this one record: the next call goes on behind it. */
            fprintf(stderr, "follow: offset %" PRIu64 ": %s\n", error->offset, error->message);
            *next = error->offset + 1;
            continue;
        }
        if (status != LOG_OK) return status;
        size_t length = record.payload.len;
        if (length > 0) (void)fwrite(record.payload.data, 1, length, stdout);
        (void)putchar('\n');
        *next = record.offset + 1;
        *left -= 1;
    }
    return LOG_END;
}

static log_status_t follow(log_t *log, const struct options *options, log_error_t *error)
{
    log_cursor_t *cursor = NULL;
    log_stat_t stat;
    uint64_t left = options->count;
    int64_t idle_ms = 0;
    log_status_t status = stand(log, &stat, error);
    if (status != LOG_OK) return status;
    uint64_t next = options->from == LOG_NO_OFFSET ? stat.next_offset : options->from;
    status = log_cursor_open(log, next, &cursor, error);
    while (status == LOG_OK && left > 0) {
        status = print_all(cursor, &next, &left, error);
        if (fflush(stdout) != 0) {
            status = LOG_OK; /* `follow DIR | head` has seen enough */
            break;
        }
        if (status == LOG_END && left > 0) {
            status = log_cursor_wait(cursor, LOOK_MS, error);
            idle_ms = status == LOG_TIMEOUT ? idle_ms + LOOK_MS : 0;
            if (status == LOG_TIMEOUT && options->idle_ms >= 0 && idle_ms >= options->idle_ms) {
                status = LOG_OK;
                break;
            }
        }
        if (status == LOG_END) status = LOG_OK;
        /* Records were removed at the log's front, or may have been cut off at its end. */
        if (status == LOG_E_TRIMMED || status == LOG_TIMEOUT) status = find_place(log, cursor, &next, error);
    }
    log_cursor_close(cursor);
    return status;
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse_options(argc, argv, &options)) {
        usage(stderr);
        return 2;
    }
    /* When the reader goes away, the write shall fail and the log be closed, instead of this process being killed. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        perror("follow: signal");
        return 1;
    }
    log_config_t config = {.struct_size = sizeof config, .flags = LOG_READ_ONLY};
    log_error_t error;
    log_t *log = NULL;
    log_status_t status = log_open(options.dir, &config, &log, &error);
    if (status == LOG_OK) status = follow(log, &options, &error);
    if (status != LOG_OK) fprintf(stderr, "follow: %s\n", error.message);
    log_close(log, NULL); /* NULL is fine; a read-only handle has nothing to sync */
    return status == LOG_OK ? 0 : 1;
}
