/* peer.h - what the bench knows of a contender: a log behind a table of functions. Each peer is a file; main.c runs any
 * of them through the same loops, so that nobody's loop is better than another's. What a peer cannot do is NULL. */
#ifndef PEER_H
#define PEER_H

#include <stddef.h>
#include <stdint.h>

/* Where a record is when its append returns. The three are never compared with each other. */
enum durability {
    IN_PROCESS = 1, /* in the process's memory: lost when it is killed */
    IN_KERNEL = 2,  /* in the kernel: survives a killed process, not a power loss */
    ON_DISK = 4     /* survives a power loss */
};

struct opening {
    const char *dir; /* it exists; empty, or with what this peer left there */
    uint32_t durability;
    uint32_t segments; /* 1: many small segments (4 KiB of records), for the works that count opens */
    uint64_t payload;  /* bytes of each record */
    uint32_t readers;  /* 1: `reader` will be called */
};

struct peer {
    const char *name;
    const char *version;
    uint32_t appends;  /* or'ed durabilities that it has */
    uint32_t segments; /* 1: its segments can be made small */
    void *(*open)(const struct opening *opening);
    /* Any number of threads at once. */
    void (*append)(void *log, const void *data, size_t len);
    /* `count` records of `len` bytes, one behind the other in memory. */
    void (*append_batch)(void *log, const void *data, size_t len, size_t count);
    /* Reads every record in order, and looks at one byte of each. Returns how many there are. */
    uint64_t (*scan)(void *log);
    /* How many records the open found; only where there is no `scan`. */
    uint64_t (*found)(void *log);
    /* What must be done, untimed, before another scan. May be NULL. */
    void (*rewind)(void *log);
    /* A reader is one thread's. `read` copies the n-th record, from 0. */
    void *(*reader)(void *log);
    void (*read)(void *reader, uint64_t n, void *buffer, size_t len);
    void (*reader_close)(void *reader);
    /* An orderly close: what was appended is durable, as far as the peer can do that. */
    void (*close)(void *log);
};

/* A bench that met an error measures nothing: it says what failed and ends. */
void fail(const char *what, const char *why) __attribute__((noreturn));

/* Looked at by a scan, so that it is not optimised away. */
extern volatile uint32_t sink;

extern const struct peer libseglog_peer, bare_write_peer, stdio_peer;
extern const struct peer lmdb_peer, lmdb_writemap_peer, rocksdb_peer, leveldb_peer, sqlite_peer, berkeley_peer;

#endif
