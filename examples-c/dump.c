/*
 * dump: prints the records of a log, one a line, from an offset on.
 *
 *     dump [--from N] [--count N] [--offsets] DIR
 *
 * Records are written as they are, whatever bytes they hold, with a LF behind each: what ingest took from a file
 * comes back byte for byte. A damaged record is reported on standard error and left out; those behind it follow.
 *
 * The log is opened with LOG_READ_ONLY: nothing in it is changed, and another program may be writing it meanwhile.
 *
 * Exit status: 0 all that was asked for was printed, 1 something failed or was damaged, 2 wrong usage.
 */
#define _POSIX_C_SOURCE 200809L /* gmtime_r */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <seglog.h>

/* Records that one call hands over: enough that the calls cost nothing. */
enum { BATCH = 256 };

struct options {
    const char *dir;
    uint64_t from;  /* LOG_NO_OFFSET: the first that there is */
    uint64_t count; /* UINT64_MAX: all */
    bool offsets;
};

static void usage(FILE *out)
{
    fprintf(out, "usage: dump [options] DIR\n"
                 "Prints the records of the log in DIR, one a line.\n"
                 "\n"
                 "  --from N   begin at offset N (default: the first record)\n"
                 "  --count N  print at most N records (default: all)\n"
                 "  --offsets  print offset, time (UTC) and a tab before each record\n"
                 "  --help     print this\n");
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
    enum { FROM = 1, COUNT, OFFSETS, HELP };
    static const struct option known[] = {
        {"from", required_argument, NULL, FROM},  {"count", required_argument, NULL, COUNT},
        {"offsets", no_argument, NULL, OFFSETS},  {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    options->from = LOG_NO_OFFSET;
    options->count = UINT64_MAX;
    options->offsets = false;

    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case FROM:
            if (!parse_u64(optarg, &options->from)) {
                fprintf(stderr, "dump: --from takes an offset, not '%s'\n", optarg);
                return false;
            }
            break;
        case COUNT:
            if (!parse_u64(optarg, &options->count)) {
                fprintf(stderr, "dump: --count takes a number of records, not '%s'\n", optarg);
                return false;
            }
            break;
        case OFFSETS:
            options->offsets = true;
            break;
        case HELP:
            usage(stdout);
            exit(fflush(stdout) == 0 ? 0 : 1);
        default:
            return false; /* getopt_long has said what is wrong */
        }
    }
    if (argc - optind != 1) return false;
    options->dir = argv[optind];
    return true;
}

/* Fails with errno set. */
static bool print_record(const log_record_t *record, bool offsets)
{
    if (offsets) {
        time_t seconds = (time_t)(record->timestamp_ns / 1000000000u);
        struct tm utc;
        char text[32];
        if (gmtime_r(&seconds, &utc) == NULL) return false;
        if (strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc) == 0) return false;
        if (printf("%" PRIu64 " %s.%09" PRIu64 "Z\t", record->offset, text, record->timestamp_ns % 1000000000u) < 0)
            return false;
    }
    /* A length, not a NUL, ends a record. */
    size_t length = record->payload.len;
    if (length > 0 && fwrite(record->payload.data, 1, length, stdout) != length) return false;
    return putchar('\n') != EOF;
}

/* What a failed write means for the exit status. `dump DIR | head` has seen enough, and that is no error. */
static bool reader_has_gone(void)
{
    if (errno == EPIPE) return true;
    fprintf(stderr, "dump: cannot write to standard output: %s\n", strerror(errno));
    return false;
}

/* Whether everything that was wanted was printed. Says itself what was not. */
static bool print_records(log_cursor_t *cursor, const struct options *options)
{
    log_record_t records[BATCH];
    uint64_t left = options->count;
    bool whole = true;

    while (left > 0) {
        size_t capacity = left < BATCH ? (size_t)left : BATCH;
        size_t count = 0;
        log_error_t error;
        log_status_t status = log_cursor_next_batch(cursor, records, capacity, &count, &error);
        if (status == LOG_END) break;
        if ((status == LOG_E_CORRUPT || status == LOG_E_LOST) && error.offset != LOG_NO_OFFSET) {
            /* It concerns this one record: the next call goes on behind it. */
            fprintf(stderr, "dump: offset %" PRIu64 ": %s\n", error.offset, error.message);
            whole = false;
            continue;
        }
        if (status != LOG_OK) {
            fprintf(stderr, "dump: %s\n", error.message);
            return false;
        }
        /* The records lie in the log's own memory until the next call on this cursor. */
        for (size_t i = 0; i < count; i++)
            if (!print_record(&records[i], options->offsets)) return reader_has_gone() && whole;
        left -= count;
    }
    if (fflush(stdout) != 0) return reader_has_gone() && whole; /* a full disk shows here at the latest */
    return whole;
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
        perror("dump: signal");
        return 1;
    }

    log_config_t config = {.struct_size = sizeof config, .flags = LOG_READ_ONLY};
    log_t *log = NULL;
    log_cursor_t *cursor = NULL;
    log_error_t error;
    log_stat_t stat = {.struct_size = sizeof stat};
    int result = 1;

    if (log_open(options.dir, &config, &log, &error) != LOG_OK) goto failed;
    if (log_stat(log, &stat, &error) != LOG_OK) goto failed;
    uint64_t from = options.from == LOG_NO_OFFSET ? stat.first_offset : options.from;
    if (log_cursor_open(log, from, &cursor, &error) != LOG_OK) goto failed;
    result = print_records(cursor, &options) ? 0 : 1;
    goto done;

failed:
    fprintf(stderr, "dump: %s\n", error.message);
done:
    log_cursor_close(cursor); /* NULL is fine, here and in log_close */
    if (log_close(log, &error) != LOG_OK) {
        fprintf(stderr, "dump: %s\n", error.message);
        result = 1;
    }
    return result;
}
