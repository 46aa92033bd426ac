/*
 * The contract of log_stat: what each figure says, and short and long structs.
 */
#include "contract.h"
#include "logs.h"

static void stat_with_null(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  log_stat_t stat;
  log_t *log = OPEN(dir.text, &config);
  memset(&stat, 0xA5, sizeof stat);
  stat.struct_size = (uint32_t)sizeof stat;
  CHECK_ARGUMENT("log", log_stat(NULL, &stat, &error));
  CHECK_ARGUMENT("out_stat", log_stat(log, NULL, &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_stat(NULL, &stat, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_stat(log, NULL, NULL));
  CHECK_STATUS(LOG_E_ARGUMENT, log_stat(NULL, NULL, NULL));
  CHECK_EQ(UNTOUCHED_U64, stat.next_offset);
  CHECK_STATUS(LOG_OK, log_stat(log, &stat, NULL));
  CLOSE(log);
}

static void stat_needs_its_struct_size(void) {
  static const uint32_t sizes[] = {0, 1, 2, 3};
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_error_t error;
  log_stat_t stat;
  size_t i;
  log_t *log = OPEN(dir.text, &config);
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    memset(&stat, 0xA5, sizeof stat);
    stat.struct_size = sizes[i];
    CHECK_ARGUMENT("struct_size", log_stat(log, &stat, &error));
    CHECK_STATUS(LOG_E_ARGUMENT, log_stat(log, &stat, NULL));
    CHECK_EQ(sizes[i], stat.struct_size);
    CHECK_EQ(UNTOUCHED_U64, stat.next_offset);
  }
  CLOSE(log);
}

/* An older caller's struct gets its part and not a byte more; a newer one's unknown tail is zero. */
static void stat_fills_what_the_caller_has(void) {
  enum { LONGEST = sizeof(log_stat_t) + 64 };
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  union {
    log_stat_t stat;
    unsigned char bytes[LONGEST + 8];
  } out;
  log_stat_t whole;
  uint32_t size;
  size_t i;
  log_t *log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 20);
  whole = STAT(log);
  for (size = 4; size <= LONGEST; size++) {
    const size_t known = size < sizeof whole ? size : sizeof whole;
    memset(&out, 0xA5, sizeof out);
    out.stat.struct_size = size;
    if (!CHECK_STATUS(LOG_OK, log_stat(log, &out.stat, NULL))) break;
    CHECK_EQ(size, out.stat.struct_size); /* the caller's, so that it can be passed again */
    if (!CHECK(memcmp(out.bytes + 4, (const unsigned char *)&whole + 4, known - 4) == 0)) break;
    for (i = known; i < size; i++)
      if (!CHECK(out.bytes[i] == 0)) break;
    for (i = size; i < sizeof out; i++)
      if (!CHECK(out.bytes[i] == 0xA5)) break;
  }
  CLOSE(log);
}

/* What proglog cannot tell apart. */
static void first_and_next_tell_an_empty_log_from_one_record(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  log_stat_t stat;
  log_t *log = OPEN(dir.text, &config);
  int round;
  for (round = 0; round < 2; round++) {
    stat = STAT(log);
    CHECK_EQ(0, stat.first_offset);
    CHECK_EQ(0, stat.next_offset);
    CLOSE(log);
    log = OPEN(dir.text, &config);
  }
  APPEND(log, NULL, 0);
  for (round = 0; round < 2; round++) {
    stat = STAT(log);
    CHECK_EQ(0, stat.first_offset);
    CHECK_EQ(1, stat.next_offset);
    CLOSE(log);
    log = OPEN(dir.text, &config);
  }
  CLOSE(log);
}

static void payload_bytes_are_those_of_the_records(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(4096);
  log_stat_t stat;
  log_t *log = OPEN(dir.text, &config);
  CHECK_EQ(0, STAT(log).payload_bytes);
  APPEND_NUMBERED(log, 0, 300);
  stat = STAT(log);
  CHECK_EQ(numbered_bytes(0, 300), stat.payload_bytes);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_EQ(numbered_bytes(0, 300), STAT(log).payload_bytes);
  APPEND_NUMBERED(log, 300, 300);
  stat = STAT(log);
  CHECK_EQ(numbered_bytes(0, 600), stat.payload_bytes);
  CHECK(stat.disk_bytes > stat.payload_bytes);
  CHECK(stat.segment_count > 10);
  CLOSE(log);
}

