/*
 * threads: several writers and one follower share one log.
 *
 *     threads [--writers N] [--records N] [DIR]
 *
 * Each writer appends its records; the follower reads them with a cursor while they are being appended. At the end
 * every record of every writer must have come, and those of one writer in the order in which it wrote them.
 *
 * A log_t is shared between threads as it is: the library does the locking, and threads that sync at the same time
 * share one sync (group commit). A log_cursor_t belongs to one thread at a time.
 *
 * Exit status: 0 all was in order, 1 it was not or something failed, 2 wrong usage.
 */
#define _POSIX_C_SOURCE 200809L /* nanosleep */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <seglog.h>

enum { WRITERS_MAX = 64, RECORDS_MAX = 10000000 };

/* Set once all writers have ended, so that the follower knows an end from a pause. */
struct finish {
    pthread_mutex_t mutex;
    bool writers_ended;
};

struct writer {
    log_t *log;
    unsigned id;
    unsigned records;
    bool ok;
};

struct follower {
    log_t *log;
    struct finish *finish;
    uint64_t from;
    unsigned writers;
    unsigned *seen;          /* of each writer: how many of its records came, which is the number of the next */
    unsigned long caught_up; /* how often it stood at the end and had to wait */
    bool ok;
};

static void *write_records(void *argument)
{
    struct writer *writer = argument;
    uint64_t last = 0;
    for (unsigned i = 0; i < writer->records; i++) {
        char text[64];
        int length = snprintf(text, sizeof text, "writer %u record %u", writer->id, i);
        uint64_t offset;
        log_error_t error; /* one a thread, so no two threads race for a message */
        if (log_append(writer->log, text, (size_t)length, &offset, &error) != LOG_OK) {
            fprintf(stderr, "threads: writer %u: %s\n", writer->id, error.message);
            return NULL;
        }
        if (i > 0 && offset <= last) {
            fprintf(stderr, "threads: writer %u: offset %" PRIu64 " came after %" PRIu64 "\n", writer->id, offset,
                    last);
            return NULL;
        }
        last = offset;
    }
    writer->ok = true;
    return NULL;
}

static bool writers_ended(struct finish *finish)
{
    bool ended = true;
    if (pthread_mutex_lock(&finish->mutex) == 0) {
        ended = finish->writers_ended;
        pthread_mutex_unlock(&finish->mutex);
    }
    return ended;
}

/* Is it the next record of one of the writers, and does it stand at the next offset? */
static bool check_record(struct follower *follower, const log_record_t *record, uint64_t expected_offset)
{
    char text[64];
    unsigned id, number;
    char behind;
    size_t length = record->payload.len;
    if (record->offset != expected_offset) {
        fprintf(stderr, "threads: offset %" PRIu64 " came where %" PRIu64 " was due\n", record->offset,
                expected_offset);
        return false;
    }
    if (length >= sizeof text) {
        fprintf(stderr, "threads: offset %" PRIu64 ": %zu bytes, which no writer wrote\n", record->offset, length);
        return false;
    }
    memcpy(text, record->payload.data, length); /* a payload has no NUL behind it */
    text[length] = '\0';
    if (sscanf(text, "writer %u record %u%c", &id, &number, &behind) != 2 || id >= follower->writers) {
        fprintf(stderr, "threads: offset %" PRIu64 ": '%s', which no writer wrote\n", record->offset, text);
        return false;
    }
    if (number != follower->seen[id]) {
        fprintf(stderr, "threads: offset %" PRIu64 ": record %u of writer %u came where %u was due\n", record->offset,
                number, id, follower->seen[id]);
        return false;
    }
    follower->seen[id]++;
    return true;
}

static void *follow(void *argument)
{
    struct follower *follower = argument;
    const struct timespec pause = {0, 1000000}; /* 1 ms; waiting without polling comes with a later version */
    log_cursor_t *cursor = NULL;
    log_record_t record;
    log_error_t error;
    uint64_t expected = follower->from;

    if (log_cursor_open(follower->log, follower->from, &cursor, &error) != LOG_OK) {
        fprintf(stderr, "threads: follower: %s\n", error.message);
        return NULL;
    }
    for (;;) {
        /* Asked before the step: an end that is seen after the writers have ended is the end. */
        bool ended = writers_ended(follower->finish);
        log_status_t status = log_cursor_next(cursor, &record, &error);
        if (status == LOG_OK) {
            if (!check_record(follower, &record, expected)) break;
            expected++;
        } else if (status == LOG_END) {
            if (ended) {
                follower->ok = true;
                break;
            }
            follower->caught_up++;
            if (nanosleep(&pause, NULL) != 0 && errno != EINTR) {
                perror("threads: nanosleep");
                break;
            }
        } else {
            fprintf(stderr, "threads: follower: %s\n", error.message);
            break;
        }
    }
    log_cursor_close(cursor);
    return NULL;
}

