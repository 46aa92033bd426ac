/* long: what short runs do not show. docs/performance.md explains the figures.
 *
 *   long growth [--rounds N] DIR     the same work on logs of 10, 100 and 1,000 segments of 1 MiB, in turn
 *   long memory [--gib N] DIR        the memory of a process that appends 100 GiB, 1 GiB of which are kept
 *   long writeback [--seconds N] DIR appends at a steady pace, a minute and a half: page faults and the slowest ones
 *
 * DIR: on the disk that is to be measured. `growth` needs 4 GiB there, `memory` 2 GiB. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "bare.h"
#include <seglog.h>

enum {
    RECORD = 128,
    SEGMENT_BYTES = 1 << 20,
    BATCH = 100,
    APPENDS = 50000,  /* a round */
    READS = 50000,
    DURABLES = 200,
    RECENT = 60000,   /* records that each of the logs has, and more: what is read where size is not to matter */
    MAX_ROUNDS = 99,
};

static char root[4096];
static volatile uint32_t sink;

static void fail(const char *what)
{
    fprintf(stderr, "long: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void need(log_status_t status, const log_error_t *error)
{
    if (status == LOG_OK) return;
    fprintf(stderr, "long: %s: %s\n", log_status_name(status), error->message);
    exit(2);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const char *path_of(const char *name)
{
    static char path[sizeof root + 64];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static log_t *open_log(const char *name, log_config_t config)
{
    log_error_t error;
    log_t *log = NULL;
    config.struct_size = sizeof config;
    need(log_open(path_of(name), &config, &log, &error), &error);
    return log;
}

static log_stat_t stat_of(log_t *log)
{
    log_stat_t stat = {.struct_size = sizeof stat};
    log_error_t error;
    need(log_stat(log, &stat, &error), &error);
    return stat;
}

/* ---- growth ---- */

struct grown {
    uint64_t segments;
    char name[32];
    log_t *log;
    unsigned char *plain; /* as many records, bare, mapped */
    uint64_t records;
};

static unsigned char payload[BATCH * RECORD];

static void append_some(const struct grown *g, uint64_t count, int batch)
{
    log_error_t error;
    log_bytes_t records[BATCH];
    for (int n = 0; n < BATCH; n++) records[n] = (log_bytes_t){payload + n * RECORD, RECORD};
    for (uint64_t n = 0; n < count; n += (uint64_t)batch) {
        if (batch == 1) need(log_append(g->log, payload + n % BATCH * RECORD, RECORD, NULL, &error), &error);
        else need(log_append_batch(g->log, records, BATCH, NULL, &error), &error);
    }
}


/* As many segments as before: what was appended goes away at the other end. */
static void trim(const struct grown *g)
{
    log_error_t error;
    need(log_trim(g->log, stat_of(g->log).next_offset - g->records, &error), &error);
    need(log_sync(g->log, &error), &error);
}

static double appends(const struct grown *g)
{
    double start = seconds();
    append_some(g, APPENDS, 1);
    double took = seconds() - start;
    trim(g);
    return took * 1e9 / APPENDS;
}

static double batches(const struct grown *g)
{
    double start = seconds();
    append_some(g, APPENDS, BATCH);
    double took = seconds() - start;
    trim(g);
    return took * 1e9 / APPENDS;
}

static double durables(const struct grown *g)
{
    log_error_t error;
    double start = seconds();
    for (int n = 0; n < DURABLES; n++) {
        append_some(g, 1, 1);
        need(log_sync(g->log, &error), &error);
    }
    double took = seconds() - start;
    trim(g);
    return took * 1e9 / DURABLES;
}

static double reads_of_last(const struct grown *g, uint64_t records)
{
    static uint64_t seeds;
    unsigned char buffer[RECORD];
    log_error_t error;
    size_t len;
    uint64_t seed = ++seeds * 977;
    const uint64_t next = stat_of(g->log).next_offset;
    double start = seconds();
    for (int n = 0; n < READS; n++) {
        const uint64_t offset = next - records + random_below(&seed, records);
        need(log_read(g->log, offset, buffer, sizeof buffer, &len, &error), &error);
        sink ^= buffer[0];
    }
    return (seconds() - start) * 1e9 / READS;
}

static double reads_recent(const struct grown *g) { return reads_of_last(g, RECENT); }
static double reads_all(const struct grown *g) { return reads_of_last(g, g->records); }

CRC_TARGET static double reads_bare(const struct grown *g)
{
    static uint64_t seeds;
    double start = seconds();
    sink ^= bare_read(g->plain, g->records, RECORD, READS, ++seeds * 977);
    return (seconds() - start) * 1e9 / READS;
}

static double scans(const struct grown *g)
{
    log_record_t records[256];
    log_cursor_t *cursor;
    log_error_t error;
    log_status_t status;
    size_t count, seen = 0;
    const uint64_t next = stat_of(g->log).next_offset;
    double start = seconds();
    need(log_cursor_open(g->log, next - RECENT, &cursor, &error), &error);
    while ((status = log_cursor_next_batch(cursor, records, 256, &count, &error)) == LOG_OK) seen += count;
    double took = seconds() - start;
    log_cursor_close(cursor);
    if (status != LOG_END) need(status, &error);
    if (seen != RECENT) fail("a scan saw another number of records");
    return took * 1e9 / RECENT;
}

static const struct work {
    const char *name;
    double (*run)(const struct grown *);
} WORKS[] = {
    {"append", appends},
    {"append in batches of 100", batches},
    {"append and sync", durables},
    {"read at random, last 60,000 records", reads_recent},
    {"scan of the last 60,000 records", scans},
    {"read at random, all records", reads_all},
    {"bare copy and CRC at random, as many", reads_bare},
};
enum { WORK_COUNT = sizeof WORKS / sizeof *WORKS, SIZES = 3 };

static int by_value(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static unsigned char *plain_file(const struct grown *g)
{
    char name[64];
    snprintf(name, sizeof name, "%s.plain", g->name);
    const size_t bytes = (size_t)g->records * RECORD;
    int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) fail(name);
    for (uint64_t n = 0; n < g->records; n += BATCH)
        if (write(fd, payload, sizeof payload) != sizeof payload) fail(name);
    unsigned char *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || unlink(path_of(name)) != 0) fail(name);
    close(fd);
    for (size_t at = 0; at < bytes; at += 4096) sink ^= map[at];
    return map;
}

static void growth(int rounds)
{
    static struct grown logs[SIZES] = {{.segments = 10}, {.segments = 100}, {.segments = 1000}};
    for (int s = 0; s < SIZES; s++) {
        struct grown *g = &logs[s];
        snprintf(g->name, sizeof g->name, "log-%" PRIu64, g->segments);
        g->log = open_log(g->name, (log_config_t){.sync = LOG_SYNC_NEVER, .segment_max_bytes = SEGMENT_BYTES});
        while (stat_of(g->log).segment_count < g->segments) append_some(g, BATCH, BATCH);
        const log_stat_t stat = stat_of(g->log);
        log_error_t error;
        g->records = stat.next_offset - stat.first_offset;
        g->plain = plain_file(g);
        need(log_sync(g->log, &error), &error);
    }
    static double took[WORK_COUNT][SIZES][MAX_ROUNDS], ratios[MAX_ROUNDS];
    /* One round more, the first of which does not count: what is read once is warm. */
    for (int round = -1; round < rounds; round++)
        for (int w = 0; w < WORK_COUNT; w++)
            for (int i = 0; i < SIZES; i++) {
                const int s = (i + round + 1) % SIZES;
                took[w][s][round < 0 ? 0 : round] = WORKS[w].run(&logs[s]);
            }
    printf("| work, ns a record | 10 segments | 100 | 1,000 | 100 to 10 | 1,000 to 10 |\n|---|---|---|---|---|---|\n");
    for (int w = 0; w < WORK_COUNT; w++) {
        double median[SIZES], ratio[SIZES];
        for (int s = 0; s < SIZES; s++) {
            for (int r = 0; r < rounds; r++) ratios[r] = took[w][s][r] / took[w][0][r];
            qsort(ratios, (size_t)rounds, sizeof *ratios, by_value);
            ratio[s] = ratios[rounds / 2];
        }
        for (int s = 0; s < SIZES; s++) {
            qsort(took[w][s], (size_t)rounds, sizeof **took[w], by_value);
            median[s] = took[w][s][rounds / 2];
        }
        printf("| %s | %.1f | %.1f | %.1f | %.2f | %.2f |\n", WORKS[w].name, median[0], median[1], median[2], ratio[1],
               ratio[2]);
    }
    for (int s = 0; s < SIZES; s++) {
        log_error_t error;
        need(log_close(logs[s].log, &error), &error);
        need(log_remove(path_of(logs[s].name), &error), &error);
    }
}

/* ---- memory ---- */

static uint64_t status_kib(const char *field)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    uint64_t kib = 0;
    if (file == NULL) fail("/proc/self/status");
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, field, strlen(field)) == 0) kib = strtoull(line + strlen(field), NULL, 10);
    fclose(file);
    return kib;
}

