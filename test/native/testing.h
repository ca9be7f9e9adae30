// The smallest harness that serves: TEST("pool: …") { EXPECT(…); }. Tests register themselves; `native_tests --filter WORD` runs those
// whose name holds the word.
#pragma once
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace testing {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}

struct Registration {
  Registration(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

/// Ends the test that throws it.
struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  throw Failed(std::string(file) + ':' + std::to_string(line) + ": " + what);
}

template <class A, class B>
void expect_equal(const A& found, const B& expected, const char* text, const char* file, int line) {
  if (found == expected) return;
  std::ostringstream out;
  out.precision(17);
  out << text << " is " << found << ", expected " << expected;
  fail(file, line, out.str());
}

}  // namespace testing

#define TESTING_JOIN(a, b) a##b
#define TESTING_NAME(prefix, line) TESTING_JOIN(prefix, line)

#define TEST(name)                                                                                               \
  static void TESTING_NAME(test_, __LINE__)();                                                                   \
  static const testing::Registration TESTING_NAME(registration_, __LINE__){name, TESTING_NAME(test_, __LINE__)}; \
  static void TESTING_NAME(test_, __LINE__)()

#define EXPECT(condition)                                                        \
  do {                                                                           \
    if (!(condition)) testing::fail(__FILE__, __LINE__, "expected " #condition); \
  } while (false)

#define EXPECT_EQUAL(found, expected) testing::expect_equal(found, expected, #found, __FILE__, __LINE__)
