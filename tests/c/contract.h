/*
 * The contract of the C ABI, by noun: each file of contract_*.c gives its table of tests, contract.c runs them all.
 */
#ifndef SEGLOG_TESTS_CONTRACT_H
#define SEGLOG_TESTS_CONTRACT_H

#include "check.h"

typedef struct {
  const check_test_t *tests;
  size_t count;
} test_group_t;

test_group_t error_tests(void);
test_group_t open_tests(void);
test_group_t config_tests(void);
test_group_t append_tests(void);
test_group_t batch_tests(void);
test_group_t read_tests(void);
test_group_t cursor_tests(void);
test_group_t stat_tests(void);
test_group_t remove_tests(void);
test_group_t ends_tests(void);
test_group_t at_tests(void);
test_group_t walk_tests(void);
test_group_t durable_tests(void);
test_group_t readonly_tests(void);
test_group_t backup_tests(void);
test_group_t wait_tests(void);
test_group_t named_tests(void);
test_group_t reserve_tests(void);
test_group_t retain_tests(void);
test_group_t time_tests(void);

/* What each of them ends with. */
#define GROUP_OF(table) group_of((table), sizeof(table) / sizeof((table)[0]))

static inline test_group_t group_of(const check_test_t *tests, size_t count) {
  test_group_t group;
  group.tests = tests;
  group.count = count;
  return group;
}

#endif
