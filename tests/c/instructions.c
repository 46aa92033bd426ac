/*
 * instructions CALLS DIR: as many appends of 128 bytes, then as many reads at random, then as many steps of a cursor, then
 * batches of as many records in all, for tests/instructions.rs, which counts the processor's instructions in each kind of
 * call.
 */
#include "logs.h"

#include <stdlib.h>

enum { PAYLOAD_BYTES = 128, BATCH = 100 };

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  const uint64_t calls = strtoull(argv[1], NULL, 10);
  log_config_t config = default_config();
  config.sync = LOG_SYNC_NEVER;
  config.flags = LOG_NO_THREAD; /* so that it is the same each time what is in the ring and what in the store */
  log_t *log = NULL;
  log_error_t error;
  if (log_open(argv[2], &config, &log, &error) != LOG_OK) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  unsigned char payload[PAYLOAD_BYTES];
  memset(payload, 'x', sizeof payload);
  uint64_t offset = 0;
  for (uint64_t n = 0; n < calls; n++) {
    memcpy(payload, &n, sizeof n);
    if (log_append(log, payload, sizeof payload, &offset, NULL) != LOG_OK || offset != n) return 1;
  }
  uint64_t random = 1;
  for (uint64_t n = 0; n < calls; n++) {
    random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const uint64_t wanted = (random >> 33) % calls;
    size_t length = 0;
    if (log_read(log, wanted, payload, sizeof payload, &length, NULL) != LOG_OK || length != sizeof payload) return 1;
    if (memcmp(payload, &wanted, sizeof wanted) != 0) return 1;
  }
  log_cursor_t *cursor = NULL;
  if (log_cursor_open(log, 0, &cursor, NULL) != LOG_OK) return 1;
  for (uint64_t n = 0; n < calls; n++) {
    log_record_t record;
    if (log_cursor_next(cursor, &record, NULL) != LOG_OK || record.offset != n) return 1;
  }
  log_cursor_close(cursor);
  log_bytes_t records[BATCH];
  for (int n = 0; n < BATCH; n++) records[n] = (log_bytes_t){payload, sizeof payload};
  for (uint64_t n = 0; n < calls; n += BATCH) {
    if (log_append_batch(log, records, BATCH, &offset, NULL) != LOG_OK || offset != calls + n) return 1;
  }
  if (log_close(log, NULL) != LOG_OK) return 1;
  return 0;
}