static void memory(uint64_t gib)
{
    enum { LEN = 1024 };
    static unsigned char record[LEN];
    log_error_t error;
    log_t *log = open_log("log", (log_config_t){.sync = LOG_SYNC_NEVER, .retain_bytes = UINT64_C(1) << 30});
    const uint64_t per_gib = (UINT64_C(1) << 30) / LEN;
    const double start = seconds();
    uint64_t most_own = 0, most = 0;
    printf("| appended, GiB | own memory, KiB | of mapped files, KiB | records kept | MB a second |\n|---|---|---|---|---|\n");
    for (uint64_t done = 0, shown = 1; done < gib; done++) {
        for (uint64_t n = 0; n < per_gib; n++) {
            memcpy(record, &n, sizeof n);
            need(log_append(log, record, LEN, NULL, &error), &error);
        }
        const uint64_t own = status_kib("RssAnon:"), files = status_kib("RssFile:") + status_kib("RssShmem:");
        most_own = own > most_own ? own : most_own;
        most = own + files > most ? own + files : most;
        if (done + 1 != shown && done + 1 != gib) continue;
        const log_stat_t stat = stat_of(log);
        printf("| %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %.0f |\n", done + 1, own, files,
               stat.next_offset - stat.first_offset,
               (double)(done + 1) * 1073.741824 / (seconds() - start));
        fflush(stdout);
        shown *= shown < 10 ? 10 : 2;
    }
    printf("\nAt most %" PRIu64 " KiB of its own, %" PRIu64 " KiB with those of mapped files.\n", most_own, most);
    need(log_close(log, &error), &error);
    need(log_remove(path_of("log"), &error), &error);
}

