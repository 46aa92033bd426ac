/*
 * The contract of libseglog, held through the C ABI: what each function promises, each status that it can give, NULL
 * in every place, and every limit. Compiled as C and as C++; started as `contract DIRECTORY [PART_OF_A_TEST'S_NAME]`.
 */
#define CHECK_MAIN
#include "children.h"
#include "contract.h"

int main(int argc, char **argv) {
  static check_test_t tests[512];
  test_group_t groups[14];
  size_t count = 0, group;
  const char *part;
  int exit_status;

  if (child_is(argc, argv, &exit_status)) return exit_status;
  part = check_arguments(argc, argv);
  groups[0] = error_tests();
  groups[1] = open_tests();
  groups[2] = config_tests();
  groups[3] = append_tests();
  groups[4] = batch_tests();
  groups[5] = read_tests();
  groups[6] = cursor_tests();
  groups[7] = stat_tests();
  groups[8] = remove_tests();
  groups[9] = ends_tests();
  groups[10] = at_tests();
  groups[11] = walk_tests();
  groups[12] = durable_tests();
  groups[13] = readonly_tests();
  for (group = 0; group < sizeof groups / sizeof groups[0]; group++) {
    NEED(count + groups[group].count <= sizeof tests / sizeof tests[0]);
    memcpy(tests + count, groups[group].tests, groups[group].count * sizeof tests[0]);
    count += groups[group].count;
  }
  return check_run(tests, count, part);
}
