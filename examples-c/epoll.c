/*
 * epoll: one event loop over several logs, and over whatever else a program waits for (here: signals).
 *
 *     epoll [--from-start] [--count N] DIR...
 *
 * Each log gives a file descriptor that is readable when there are new records (log_event_fd). The loop reads its 8
 * bytes first, and then the log to its end: in this order no record is missed. Each record is printed behind its log's
 * directory and its offset. It ends after --count records, or with SIGINT or SIGTERM.
 *
 * Exit status: 0, 1 where something failed, 2 wrong usage.
 */
#define _GNU_SOURCE /* epoll, signalfd */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <seglog.h>

struct source {
    const char *dir;
    log_t *log;
    log_cursor_t *cursor;
    int fd; /* the log's: log_close closes it */
};

static bool fails(const char *dir, const log_error_t *error)
{
    fprintf(stderr, "epoll: %s: %s\n", dir, error->message);
    return false;
}

static bool watch(int loop, int fd, void *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = source}};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    perror("epoll: epoll_ctl");
    return false;
}

static bool begin(struct source *source, bool from_start, int loop)
{
    log_config_t config = {.struct_size = sizeof config, .flags = LOG_READ_ONLY};
    log_stat_t stat = {.struct_size = sizeof stat};
    log_error_t error;
    if (log_open(source->dir, &config, &source->log, &error) != LOG_OK ||
        log_stat(source->log, &stat, &error) != LOG_OK ||
        log_cursor_open(source->log, from_start ? stat.first_offset : stat.next_offset, &source->cursor, &error) !=
            LOG_OK ||
        log_event_fd(source->log, &source->fd, &error) != LOG_OK)
        return fails(source->dir, &error);
    return watch(loop, source->fd, source);
}

/* Reads the log to its end. Whether that worked. */
static bool drain(struct source *source, uint64_t *left)
{
    log_error_t error;
    while (*left > 0) {
        log_record_t record;
        log_status_t status = log_cursor_next(source->cursor, &record, &error);
        if (status == LOG_END) return true;
        if (status == LOG_E_TRIMMED) {
            /* This program was too slow, or the log was reset: on with what there is. */
            log_stat_t stat = {.struct_size = sizeof stat};
            if (log_stat(source->log, &stat, &error) != LOG_OK ||
                log_cursor_seek(source->cursor, stat.first_offset, &error) != LOG_OK)
                return fails(source->dir, &error);
            continue;
        }
        if (status == LOG_E_CORRUPT || status == LOG_E_LOST) {
            (void)fails(source->dir, &error); /* one record; the next call goes on behind it */
            continue;
        }
        if (status != LOG_OK) return fails(source->dir, &error);
        printf("%s %" PRIu64 " %.*s\n", source->dir, record.offset, (int)record.payload.len,
               (const char *)record.payload.data);
        *left -= 1;
    }
    return true;
}

static bool run(int loop, int signals, uint64_t left)
{
    while (left > 0) {
        struct epoll_event events[16];
        int count = epoll_wait(loop, events, 16, -1);
        if (count < 0 && errno != EINTR) {
            perror("epoll: epoll_wait");
            return false;
        }
        for (int n = 0; n < count; n++) {
            struct source *source = events[n].data.ptr;
            if (source == NULL) {
                struct signalfd_siginfo info;
                return read(signals, &info, sizeof info) == sizeof info; /* asked to end */
            }
            uint64_t rung;
            if (read(source->fd, &rung, sizeof rung) != sizeof rung && errno != EAGAIN) {
                perror("epoll: read");
                return false;
            }
            if (!drain(source, &left)) return false;
        }
        if (fflush(stdout) != 0) return true; /* the reader has gone */
    }
    return true;
}

int main(int argc, char **argv)
{
    uint64_t left = UINT64_MAX;
    bool from_start = false;
    int first = 1;
    for (; first < argc && argv[first][0] == '-'; first++) {
        char *end = NULL;
        if (strcmp(argv[first], "--from-start") == 0) {
            from_start = true;
        } else if (strcmp(argv[first], "--count") == 0 && first + 1 < argc) {
            left = strtoull(argv[++first], &end, 10);
            if (*end != '\0') first = argc;
        } else {
            first = argc;
        }
    }
    if (first >= argc) {
        fprintf(stderr, "usage: epoll [--from-start] [--count N] DIR...\n");
        return 2;
    }

    /* Signals come through the loop as well. They are blocked before the library starts its threads. */
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    size_t count = (size_t)(argc - first);
    struct source *sources = calloc(count, sizeof *sources);
    int loop = epoll_create1(EPOLL_CLOEXEC);
    bool fine = sources != NULL && loop >= 0 && sigprocmask(SIG_BLOCK, &ending, NULL) == 0;
    int signals = fine ? signalfd(-1, &ending, SFD_CLOEXEC) : -1;
    if (!fine || signals < 0) {
        perror("epoll");
        return 1;
    }
    fine = watch(loop, signals, NULL);
    for (size_t n = 0; fine && n < count; n++) {
        sources[n].dir = argv[first + (int)n];
        fine = begin(&sources[n], from_start, loop);
    }
    if (fine) fine = run(loop, signals, left);
    close(loop);
    close(signals);
    for (size_t n = 0; n < count; n++) {
        log_cursor_close(sources[n].cursor);
        log_close(sources[n].log, NULL);
    }
    free(sources);
    return fine ? 0 : 1;
}
