/*
 * commands.c - a log in a process of its own, for tests/meddled.rs.
 *
 *   commands DIR SYNC IO FLAGS SEGMENT
 *
 * opens DIR and says "open STATUS"; then it does what each line of its input says, and answers with one line that begins with a
 * status:
 *
 *   append N   durable or not, as SYNC is; "LOG_OK NEXT" or what the first append that failed said
 *   read       every record, by offset and by cursor: "LOG_OK HOW_MANY", or the first failure
 *   sync, stat, trim N, truncate N, close
 *
 * Record n of length 300 says its own number in every word.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <seglog.h>

enum { WORDS = 38, BYTES = WORDS * 8 };

static log_t *the_log;
static log_error_t error;

static void fill(uint64_t *words, uint64_t offset)
{
    for (int n = 0; n < WORDS; n++) words[n] = offset * 1000003 + (uint64_t)n;
}

static int is_record(const void *bytes, size_t len, uint64_t offset)
{
    uint64_t words[WORDS];
    fill(words, offset);
    return len == BYTES && memcmp(bytes, words, BYTES) == 0;
}

static void answer(log_status_t status, uint64_t number)
{
    if (status == LOG_OK) printf("LOG_OK %" PRIu64 "\n", number);
    else printf("%s %d %s\n", log_status_name(status), error.os_error, error.message);
    fflush(stdout);
}

static uint64_t next_offset(void)
{
    log_cursor_t *cursor = NULL;
    uint64_t low = 0, high = UINT64_C(1) << 40;
    /* By halves: it asks no file anything. */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        log_status_t status = log_cursor_open(the_log, middle, &cursor, NULL);
        log_cursor_close(cursor);
        cursor = NULL;
        if (status == LOG_E_BEYOND) high = middle;
        else low = middle + 1;
    }
    return low - 1;
}

static void append(uint64_t count)
{
    log_status_t status = LOG_OK;
    uint64_t words[WORDS], next = next_offset();
    for (uint64_t n = 0; n < count && status == LOG_OK; n++) {
        uint64_t got = 0;
        fill(words, next);
        status = log_append(the_log, words, BYTES, &got, &error);
        if (status == LOG_OK && got != next) {
            printf("WRONG offset %" PRIu64 "\n", got);
            exit(3);
        }
        if (status == LOG_OK) next++;
    }
    answer(status, next);
}

static void read_all(void)
{
    static unsigned char bytes[BYTES + 8];
    log_cursor_t *cursor = NULL;
    log_record_t record;
    uint64_t count = 0, next = next_offset(), first = 0;
    log_status_t status = LOG_OK, failed = LOG_OK;
    size_t len;
    while (first < next && log_read(the_log, first, bytes, sizeof bytes, &len, NULL) == LOG_E_TRIMMED) first++;
    for (uint64_t offset = first; offset < next; offset++) {
        status = log_read(the_log, offset, bytes, sizeof bytes, &len, &error);
        if (status == LOG_OK && !is_record(bytes, len, offset)) {
            printf("WRONG record %" PRIu64 "\n", offset);
            exit(3);
        }
        if (status == LOG_OK) count++;
        else failed = status;
    }
    if (log_cursor_open(the_log, first, &cursor, &error) == LOG_OK) {
        uint64_t steps = 0;
        while ((status = log_cursor_next(cursor, &record, NULL)) != LOG_END && steps++ < next + 10)
            if (status == LOG_OK && !is_record(record.payload.data, record.payload.len, record.offset)) {
                printf("WRONG record %" PRIu64 " by a cursor\n", record.offset);
                exit(3);
            }
        log_cursor_close(cursor);
    }
    answer(failed, count);
}

int main(int argc, char **argv)
{
    log_config_t config = {.struct_size = sizeof config};
    log_stat_t stat = {.struct_size = sizeof stat};
    char line[64];
    if (argc != 6) return 2;
    config.sync = (uint32_t)atoi(argv[2]);
    config.io = (uint32_t)atoi(argv[3]);
    config.flags = (uint32_t)atoi(argv[4]);
    config.segment_max_bytes = strtoull(argv[5], NULL, 10);
    log_status_t status = log_open(argv[1], &config, &the_log, &error);
    answer(status, status == LOG_OK ? next_offset() : 0);
    if (status != LOG_OK) return 0;
    while (fgets(line, sizeof line, stdin) != NULL) {
        uint64_t number = strchr(line, ' ') != NULL ? strtoull(strchr(line, ' '), NULL, 10) : 0;
        if (strncmp(line, "append", 6) == 0) append(number);
        else if (strncmp(line, "read", 4) == 0) read_all();
        else if (strncmp(line, "sync", 4) == 0) answer(log_sync(the_log, &error), 0);
        else if (strncmp(line, "stat", 4) == 0) answer(log_stat(the_log, &stat, &error), stat.durable_offset);
        else if (strncmp(line, "trim", 4) == 0) answer(log_trim(the_log, number, &error), number);
        else if (strncmp(line, "truncate", 8) == 0) answer(log_truncate(the_log, number, &error), number);
        else if (strncmp(line, "close", 5) == 0) {
            answer(log_close(the_log, &error), 0);
            return 0;
        } else return 2;
    }
    return 0;
}
