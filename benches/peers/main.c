/* peers: runs one contender at one work, once, and prints what it measured as a line of JSON. bench.py calls it again
 * and again, in turn for all; by hand it is for a debugger or a profiler. docs/performance.md explains the works.
 *
 *   peers list
 *   peers append PEER DIR [--class process|kernel|disk] [--payload N] [--threads N] [--batch N]
 *                         [--ms N | --calls N] [--warm BYTES] [--hist]
 *   peers fill   PEER DIR --records N [--batch N] [--payload N] [--class ...] [--segments] [--kill]
 *   peers read   PEER DIR --records N [--batch N, as it was filled] [--payload N] [--ms N]
 *   peers open   PEER DIR --records N [--payload N] [--segments] */
#define _GNU_SOURCE
#include "peer.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../bare.h"
#include "hist.h"

enum { MAX_PEERS = 64, MAX_THREADS = 64, POOLED = 256, MAX_BATCH = 1000, CHUNK_NS = 50000 };

volatile uint32_t sink;

static const struct peer *peers[MAX_PEERS];
static size_t peer_count;
static char own_dir[4096]; /* removed at the end, "" if none */

static const struct peer *peer;
static struct {
    const char *dir;
    uint64_t payload, threads, batch, ms, calls, warm, records;
    uint32_t durability, segments, readers;
    int hist, kill;
} want = {.payload = 128, .threads = 1, .batch = 1, .ms = 200};

static unsigned char *pool; /* records that no compression makes shorter */
static size_t pooled = POOLED;

void fail(const char *what, const char *why)
{
    fprintf(stderr, "peers: %s: %s: %s\n", peer == NULL ? "?" : peer->name, what, why);
    exit(2);
}

static void need(int fine, const char *what)
{
    if (!fine) fail(what, strerror(errno));
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double cpu_seconds(struct rusage *usage)
{
    getrusage(RUSAGE_SELF, usage);
    return (double)usage->ru_utime.tv_sec + (double)usage->ru_stime.tv_sec +
           ((double)usage->ru_utime.tv_usec + (double)usage->ru_stime.tv_usec) / 1e6;
}

/* ---- directories ---- */

static uint64_t dir_bytes, dir_files;

static int add_up(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)path, (void)ftw;
    if (type == FTW_F) dir_bytes += (uint64_t)stat->st_blocks * 512, dir_files++;
    return 0;
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat, (void)type, (void)ftw;
    return remove(path);
}

