/* limits: how near libseglog comes to what the machine can do. Each work is done by a bare loop (bare.h) and through
 * the C ABI, in turn, on warm memory; docs/performance.md explains the figures.
 *
 *   limits [--quick | --check] [--cpu] [--json] [--rounds N] [--dir DIR] [WORK...]
 *
 * --quick: fewer rounds, under two minutes on an idle machine.
 * --check: only the two required ratios, at most three tries each; exit status 1 if one is missed three times.
 * --cpu:   processor time of the thread instead of time, and only works of one thread that wait for no disk: what can
 *          be compared on a machine that is busy with other things.
 * --json:  a line of JSON for each work instead of the table, for bench.py.
 * --dir:   on the disk that is to be measured (the current directory if not given); 1 GiB is needed there.
 * WORK:    only the rows whose name begins so. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "bare.h"
#include <seglog.h>

enum {
    RECORD = 128,
    APPENDS = 2000000, /* a round; over four segments of 64 MiB */
    STORED = 1000000,  /* records that are read back */
    TINY = 16,
    TINIES = 6000000,
    MEDIUM = 1 << 10,
    MEDIUMS = 262144,
    LARGE = 16 << 10,
    LARGES = 16384,
    BLOCK = 4096, /* what O_DIRECT writes at least */
    SPACE = 4 << 20, /* of the file of a durable append by hand */
    BATCH = 100,
    DURABLES = 300,
    POOLED = 64, /* records that are appended in turn; a power of two */
    MAX_ROUNDS = 99
};

static char root[4096];          /* the directory of this run, removed at its end */
static unsigned char *ring;      /* of the bare loop */
static unsigned char *pool;      /* POOLED records of up to LARGE bytes */
static volatile uint32_t sink;   /* so that no result is thrown away */
static log_t *stored_log;        /* STORED records, warm */
static unsigned char *stored_map; /* the same number in a plain file, mapped */

