/* LevelDB, its log being the log: a put for each append, a write batch for a batch; a large memtable, no compression,
 * a cache that holds all. */
#include <leveldb/c.h>

#define DB(name) leveldb_##name
#include "puts.h"

static void *open_it(const struct opening *opening)
{
    struct store *log = new_store();
    leveldb_options_set_cache(log->options, log->cache);
    open_store(log, opening);
    return log;
}

static void read_one(void *it, uint64_t n, void *buffer, size_t len)
{
    struct store *log = it;
    char *error = NULL;
    size_t have;
    const uint64_t key = htobe64(n);
    char *value = leveldb_get(log->db, log->read, (const char *)&key, sizeof key, &have, &error);
    need(error, "leveldb_get");
    if (value == NULL) fail("leveldb_get", "not found");
    memcpy(buffer, value, have < len ? have : len);
    leveldb_free(value);
}

static void close_it(void *log) { close_store(log); }

const struct peer leveldb_peer = {
    .name = "leveldb",
    .version = LEVELDB_VERSION,
    .appends = IN_KERNEL | ON_DISK,
    .open = open_it,
    .append = append,
    .append_batch = append_batch,
    .scan = scan,
    .reader = reader,
    .read = read_one,
    .close = close_it,
};
