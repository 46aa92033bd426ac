/*
 * ingest: each line of a file, or of standard input, becomes a record of a log.
 *
 *     ingest [--sync always|never] [--segment-bytes N] [--skip-existing] [--acks] DIR [FILE]
 *
 * The LF at the end of a line is taken off; nothing else is changed, so any bytes and any length will do. There is
 * no signal handler: kill this program whenever you like. What it had appended is in the log, and --skip-existing
 * goes on behind it.
 *
 * Exit status: 0 all lines are in the log, 1 something failed, 2 wrong usage.
 */
#define _POSIX_C_SOURCE 200809L /* getline, clock_gettime, isatty */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <seglog.h>

struct options {
    const char *dir;
    const char *file; /* NULL: standard input */
    bool skip_existing;
    bool acks;
    log_config_t config;
};

struct progress {
    bool shown;            /* somebody watches: standard error is a terminal, and no parent reads acknowledgements */
    double started, drawn; /* seconds on the monotonic clock */
    uint64_t input_bytes;  /* read so far, with line ends and skipped lines */
    uint64_t total_bytes;  /* of a regular file; 0: not known */
    uint64_t records, record_bytes;
    uint64_t skipped;
    uint64_t first_offset, last_offset; /* of what was appended; valid once records > 0 */
};

static const double REDRAW_SECONDS = 0.25;

static void usage(FILE *out)
{
    fprintf(out,
            "usage: ingest [options] DIR [FILE]\n"
            "Appends each line of FILE, or of standard input, to the log in DIR.\n"
            "\n"
            "  --sync always      each record survives power loss before the next is read (default)\n"
            "  --sync never       records survive a killed process; they reach the disk when the log is closed\n"
            "  --segment-bytes N  the size at which a segment is full\n"
            "  --skip-existing    skip as many lines as the log holds already: go on where a killed run stopped\n"
            "  --acks             print the offset of each record to standard output once it is appended\n"
            "  --help             print this\n");
}

static double now_seconds(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0.0; /* cannot fail for this clock */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
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
    enum { SYNC = 1, SEGMENT_BYTES, SKIP_EXISTING, ACKS, HELP };
    static const struct option known[] = {
        {"sync", required_argument, NULL, SYNC},
        {"segment-bytes", required_argument, NULL, SEGMENT_BYTES},
        {"skip-existing", no_argument, NULL, SKIP_EXISTING},
        {"acks", no_argument, NULL, ACKS},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };

    /* All zero but struct_size is the safest configuration; what is set below departs from it. */
    memset(options, 0, sizeof *options);
    options->config.struct_size = sizeof options->config;
    options->config.record_max_bytes = (UINT64_C(256) << 20) - 1; /* the library's limit: lines may be long */

    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case SYNC:
            if (strcmp(optarg, "always") == 0) {
                options->config.sync = LOG_SYNC_ALWAYS;
            } else if (strcmp(optarg, "never") == 0) {
                options->config.sync = LOG_SYNC_NEVER;
            } else {
                fprintf(stderr, "ingest: --sync takes always or never, not '%s'\n", optarg);
                return false;
            }
            break;
        case SEGMENT_BYTES:
            if (!parse_u64(optarg, &options->config.segment_max_bytes)) {
                fprintf(stderr, "ingest: --segment-bytes takes a number of bytes, not '%s'\n", optarg);
                return false;
            }
            break;
        case SKIP_EXISTING:
            options->skip_existing = true;
            break;
        case ACKS:
            options->acks = true;
            break;
        case HELP:
            usage(stdout);
            exit(fflush(stdout) == 0 ? 0 : 1);
        default:
            return false; /* getopt_long has said what is wrong */
        }
    }
    if (argc - optind < 1 || argc - optind > 2) return false;
    options->dir = argv[optind];
    if (argc - optind == 2 && strcmp(argv[optind + 1], "-") != 0) options->file = argv[optind + 1];
    return true;
}

static void draw_progress(struct progress *progress, double now)
{
    double seconds = now - progress->started;
    char percent[16] = "";
    if (progress->total_bytes > 0)
        snprintf(percent, sizeof percent, "%3.0f %%  ",
                 100.0 * (double)progress->input_bytes / (double)progress->total_bytes);
    fprintf(stderr, "\r%s%" PRIu64 " records, %.1f MB, %.0f records/s   ", percent, progress->records,
            (double)progress->record_bytes / 1e6, seconds > 0.0 ? (double)progress->records / seconds : 0.0);
    progress->drawn = now;
}

static void update_progress(struct progress *progress)
{
    if (!progress->shown) return;
    double now = now_seconds();
    if (now - progress->drawn >= REDRAW_SECONDS) draw_progress(progress, now);
}

/* Ends the progress line, if there is one: no message shall begin in the middle of it. */
static void end_progress(struct progress *progress)
{
    if (progress->shown && progress->drawn > progress->started) {
        draw_progress(progress, now_seconds());
        fputc('\n', stderr);
    }
    progress->shown = false;
}

/* One write(2) a line and no buffer between: when the parent has read an offset, its record is in the log, and an
 * acknowledgement is never held back in this process. */
