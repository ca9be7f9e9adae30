// Checks that end the test (or the function they stand in) when they fail, for tests whose next line needs what this one says.
#pragma once
#include "harness.h"

#define EXPECT(condition)                                                            \
  do {                                                                               \
    if (!(condition)) return test::fail(__FILE__, __LINE__, "expected " #condition); \
  } while (false)

#define EXPECT_EQUAL(found, expected)                                                                               \
  do {                                                                                                              \
    const auto& found_value = (found);                                                                              \
    const auto& expected_value = (expected);                                                                        \
    if (!(found_value == expected_value))                                                                           \
      return test::fail(__FILE__, __LINE__, test::text(#found " is ", found_value, ", expected ", expected_value)); \
  } while (false)