static void appends_and_syncs_are_counted_since_open(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = default_config();
  log_bytes_t batch[3];
  log_stat_t stat;
  uint64_t syncs;
  log_t *log;
  int round;
  config.segment_max_bytes = 65536;
  for (round = 0; round < 2; round++) {
    log = OPEN(dir.text, &config);
    stat = STAT(log);
    CHECK_EQ(0, stat.appends);
    CHECK_EQ(0, stat.syncs_shared);
    syncs = stat.syncs;
    APPEND_TEXT(log, "one");
    APPEND_TEXT(log, "two");
    stat = STAT(log);
    CHECK_EQ(2, stat.appends);
    CHECK(stat.syncs >= syncs + 2);
    batch[0] = batch[1] = batch[2] = text_of("batched");
    CHECK_STATUS(LOG_OK, log_append_batch(log, batch, 3, NULL, NULL));
    CHECK_EQ(5, STAT(log).appends); /* records, not calls */
    CHECK(STAT(log).syncs >= syncs + 3);
    CHECK_EQ(0, STAT(log).syncs_shared);
    CLOSE(log);
  }
}

static void an_unsynced_append_makes_no_sync(void) {
  const check_path_t dir = fresh_path();
  const log_config_t config = quick_config(65536);
  uint64_t syncs;
  log_t *log = OPEN(dir.text, &config);
  syncs = STAT(log).syncs;
  APPEND_NUMBERED(log, 0, 100);
  CHECK_EQ(syncs, STAT(log).syncs);
  CHECK_EQ(100, STAT(log).appends);
  CHECK_STATUS(LOG_OK, log_sync(log, NULL));
  CHECK(STAT(log).syncs > syncs);
  CLOSE(log);
}

static void a_handle_tells_its_ways(void) {
  const check_path_t dir = fresh_path();
  log_config_t config = quick_config(65536);
  log_stat_t stat;
  log_t *log = OPEN(dir.text, &config);
  stat = STAT(log);
  CHECK_EQ(way_that_is_chosen(), stat.io);
  CHECK_EQ(getpid(), stat.writer_pid);
  CHECK_EQ(1, stat.segment_count);
  CHECK_EQ(sizeof stat, stat.struct_size);
  CLOSE(log);
}

static void a_log_id_is_the_logs_own_and_stays(void) {
  const check_path_t dir = fresh_path(), other_dir = fresh_path();
  const log_config_t config = quick_config(4096);
  static const uint8_t zeros[16] = {0};
  log_stat_t first, again, other;
  log_t *log = OPEN(dir.text, &config);
  first = STAT(log);
  APPEND_NUMBERED(log, 0, 100);
  again = STAT(log);
  CHECK(memcmp(first.log_id, again.log_id, sizeof first.log_id) == 0);
  CLOSE(log);
  log = OPEN(dir.text, &config);
  again = STAT(log);
  CLOSE(log);
  log = OPEN(other_dir.text, &config);
  other = STAT(log);
  CLOSE(log);
  CHECK(memcmp(first.log_id, zeros, sizeof zeros) != 0);
  CHECK(memcmp(first.log_id, again.log_id, sizeof first.log_id) == 0);
  CHECK(memcmp(first.log_id, other.log_id, sizeof first.log_id) != 0);
}

static const check_test_t tests[] = {
    TEST(stat_with_null),
    TEST(stat_needs_its_struct_size),
    TEST(stat_fills_what_the_caller_has),
    TEST(first_and_next_tell_an_empty_log_from_one_record),
    TEST(payload_bytes_are_those_of_the_records),
    TEST(appends_and_syncs_are_counted_since_open),
    TEST(an_unsynced_append_makes_no_sync),
    TEST(a_handle_tells_its_ways),
    TEST(a_log_id_is_the_logs_own_and_stays),
};

test_group_t stat_tests(void) { return GROUP_OF(tests); }