static bool acknowledge(uint64_t offset)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%" PRIu64 "\n", offset);
    for (int done = 0; done < length;) {
        ssize_t written = write(STDOUT_FILENO, line + done, (size_t)(length - done));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        done += (int)written;
    }
    return true;
}

/* Reads `input` to its end and appends its lines. Says itself what failed. */
static bool append_lines(log_t *log, FILE *input, const struct options *options, struct progress *progress)
{
    uint64_t to_skip = 0;
    log_error_t error;

    if (options->skip_existing) {
        /* Line n (from 0) is record initial_offset + n. Counting from first_offset would take lines that were
         * removed from the start of the log for lines that were never in it. */
        log_stat_t stat = {.struct_size = sizeof stat};
        if (log_stat(log, &stat, &error) != LOG_OK) {
            fprintf(stderr, "ingest: %s\n", error.message);
            return false;
        }
        to_skip = stat.next_offset - options->config.initial_offset;
    }

    char *line = NULL;
    size_t capacity = 0;
    bool ok = true;
    ssize_t got;
    while ((got = getline(&line, &capacity, input)) >= 0) {
        size_t length = (size_t)got;
        progress->input_bytes += length;
        if (line[length - 1] == '\n') length--; /* the last line may have none */
        if (progress->skipped < to_skip) {
            progress->skipped++;
            continue;
        }

        uint64_t offset;
        if (log_append(log, line, length, &offset, &error) != LOG_OK) {
            end_progress(progress);
            fprintf(stderr, "ingest: line %" PRIu64 ": %s\n", progress->skipped + progress->records + 1, error.message);
            ok = false;
            break;
        }
        if (progress->records++ == 0) progress->first_offset = offset;
        progress->last_offset = offset;
        progress->record_bytes += length;

        if (options->acks && !acknowledge(offset)) {
            int cause = errno;
            end_progress(progress);
            fprintf(stderr, "ingest: cannot write an acknowledgement: %s\n", strerror(cause));
            ok = false;
            break;
        }
        update_progress(progress);
    }
    if (ok && !feof(input)) {
        int cause = errno;
        end_progress(progress);
        fprintf(stderr, "ingest: cannot read %s: %s\n", options->file ? options->file : "standard input",
                strerror(cause));
        ok = false;
    }
    if (ok && progress->skipped < to_skip) {
        end_progress(progress);
        fprintf(stderr, "ingest: the log in %s holds %" PRIu64 " records, but the input ends after %" PRIu64
                        " lines: it is not what this log was made from\n",
                options->dir, to_skip, progress->skipped);
        ok = false;
    }
    free(line);
    return ok;
}

static void print_summary(const struct progress *progress)
{
    double seconds = now_seconds() - progress->started;
    double rate = seconds > 0.0 ? 1.0 / seconds : 0.0;
    fprintf(stderr, "ingest: %" PRIu64 " records, %" PRIu64 " bytes in %.2f s (%.0f records/s, %.1f MB/s), ",
            progress->records, progress->record_bytes, seconds, (double)progress->records * rate,
            (double)progress->record_bytes / 1e6 * rate);
    if (progress->records > 0)
        fprintf(stderr, "offsets %" PRIu64 "..%" PRIu64, progress->first_offset, progress->last_offset);
    else
        fprintf(stderr, "no offsets");
    if (progress->skipped > 0) fprintf(stderr, ", %" PRIu64 " lines skipped", progress->skipped);
    fputc('\n', stderr);
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse_options(argc, argv, &options)) {
        usage(stderr);
        return 2;
    }
    /* When the reader of the acknowledgements goes away, write(2) shall say so, and the log be closed. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        perror("ingest: signal");
        return 1;
    }

    /* The input first: a file name mistyped should not leave a new log behind. */
    FILE *input = stdin;
    if (options.file != NULL && (input = fopen(options.file, "rb")) == NULL) {
        fprintf(stderr, "ingest: cannot open %s: %s\n", options.file, strerror(errno));
        return 1;
    }
    struct progress progress;
    memset(&progress, 0, sizeof progress);
    progress.shown = !options.acks && isatty(STDERR_FILENO) == 1;
    struct stat about;
    if (progress.shown && fstat(fileno(input), &about) == 0 && S_ISREG(about.st_mode))
        progress.total_bytes = (uint64_t)about.st_size;

    bool ok = false;
    log_t *log = NULL;
    log_error_t error;
    if (log_open(options.dir, &options.config, &log, &error) != LOG_OK) {
        fprintf(stderr, "ingest: %s\n", error.message);
    } else {
        progress.started = progress.drawn = now_seconds();
        ok = append_lines(log, input, &options, &progress);
        end_progress(&progress);

        /* Closing syncs: with --sync never this is where the records reach the disk, and where that can fail. */
        if (log_close(log, &error) != LOG_OK) {
            fprintf(stderr, "ingest: %s\n", error.message);
            ok = false;
        }
        print_summary(&progress); /* after a failure too: so far it came */
    }
    if (input != stdin && fclose(input) != 0) {
        fprintf(stderr, "ingest: cannot close %s: %s\n", options.file, strerror(errno));
        ok = false;
    }
    return ok ? 0 : 1;
}
