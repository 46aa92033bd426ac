/*
 * strace_writer.c - appends under strace, for tests/durability.rs and tests/kill.rs. What it is told comes back as a line
 * in the file ACKS, by one write(2) each, so that the trace shows what was done before it:
 *
 *   ack FIRST COUNT    an append returned LOG_OK with this offset
 *   durable OFFSET     what log_stat said
 *   failed STATUS OFFSET OS_ERROR   an append failed; OFFSET is -1 where none was written
 *   read STATUS        the first record was read again, after a failed append
 *   closed STATUS
 *
 * Every record has the same length, so that an offset tells its position. Its bytes are its offset's, where one
 * thread writes.
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
static unsigned records, length, batch, stat_every, go_on;
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

static void give_up(const char *what, const log_error_t *error)
{
    fprintf(stderr, "%s: %s (%d)\n", what, error->message, (int)error->os_error);
    _exit(2);
}

static void *append(void *unused)
{
    log_error_t error;
    log_bytes_t parts[64];
    unsigned char *bytes = malloc(length + 1);
    unsigned failures = 0;
    (void)unused;
    if (bytes == NULL || batch > 64)
        _exit(4);
    memset(bytes, 'r', length);
    for (unsigned n = 0; n < batch; n++)
        parts[n].data = bytes, parts[n].len = length;
    pthread_barrier_wait(&barrier);
    for (unsigned n = 0; n < records; n++) {
        uint64_t offset = LOG_NO_OFFSET;
        log_status_t status = batch > 1 ? log_append_batch(the_log, parts, batch, &offset, &error)
                                        : log_append(the_log, bytes, length, &offset, &error);
        if (status == LOG_OK) {
            say("ack %llu %u\n", (unsigned long long)offset, batch);
        } else {
            size_t len;
            say("failed %d %lld %d\n", (int)status, (long long)offset, (int)error.os_error);
            say("read %d\n", (int)log_read(the_log, 0, bytes, length, &len, NULL));
            if (!go_on || ++failures == 3)
                break;
        }
        if (stat_every != 0 && n % stat_every == 0) {
            log_stat_t stat = {.struct_size = sizeof stat};
            if (log_stat(the_log, &stat, &error) == LOG_OK)
                say("durable %llu\n", (unsigned long long)stat.durable_offset);
        }
    }
    free(bytes);
    return NULL;
}

int main(int argc, char **argv)
{
    log_config_t config = {.struct_size = sizeof config};
    log_error_t error;
    pthread_t threads[16];
    if (argc != 11) {
        fprintf(stderr, "usage: %s DIR ACKS SYNC SEGMENT_BYTES THREADS RECORDS LENGTH BATCH STAT_EVERY GO_ON\n", argv[0]);
        return 1;
    }
    acks = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (acks < 0)
        return 1;
    config.sync = (uint32_t)atoi(argv[3]);
    config.segment_max_bytes = strtoull(argv[4], NULL, 10);
    unsigned count = (unsigned)atoi(argv[5]);
    records = (unsigned)atoi(argv[6]);
    length = (unsigned)atoi(argv[7]);
    batch = (unsigned)atoi(argv[8]);
    stat_every = (unsigned)atoi(argv[9]);
    go_on = (unsigned)atoi(argv[10]);
    if (count < 1 || count > 16)
        return 1;
    if (log_open(argv[1], &config, &the_log, &error) != LOG_OK)
        give_up("log_open", &error);
    pthread_barrier_init(&barrier, NULL, count);
    for (unsigned n = 1; n < count; n++)
        if (pthread_create(&threads[n], NULL, append, NULL) != 0)
            return 1;
    append(NULL);
    for (unsigned n = 1; n < count; n++)
        pthread_join(threads[n], NULL);
    say("closed %d\n", (int)log_close(the_log, &error));
    close(acks);
    return 0;
}