static void remove_own_dir(void)
{
    if (own_dir[0] != 0) nftw(own_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* On a machine that gives unused memory back to its host the first touch of a page is slow, by chance. So a file twice
 * as large as what the run will write is written and deleted first (PERFORMANCE: "Measure on warm memory"). */
static void warm(uint64_t bytes)
{
    enum { PIECE = 1 << 20 };
    char path[sizeof own_dir + 16];
    if (bytes == 0) return;
    unsigned char *piece = calloc(1, PIECE);
    snprintf(path, sizeof path, "%s.warm", want.dir);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    need(fd >= 0 && piece != NULL, path);
    for (uint64_t at = 0; at < bytes; at += PIECE) need(pwrite(fd, piece, PIECE, (off_t)at) == PIECE, path);
    close(fd);
    unlink(path);
    free(piece);
    /* What this and the run before left to the file system is not for this run to write. */
    sync();
}

static void make_pool(size_t records)
{
    uint64_t seed = 1;
    pooled = records;
    const size_t bytes = (records * want.payload + 4095) & ~(size_t)4095;
    pool = aligned_alloc(4096, bytes);
    need(pool != NULL, "memory");
    for (size_t n = 0; n + 8 <= bytes; n += 8) {
        const uint64_t word = next_random(&seed);
        memcpy(pool + n, &word, 8);
    }
}

static void *open_log(void)
{
    const struct opening opening = {want.dir, want.durability, want.segments, want.payload, want.readers};
    void *log = peer->open(&opening);
    if (log == NULL) fail("open", "no log");
    return log;
}

/* ---- loops ---- */

/* One operation of a thread: its number, and what it works on. */
typedef void (*operation)(void *on, uint64_t n);

struct runner {
    operation operate;
    void *on;
    uint64_t done, ended_ns;
    struct hist *hist;
    pthread_t thread;
};

static pthread_barrier_t start_line;
static uint64_t deadline_ns, started_ns;

/* Many operations between two looks at the clock, so that the look costs nothing, but no more than take 50 us. */
static void run_chunks(struct runner *r)
{
    uint64_t chunk = 1, before = now_ns();
    for (;;) {
        for (uint64_t n = 0; n < chunk; n++) r->operate(r->on, r->done + n);
        r->done += chunk;
        const uint64_t now = now_ns();
        if (now >= deadline_ns) break;
        if (now - before < CHUNK_NS / 2) chunk *= 2;
        else if (now - before > CHUNK_NS && chunk > 1) chunk /= 2;
        before = now;
    }
}

static void run_hist(struct runner *r)
{
    uint64_t before = now_ns();
    do {
        r->operate(r->on, r->done++);
        const uint64_t now = now_ns();
        hist_add(r->hist, now - before);
        before = now;
    } while (before < deadline_ns);
}

static void *run(void *argument)
{
    struct runner *r = argument;
    pthread_barrier_wait(&start_line);
    if (want.calls > 0)
        while (r->done < want.calls) r->operate(r->on, r->done++);
    else if (r->hist != NULL) run_hist(r);
    else run_chunks(r);
    r->ended_ns = now_ns();
    return NULL;
}

/* Runs the operation in so many threads, each on its own `on`. Returns how often; *seconds: until the last ended. */
static uint64_t run_threads(operation operate, void **on, size_t threads, struct hist *hist, double *seconds)
{
    static struct runner runners[MAX_THREADS];
    uint64_t done = 0, ended = 0;
    pthread_barrier_init(&start_line, NULL, (unsigned)threads + 1);
    for (size_t n = 0; n < threads; n++) {
        runners[n] = (struct runner){.operate = operate, .on = on[n]};
        if (hist != NULL) need((runners[n].hist = calloc(1, sizeof *hist)) != NULL, "memory");
        need(pthread_create(&runners[n].thread, NULL, run, &runners[n]) == 0, "pthread_create");
    }
    /* The times are set before the threads pass the line. */
    started_ns = now_ns();
    deadline_ns = started_ns + want.ms * 1000000;
    pthread_barrier_wait(&start_line);
    for (size_t n = 0; n < threads; n++) {
        pthread_join(runners[n].thread, NULL);
        done += runners[n].done;
        if (runners[n].ended_ns > ended) ended = runners[n].ended_ns;
        if (hist != NULL) hist_merge(hist, runners[n].hist), free(runners[n].hist);
    }
    pthread_barrier_destroy(&start_line);
    *seconds = (double)(ended - started_ns) / 1e9;
    return done;
}

static void append_one(void *log, uint64_t n)
{
    peer->append(log, pool + (n & (POOLED - 1)) * want.payload, want.payload);
}

static void append_many(void *log, uint64_t n)
{
    const uint64_t first = n * want.batch % (pooled - want.batch + 1);
    peer->append_batch(log, pool + first * want.payload, want.payload, want.batch);
}

/* ---- works ---- */

static const char *class_name(void)
{
    return want.durability == IN_PROCESS ? "process" : want.durability == IN_KERNEL ? "kernel" : "disk";
}

static void print_head(const char *work)
{
    printf("{\"peer\":\"%s\",\"version\":\"%s\",\"work\":\"%s\",\"payload\":%" PRIu64, peer->name, peer->version, work,
           want.payload);
}

static void appends(void)
{
    static struct hist hist;
    static char dir[sizeof own_dir];
    void *logs[MAX_THREADS];
    struct rusage usage;
    double seconds;
    snprintf(dir, sizeof dir, "%s/%s-%ld", want.dir, peer->name, (long)getpid());
    for (char *c = dir + strlen(want.dir); *c != 0; c++)
        if (*c == ' ') *c = '-';
    need(mkdir(dir, 0700) == 0, dir);
    strcpy(own_dir, dir);
    atexit(remove_own_dir);
    want.dir = dir;
    make_pool(want.batch > POOLED ? want.batch : POOLED);
    warm(want.warm);
    void *log = open_log();
    for (size_t n = 0; n < want.threads; n++) logs[n] = log;
    const double cpu_before = cpu_seconds(&usage);
    /* For whoever reads the trace of the system calls: what lies between is the work. */
    (void)!write(-1, "bench begin", 11);
    const uint64_t done = run_threads(want.batch > 1 ? append_many : append_one, logs, want.threads,
                                      want.hist ? &hist : NULL, &seconds);
    (void)!write(-1, "bench end", 9);
    const double cpu = cpu_seconds(&usage) - cpu_before;
    peer->close(log);
    print_head("append");
    printf(",\"class\":\"%s\",\"threads\":%" PRIu64 ",\"batch\":%" PRIu64 ",\"calls\":%" PRIu64 ",\"records\":%" PRIu64
           ",\"seconds\":%.9f,\"cpu_seconds\":%.6f,\"max_rss_kib\":%ld",
           class_name(), want.threads, want.batch, done, done * want.batch, seconds, cpu, usage.ru_maxrss);
    if (want.hist) {
        printf(",\"hist\":");
        hist_print(&hist);
    }
    puts("}");
}

/* A log of so many records, left there, closed or killed. */
static void fill(void)
{
    /* Fast, but so that the records are there afterwards, if nothing else is asked for. */
    const uint32_t survives = want.kill ? IN_KERNEL | ON_DISK : IN_PROCESS | IN_KERNEL | ON_DISK;
    const uint32_t order[] = {IN_KERNEL, IN_PROCESS, ON_DISK};
    for (size_t n = 0; n < 3 && want.durability == 0; n++) want.durability = peer->appends & survives & order[n];
    if (want.durability == 0) fail("fill", "it keeps nothing when it is killed");
    need(mkdir(want.dir, 0700) == 0 || errno == EEXIST, want.dir);
    make_pool(want.batch);
    const uint64_t began = now_ns();
    void *log = open_log();
    for (uint64_t left = want.records; left > 0;) {
        const uint64_t count = left < want.batch ? left : want.batch;
        if (want.batch == 1 || want.segments)
            for (uint64_t n = 0; n < count; n++) peer->append(log, pool + n * want.payload, want.payload);
        else peer->append_batch(log, pool, want.payload, count);
        left -= count;
    }
    const double seconds = (double)(now_ns() - began) / 1e9;
    if (!want.kill) peer->close(log);
    nftw(want.dir, add_up, 16, FTW_PHYS);
    print_head("fill");
    printf(",\"class\":\"%s\",\"records\":%" PRIu64 ",\"seconds\":%.9f,\"disk_bytes\":%" PRIu64 ",\"files\":%" PRIu64
           "}\n",
           class_name(), want.records, seconds, dir_bytes, dir_files);
    fflush(stdout);
    if (want.kill) raise(SIGKILL);
}

static void timed_open(void)
{
    const uint64_t began = now_ns();
    void *log = open_log();
    const double seconds = (double)(now_ns() - began) / 1e9;
    nftw(want.dir, add_up, 16, FTW_PHYS);
    const uint64_t found = peer->scan != NULL ? peer->scan(log) : peer->found(log);
    print_head("open");
    printf(",\"records\":%" PRIu64 ",\"found\":%" PRIu64 ",\"seconds\":%.9f,\"files\":%" PRIu64 "}\n", want.records,
           found, seconds, dir_files);
    peer->close(log);
}

struct random_reader {
    void *reader;
    uint64_t seed;
    unsigned char *buffer;
};

static void read_random(void *on, uint64_t n)
{
    struct random_reader *r = on;
    (void)n;
    peer->read(r->reader, random_below(&r->seed, want.records), r->buffer, want.payload);
    sink ^= r->buffer[0];
}

static void scans(void *log)
{
    uint64_t found = 0, spent = 0, times = 0;
    if (peer->scan == NULL) return;
    for (;;) {
        if (peer->rewind != NULL && times > 0) peer->rewind(log);
        const uint64_t began = now_ns();
        found = peer->scan(log);
        /* The first one makes everything warm. */
        if (times++ > 0) spent += now_ns() - began;
        if (found != want.records) fail("scan", "it found another number of records");
        if (times > 1 && spent >= want.ms * 1000000) break;
    }
    print_head("scan");
    printf(",\"records\":%" PRIu64 ",\"seconds\":%.9f}\n", found * (times - 1), (double)spent / 1e9);
}

static void random_reads(void *log, size_t threads)
{
    static struct random_reader readers[MAX_THREADS];
    void *on[MAX_THREADS];
    double seconds;
    for (size_t n = 0; n < threads; n++) {
        readers[n] = (struct random_reader){peer->reader(log), 977 * (n + 1), calloc(1, want.payload)};
        on[n] = &readers[n];
        /* That it reads what was written, and not only fast. */
        static const uint64_t places[] = {0, 1, 999, 500, 7};
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            memset(readers[n].buffer, 0, want.payload);
            peer->read(readers[n].reader, places[i], readers[n].buffer, want.payload);
            if (memcmp(readers[n].buffer, pool + places[i] % want.batch * want.payload, want.payload) != 0)
                fail("read", "it gave other bytes than were written");
        }
    }
    const uint64_t done = run_threads(read_random, on, threads, NULL, &seconds);
    for (size_t n = 0; n < threads; n++) {
        if (peer->reader_close != NULL) peer->reader_close(readers[n].reader);
        free(readers[n].buffer);
    }
    print_head("read");
    printf(",\"threads\":%zu,\"records\":%" PRIu64 ",\"seconds\":%.9f}\n", threads, done, seconds);
}

static void reads(void)
{
    make_pool(want.batch); /* what `fill` wrote */
    if (want.records < 1000) fail("read", "too few records");
    want.durability = peer->appends & IN_KERNEL ? IN_KERNEL : peer->appends & IN_PROCESS ? IN_PROCESS : ON_DISK;
    want.readers = 1;
    void *log = open_log();
    scans(log);
    if (peer->reader != NULL) {
        const uint64_t ms = want.ms;
        want.ms = 50; /* warm */
        fflush(stdout);
        random_reads(log, 1);
        want.ms = ms;
        random_reads(log, 1);
        random_reads(log, 2);
    }
    peer->close(log);
}

/* ---- the command line ---- */

static void gather_peers(const char *program)
{
    static const struct peer *const linked[] = {
        &libseglog_peer, &bare_write_peer, &stdio_peer,
#ifdef HAVE_LMDB
        &lmdb_peer, &lmdb_writemap_peer,
#endif
#ifdef HAVE_ROCKSDB
        &rocksdb_peer,
#endif
#ifdef HAVE_LEVELDB
        &leveldb_peer,
#endif
#ifdef HAVE_SQLITE
        &sqlite_peer,
#endif
#ifdef HAVE_BERKELEY
        &berkeley_peer,
#endif
    };
    for (size_t n = 0; n < sizeof linked / sizeof *linked; n++) peers[peer_count++] = linked[n];
    /* Those of the registry are in a library beside this program, where it could be built. */
    char path[4096];
    const char *slash = strrchr(program, '/');
    snprintf(path, sizeof path, "%.*s/libpeers_rust.so", slash == NULL ? 1 : (int)(slash - program),
             slash == NULL ? "." : program);
    if (access(path, F_OK) != 0) return;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) fail(path, dlerror());
    const struct peer *const *(*rust_peers)(size_t *);
    *(void **)&rust_peers = dlsym(library, "rust_peers");
    if (rust_peers == NULL) fail(path, "no rust_peers");
    size_t count;
    const struct peer *const *table = rust_peers(&count);
    for (size_t n = 0; n < count && peer_count < MAX_PEERS; n++) peers[peer_count++] = table[n];
}

