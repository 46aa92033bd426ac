/* SQLite as a log: a table by row number, WAL mode, synchronous FULL (durable) or OFF, exclusive
 * locking while there are no readers, prepared statements, a transaction for each append or batch. Readers have a
 * connection each and mmap. */
#include "peer.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct connection {
    sqlite3 *db;
    sqlite3_stmt *insert, *begin, *commit, *all, *one;
    pthread_mutex_t lock;
    char path[4200];
};

static void need(int fine, sqlite3 *db, const char *what)
{
    if (!fine) fail(what, sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *text)
{
    sqlite3_stmt *statement;
    need(sqlite3_prepare_v2(db, text, -1, &statement, NULL) == SQLITE_OK, db, text);
    return statement;
}

static void execute(sqlite3 *db, const char *text)
{
    need(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, db, text);
}

static void *open_it(const struct opening *opening)
{
    struct connection *log = calloc(1, sizeof *log);
    pthread_mutex_init(&log->lock, NULL);
    /* No connection is shared without a lock, and no counters of memory, which all threads would share. */
    if (sqlite3_config(SQLITE_CONFIG_MULTITHREAD) != SQLITE_OK) fail("sqlite3_config", "SQLITE_CONFIG_MULTITHREAD");
    if (sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK) fail("sqlite3_config", "SQLITE_CONFIG_MEMSTATUS");
    snprintf(log->path, sizeof log->path, "%s/log.db", opening->dir);
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(log->path, &log->db, flags, NULL) != SQLITE_OK) fail(log->path, sqlite3_errmsg(log->db));
    /* Before WAL mode, so that there is no index of the WAL in shared memory. A reader's connection needs that. */
    if (!opening->readers) execute(log->db, "PRAGMA locking_mode = EXCLUSIVE");
    execute(log->db, "PRAGMA journal_mode = WAL");
    execute(log->db, opening->durability == ON_DISK ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = OFF");
    execute(log->db, "PRAGMA cache_size = -65536");
    execute(log->db, "PRAGMA mmap_size = 4294967296");
    execute(log->db, "CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, data BLOB)");
    log->insert = prepare(log->db, "INSERT INTO log (data) VALUES (?)");
    log->begin = prepare(log->db, "BEGIN IMMEDIATE");
    log->commit = prepare(log->db, "COMMIT");
    log->all = prepare(log->db, "SELECT data FROM log ORDER BY id");
    return log;
}

static void step(struct connection *log, sqlite3_stmt *statement)
{
    need(sqlite3_step(statement) == SQLITE_DONE, log->db, "sqlite3_step");
    need(sqlite3_reset(statement) == SQLITE_OK, log->db, "sqlite3_reset");
}

static void insert(struct connection *log, const void *data, size_t len)
{
    need(sqlite3_bind_blob(log->insert, 1, data, (int)len, SQLITE_STATIC) == SQLITE_OK, log->db, "sqlite3_bind_blob");
    step(log, log->insert);
}

static void append(void *it, const void *data, size_t len)
{
    struct connection *log = it;
    pthread_mutex_lock(&log->lock);
    insert(log, data, len);
    pthread_mutex_unlock(&log->lock);
}

static void append_batch(void *it, const void *data, size_t len, size_t count)
{
    struct connection *log = it;
    pthread_mutex_lock(&log->lock);
    step(log, log->begin);
    for (size_t n = 0; n < count; n++) insert(log, (const char *)data + n * len, len);
    step(log, log->commit);
    pthread_mutex_unlock(&log->lock);
}

static uint64_t scan(void *it)
{
    struct connection *log = it;
    uint64_t records = 0;
    uint32_t looked = 0;
    for (; sqlite3_step(log->all) == SQLITE_ROW; records++)
        looked ^= *(const unsigned char *)sqlite3_column_blob(log->all, 0);
    need(sqlite3_reset(log->all) == SQLITE_OK, log->db, "sqlite3_reset");
    sink ^= looked;
    return records;
}

static void *reader(void *it)
{
    const struct connection *log = it;
    struct connection *view = calloc(1, sizeof *view);
    const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(log->path, &view->db, flags, NULL) != SQLITE_OK) fail(log->path, sqlite3_errmsg(view->db));
    execute(view->db, "PRAGMA mmap_size = 4294967296");
    execute(view->db, "PRAGMA cache_size = -65536");
    execute(view->db, "BEGIN");
    view->one = prepare(view->db, "SELECT data FROM log WHERE id = ?");
    return view;
}

static void read_one(void *it, uint64_t n, void *buffer, size_t len)
{
    struct connection *view = it;
    need(sqlite3_bind_int64(view->one, 1, (sqlite3_int64)n + 1) == SQLITE_OK, view->db, "sqlite3_bind_int64");
    need(sqlite3_step(view->one) == SQLITE_ROW, view->db, "sqlite3_step");
    const size_t have = (size_t)sqlite3_column_bytes(view->one, 0);
    memcpy(buffer, sqlite3_column_blob(view->one, 0), have < len ? have : len);
    need(sqlite3_reset(view->one) == SQLITE_OK, view->db, "sqlite3_reset");
}

static void reader_close(void *it)
{
    struct connection *view = it;
    sqlite3_finalize(view->one);
    sqlite3_close(view->db);
    free(view);
}

static void close_it(void *it)
{
    struct connection *log = it;
    sqlite3_finalize(log->insert);
    sqlite3_finalize(log->begin);
    sqlite3_finalize(log->commit);
    sqlite3_finalize(log->all);
    need(sqlite3_close(log->db) == SQLITE_OK, log->db, "sqlite3_close");
    free(log);
}

const struct peer sqlite_peer = {
    .name = "sqlite",
    .version = SQLITE_VERSION,
    .appends = IN_KERNEL | ON_DISK,
    .open = open_it,
    .append = append,
    .append_batch = append_batch,
    .scan = scan,
    .reader = reader,
    .read = read_one,
    .reader_close = reader_close,
    .close = close_it,
};
