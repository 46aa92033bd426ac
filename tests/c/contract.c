/*
 * The contract of libseglog, held through the C ABI: what each function promises, each status that it can give, NULL
 * in every place, and every limit. Compiled as C and as C++; started as `contract DIRECTORY [PART_OF_A_TEST'S_NAME]`.
 */
#define CHECK_MAIN
#include "children.h"
#include "contract.h"

int main(int argc, char **argv) {
  static test_group_t (*const groups[])(void) = {
      error_tests,
      open_tests,
      config_tests,
      append_tests,
      batch_tests,
      read_tests,
      cursor_tests,
      stat_tests,
      remove_tests,
      ends_tests,
      at_tests,
      walk_tests,
      durable_tests,
      readonly_tests,
      backup_tests,
      wait_tests,
      named_tests,
      time_tests,
      reserve_tests,
      retain_tests,
  };
  static check_test_t tests[512];
  size_t count = 0, n;
  const char *part;
  int exit_status;

  if (child_is(argc, argv, &exit_status)) return exit_status;
  part = check_arguments(argc, argv);
  for (n = 0; n < sizeof groups / sizeof groups[0]; n++) {
    const test_group_t group = groups[n]();
    NEED(count + group.count <= sizeof tests / sizeof tests[0]);
    memcpy(tests + count, group.tests, group.count * sizeof tests[0]);
    count += group.count;
  }
  return check_run(tests, count, part);
}
