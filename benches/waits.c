/*
 * waits: what it costs to be waited for, and how long who waits takes to hear. Processes of their own, ratios to a bare
 * futex between the same two processes, measured in turn.
 *
 *     waits [--rounds N] [--samples N] [--writer] [--check] DIR
 *
 * - blocked: from just before log_append in one process to the record in a reader that slept in log_cursor_wait in
 *   another, against a store and FUTEX_WAKE to a FUTEX_WAIT there.
 * - spinning: the same to a reader that calls log_cursor_next without end. It needs two free cores.
 * - writer: processor time of the writing process for each record, with four readers against none; and beside four
 *   strangers, who read a log of their own without end: what that costs is the machine's doing, not that of sharing.
 *
 * --writer: only the last of these.
 * --check: status 1 where the median of "blocked" is over 1.5 times the bare one, or the writer's time grows by more than
 * a tenth. Absolute times say more of the machine than of the library.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <seglog.h>

enum { MOST_SAMPLES = 1 << 20, READERS = 4, BATCH = 256 };

/* What the two processes share beside the log. */
struct shared {
    _Atomic uint32_t word;       /* the bare futex */
    _Atomic uint32_t heard;      /* samples that the other side has taken */
    _Atomic uint32_t ready;
    _Atomic uint64_t sent_ns;
    uint64_t samples[MOST_SAMPLES];
};

