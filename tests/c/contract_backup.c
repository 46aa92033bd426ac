/*
 * The contract of log_backup: a copy that opens on its own, in an empty place, from any handle.
 */
#include "contract.h"
#include "logs.h"

static void backup_with_null(void) {
  const check_path_t dir = fresh_path(), to = fresh_path();
  log_error_t error;
  log_t *log = OPEN(dir.text, NULL);
  CHECK_ARGUMENT("log", log_backup(NULL, to.text, &error));
  CHECK_ARGUMENT("to_dir", log_backup(log, NULL, &error));
  CHECK_ARGUMENT("path", log_backup(log, "", &error));
  CHECK_STATUS(LOG_E_ARGUMENT, log_backup(NULL, NULL, NULL));
  CHECK(!path_exists(to.text));
  CLOSE(log);
}

static void backup_opens_on_its_own(void) {
  const check_path_t dir = fresh_path(), to = fresh_path(), again = fresh_dir();
  log_config_t config = quick_config(4096);
  log_t *log = OPEN(dir.text, &config), *copy;
  APPEND_NUMBERED(log, 0, 300);
  CHECK_STATUS(LOG_OK, log_trim(log, 20, NULL));
  CHECK_STATUS(LOG_OK, log_backup(log, to.text, NULL));
  APPEND_NUMBERED(log, 300, 100);
  CLOSE(log);
  copy = OPEN(to.text, &config);
  CHECK_EQ(20, STAT(copy).first_offset);
  CHECK_EQ(300, STAT(copy).next_offset);
  CHECK_EQ(0, STAT(copy).recovered_records);
  CHECK_EQ(numbered_bytes(20, 280), STAT(copy).payload_bytes);
  CHECK_NUMBERED(copy, 20, 280);
  APPEND_NUMBERED(copy, 300, 10);
  CLOSE(copy);
  config.flags = LOG_READ_ONLY;
  log = OPEN(dir.text, &config);
  CHECK_STATUS(LOG_OK, log_backup(log, again.text, NULL)); /* into an empty directory, by a read-only handle */
  CLOSE(log);
  config.flags = 0;
  copy = OPEN(again.text, &config);
  CHECK_NUMBERED(copy, 20, 380);
  CLOSE(copy);
}

static void backup_refuses_a_place_that_is_not_empty(void) {
  const check_path_t dir = fresh_path(), other = fresh_path(), full = fresh_dir(), missing = fresh_path();
  const check_path_t notes = path_join(full.text, "notes"), deeper = path_join(missing.text, "deeper");
  log_error_t error;
  log_t *log = OPEN(dir.text, NULL);
  CLOSE(OPEN(other.text, NULL));
  write_file(notes.text, "mine", 4);
  CHECK_ERROR(LOG_E_EXISTS, 0, LOG_NO_OFFSET, log_backup(log, dir.text, &error));
  CHECK_ERROR(LOG_E_EXISTS, 0, LOG_NO_OFFSET, log_backup(log, other.text, &error));
  CHECK_ERROR(LOG_E_EXISTS, 0, LOG_NO_OFFSET, log_backup(log, full.text, &error));
  CHECK(path_exists(notes.text));
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOENT, LOG_NO_OFFSET, log_backup(log, deeper.text, &error));
  CHECK(!path_exists(missing.text));
  APPEND_NUMBERED(log, 0, 3);
  CLOSE(log);
}

static const check_test_t tests[] = {
    TEST(backup_with_null),
    TEST(backup_opens_on_its_own),
    TEST(backup_refuses_a_place_that_is_not_empty),
};

test_group_t backup_tests(void) { return GROUP_OF(tests); }
