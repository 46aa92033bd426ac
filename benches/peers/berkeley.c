/* Berkeley DB's log by itself: an environment of DB_INIT_LOG and DB_ENV->log_put. Durable: DB_FLUSH; in the kernel:
 * DB_LOG_WRNOSYNC; in the process: neither, in a log buffer of 4 MiB. A batch is so many log_puts, the last of which
 * flushes: unlike that of others, it is not atomic. A record is found by its LSN, so a reader gathers them first. */
#include "peer.h"

#include <db.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct berkeley {
    DB_ENV *env;
    u_int32_t flags;
};

struct positions {
    DB_LOGC *cursor;
    DB_LSN *all;
    DBT record;
};

static void need(int status, const char *what)
{
    if (status != 0) fail(what, db_strerror(status));
}

static void *open_it(const struct opening *opening)
{
    struct berkeley *log = calloc(1, sizeof *log);
    log->flags = opening->durability == ON_DISK     ? DB_FLUSH
                 : opening->durability == IN_KERNEL ? DB_LOG_WRNOSYNC
                                                    : 0;
    need(db_env_create(&log->env, 0), "db_env_create");
    need(log->env->set_lg_bsize(log->env, opening->segments ? 1024 : 4 << 20), "set_lg_bsize");
    need(log->env->set_lg_max(log->env, opening->segments ? 4096 : 64 << 20), "set_lg_max");
    need(log->env->open(log->env, opening->dir, DB_CREATE | DB_INIT_LOG | DB_PRIVATE | DB_THREAD, 0600), "open");
    return log;
}

static void put(struct berkeley *log, const void *data, size_t len, u_int32_t flags)
{
    DB_LSN lsn;
    DBT record = {.data = (void *)data, .size = (u_int32_t)len};
    need(log->env->log_put(log->env, &lsn, &record, flags), "log_put");
}

static void append(void *it, const void *data, size_t len)
{
    struct berkeley *log = it;
    put(log, data, len, log->flags);
}

static void append_batch(void *it, const void *data, size_t len, size_t count)
{
    struct berkeley *log = it;
    for (size_t n = 0; n < count; n++)
        put(log, (const char *)data + n * len, len, n + 1 == count ? log->flags : 0);
}

/* Every record in order; where each is goes to `all`, if that is not NULL. */
static uint64_t walk(struct berkeley *log, DB_LSN *all, uint64_t most)
{
    DB_LOGC *cursor;
    DB_LSN lsn;
    DBT record = {.flags = DB_DBT_REALLOC};
    uint64_t records = 0;
    uint32_t looked = 0;
    need(log->env->log_cursor(log->env, &cursor, 0), "log_cursor");
    while (cursor->get(cursor, &lsn, &record, DB_NEXT) == 0) {
        looked ^= *(unsigned char *)record.data;
        if (all != NULL && records < most) all[records] = lsn;
        records++;
    }
    cursor->close(cursor, 0);
    free(record.data);
    sink ^= looked;
    return records;
}

static uint64_t scan(void *log) { return walk(log, NULL, 0); }

static void *reader(void *it)
{
    struct berkeley *log = it;
    struct positions *r = calloc(1, sizeof *r);
    const uint64_t records = walk(log, NULL, 0);
    r->all = calloc(records, sizeof *r->all);
    if (walk(log, r->all, records) != records) fail("reader", "the log changed");
    r->record.flags = DB_DBT_REALLOC;
    need(log->env->log_cursor(log->env, &r->cursor, 0), "log_cursor");
    return r;
}

static void read_one(void *it, uint64_t n, void *buffer, size_t len)
{
    struct positions *r = it;
    need(r->cursor->get(r->cursor, &r->all[n], &r->record, DB_SET), "get");
    memcpy(buffer, r->record.data, r->record.size < len ? r->record.size : len);
}

static void reader_close(void *it)
{
    struct positions *r = it;
    r->cursor->close(r->cursor, 0);
    free(r->record.data);
    free(r->all);
    free(r);
}

static void close_it(void *it)
{
    struct berkeley *log = it;
    need(log->env->log_flush(log->env, NULL), "log_flush");
    need(log->env->close(log->env, 0), "close");
    free(log);
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const struct peer berkeley_peer = {
    .name = "berkeley db log",
    .version = TEXT(DB_VERSION_MAJOR) "." TEXT(DB_VERSION_MINOR) "." TEXT(DB_VERSION_PATCH),
    .appends = IN_PROCESS | IN_KERNEL | ON_DISK,
    .segments = 1,
    .open = open_it,
    .append = append,
    .append_batch = append_batch,
    .scan = scan,
    .reader = reader,
    .read = read_one,
    .reader_close = reader_close,
    .close = close_it,
};