/* ---- write-back ---- */

static void writeback(int duration)
{
    enum { PER_MS = 1000 }; /* a million records a second, as far as the machine keeps up */
    static uint64_t slots[64]; /* by the logarithm of their nanoseconds */
    log_error_t error;
    log_t *log = open_log("log", (log_config_t){.sync = LOG_SYNC_NEVER, .retain_bytes = UINT64_C(2) << 30});
    struct rusage before, after;
    uint64_t appended = 0;
    double slowest = 0;
    printf("| second | records | page faults of the thread | slowest append, us |\n|---|---|---|---|\n");
    for (int second = 0; second < duration; second++) {
        getrusage(RUSAGE_THREAD, &before);
        const double start = seconds();
        double worst = 0;
        uint64_t count = 0;
        for (int ms = 0; ms < 1000; ms++) {
            double last = seconds();
            for (int n = 0; n < PER_MS; n++, count++) {
                need(log_append(log, payload, RECORD, NULL, &error), &error);
                const double now = seconds(), took = now - last;
                const uint64_t ns = (uint64_t)(took * 1e9);
                slots[ns < 2 ? 0 : 63 - __builtin_clzll(ns)]++;
                worst = took > worst ? took : worst;
                last = now;
            }
            const double wait = start + (double)(ms + 1) / 1000 - seconds();
            if (wait > 0) usleep((useconds_t)(wait * 1e6));
        }
        getrusage(RUSAGE_THREAD, &after);
        appended += count;
        slowest = worst > slowest ? worst : slowest;
        if (second % 10 == 9 || after.ru_minflt - before.ru_minflt > 100)
            printf("| %d | %" PRIu64 " | %ld | %.0f |\n", second + 1, count, after.ru_minflt - before.ru_minflt, worst * 1e6);
        fflush(stdout);
    }
    printf("\n%" PRIu64 " appends; ", appended);
    for (int wanted = 1; wanted <= 3; wanted++) {
        static const double SHARES[] = {0, 0.99, 0.999, 0.9999};
        uint64_t below = 0;
        int slot = 0;
        while (slot < 63 && (double)(below += slots[slot]) < SHARES[wanted] * (double)appended) slot++;
        printf("p%g under %.1f us, ", SHARES[wanted] * 100, (double)(UINT64_C(2) << slot) / 1e3);
    }
    printf("the slowest %.0f us\n", slowest * 1e6);
    need(log_close(log, &error), &error);
    need(log_remove(path_of("log"), &error), &error);
}

static int usage(void)
{
    fprintf(stderr, "usage: long growth [--rounds N] DIR | long memory [--gib N] DIR | long writeback [--seconds N] DIR\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct { const char *name, *option; long usual, most; } MODES[] = {
        {"growth", "--rounds", 9, MAX_ROUNDS}, {"memory", "--gib", 100, 100000}, {"writeback", "--seconds", 90, 86400}};
    int mode = 0;
    if (argc != 3 && argc != 5) return usage();
    while (mode < 3 && strcmp(argv[1], MODES[mode].name) != 0) mode++;
    if (mode == 3 || (argc == 5 && strcmp(argv[2], MODES[mode].option) != 0)) return usage();
    const long number = argc == 5 ? strtol(argv[3], NULL, 10) : MODES[mode].usual;
    if (number < 1 || number > MODES[mode].most) return usage();
    snprintf(root, sizeof root, "%s/seglog-long-%ld", argv[argc - 1], (long)getpid());
    if (mkdir(root, 0700) != 0) fail(root);
    for (size_t n = 0; n < sizeof payload; n++) payload[n] = (unsigned char)(n * 31 + (n >> 8));
    if (mode == 0) growth((int)number);
    else if (mode == 1) memory((uint64_t)number);
    else writeback((int)number);
    return rmdir(root) == 0 ? 0 : 2;
}