static void list(void)
{
    for (size_t n = 0; n < peer_count; n++)
        printf("{\"peer\":\"%s\",\"version\":\"%s\",\"process\":%d,\"kernel\":%d,\"disk\":%d,\"segments\":%d,"
               "\"scan\":%d,\"read\":%d}\n",
               peers[n]->name, peers[n]->version, (peers[n]->appends & IN_PROCESS) != 0,
               (peers[n]->appends & IN_KERNEL) != 0, (peers[n]->appends & ON_DISK) != 0, peers[n]->segments != 0,
               peers[n]->scan != NULL, peers[n]->reader != NULL);
}

static void usage(void)
{
    fprintf(stderr, "usage: peers list | (append | fill | read | open) PEER DIR [OPTION...]; see peers/main.c\n");
    exit(2);
}

static void options(int argc, char **argv, int at)
{
    static const struct { const char *name; uint64_t *value; } numbers[] = {
        {"--payload", &want.payload}, {"--threads", &want.threads}, {"--batch", &want.batch}, {"--ms", &want.ms},
        {"--calls", &want.calls}, {"--warm", &want.warm}, {"--records", &want.records},
    };
    for (; at < argc; at++) {
        size_t n = 0;
        if (strcmp(argv[at], "--hist") == 0) want.hist = 1;
        else if (strcmp(argv[at], "--kill") == 0) want.kill = 1;
        else if (strcmp(argv[at], "--segments") == 0) want.segments = 1;
        else if (at + 1 == argc) usage();
        else if (strcmp(argv[at], "--class") == 0) {
            at++;
            want.durability = strcmp(argv[at], "process") == 0 ? IN_PROCESS
                              : strcmp(argv[at], "kernel") == 0 ? IN_KERNEL
                              : strcmp(argv[at], "disk") == 0 ? ON_DISK : 0;
        } else {
            while (n < sizeof numbers / sizeof *numbers && strcmp(argv[at], numbers[n].name) != 0) n++;
            if (n == sizeof numbers / sizeof *numbers) usage();
            *numbers[n].value = strtoull(argv[++at], NULL, 10);
        }
    }
    if (want.threads < 1 || want.threads > MAX_THREADS || want.payload < 1 || want.batch < 1 || want.batch > MAX_BATCH)
        usage();
}

/* Some peers have many files open. */
static void more_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*work)(void); } works[] = {
        {"append", appends}, {"fill", fill}, {"read", reads}, {"open", timed_open},
    };
    size_t n = 0;
    more_files();
    gather_peers(argv[0]);
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        list();
        return 0;
    }
    if (argc < 4) usage();
    for (size_t i = 0; i < peer_count; i++)
        if (strcmp(peers[i]->name, argv[2]) == 0) peer = peers[i];
    if (peer == NULL) fail(argv[2], "no such peer");
    want.dir = argv[3];
    options(argc, argv, 4);
    while (n < sizeof works / sizeof *works && strcmp(argv[1], works[n].name) != 0) n++;
    if (n == sizeof works / sizeof *works) usage();
    if (works[n].work == appends && want.durability == 0) want.durability = IN_KERNEL;
    if (works[n].work != timed_open && want.durability != 0 && (want.durability & peer->appends) == 0)
        fail(argv[1], "it has no such class");
    works[n].work();
    return 0;
}
