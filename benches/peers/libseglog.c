/* libseglog itself, through the C ABI of its shared release library, as a program of a user has it. */
#include "peer.h"

#include <seglog.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

enum { BATCH = 1000, SCANNED = 256 };

static void need(log_status_t status, const log_error_t *error)
{
    if (status != LOG_OK) fail(log_status_name(status), error->message);
}

static void *open_it(const struct opening *opening)
{
    log_config_t config = {.struct_size = sizeof config};
    log_error_t error;
    log_t *log = NULL;
    config.sync = opening->durability == ON_DISK ? LOG_SYNC_ALWAYS : LOG_SYNC_NEVER;
    if (opening->segments) config.segment_max_bytes = 4096;
    need(log_open(opening->dir, &config, &log, &error), &error);
    return log;
}

static void append(void *log, const void *data, size_t len)
{
    log_error_t error;
    need(log_append(log, data, len, NULL, &error), &error);
}

static void append_batch(void *log, const void *data, size_t len, size_t count)
{
    log_bytes_t records[BATCH];
    log_error_t error;
    if (count > BATCH) fail("append_batch", "too many");
    for (size_t n = 0; n < count; n++) records[n] = (log_bytes_t){(const char *)data + n * len, len};
    need(log_append_batch(log, records, count, NULL, &error), &error);
}

static uint64_t scan(void *log)
{
    log_record_t records[SCANNED];
    log_cursor_t *cursor;
    log_error_t error;
    log_status_t status;
    uint64_t seen = 0;
    size_t count;
    uint32_t looked = 0;
    need(log_cursor_open(log, 0, &cursor, &error), &error);
    while ((status = log_cursor_next_batch(cursor, records, SCANNED, &count, &error)) == LOG_OK) {
        for (size_t n = 0; n < count; n++) looked ^= *(const unsigned char *)records[n].payload.data;
        seen += count;
    }
    if (status != LOG_END) need(status, &error);
    log_cursor_close(cursor);
    sink ^= looked;
    return seen;
}

static void *reader(void *log) { return log; }

static void read_one(void *log, uint64_t n, void *buffer, size_t len)
{
    log_error_t error;
    need(log_read(log, n, buffer, len, NULL, &error), &error);
}

static void close_it(void *log)
{
    log_error_t error;
    need(log_close(log, &error), &error);
}

const struct peer libseglog_peer = {
    .name = "libseglog",
    .version = TEXT(LOG_VERSION_MAJOR) "." TEXT(LOG_VERSION_MINOR) "." TEXT(LOG_VERSION_PATCH),
    .appends = IN_KERNEL | ON_DISK,
    .segments = 1,
    .open = open_it,
    .append = append,
    .append_batch = append_batch,
    .scan = scan,
    .reader = reader,
    .read = read_one,
    .close = close_it,
};
