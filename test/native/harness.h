// The test runner: tests register themselves, failures are counted and named, and a test goes on after a failure.
#pragma once
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

namespace test {

struct Options {
  std::string filter;       // only tests whose name contains it
  bool exhaustive = false;  // also what takes minutes
};

const Options& options();

/// Counts a failure of the running test; the first few are printed.
void fail(const char* file, int line, const std::string& message);

struct Registration {
  Registration(const char* name, void (*body)());
};

/// Joins values to one message.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  out.precision(9);
  (out << ... << parts);
  return out.str();
}

}  // namespace test

#define TEST(name)                                          \
  static void name();                                       \
  static const test::Registration name##_test(#name, name); \
  static void name()

#define CHECK(condition, ...)                                                                    \
  do {                                                                                           \
    if (!(condition)) test::fail(__FILE__, __LINE__, test::text(#condition, "; ", __VA_ARGS__)); \
  } while (false)
