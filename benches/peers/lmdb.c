/* LMDB as a log: the key is the record's number (MDB_INTEGERKEY), appended in order (MDB_APPEND), a transaction for
 * each append or batch; with and without MDB_WRITEMAP. Not synced: MDB_NOSYNC, so that the kernel has the pages. */
#include "peer.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lmdb {
    MDB_env *env;
    MDB_dbi table;
    pthread_mutex_t lock; /* of `next`; a writer of LMDB has the whole environment anyway */
    uint64_t next;
};

struct view {
    MDB_txn *txn;
    MDB_dbi table;
};

static void need(int status, const char *what)
{
    if (status != 0) fail(what, mdb_strerror(status));
}

static void *open_with(const struct opening *opening, unsigned flags)
{
    struct lmdb *log = calloc(1, sizeof *log);
    MDB_txn *txn;
    MDB_stat stat;
    pthread_mutex_init(&log->lock, NULL);
    need(mdb_env_create(&log->env), "mdb_env_create");
    need(mdb_env_set_mapsize(log->env, (size_t)32 << 30), "mdb_env_set_mapsize");
    if (opening->durability != ON_DISK) flags |= MDB_NOSYNC;
    need(mdb_env_open(log->env, opening->dir, flags | MDB_NOTLS | MDB_NORDAHEAD, 0600), "mdb_env_open");
    need(mdb_txn_begin(log->env, NULL, 0, &txn), "mdb_txn_begin");
    need(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &log->table), "mdb_dbi_open");
    need(mdb_stat(txn, log->table, &stat), "mdb_stat");
    log->next = stat.ms_entries;
    need(mdb_txn_commit(txn), "mdb_txn_commit");
    return log;
}

static void *open_plain(const struct opening *opening) { return open_with(opening, 0); }
static void *open_writemap(const struct opening *opening) { return open_with(opening, MDB_WRITEMAP); }

static void append_batch(void *it, const void *data, size_t len, size_t count)
{
    struct lmdb *log = it;
    MDB_txn *txn;
    pthread_mutex_lock(&log->lock);
    need(mdb_txn_begin(log->env, NULL, 0, &txn), "mdb_txn_begin");
    for (size_t n = 0; n < count; n++, log->next++) {
        MDB_val key = {sizeof log->next, &log->next}, value = {len, (char *)data + n * len};
        need(mdb_put(txn, log->table, &key, &value, MDB_APPEND), "mdb_put");
    }
    need(mdb_txn_commit(txn), "mdb_txn_commit");
    pthread_mutex_unlock(&log->lock);
}

static void append(void *log, const void *data, size_t len) { append_batch(log, data, len, 1); }

static uint64_t scan(void *it)
{
    struct lmdb *log = it;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t records = 0;
    uint32_t looked = 0;
    need(mdb_txn_begin(log->env, NULL, MDB_RDONLY, &txn), "mdb_txn_begin");
    need(mdb_cursor_open(txn, log->table, &cursor), "mdb_cursor_open");
    for (; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0; records++) looked ^= *(unsigned char *)value.mv_data;
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    sink ^= looked;
    return records;
}

static void *reader(void *it)
{
    struct lmdb *log = it;
    struct view *view = calloc(1, sizeof *view);
    view->table = log->table;
    need(mdb_txn_begin(log->env, NULL, MDB_RDONLY, &view->txn), "mdb_txn_begin");
    return view;
}

static void read_one(void *it, uint64_t n, void *buffer, size_t len)
{
    struct view *view = it;
    MDB_val key = {sizeof n, &n}, value;
    need(mdb_get(view->txn, view->table, &key, &value), "mdb_get");
    memcpy(buffer, value.mv_data, value.mv_size < len ? value.mv_size : len);
}

static void reader_close(void *it)
{
    struct view *view = it;
    mdb_txn_abort(view->txn);
    free(view);
}

static void close_it(void *it)
{
    struct lmdb *log = it;
    need(mdb_env_sync(log->env, 1), "mdb_env_sync");
    mdb_env_close(log->env);
    free(log);
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define VERSION TEXT(MDB_VERSION_MAJOR) "." TEXT(MDB_VERSION_MINOR) "." TEXT(MDB_VERSION_PATCH)

#define LMDB(name_, open_)                                                                                         \
    {                                                                                                              \
        .name = name_, .version = VERSION, .appends = IN_KERNEL | ON_DISK, .open = open_, .append = append,        \
        .append_batch = append_batch, .scan = scan, .reader = reader, .read = read_one,                            \
        .reader_close = reader_close, .close = close_it                                                            \
    }

const struct peer lmdb_peer = LMDB("lmdb", open_plain);
const struct peer lmdb_writemap_peer = LMDB("lmdb writemap", open_writemap);
