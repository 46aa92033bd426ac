/* The two logs that anybody writes by hand: a write(2) for each record into a file of records of one size, without
 * length, checksum or recovery; and stdio, each record behind its length. Neither notices a torn or rotten record. */
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static void need(int fine, const char *what)
{
    if (!fine) fail(what, strerror(errno));
}

static void path_in(const struct opening *opening, char *path, size_t size)
{
    snprintf(path, size, "%s/log", opening->dir);
}

/* ---- write(2) ---- */

enum { MOST = 1024, PIECE = 1 << 20 };

struct bare {
    int fd, sync;
    size_t payload;
};

static void *bare_open(const struct opening *opening)
{
    char path[4200];
    struct bare *log = calloc(1, sizeof *log);
    path_in(opening, path, sizeof path);
    log->fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    need(log->fd >= 0, path);
    log->sync = opening->durability == ON_DISK;
    log->payload = opening->payload;
    return log;
}

static void bare_append(void *it, const void *data, size_t len)
{
    struct bare *log = it;
    need(write(log->fd, data, len) == (ssize_t)len, "write");
    if (log->sync) need(fdatasync(log->fd) == 0, "fdatasync");
}

static void bare_append_batch(void *it, const void *data, size_t len, size_t count)
{
    struct bare *log = it;
    struct iovec parts[MOST];
    if (count > MOST) fail("append_batch", "too many");
    for (size_t n = 0; n < count; n++) parts[n] = (struct iovec){(char *)data + n * len, len};
    need(writev(log->fd, parts, (int)count) == (ssize_t)(len * count), "writev");
    if (log->sync) need(fdatasync(log->fd) == 0, "fdatasync");
}

static uint64_t bare_scan(void *it)
{
    struct bare *log = it;
    unsigned char *piece = malloc(PIECE);
    uint64_t records = 0;
    uint32_t looked = 0;
    const size_t whole = PIECE / log->payload * log->payload;
    for (off_t at = 0;; at += (off_t)whole) {
        const ssize_t got = pread(log->fd, piece, whole, at);
        need(got >= 0, "pread");
        for (size_t n = 0; n + log->payload <= (size_t)got; n += log->payload, records++) looked ^= piece[n];
        if ((size_t)got < whole) break;
    }
    free(piece);
    sink ^= looked;
    return records;
}

static void *bare_reader(void *log) { return log; }

static void bare_read(void *it, uint64_t n, void *buffer, size_t len)
{
    struct bare *log = it;
    need(pread(log->fd, buffer, len, (off_t)(n * len)) == (ssize_t)len, "pread");
}

static void bare_close(void *it)
{
    struct bare *log = it;
    need(fdatasync(log->fd) == 0, "fdatasync");
    close(log->fd);
    free(log);
}

const struct peer bare_write_peer = {
    .name = "write",
    .version = "-",
    .appends = IN_KERNEL | ON_DISK,
    .open = bare_open,
    .append = bare_append,
    .append_batch = bare_append_batch,
    .scan = bare_scan,
    .reader = bare_reader,
    .read = bare_read,
    .close = bare_close,
};

/* ---- stdio ---- */

struct lines {
    FILE *file;
    uint32_t durability;
};

static void *lines_open(const struct opening *opening)
{
    char path[4200];
    struct lines *log = calloc(1, sizeof *log);
    path_in(opening, path, sizeof path);
    log->file = fopen(path, "a+");
    need(log->file != NULL, path);
    log->durability = opening->durability;
    /* The buffer that is best here, whatever the C library's is. */
    need(setvbuf(log->file, NULL, _IOFBF, 1 << 16) == 0, "setvbuf");
    return log;
}

static void put(struct lines *log, const void *data, size_t len)
{
    const uint32_t size = (uint32_t)len;
    need(fwrite_unlocked(&size, sizeof size, 1, log->file) == 1, "fwrite");
    need(fwrite_unlocked(data, len, 1, log->file) == 1, "fwrite");
}

static void lines_append_batch(void *it, const void *data, size_t len, size_t count)
{
    struct lines *log = it;
    flockfile(log->file);
    for (size_t n = 0; n < count; n++) put(log, (const char *)data + n * len, len);
    if (log->durability != IN_PROCESS) need(fflush_unlocked(log->file) == 0, "fflush");
    /* Not under the lock: threads that sync at once share what the file system makes of it. */
    funlockfile(log->file);
    if (log->durability == ON_DISK) need(fdatasync(fileno(log->file)) == 0, "fdatasync");
}

static void lines_append(void *log, const void *data, size_t len) { lines_append_batch(log, data, len, 1); }

static uint64_t lines_scan(void *it)
{
    struct lines *log = it;
    static unsigned char payload[1 << 20];
    uint32_t size, looked = 0;
    uint64_t records = 0;
    rewind(log->file);
    while (fread_unlocked(&size, sizeof size, 1, log->file) == 1) {
        if (size > sizeof payload || fread_unlocked(payload, size, 1, log->file) != 1) break;
        looked ^= payload[0];
        records++;
    }
    sink ^= looked;
    return records;
}

static void lines_close(void *it)
{
    struct lines *log = it;
    need(fflush(log->file) == 0 && fdatasync(fileno(log->file)) == 0 && fclose(log->file) == 0, "close");
    free(log);
}

const struct peer stdio_peer = {
    .name = "stdio",
    .version = "-",
    .appends = IN_PROCESS | IN_KERNEL | ON_DISK,
    .open = lines_open,
    .append = lines_append,
    .append_batch = lines_append_batch,
    .scan = lines_scan,
    .close = lines_close,
};
