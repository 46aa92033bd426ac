/*
 * killed_writer.c - what tests/kill.rs kills: three threads append to one log until SIGKILL ends the process.
 *
 *   killed_writer DIR SYNC NOTES SEQ0 SEQ1 SEQ2
 *
 * SYNC is log_config_t.sync; SEQn is the sequence number that thread n goes on with. Each call that returned LOG_OK is
 * acknowledged on standard output by one write(2) of a struct ack: less than PIPE_BUF, so it is there whole or not at
 * all. NOTES is a file that is mapped shared; each thread notes there that it is in an append, and how far it has
 * asked, so that the parent can tell after the kill. tests/kill.rs makes the same records again from their numbers:
 * hash, record_length, count_of and filler must agree with it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <seglog.h>

enum { THREADS = 3, MOST = 8, HEAD = 16, SMALL = 2000, LARGE = 300000, STARTS = 65536, TABLE = LARGE + STARTS };

/* Every machine of the library is little-endian or the parent runs on the same one: plain structs will do. */
struct head {
    uint32_t thread;
    uint16_t index, count; /* in its batch; 0 of 1 for a record that was appended alone */
    uint64_t seq;
};

struct ack {
    uint64_t offset, seq;
    uint32_t thread, count;
};

struct note {
    _Atomic uint64_t in_append, asked; /* asked: the sequence number behind the last one that was given to a call */
    char padding[48];
};

_Static_assert(sizeof(struct head) == HEAD && sizeof(struct ack) == 24, "as kill.rs has it");
_Static_assert(sizeof(struct note) == 64, "as kill.rs has it");

static log_t *the_log;
static struct note *notes;
static uint64_t first[THREADS];
static unsigned char filler[TABLE];

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t hash(uint64_t thread, uint64_t seq)
{
    return mix((thread + 1) * 0x9e3779b97f4a7c15u + seq);
}

static size_t record_length(uint64_t thread, uint64_t seq)
{
    return seq % 200 == 199 ? LARGE : HEAD + hash(thread, seq) % (SMALL + 1);
}

/* How many records go with the one that a call begins with: one call in eight is a batch. */
static unsigned count_of(uint64_t thread, uint64_t seq)
{
    uint64_t draw = mix(hash(thread, seq));
    return draw % 8 == 0 ? 2 + (unsigned)(draw / 8 % (MOST - 1)) : 1;
}

static void give_up(const char *what, const log_error_t *error)
{
    fprintf(stderr, "%s: %s (%d, os_error %d)\n", what, error->message, (int)error->status, (int)error->os_error);
    _exit(2);
}

static void *append(void *number)
{
    uint32_t thread = (uint32_t)(uintptr_t)number;
    struct note *note = &notes[thread];
    log_bytes_t records[MOST];
    log_error_t error;
    unsigned char *buffer = malloc(MOST * (HEAD + SMALL) + LARGE);
    if (buffer == NULL)
        _exit(4);
    for (uint64_t seq = first[thread];;) {
        unsigned count = count_of(thread, seq);
        unsigned char *at = buffer;
        for (unsigned index = 0; index < count; index++) {
            struct head head = {thread, (uint16_t)index, (uint16_t)count, seq + index};
            size_t length = record_length(thread, head.seq);
            memcpy(at, &head, HEAD);
            memcpy(at + HEAD, filler + (hash(thread, head.seq) >> 48), length - HEAD);
            records[index].data = at;
            records[index].len = length;
            at += length;
        }
        uint64_t offset = LOG_NO_OFFSET;
        atomic_store(&note->in_append, 1);
        atomic_store(&note->asked, seq + count);
        log_status_t status = count == 1 ? log_append(the_log, records[0].data, records[0].len, &offset, &error)
                                         : log_append_batch(the_log, records, count, &offset, &error);
        if (status != LOG_OK)
            give_up("append", &error);
        atomic_store(&note->in_append, 0);
        struct ack ack = {offset, seq, thread, count};
        if (write(STDOUT_FILENO, &ack, sizeof ack) != (ssize_t)sizeof ack)
            _exit(3);
        seq += count;
    }
}

int main(int argc, char **argv)
{
    log_config_t config = {.struct_size = sizeof config, .segment_max_bytes = 256 << 10};
    log_error_t error;
    pthread_t threads[THREADS];
    if (argc != 4 + THREADS)
        return 4;
    config.sync = (uint32_t)strtoul(argv[2], NULL, 10);
    for (size_t n = 0; n < TABLE; n++)
        filler[n] = (unsigned char)mix(n);
    int file = open(argv[3], O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, THREADS * sizeof(struct note)) != 0)
        return 4;
    notes = mmap(NULL, THREADS * sizeof(struct note), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (notes == MAP_FAILED)
        return 4;
    for (unsigned n = 0; n < THREADS; n++) {
        first[n] = strtoull(argv[4 + n], NULL, 10);
        atomic_store(&notes[n].in_append, 0);
        atomic_store(&notes[n].asked, first[n]);
    }
    if (log_open(argv[1], &config, &the_log, &error) != LOG_OK)
        give_up("open", &error);
    for (uintptr_t n = 0; n < THREADS; n++)
        if (pthread_create(&threads[n], NULL, append, (void *)n) != 0)
            return 4;
    for (unsigned n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
    return 4; /* no thread ends */
}
