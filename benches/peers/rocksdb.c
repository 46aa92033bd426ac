/* RocksDB, its write-ahead log being the log: a put for each append, a write batch for a batch. Held in the process:
 * manual_wal_flush. A large memtable, so that the runs measure the log and not compaction; no compression; a block
 * cache that holds all. */
#include <rocksdb/c.h>

#define DB(name) rocksdb_##name
#include "puts.h"

static void *open_it(const struct opening *opening)
{
    struct store *log = new_store();
    rocksdb_options_set_max_write_buffer_number(log->options, 4);
    rocksdb_options_set_manual_wal_flush(log->options, opening->durability == IN_PROCESS);
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, log->cache);
    rocksdb_options_set_block_based_table_factory(log->options, table);
    rocksdb_block_based_options_destroy(table);
    open_store(log, opening);
    return log;
}

static void read_one(void *it, uint64_t n, void *buffer, size_t len)
{
    struct store *log = it;
    char *error = NULL;
    const uint64_t key = htobe64(n);
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned(log->db, log->read, (const char *)&key, sizeof key, &error);
    need(error, "rocksdb_get_pinned");
    if (found == NULL) fail("rocksdb_get_pinned", "not found");
    size_t have;
    const char *value = rocksdb_pinnableslice_value(found, &have);
    memcpy(buffer, value, have < len ? have : len);
    rocksdb_pinnableslice_destroy(found);
}

static void close_it(void *it)
{
    struct store *log = it;
    char *error = NULL;
    rocksdb_flush_wal(log->db, 1, &error);
    need(error, "rocksdb_flush_wal");
    close_store(log);
}

const struct peer rocksdb_peer = {
    .name = "rocksdb",
    .version = ROCKSDB_VERSION,
    .appends = IN_PROCESS | IN_KERNEL | ON_DISK,
    .open = open_it,
    .append = append,
    .append_batch = append_batch,
    .scan = scan,
    .reader = reader,
    .read = read_one,
    .close = close_it,
};
