/*
 * steady DIR PAYLOAD_BYTES BATCH RECORDS BURST SEGMENT_BYTES FLAGS: appends in bursts; after each (of 0, after none) it
 * sleeps, until the library's thread has written out what fills the ring, which the control page tells. After as many to
 * warm up it prints what each burst costs this thread beside its own instructions: page faults and allocations.
 * tests/steady.rs has strace count the system calls; those of getrusage(2) tell it where each burst begins and ends.
 */
#define _GNU_SOURCE /* RUSAGE_THREAD */
#include "logs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 16, MOST_RECORDS = 1000 };
/* Of docs/FORMAT.md: words of the control page that say where the last frame ends, and up to where the store has them. */
enum { PAGE_BYTES = 4096, END_AT = 136, STORED_AT = 192 };
/* With so much waiting in the ring the keeper is about to come; it may be late, or have gone to sleep. */
enum { WAITING_BYTES = 160 << 10, LATE_US = 20000, STEP_US = 200 };

/* The allocator of the whole process, the library's included, goes through these: only this thread's calls are counted. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
static _Thread_local int counting;
static _Thread_local unsigned long allocations;

void *malloc(size_t bytes) {
  allocations += counting;
  return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes) {
  allocations += counting;
  return __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes) {
  allocations += counting;
  return __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
  allocations += counting;
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **made, size_t alignment, size_t bytes) {
  allocations += counting;
  *made = __libc_memalign(alignment, bytes);
  return *made == NULL ? 12 : 0;
}

static unsigned char payload[MOST_BYTES];
static log_bytes_t batch[MOST_RECORDS];

static const volatile uint64_t *page;

static void wait_for_the_keeper(void) {
  const struct timespec step = {0, STEP_US * 1000};
  int us = 0;
  do nanosleep(&step, NULL);
  while ((us += STEP_US) < LATE_US && page[END_AT / 8] - page[STORED_AT / 8] >= WAITING_BYTES);
}

static struct rusage before;

static int burst_begins(void) {
  const int status = getrusage(RUSAGE_THREAD, &before);
  counting = 1;
  return status;
}

static int burst_ends(void) {
  struct rusage after;
  counting = 0;
  if (getrusage(RUSAGE_THREAD, &after) != 0) return -1;
  printf("%ld %lu\n", after.ru_minflt - before.ru_minflt + after.ru_majflt - before.ru_majflt, allocations);
  allocations = 0;
  return 0;
}

static int append(log_t *log, size_t bytes, size_t records, unsigned long count, unsigned long burst, int counted) {
  for (unsigned long n = 0; n < count; n += records) {
    const int begins = n == 0 || (burst > 0 && n / burst != (n - records) / burst);
    const int ends = n + records >= count || (burst > 0 && n / burst != (n + records) / burst);
    memcpy(payload, &n, sizeof n);
    if (begins && counted && burst_begins() != 0) return LOG_E_IO;
    const int status = records == 1 ? log_append(log, payload, bytes, NULL, NULL)
                                    : log_append_batch(log, batch, records, NULL, NULL);
    if (status != LOG_OK) return status;
    if (ends && counted && burst_ends() != 0) return LOG_E_IO;
    if (ends && burst > 0) wait_for_the_keeper();
  }
  return LOG_OK;
}

static const volatile uint64_t *map_page(const char *dir) {
  char path[4096];
  snprintf(path, sizeof path, "%s/LIVE", dir);
  const int file = open(path, O_RDONLY);
  void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, file, 0);
  if (file >= 0) close(file);
  return mapped == MAP_FAILED ? NULL : (const volatile uint64_t *)mapped;
}

int main(int argc, char **argv) {
  if (argc != 8) return 2;
  const size_t bytes = strtoul(argv[2], NULL, 10), records = strtoul(argv[3], NULL, 10);
  const unsigned long count = strtoul(argv[4], NULL, 10), burst = strtoul(argv[5], NULL, 10);
  if (bytes > MOST_BYTES || bytes < sizeof(unsigned long) || records == 0 || records > MOST_RECORDS) return 2;
  for (size_t n = 0; n < records; n++) batch[n] = (log_bytes_t){payload, bytes};
  log_config_t config = default_config();
  config.sync = LOG_SYNC_NEVER;
  config.segment_max_bytes = strtoull(argv[6], NULL, 10);
  config.flags = (uint32_t)strtoul(argv[7], NULL, 10);
  log_t *log = NULL;
  log_error_t error;
  if (log_open(argv[1], &config, &log, &error) != LOG_OK) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  if ((page = map_page(argv[1])) == NULL) return 1;
  if (append(log, bytes, records, count, burst, 0) != LOG_OK) return 1;
  if (append(log, bytes, records, count, burst, 1) != LOG_OK) return 1;
  return log_close(log, NULL) == LOG_OK ? 0 : 1;
}
