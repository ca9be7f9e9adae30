// Runs the registered tests: native_tests [--filter WORD] [--exhaustive]
#include <cstdio>
#include <cstring>

#include "core/thread_pool.h"
#include "harness.h"

namespace test {

namespace {

struct Test {
  const char* name;
  void (*body)();
};

std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}

Options chosen;
int failures_of_test = 0;

bool parse(int count, char** words) {
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(words[i], "--exhaustive") == 0) {
      chosen.exhaustive = true;
    } else if (std::strcmp(words[i], "--filter") == 0 && i + 1 < count) {
      chosen.filter = words[++i];
    } else {
      std::fprintf(stderr, "usage: %s [--filter WORD] [--exhaustive]\n", words[0]);
      return false;
    }
  }
  return true;
}

int run_all() {
  int passed = 0, failed = 0;
  for (const Test& test : tests()) {
    if (std::string(test.name).find(chosen.filter) == std::string::npos) continue;
    failures_of_test = 0;
    test.body();
    if (failures_of_test == 0) {
      ++passed;
      continue;
    }
    ++failed;
    std::printf("FAILED %s (%d failures)\n", test.name, failures_of_test);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  if (passed + failed == 0) std::printf("no test matches '%s'\n", chosen.filter.c_str());
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace

const Options& options() { return chosen; }

void fail(const char* file, int line, const std::string& message) {
  constexpr int kShown = 5;
  if (++failures_of_test <= kShown) std::printf("%s:%d: %s\n", file, line, message.c_str());
  std::fflush(stdout);
}

Registration::Registration(const char* name, void (*body)()) { tests().push_back({name, body}); }

}  // namespace test

int main(int count, char** words) {
  if (!test::parse(count, words)) return 2;
  lowrank::flush_subnormals();  // as every compute thread does
  return test::run_all();
}
