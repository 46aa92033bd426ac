/* The C face of LevelDB, which RocksDB took over: what both do by the same calls under names of their own. Each defines
 * DB(call) before it includes this, and adds what it alone does. */
#ifndef PUTS_H
#define PUTS_H

#include "peer.h"

#include <endian.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_OF(words) #words
#define TEXT(name) TEXT_OF(name) /* the call's own name, for messages */

struct store {
    DB(t) *db;
    DB(options_t) *options;
    DB(writeoptions_t) *write;
    DB(readoptions_t) *read;
    DB(cache_t) *cache;
    _Atomic uint64_t next;
};

static void need(char *error, const char *what)
{
    if (error != NULL) fail(what, error);
}

/* A large memtable, and nothing compressed. */
static struct store *new_store(void)
{
    struct store *log = calloc(1, sizeof *log);
    log->options = DB(options_create)();
    DB(options_set_create_if_missing)(log->options, 1);
    DB(options_set_compression)(log->options, DB(no_compression));
    DB(options_set_write_buffer_size)(log->options, 256 << 20);
    log->cache = DB(cache_create_lru)(512 << 20);
    return log;
}

/* Opens it with the options that are set by now, and finds the number behind the last one. */
static void open_store(struct store *log, const struct opening *opening)
{
    char *error = NULL;
    log->write = DB(writeoptions_create)();
    DB(writeoptions_set_sync)(log->write, opening->durability == ON_DISK);
    log->read = DB(readoptions_create)();
    log->db = DB(open)(log->options, opening->dir, &error);
    need(error, TEXT(DB(open)));
    DB(iterator_t) *last = DB(create_iterator)(log->db, log->read);
    DB(iter_seek_to_last)(last);
    if (DB(iter_valid)(last)) {
        size_t len;
        uint64_t key;
        memcpy(&key, DB(iter_key)(last, &len), sizeof key);
        log->next = be64toh(key) + 1;
    }
    DB(iter_destroy)(last);
}

static void append(void *it, const void *data, size_t len)
{
    struct store *log = it;
    char *error = NULL;
    const uint64_t key = htobe64(atomic_fetch_add(&log->next, 1));
    DB(put)(log->db, log->write, (const char *)&key, sizeof key, data, len, &error);
    need(error, TEXT(DB(put)));
}

static void append_batch(void *it, const void *data, size_t len, size_t count)
{
    struct store *log = it;
    char *error = NULL;
    DB(writebatch_t) *batch = DB(writebatch_create)();
    const uint64_t first = atomic_fetch_add(&log->next, count);
    for (size_t n = 0; n < count; n++) {
        const uint64_t key = htobe64(first + n);
        DB(writebatch_put)(batch, (const char *)&key, sizeof key, (const char *)data + n * len, len);
    }
    DB(write)(log->db, log->write, batch, &error);
    need(error, TEXT(DB(write)));
    DB(writebatch_destroy)(batch);
}

static uint64_t scan(void *it)
{
    struct store *log = it;
    uint64_t records = 0;
    uint32_t looked = 0;
    DB(iterator_t) *at = DB(create_iterator)(log->db, log->read);
    for (DB(iter_seek_to_first)(at); DB(iter_valid)(at); DB(iter_next)(at), records++) {
        size_t len;
        looked ^= *(const unsigned char *)DB(iter_value)(at, &len);
    }
    DB(iter_destroy)(at);
    sink ^= looked;
    return records;
}

static void *reader(void *log) { return log; }

static void close_store(struct store *log)
{
    DB(close)(log->db);
    DB(cache_destroy)(log->cache);
    DB(writeoptions_destroy)(log->write);
    DB(readoptions_destroy)(log->read);
    DB(options_destroy)(log->options);
    free(log);
}

#endif
