/* quickstart: open a log, append, read one record back, walk them all, close. */
#include <inttypes.h>
#include <stdio.h>
#include <seglog.h>

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "my-log";
    log_t *log = NULL;
    log_cursor_t *cursor = NULL;
    log_stat_t stat = {.struct_size = sizeof stat};
    log_record_t record;
    log_status_t status;
    log_error_t error;
    uint64_t offset;
    char text[64];
    size_t len;
    int result = 1;

    /* No configuration (NULL) is the safest one. The directory is made if it is missing. */
    if (log_open(dir, NULL, &log, &error) != LOG_OK) goto done;

    /* When log_append returns LOG_OK, the record survives a crash, a kill and a loss of power. */
    if (log_append(log, "hello", 5, &offset, &error) != LOG_OK) goto done;
    if (log_append(log, "world", 5, NULL, &error) != LOG_OK) goto done;

    /* By its offset: log_read copies the record into your buffer. */
    if (log_read(log, offset, text, sizeof text, &len, &error) != LOG_OK) goto done;
    printf("appended and read back at offset %" PRIu64 ": %.*s\n", offset, (int)len, text);

    /* In order: a cursor lends you each record, without a copy, until its next call. */
    if (log_stat(log, &stat, &error) != LOG_OK) goto done;
    if (log_cursor_open(log, stat.first_offset, &cursor, &error) != LOG_OK) goto done;
    while ((status = log_cursor_next(cursor, &record, &error)) == LOG_OK)
        printf("%" PRIu64 ": %.*s\n", record.offset, (int)record.payload.len, (const char *)record.payload.data);
    if (status == LOG_END) result = 0; /* caught up: an answer, not an error */

done:
    if (result != 0) fprintf(stderr, "quickstart: %s\n", error.message);
    log_cursor_close(cursor); /* NULL is fine, here and in log_close */
    if (log_close(log, &error) != LOG_OK) {
        fprintf(stderr, "quickstart: %s\n", error.message);
        result = 1;
    }
    return result;
}