static struct shared *shared;
static char dir[4096], dir_of_strangers[4096];

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void need(bool fine, const char *what)
{
    if (fine) return;
    fprintf(stderr, "waits: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void fine(log_status_t status, const log_error_t *error)
{
    if (status == LOG_OK) return;
    fprintf(stderr, "waits: %s\n", error->message);
    exit(2);
}

static void pause_ns(long ns)
{
    struct timespec pause = {.tv_sec = 0, .tv_nsec = ns};
    nanosleep(&pause, NULL);
}

static void spin_ns(uint64_t ns)
{
    const uint64_t until = now_ns() + ns;
    while (now_ns() < until) continue;
}

static long futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    return syscall(SYS_futex, (void *)word, operation, value, NULL, NULL, 0);
}

static log_t *open_log_in(const char *dir, uint32_t flags)
{
    log_config_t config = {.struct_size = sizeof config, .flags = flags, .sync = LOG_SYNC_NEVER};
    log_error_t error;
    log_t *log = NULL;
    fine(log_open(dir, &config, &log, &error), &error);
    return log;
}

static log_t *open_log(uint32_t flags)
{
    return open_log_in(dir, flags);
}

/* --- the other process ------------------------------------------------------------------------------------------- */

static void hear_bare(uint32_t samples)
{
    shared->ready = 1;
    for (uint32_t n = 0; n < samples; n++) {
        while (shared->word == n) futex(&shared->word, FUTEX_WAIT, n);
        const uint64_t heard = now_ns();
        shared->samples[n] = heard - shared->sent_ns;
        shared->heard = n + 1;
    }
}

static void hear_log(uint32_t samples, bool spins)
{
    log_error_t error;
    log_t *log = open_log(LOG_READ_ONLY);
    log_stat_t stat = {.struct_size = sizeof stat};
    log_cursor_t *cursor = NULL;
    fine(log_stat(log, &stat, &error), &error);
    fine(log_cursor_open(log, stat.next_offset, &cursor, &error), &error);
    shared->ready = 1;
    for (uint32_t n = 0; n < samples; n++) {
        log_record_t record;
        log_status_t status;
        uint64_t sent;
        if (!spins) fine(log_cursor_wait(cursor, -1, &error), &error);
        do status = log_cursor_next(cursor, &record, &error);
        while (status == LOG_END);
        fine(status, &error);
        const uint64_t heard = now_ns();
        memcpy(&sent, record.payload.data, sizeof sent);
        shared->samples[n] = heard - sent;
        shared->heard = n + 1;
    }
    log_cursor_close(cursor);
    log_close(log, NULL);
}

/* From the end on, and then whatever comes; or, as a stranger, another log from its first record on, again and again. */
static void read_for_ever(bool stranger)
{
    static log_record_t records[BATCH];
    log_error_t error;
    log_t *log = stranger ? open_log_in(dir_of_strangers, LOG_READ_ONLY) : open_log(LOG_READ_ONLY);
    log_stat_t stat = {.struct_size = sizeof stat};
    log_cursor_t *cursor = NULL;
    fine(log_stat(log, &stat, &error), &error);
    fine(log_cursor_open(log, stranger ? 0 : stat.next_offset, &cursor, &error), &error);
    shared->ready++;
    for (;;) {
        size_t count;
        log_status_t status = log_cursor_next_batch(cursor, records, BATCH, &count, &error);
        if (status == LOG_END) status = stranger ? log_cursor_seek(cursor, 0, &error) : log_cursor_wait(cursor, -1, &error);
        fine(status, &error);
    }
}

/* --- this one ---------------------------------------------------------------------------------------------------- */

enum way { BARE, BLOCKED, SPINNING };

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

struct percentiles {
    uint64_t p50, p99, p999;
};

static struct percentiles measure(enum way way, log_t *log, uint32_t samples)
{
    struct percentiles found;
    log_error_t error;
    shared->word = 0;
    shared->heard = 0;
    shared->ready = 0;
    const pid_t other = fork();
    need(other >= 0, "fork");
    if (other == 0) {
        if (way == BARE) hear_bare(samples);
        else hear_log(samples, way == SPINNING);
        _exit(0);
    }
    while (shared->ready == 0) pause_ns(100000);
    for (uint32_t n = 0; n < samples; n++) {
        char payload[64] = {0};
        /* So long that whoever blocks sleeps again. */
        if (way == SPINNING) spin_ns(5000);
        else pause_ns(100000);
        const uint64_t sent = now_ns();
        if (way == BARE) {
            shared->sent_ns = sent;
            shared->word = n + 1;
            futex(&shared->word, FUTEX_WAKE, 1);
        } else {
            memcpy(payload, &sent, sizeof sent);
            fine(log_append(log, payload, sizeof payload, NULL, &error), &error);
        }
        while (shared->heard < n + 1) sched_yield();
    }
    int status = 0;
    need(waitpid(other, &status, 0) == other && status == 0, "the other process");
    qsort(shared->samples, samples, sizeof shared->samples[0], by_size);
    found.p50 = shared->samples[samples / 2];
    found.p99 = shared->samples[(uint64_t)samples * 99 / 100];
    found.p999 = shared->samples[(uint64_t)samples * 999 / 1000];
    return found;
}

static double cpu_ns(void)
{
    struct rusage usage;
    need(getrusage(RUSAGE_SELF, &usage) == 0, "getrusage");
    return ((double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec) * 1e9 +
           ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) * 1e3;
}

/* Processor time of this process for a record, beside so many readers or strangers. */
static double writing_ns(log_t *log, int readers, bool strangers, uint32_t records)
{
    pid_t others[READERS];
    char payload[128] = {0};
    log_error_t error;
    shared->ready = 0;
    for (int n = 0; n < readers; n++) {
        others[n] = fork();
        need(others[n] >= 0, "fork");
        if (others[n] == 0) read_for_ever(strangers);
    }
    while (shared->ready < (uint32_t)readers) pause_ns(1000000);
    const double before = cpu_ns();
    for (uint32_t n = 0; n < records; n++) fine(log_append(log, payload, sizeof payload, NULL, &error), &error);
    const double used = (cpu_ns() - before) / records;
    for (int n = 0; n < readers; n++) {
        kill(others[n], SIGKILL);
        waitpid(others[n], NULL, 0);
    }
    log_stat_t stat = {.struct_size = sizeof stat};
    fine(log_stat(log, &stat, &error), &error);
    fine(log_trim(log, stat.next_offset, &error), &error);
    return used;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

enum { MOST_ROUNDS = 99 };

int main(int argc, char **argv)
{
    int rounds = 5, arg = 1;
    uint32_t samples = 2000;
    bool check = false, only_writer = false;
    for (; arg < argc && argv[arg][0] == '-'; arg++) {
        if (strcmp(argv[arg], "--check") == 0) check = true;
        else if (strcmp(argv[arg], "--writer") == 0) only_writer = true;
        else if (strcmp(argv[arg], "--rounds") == 0 && arg + 1 < argc) rounds = atoi(argv[++arg]);
        else if (strcmp(argv[arg], "--samples") == 0 && arg + 1 < argc) samples = (uint32_t)atoi(argv[++arg]);
        else arg = argc;
    }
    if (arg + 1 != argc || rounds < 1 || rounds > MOST_ROUNDS || samples < 10 || samples > MOST_SAMPLES) {
        fprintf(stderr, "usage: waits [--rounds N] [--samples N] [--writer] [--check] DIR\n");
        return 2;
    }
    snprintf(dir, sizeof dir, "%s/waits-log", argv[arg]);
    snprintf(dir_of_strangers, sizeof dir_of_strangers, "%s/waits-log-of-strangers", argv[arg]);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED, "mmap");
    (void)log_remove(dir, NULL);
    log_t *log = open_log(0);

    double blocked_ratio[MOST_ROUNDS], writer_ratio[MOST_ROUNDS], stranger_ratio[MOST_ROUNDS];
    if (!only_writer) printf("%-10s %28s %28s %28s %8s\n", "ns", "bare p50/p99/p99.9", "blocked", "spinning", "ratio");
    for (int n = 0; n < rounds && !only_writer; n++) {
        const struct percentiles bare = measure(BARE, log, samples);
        const struct percentiles blocked = measure(BLOCKED, log, samples);
        const struct percentiles spinning = measure(SPINNING, log, samples);
        blocked_ratio[n] = (double)blocked.p50 / (double)bare.p50;
        printf("%-10d %9" PRIu64 "/%8" PRIu64 "/%9" PRIu64 " %9" PRIu64 "/%8" PRIu64 "/%9" PRIu64 " %9" PRIu64
               "/%8" PRIu64 "/%9" PRIu64 " %8.2f\n",
               n, bare.p50, bare.p99, bare.p999, blocked.p50, blocked.p99, blocked.p999, spinning.p50, spinning.p99,
               spinning.p999, blocked_ratio[n]);
        fflush(stdout);
    }
    (void)log_remove(dir_of_strangers, NULL);
    log_t *of_strangers = open_log_in(dir_of_strangers, 0);
    for (int n = 0; n < 200000; n++) {
        static const char payload[128];
        log_error_t error;
        fine(log_append(of_strangers, payload, sizeof payload, NULL, &error), &error);
    }
    log_close(of_strangers, NULL);
    printf("%-10s %28s %28s %28s %8s %8s\n", "cpu ns", "a record, no reader", "four readers", "four strangers", "ratio", "strangers");
    for (int n = 0; n < rounds; n++) {
        const double alone = writing_ns(log, 0, false, 1000000), beside = writing_ns(log, READERS, false, 1000000);
        const double strange = writing_ns(log, READERS, true, 1000000);
        writer_ratio[n] = beside / alone;
        stranger_ratio[n] = strange / alone;
        printf("%-10d %28.0f %28.0f %28.0f %8.2f %8.2f\n", n, alone, beside, strange, writer_ratio[n], stranger_ratio[n]);
        fflush(stdout);
    }
    log_close(log, NULL);
    (void)log_remove(dir, NULL);
    (void)log_remove(dir_of_strangers, NULL);
    const double blocked = only_writer ? 0 : median(blocked_ratio, rounds), writer = median(writer_ratio, rounds);
    if (!only_writer) printf("blocked: %.2f of the bare futex (at most 1.50)\n", blocked);
    printf("writer: %.2f beside four readers (at most 1.10), %.2f beside four strangers\n", writer,
           median(stranger_ratio, rounds));
    return check && (blocked > 1.5 || writer > 1.1) ? 1 : 0;
}