static void fail(const char *what)
{
    fprintf(stderr, "limits: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void need(log_status_t status, const log_error_t *error)
{
    if (status == LOG_OK) return;
    fprintf(stderr, "limits: %s: %s\n", log_status_name(status), error->message);
    exit(2);
}

/* What is measured: time, or with --cpu the processor time of this thread, which other programs disturb less. */
static clockid_t measured = CLOCK_MONOTONIC;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(measured, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const char *path_of(const char *name)
{
    static char path[sizeof root + 64];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void remove_all(void)
{
    log_close(stored_log, NULL);
    static const char *const logs[] = {"log", "stored"};
    for (size_t n = 0; n < sizeof logs / sizeof *logs; n++) log_remove(path_of(logs[n]), NULL);
    static const char *const files[] = {"bare", "warm", "plain"};
    for (size_t n = 0; n < sizeof files / sizeof *files; n++) unlink(path_of(files[n]));
    rmdir(root);
}

/* A machine that gives unused memory back to its host is slow at the first touch of a page. A file twice as large as
 * what the run will write is written and deleted first, so that the pages of the run are there. */
static void warm(uint64_t bytes)
{
    int fd = open(path_of("warm"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) fail("warm");
    for (uint64_t at = 0; at < 2 * bytes; at += RING_BYTES)
        if (pwrite(fd, ring, RING_BYTES, (off_t)at) != RING_BYTES) fail("warm");
    close(fd);
    unlink(path_of("warm"));
}

static int allocated_file(const char *name, uint64_t bytes)
{
    int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || fallocate(fd, 0, 0, (off_t)bytes) != 0) fail(name);
    return fd;
}

static log_t *new_log(const char *name, uint32_t sync)
{
    log_config_t config = {.struct_size = sizeof config, .sync = sync};
    log_error_t error;
    log_t *log = NULL;
    log_remove(path_of(name), NULL);
    need(log_open(path_of(name), &config, &log, &error), &error);
    return log;
}

static void close_and_remove(log_t *log)
{
    log_error_t error;
    need(log_close(log, &error), &error);
    need(log_remove(path_of("log"), &error), &error);
}

/* ---- the works: each gives the nanoseconds that one record took ---- */

/* The sizes are constants in each call, as in a program that is written for one size. */
CRC_TARGET static double bare_appends(size_t len, size_t count)
{
    warm(len * count);
    int fd = allocated_file("bare", len * count);
    double start = seconds();
    if (len == TINY) sink ^= bare_append(fd, ring, pool, POOLED, TINY, count);
    else if (len == RECORD) sink ^= bare_append(fd, ring, pool, POOLED, RECORD, count);
    else if (len == MEDIUM) sink ^= bare_append(fd, ring, pool, POOLED, MEDIUM, count);
    else sink ^= bare_append(fd, ring, pool, POOLED, LARGE, count);
    double took = seconds() - start;
    close(fd);
    unlink(path_of("bare"));
    return took * 1e9 / (double)count;
}

static double bare_append_tiny(void) { return bare_appends(TINY, TINIES); }
static double bare_append_small(void) { return bare_appends(RECORD, APPENDS); }
static double bare_append_medium(void) { return bare_appends(MEDIUM, MEDIUMS); }
static double bare_append_large(void) { return bare_appends(LARGE, LARGES); }

/* The n-th record that is appended. */
static const unsigned char *nth(size_t n, size_t len) { return pool + (n & (POOLED - 1)) * len; }

struct appender {
    log_t *log;
    size_t len, count, batch;
};

static void *append(void *argument)
{
    const struct appender *a = argument;
    log_bytes_t records[BATCH];
    log_error_t error;
    for (size_t n = 0; n < a->count;) {
        if (a->batch == 1) {
            need(log_append(a->log, nth(n, a->len), a->len, NULL, &error), &error);
            n++;
            continue;
        }
        for (size_t i = 0; i < a->batch; i++, n++)
            records[i] = (log_bytes_t){nth(n, a->len), a->len};
        need(log_append_batch(a->log, records, a->batch, NULL, &error), &error);
    }
    return NULL;
}

static double in_threads(void *(*work)(void *), void *argument, size_t threads, size_t records)
{
    pthread_t ids[16];
    double start = seconds();
    if (threads == 1) {
        work(argument);
    } else {
        for (size_t n = 0; n < threads; n++)
            if (pthread_create(&ids[n], NULL, work, argument) != 0) fail("pthread_create");
        for (size_t n = 0; n < threads; n++) pthread_join(ids[n], NULL);
    }
    return (seconds() - start) * 1e9 / (double)records;
}

static double log_appends(uint32_t sync, size_t len, size_t count, size_t batch, size_t threads)
{
    warm((len + 20) * count);
    struct appender a = {new_log("log", sync), len, count / threads, batch};
    double took = in_threads(append, &a, threads, a.count * threads);
    close_and_remove(a.log);
    return took;
}

static double log_append_tiny(void) { return log_appends(LOG_SYNC_NEVER, TINY, TINIES, 1, 1); }
static double log_append_medium(void) { return log_appends(LOG_SYNC_NEVER, MEDIUM, MEDIUMS, 1, 1); }
static double log_append_small(void) { return log_appends(LOG_SYNC_NEVER, RECORD, APPENDS, 1, 1); }
static double log_append_threads(void) { return log_appends(LOG_SYNC_NEVER, RECORD, APPENDS, 1, 4); }
static double log_append_batches(void) { return log_appends(LOG_SYNC_NEVER, RECORD, APPENDS, BATCH, 1); }
static double log_append_large(void) { return log_appends(LOG_SYNC_NEVER, LARGE, LARGES, 1, 1); }
static double log_append_durable(void) { return log_appends(LOG_SYNC_ALWAYS, RECORD, DURABLES, 1, 1); }
static double log_append_durable_threads(void)
{
    return log_appends(LOG_SYNC_ALWAYS, RECORD, 16 * DURABLES, 1, 16);
}
static double log_append_durable_batches(void)
{
    return log_appends(LOG_SYNC_ALWAYS, RECORD, BATCH * DURABLES, BATCH, 1);
}

/* The file of a durable append by hand: it grows, or its space is allocated, or written with zeros as well. */
enum space { GROWING, ALLOCATED, ZEROED };

static int durable_file(enum space space)
{
    static const unsigned char zero[64 << 10];
    int fd = open(path_of("bare"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || (space != GROWING && fallocate(fd, 0, 0, SPACE) != 0)) fail("bare");
    for (off_t at = 0; space == ZEROED && at < SPACE; at += (off_t)sizeof zero)
        if (pwrite(fd, zero, sizeof zero, at) != (ssize_t)sizeof zero) fail("bare");
    if (fsync(fd) != 0) fail("bare");
    return fd;
}

/* pwrite and fdatasync of so many bytes each time. Nanoseconds of one such write. */
static double bare_durable(enum space space, size_t len)
{
    int fd = durable_file(space);
    double start = seconds();
    for (size_t n = 0; n < DURABLES; n++)
        if (pwrite(fd, pool, len, (off_t)(n * len)) != (ssize_t)len || fdatasync(fd) != 0) fail("bare");
    double took = seconds() - start;
    close(fd);
    unlink(path_of("bare"));
    return took * 1e9 / DURABLES;
}

static double bare_durable_growing(void) { return bare_durable(GROWING, RECORD); }
static double bare_durable_allocated(void) { return bare_durable(ALLOCATED, RECORD); }
static double bare_durable_written(void) { return bare_durable(ZEROED, RECORD); }
static double bare_durable_batches(void) { return bare_durable(ZEROED, BATCH * RECORD) / BATCH; }

/* The block that the record lies in, past the page cache, in a write that is durable by itself. 0: not to be had on
 * this file system. */
static double bare_durable_direct(void)
{
    close(durable_file(ZEROED));
    int fd = open(path_of("bare"), O_RDWR | O_DIRECT | O_DSYNC);
    unsigned char *block = aligned_alloc(BLOCK, BLOCK);
    if (block == NULL || (fd < 0 && errno != EINVAL)) fail("bare");
    memset(block, 0, BLOCK);
    double start = seconds();
    for (size_t n = 0, at = 0; fd >= 0 && n < DURABLES; n++, at += RECORD) {
        memcpy(block + at % BLOCK, nth(n, RECORD), RECORD);
        if (pwrite(fd, block, BLOCK, (off_t)(at / BLOCK * BLOCK)) != BLOCK) fail("bare");
    }
    double took = fd < 0 ? 0 : seconds() - start;
    free(block);
    if (fd >= 0) close(fd);
    unlink(path_of("bare"));
    return took * 1e9 / DURABLES;
}

/* What is read: STORED records in a log, the same in a plain file. Both are read through once, to have them warm. */
CRC_TARGET static void store_records(void)
{
    if (stored_log != NULL) return;
    warm((uint64_t)STORED * (2 * RECORD + 20));
    stored_log = new_log("stored", LOG_SYNC_NEVER);
    struct appender a = {stored_log, RECORD, STORED, 1};
    append(&a);
    log_error_t error;
    need(log_sync(stored_log, &error), &error);
    int fd = allocated_file("plain", (uint64_t)STORED * RECORD);
    sink ^= bare_append(fd, ring, pool, POOLED, RECORD, STORED);
    if (fsync(fd) != 0) fail("plain");
    stored_map = mmap(NULL, (size_t)STORED * RECORD, PROT_READ, MAP_SHARED, fd, 0);
    if (stored_map == MAP_FAILED) fail("mmap");
    close(fd);
    for (size_t n = 0; n < STORED; n++) {
        unsigned char buffer[RECORD];
        need(log_read(stored_log, n, buffer, sizeof buffer, NULL, &error), &error);
        sink ^= stored_map[n * RECORD];
    }
}

struct reader {
    size_t count;
};

static void *read_log(void *argument)
{
    static uint64_t seeds;
    const struct reader *r = argument;
    unsigned char buffer[RECORD];
    log_error_t error;
    size_t len;
    uint64_t seed = __atomic_add_fetch(&seeds, 1, __ATOMIC_RELAXED) * 977;
    for (size_t n = 0; n < r->count; n++) {
        need(log_read(stored_log, random_below(&seed, STORED), buffer, sizeof buffer, &len, &error), &error);
        sink ^= buffer[0];
    }
    return NULL;
}

CRC_TARGET static void *read_map(void *argument)
{
    static uint64_t seeds;
    const struct reader *r = argument;
    sink ^= bare_read(stored_map, STORED, RECORD, r->count, __atomic_add_fetch(&seeds, 1, __ATOMIC_RELAXED) * 977);
    return NULL;
}

static double reads(void *(*work)(void *), size_t threads)
{
    struct reader r = {STORED};
    store_records();
    return in_threads(work, &r, threads, STORED * threads);
}

static double bare_read_one(void) { return reads(read_map, 1); }
static double log_read_one(void) { return reads(read_log, 1); }
static double log_read_two(void) { return reads(read_log, 2); }

static double log_scan(void)
{
    log_record_t records[256];
    log_cursor_t *cursor;
    log_error_t error;
    log_status_t status;
    size_t count, seen = 0;
    store_records();
    double start = seconds();
    need(log_cursor_open(stored_log, 0, &cursor, &error), &error);
    while ((status = log_cursor_next_batch(cursor, records, 256, &count, &error)) == LOG_OK) seen += count;
    log_cursor_close(cursor);
    double took = seconds() - start;
    if (status != LOG_END) need(status, &error);
    if (seen != STORED) fail("the scan saw another number of records");
    return took * 1e9 / STORED;
}

/* The same stores, mapped once, walked and checked. */
CRC_TARGET static double bare_scan(void)
{
    static struct { unsigned char *map; size_t bytes; } stores[64];
    static size_t count;
    store_records();
    if (count == 0) {
        DIR *dir = opendir(path_of("stored"));
        if (dir == NULL) fail("stored");
        for (struct dirent *entry; (entry = readdir(dir)) != NULL && count < 64;) {
            const char *dot = strrchr(entry->d_name, '.');
            struct stat stat;
            if (dot == NULL || strcmp(dot, ".store") != 0) continue;
            int fd = openat(dirfd(dir), entry->d_name, O_RDONLY);
            if (fd < 0 || fstat(fd, &stat) != 0) fail(entry->d_name);
            stores[count].bytes = (size_t)stat.st_size;
            stores[count].map = mmap(NULL, stores[count].bytes, PROT_READ, MAP_SHARED, fd, 0);
            if (stores[count++].map == MAP_FAILED) fail("mmap");
            close(fd);
        }
        closedir(dir);
    }
    uint64_t seen = 0;
    uint32_t sum = 0;
    double start = seconds();
    for (size_t n = 0; n < count; n++) seen += bare_walk(stores[n].map, stores[n].bytes, &sum);
    double took = seconds() - start;
    sink ^= sum;
    if (seen != STORED) fail("the bare walk saw another number of records");
    return took * 1e9 / STORED;
}

/* ---- the table ---- */

struct work {
    const char *name;
    const char *against;
    double (*limit)(void);
    double (*ours)(void);
    double goal, required; /* 0: none */
    int waits;             /* for the disk or for other threads: processor time says nothing */
};

static const struct work WORKS[] = {
    {"append 128 B", "bare loop", bare_append_small, log_append_small, 0.70, 0.45, 0},
    {"append 128 B, 4 threads", "1 thread of ours", log_append_small, log_append_threads, 0.40, 0, 1},
    {"append in batches of 100 x 128 B", "bare loop", bare_append_small, log_append_batches, 0.85, 0, 0},
    {"append 16 B", "bare loop", bare_append_tiny, log_append_tiny, 0, 0, 0},
    {"append 1 KiB", "bare loop", bare_append_medium, log_append_medium, 0, 0, 0},
    {"append 16 KiB", "bare loop", bare_append_large, log_append_large, 0.85, 0, 0},
    {"read 128 B at random", "bare loop", bare_read_one, log_read_one, 0.50, 0.25, 0},
    {"read 128 B at random, 2 threads", "1 thread of ours", log_read_one, log_read_two, 1.80, 0, 1},
    {"scan 128 B by log_cursor_next_batch", "bare walk", bare_scan, log_scan, 0.50, 0, 0},
    {"durable append 128 B (growing)", "fdatasync, growing file", bare_durable_growing, log_append_durable, 0, 0, 1},
    {"durable append 128 B", "fdatasync, allocated", bare_durable_allocated, log_append_durable, 0.90, 0, 1},
    {"durable append 128 B (zeros)", "fdatasync, zeroed", bare_durable_written, log_append_durable, 0.90, 0, 1},
    {"durable append 128 B (direct)", "O_DIRECT, O_DSYNC, zeroed", bare_durable_direct, log_append_durable, 0.90, 0, 1},
    {"durable batches of 100 x 128 B", "fdatasync, zeroed", bare_durable_batches, log_append_durable_batches, 0, 0, 1},
    {"durable append 128 B, 16 threads", "1 thread of ours", log_append_durable, log_append_durable_threads, 0, 0, 1},
};
enum { WORK_COUNT = sizeof WORKS / sizeof *WORKS };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of some values; they are sorted on return. */
static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void print_mark(double ratio)
{
    if (ratio > 0)
        printf(" %5.2f", ratio);
    else
        printf(" %5s", "-");
}

/* Whether lines of JSON are asked for instead of a table. */
static int json;

/* Runs a work's two sides in turn and prints its line. Returns the median of the rounds' ratios. */
static double measure(const struct work *work, size_t rounds)
{
    double limit[MAX_ROUNDS], ours[MAX_ROUNDS], ratio[MAX_ROUNDS];
    for (size_t n = 0; n < rounds; n++) {
        limit[n] = work->limit();
        ours[n] = work->ours();
        ratio[n] = limit[n] / ours[n];
        if (limit[n] > 0) continue;
        fprintf(stderr, "limits: %s: not on this file system\n", work->name);
        return 0;
    }
    double l = median(limit, rounds), o = median(ours, rounds), r = median(ratio, rounds);
    if (json) {
        printf("{\"work\":\"%s\",\"against\":\"%s\",\"limit_ns\":%.2f,\"ours_ns\":%.2f,\"ratio\":%.4f,", work->name,
               work->against, l, o, r);
        printf("\"goal\":%.2f,\"required\":%.2f}\n", work->goal, work->required);
        return r;
    }
    printf("%-36s %10.1f %9.1f..%-9.1f %10.1f %9.1f..%-9.1f %6.2f %5.2f..%-5.2f", work->name, l, limit[0],
           limit[rounds - 1], o, ours[0], ours[rounds - 1], r, ratio[0], ratio[rounds - 1]);
    print_mark(work->goal);
    print_mark(work->required);
    printf("  %s\n", work->against);
    fflush(stdout);
    return r;
}

static void head(void)
{
    if (json) return;
    printf("%-36s %10s %9s..%-9s %10s %9s..%-9s %6s %5s..%-5s %5s %5s  %s\n", "work (ns a record)", "limit", "lowest",
           "highest", "libseglog", "lowest", "highest", "ratio", "low", "high", "goal", "must", "the limit is");
}

static int check(size_t rounds)
{
    int missed = 0;
    head();
    for (size_t n = 0; n < WORK_COUNT; n++) {
        int tries = 0;
        if (WORKS[n].required == 0) continue;
        while (tries < 3 && measure(&WORKS[n], rounds) < WORKS[n].required) tries++;
        if (tries == 3) {
            fprintf(stderr, "limits: %s: below %.2f in three tries\n", WORKS[n].name, WORKS[n].required);
            missed = 1;
        }
    }
    return missed;
}

int main(int argc, char **argv)
{
    size_t rounds = 9;
    int checking = 0, chosen = 0;
    const char *dir = ".";
    int first = 1;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        if (strcmp(argv[first], "--quick") == 0) rounds = 5;
        else if (strcmp(argv[first], "--check") == 0) checking = 1, rounds = 5;
        else if (strcmp(argv[first], "--json") == 0) json = 1;
        else if (strcmp(argv[first], "--cpu") == 0) measured = CLOCK_THREAD_CPUTIME_ID;
        else if (strcmp(argv[first], "--rounds") == 0 && first + 1 < argc) rounds = strtoul(argv[++first], NULL, 10);
        else if (strcmp(argv[first], "--dir") == 0 && first + 1 < argc) dir = argv[++first];
        else {
            fprintf(stderr, "usage: limits [--quick | --check] [--cpu] [--json] [--rounds N] [--dir DIR] [WORK...]\n");
            return 2;
        }
    }
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "limits: --rounds takes 1 to %d\n", MAX_ROUNDS);
        return 2;
    }
    snprintf(root, sizeof root, "%s/seglog-limits-%ld", dir, (long)getpid());
    if (mkdir(root, 0700) != 0) fail(root);
    atexit(remove_all);
    ring = aligned_alloc(4096, RING_BYTES);
    pool = aligned_alloc(4096, (size_t)POOLED * LARGE);
    if (ring == NULL || pool == NULL) fail("memory");
    memset(ring, 1, RING_BYTES);
    for (size_t n = 0; n < (size_t)POOLED * LARGE; n++) pool[n] = (unsigned char)(n * 31 + (n >> 8));
    if (checking) return check(rounds);
    head();
    for (size_t n = 0; n < WORK_COUNT; n++) {
        int wanted = first == argc;
        for (int i = first; i < argc; i++) wanted |= strncmp(WORKS[n].name, argv[i], strlen(argv[i])) == 0;
        if (measured != CLOCK_MONOTONIC) wanted &= !WORKS[n].waits;
        if (wanted) measure(&WORKS[n], rounds);
        chosen |= wanted;
    }
    if (!chosen) fprintf(stderr, "limits: no work's name begins so\n");
    return chosen ? 0 : 2;
}