/* Starts the threads, waits for them, prints what was seen. */
static bool run(log_t *log, unsigned writer_count, unsigned records)
{
    static struct writer writers[WRITERS_MAX];
    static pthread_t threads[WRITERS_MAX];
    static unsigned seen[WRITERS_MAX];
    struct finish finish = {.mutex = PTHREAD_MUTEX_INITIALIZER, .writers_ended = false};
    log_stat_t stat = {.struct_size = sizeof stat};
    log_error_t error;
    if (log_stat(log, &stat, &error) != LOG_OK) {
        fprintf(stderr, "threads: %s\n", error.message);
        return false;
    }

    /* The log may hold records of an earlier run: follow from its end. */
    struct follower follower = {.log = log, .finish = &finish, .from = stat.next_offset, .writers = writer_count,
                                .seen = seen, .caught_up = 0, .ok = false};
    pthread_t follower_thread;
    int cause = pthread_create(&follower_thread, NULL, follow, &follower);
    if (cause != 0) {
        fprintf(stderr, "threads: cannot start the follower: %s\n", strerror(cause));
        return false;
    }

    bool ok = true;
    unsigned started = 0;
    for (; started < writer_count; started++) {
        writers[started] = (struct writer){.log = log, .id = started, .records = records, .ok = false};
        cause = pthread_create(&threads[started], NULL, write_records, &writers[started]);
        if (cause != 0) {
            fprintf(stderr, "threads: cannot start writer %u: %s\n", started, strerror(cause));
            ok = false;
            break;
        }
    }
    for (unsigned i = 0; i < started; i++)
        if (pthread_join(threads[i], NULL) != 0 || !writers[i].ok) ok = false;

    if (pthread_mutex_lock(&finish.mutex) != 0) abort(); /* cannot fail; and the follower would never end */
    finish.writers_ended = true;
    pthread_mutex_unlock(&finish.mutex);
    if (pthread_join(follower_thread, NULL) != 0 || !follower.ok) ok = false;

    for (unsigned i = 0; i < writer_count; i++) {
        printf("writer %u: %u of %u records came, in its order\n", i, seen[i], records);
        if (seen[i] != records) ok = false;
    }
    if (log_stat(log, &stat, &error) != LOG_OK) {
        fprintf(stderr, "threads: %s\n", error.message);
        return false;
    }
    printf("follower: offsets %" PRIu64 " to %" PRIu64 ", waited at the end %lu times\n", follower.from,
           stat.next_offset, follower.caught_up);
    printf("log: %" PRIu64 " appends, %" PRIu64 " syncs, %" PRIu64 " appends rode on another's sync\n", stat.appends,
           stat.syncs, stat.syncs_shared);
    printf("%s\n", ok ? "all in order" : "NOT in order");
    return ok;
}

static bool parse_count(const char *text, unsigned max, unsigned *out)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') return false; /* strtoul takes signs and blanks */
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < 1 || value > max) return false;
    *out = (unsigned)value;
    return true;
}

int main(int argc, char **argv)
{
    enum { WRITERS = 1, RECORDS };
    static const struct option known[] = {
        {"writers", required_argument, NULL, WRITERS},
        {"records", required_argument, NULL, RECORDS},
        {NULL, 0, NULL, 0},
    };
    unsigned writers = 3, records = 1000;
    bool usable = true;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == WRITERS) {
            usable = usable && parse_count(optarg, WRITERS_MAX, &writers);
        } else if (option == RECORDS) {
            usable = usable && parse_count(optarg, RECORDS_MAX, &records);
        } else {
            usable = false;
        }
    }
    if (!usable || argc - optind > 1) {
        fprintf(stderr, "usage: threads [--writers 1..%d] [--records 1..%d] [DIR]   (default: 3, 1000, threads-log)\n",
                WRITERS_MAX, RECORDS_MAX);
        return 2;
    }
    const char *dir = optind < argc ? argv[optind] : "threads-log";

    log_t *log = NULL;
    log_error_t error;
    if (log_open(dir, NULL, &log, &error) != LOG_OK) {
        fprintf(stderr, "threads: %s\n", error.message);
        return 1;
    }
    bool ok = run(log, writers, records);
    if (log_close(log, &error) != LOG_OK) {
        fprintf(stderr, "threads: %s\n", error.message);
        ok = false;
    }
    if (fflush(stdout) != 0) {
        perror("threads: standard output");
        ok = false;
    }
    return ok ? 0 : 1;
}
