#include "core/thread_pool.h"

#include <cstdlib>
#include <numeric>
#include <thread>
#include <vector>

#include "testing.h"

using lowrank::ThreadPool;

TEST("pool: runs every tile exactly once, for any number of threads and tiles") {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQUAL(pool.threads(), threads);
    for (const int64_t n : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(n));
      EXPECT(pool.run(n, nullptr, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; }));
      for (const auto& count : runs) EXPECT_EQUAL(count.load(), 1);
    }
  }
}

TEST("pool: what the tiles wrote is there when run returns") {
  ThreadPool pool(4);
  std::vector<int64_t> values(512);
  for (int round = 0; round < 200; ++round) {
    pool.run(512, nullptr, [&](int64_t i) { values[static_cast<size_t>(i)] = i * round; });
    EXPECT_EQUAL(std::accumulate(values.begin(), values.end(), int64_t{0}), int64_t{511 * 512 / 2} * round);
  }
}

TEST("pool: serves several callers at once") {
  ThreadPool pool(3);
  std::vector<int64_t> sums(4);
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < sums.size(); ++caller)
    callers.emplace_back([&, caller] {
      for (int round = 0; round < 100; ++round) {
        std::atomic<int64_t> sum{0};
        pool.run(64, nullptr, [&](int64_t i) { sum += i; });
        sums[caller] += sum.load();
      }
    });
  for (std::thread& caller : callers) caller.join();
  for (const int64_t sum : sums) EXPECT_EQUAL(sum, int64_t{63 * 64 / 2} * 100);
}

TEST("pool: with the abort flag set no tile runs") {
  for (const int threads : {1, 4}) {
    ThreadPool pool(threads);
    const std::atomic<bool> cancelled{true};
    std::atomic<int> runs{0};
    EXPECT(!pool.run(100, &cancelled, [&](int64_t) { ++runs; }));
    EXPECT_EQUAL(runs.load(), 0);
    EXPECT(pool.run(0, &cancelled, [&](int64_t) { ++runs; }));
  }
}

TEST("pool: an abort skips the tiles that have not started") {
  for (const int threads : {1, 4}) {
    ThreadPool pool(threads);
    std::atomic<bool> cancelled{false};
    std::atomic<int> runs{0};
    EXPECT(!pool.run(100'000, &cancelled, [&](int64_t) {
      ++runs;
      cancelled.store(true);
    }));
    EXPECT(runs.load() >= 1);
    // Each thread was at most past its look at the flag.
    EXPECT(runs.load() <= threads);
    EXPECT(pool.run(3, nullptr, [&](int64_t) { ++runs; }));
  }
}

TEST("pool: an abort that comes after the last tile is not seen") {
  ThreadPool pool(1);
  std::atomic<bool> cancelled{false};
  EXPECT(pool.run(5, &cancelled, [&](int64_t i) {
    if (i == 4) cancelled.store(true);
  }));
}

TEST("pool: is made and destroyed while others work") {
  ThreadPool steady(2);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> runs{0};
    ThreadPool brief(3);
    std::thread other([&] { steady.run(50, nullptr, [&](int64_t) { ++runs; }); });
    brief.run(50, nullptr, [&](int64_t) { ++runs; });
    other.join();
    EXPECT_EQUAL(runs.load(), 100);
  }
}

namespace {

/// A thread that flushes subnormals computes 0 here.
bool flushes() {
  volatile float smallest = 1.17549435e-38f;
  return smallest * 0.5f == 0.0f;
}

}  // namespace

TEST("pool: workers flush subnormals, the caller stays as it was") {
  ThreadPool pool(4);
  const std::thread::id caller = std::this_thread::get_id();
  EXPECT(!flushes());
  std::atomic<int> workers{0}, flushing{0};
  for (int round = 0; round < 1000 && workers.load() == 0; ++round)
    pool.run(64, nullptr, [&](int64_t) {
      if (std::this_thread::get_id() == caller) {
        std::this_thread::yield();
        return;
      }
      ++workers;
      flushing += flushes() ? 1 : 0;
    });
  EXPECT(workers.load() > 0);
  EXPECT_EQUAL(flushing.load(), workers.load());
  EXPECT(!flushes());
  std::thread compute([] {
    lowrank::flush_subnormals();
    EXPECT(flushes());
  });
  compute.join();
}

#if !defined(_WIN32)
TEST("pool: LOWRANK_NUM_THREADS says how many threads there are by default") {
  unsetenv("LOWRANK_NUM_THREADS");
  const int without = ThreadPool::default_threads();
  EXPECT(without >= 1);
  setenv("LOWRANK_NUM_THREADS", "3", 1);
  EXPECT_EQUAL(ThreadPool::default_threads(), 3);
  for (const char* nonsense : {"", "0", "-2", "many"}) {
    setenv("LOWRANK_NUM_THREADS", nonsense, 1);
    EXPECT_EQUAL(ThreadPool::default_threads(), without);
  }
  unsetenv("LOWRANK_NUM_THREADS");
}
#endif
