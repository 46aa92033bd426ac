/*
 * strace_writer.c - appends under strace, for tests/durability.rs. What it is told comes back as a line in the file
 * ACKS, by one write(2) each, so that the trace shows what was done before it:
 *
 *   opened                       log_open returned
 *   ack OFFSET                   an append returned LOG_OK with this offset
 *   failed STATUS OFFSET ERRNO   an append failed; OFFSET is -1 where none was written
 *   read STATUS                  the first record was read again, after a failed append
 *   syncing, synced STATUS       before and after a log_sync (one thread only)
 *   closing, closed STATUS       before and after log_close
 *
 * Every record has the same length, so that an offset tells its position.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <seglog.h>

static log_t *the_log;
static int acks;
static unsigned threads, records, length, sync_every;
static pthread_barrier_t barrier;

static void say(const char *format, ...)
{
    char line[128];
    va_list values;
    va_start(values, format);
    int len = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (write(acks, line, (size_t)len) != len)
        _exit(3);
}

static void *append(void *unused)
{
    log_error_t error;
    unsigned char *bytes = malloc(length + 1);
    unsigned failures = 0;
    (void)unused;
    if (bytes == NULL)
        _exit(4);
    memset(bytes, 'r', length);
    pthread_barrier_wait(&barrier);
    for (unsigned n = 1; n <= records && failures < 3; n++) {
        uint64_t offset = LOG_NO_OFFSET;
        size_t len;
        log_status_t status = log_append(the_log, bytes, length, &offset, &error);
        if (status == LOG_OK) {
            say("ack %llu\n", (unsigned long long)offset);
        } else {
            failures++;
            say("failed %s %lld %d\n", log_status_name(status), (long long)offset, (int)error.os_error);
            status = log_read(the_log, 0, bytes, length, &len, NULL);
            say("read %s\n", log_status_name(status));
        }
        if (sync_every != 0 && n % sync_every == 0) {
            say("syncing\n");
            say("synced %s\n", log_status_name(log_sync(the_log, NULL)));
        }
    }
    free(bytes);
    return NULL;
}

int main(int argc, char **argv)
{
    log_config_t config = {.struct_size = sizeof config};
    log_error_t error;
    pthread_t others[16];
    if (argc != 9) {
        fprintf(stderr, "usage: %s DIR ACKS SYNC SEGMENT_BYTES THREADS RECORDS LENGTH SYNC_EVERY\n", argv[0]);
        return 1;
    }
    acks = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (strcmp(argv[3], "always") == 0)
        config.sync = LOG_SYNC_ALWAYS;
    else
        config.sync = LOG_SYNC_NEVER;
    config.segment_max_bytes = strtoull(argv[4], NULL, 10);
    threads = (unsigned)atoi(argv[5]);
    records = (unsigned)atoi(argv[6]);
    length = (unsigned)atoi(argv[7]);
    sync_every = (unsigned)atoi(argv[8]);
    if (acks < 0 || threads < 1 || threads > 16)
        return 1;
    if (log_open(argv[1], &config, &the_log, &error) != LOG_OK) {
        fprintf(stderr, "log_open: %s (%d)\n", error.message, (int)error.os_error);
        return 2;
    }
    say("opened\n");
    pthread_barrier_init(&barrier, NULL, threads);
    for (unsigned n = 1; n < threads; n++)
        if (pthread_create(&others[n], NULL, append, NULL) != 0)
            return 1;
    append(NULL);
    for (unsigned n = 1; n < threads; n++)
        pthread_join(others[n], NULL);
    say("closing\n");
    say("closed %s\n", log_status_name(log_close(the_log, &error)));
    close(acks);
    return 0;
}
