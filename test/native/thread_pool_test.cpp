// The thread pool: every tile once, cancelling, several callers, nesting.
#include "core/thread_pool.h"

#include <cstdlib>
#include <thread>

#include "core/cpu_features.h"
#include "core/dtype.h"
#include "harness.h"

using namespace lowrank;

namespace {

using Counts = std::vector<std::atomic<int>>;

/// Runs n tiles and checks that each ran once.
void check_once(ThreadPool& pool, int64_t n) {
  Counts counts(static_cast<size_t>(n));
  const bool whole = pool.run(n, nullptr, [&](int64_t i) { counts[static_cast<size_t>(i)].fetch_add(1); });
  CHECK(whole, n);
  for (const auto& count : counts) CHECK(count.load() == 1, n, " tiles on ", pool.threads(), " threads: one ran ", count.load(), " times");
}

}  // namespace

TEST(pool_runs_every_tile_once) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads, pool.threads());
    for (int64_t n : {0, 1, 2, 3, 7, 1000}) check_once(pool, n);
  }
}

TEST(pool_deals_every_tile_once) {
  for (int threads : {1, 2, 3, 8, 100}) {
    ThreadPool pool(threads < 8 ? threads : 8);
    for (int64_t n : {0, 1, 2, 7, 1000}) {
      Counts counts(static_cast<size_t>(n));
      Deal deal(n, threads);
      pool.run(n, nullptr, [&](int64_t) { counts[static_cast<size_t>(deal.take())].fetch_add(1); });
      CHECK(deal.take() == n, n);
      for (const auto& count : counts)
        CHECK(count.load() == 1, n, " tiles for ", threads, " threads: one was dealt ", count.load(), " times");
    }
  }
}

TEST(pool_deals_neighbours_to_a_thread) {
  ThreadPool pool(2);
  Deal deal(64, 2);
  std::atomic<int> arrived{0};
  std::vector<int64_t> tiles(4);
  pool.run(2, nullptr, [&](int64_t) {
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();  // so that each thread has one of the two
    const auto thread = static_cast<size_t>(ThreadPool::worker());
    tiles[2 * thread] = deal.take(), tiles[2 * thread + 1] = deal.take();
  });
  CHECK(tiles[0] == 0 && tiles[1] == 1 && tiles[2] == 32 && tiles[3] == 33, tiles[0], " ", tiles[1], " ", tiles[2], " ", tiles[3]);
}

TEST(pool_shares_its_writes) {
  ThreadPool pool(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<int> squares(64);  // plain memory: the end of run() must order it
    pool.run(64, nullptr, [&](int64_t i) { squares[static_cast<size_t>(i)] = static_cast<int>(i * i) + round; });
    for (int i = 0; i < 64; ++i) CHECK(squares[static_cast<size_t>(i)] == i * i + round, "round ", round);
  }
}

TEST(pool_serves_several_callers) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(4);
  for (size_t caller = 0; caller < sums.size(); ++caller) {
    callers.emplace_back([&, caller] {
      for (int64_t n = 0; n < 300; ++n) {
        std::atomic<int64_t> sum{0};
        pool.run(n, nullptr, [&](int64_t i) { sum.fetch_add(i); });
        sums[caller] += sum.load();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  int64_t expected = 0;
  for (int64_t n = 0; n < 300; ++n) expected += n * (n - 1) / 2;
  for (int64_t sum : sums) CHECK(sum == expected, sum);
}

// Kernels give each thread of a job memory of its own by this number.
TEST(pool_numbers_the_threads_of_a_job) {
  ThreadPool pool(3);
  std::vector<std::atomic<int>> inside(3);
  std::atomic<int> shared{0}, outside{0};
  for (int round = 0; round < 100; ++round) {
    pool.run(30, nullptr, [&](int64_t) {
      const int worker = ThreadPool::worker();
      if (worker < 0 || worker >= pool.threads()) return void(outside.fetch_add(1));
      if (inside[static_cast<size_t>(worker)].fetch_add(1) > 0) shared.fetch_add(1);
      std::this_thread::yield();
      inside[static_cast<size_t>(worker)].fetch_sub(1);
    });
  }
  CHECK(outside.load() == 0, outside.load(), " tiles on a thread without a number below 3");
  CHECK(shared.load() == 0, shared.load(), " tiles beside another one of the same number");
}

// Two callers whose tiles wait for each other: neither job may take all workers and starve the other.
TEST(pool_does_not_starve_a_second_caller) {
  ThreadPool pool(3);
  std::atomic<bool> second_ran{false};
  std::atomic<int> waiting{0};
  std::thread first([&] {
    pool.run(3, nullptr, [&](int64_t) {
      waiting.fetch_add(1);
      while (!second_ran.load()) std::this_thread::yield();
    });
  });
  while (waiting.load() < 3) std::this_thread::yield();
  pool.run(50, nullptr, [&](int64_t) { second_ran.store(true); });
  first.join();
  CHECK(second_ran.load(), "the second caller");
}

TEST(pool_skips_tiles_when_cancelled) {
  for (int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    const std::atomic<bool> before{true};
    std::atomic<int> ran{0};
    for (int64_t n : {1, 2, 100}) CHECK(!pool.run(n, &before, [&](int64_t) { ran.fetch_add(1); }), n, " tiles on ", threads, " threads");
    CHECK(ran.load() == 0, ran.load());
    CHECK(pool.run(0, &before, [&](int64_t) { ran.fetch_add(1); }), "nothing was skipped");

    // Tile 10 cancels and the later ones wait for that: each other thread runs one of them, or skips an earlier one that it had just taken.
    std::atomic<bool> during{false};
    const bool whole = pool.run(100000, &during, [&](int64_t i) {
      ran.fetch_add(1);
      if (i == 10) during.store(true);
      while (i > 10 && !during.load()) std::this_thread::yield();
    });
    CHECK(!whole && std::abs(ran.load() - 11) < threads, ran.load(), " tiles ran on ", threads, " threads");
    const std::atomic<bool> never{false};
    CHECK(pool.run(100, &never, [](int64_t) {}), "not cancelled");
  }
}

TEST(pool_cancels_from_another_thread) {
  ThreadPool pool(3);
  std::atomic<bool> cancelled{false}, started{false};
  std::thread killer([&] {
    while (!started.load()) std::this_thread::yield();
    cancelled.store(true);
  });
  const bool whole = pool.run(int64_t{1} << 40, &cancelled, [&](int64_t) { started.store(true); });
  killer.join();
  CHECK(!whole, "2^40 tiles");
}

TEST(pool_nests) {
  for (int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    for (int64_t outer : {0, 1, 5}) {
      for (int64_t inner : {0, 1, 40}) {
        std::atomic<int64_t> ran{0};
        pool.run(outer, nullptr, [&](int64_t) { pool.run(inner, nullptr, [&](int64_t) { ran.fetch_add(1); }); });
        CHECK(ran.load() == outer * inner, outer, " x ", inner, ": ", ran.load());
      }
    }
  }
}

TEST(pool_starts_and_stops) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(4);
    if (i % 2) check_once(pool, i);
  }
}

TEST(pool_workers_flush_subnormals) {
  ThreadPool pool(3);
  volatile float small = float_of(0x00800000u), half = 0.5f;  // the smallest normal number, halved
  std::atomic<int> kept{0};
  pool.run(1000, nullptr, [&](int64_t) {
    if (bits_of(small * half) != 0) kept.fetch_add(1);
  });
  CHECK(kept.load() == 0, kept.load(), " products were subnormal");
}

TEST(pool_threads_of_the_machine) {
  CHECK(ThreadPool::default_threads() >= 1 && ThreadPool::default_threads() <= 1024, ThreadPool::default_threads());
  CHECK(&ThreadPool::shared() == &ThreadPool::shared(), "one pool for the process");
  check_once(ThreadPool::shared(), 100);
}

#if !defined(_WIN32)
TEST(pool_threads_from_the_environment) {
  const char* kept = std::getenv("LOWRANK_NUM_THREADS");
  const std::string before = kept ? kept : "";
  unsetenv("LOWRANK_NUM_THREADS");
  const int usable = ThreadPool::default_threads();
  for (const char* text : {"7", "1"}) {
    setenv("LOWRANK_NUM_THREADS", text, 1);
    CHECK(ThreadPool::default_threads() == std::atoi(text), text);
  }
  for (const char* text : {"0", "-3", "", "many", "4x"}) {
    setenv("LOWRANK_NUM_THREADS", text, 1);
    CHECK(ThreadPool::default_threads() == usable, "'", text, "' is not a number of threads");
  }
  kept ? setenv("LOWRANK_NUM_THREADS", before.c_str(), 1) : unsetenv("LOWRANK_NUM_THREADS");
}
#endif

TEST(cpu_features_are_sane) {
  const CpuFeatures& cpu = cpu_features();
  CHECK(!cpu.model.empty(), "model");
  CHECK(cpu.l1_bytes >= 8 << 10 && cpu.l1_bytes <= 1 << 20, "L1 ", cpu.l1_bytes);
  CHECK(cpu.l2_bytes >= cpu.l1_bytes && cpu.l2_bytes <= 256 << 20, "L2 ", cpu.l2_bytes);
  CHECK(cpu.l3_bytes >= 1 << 20 && cpu.l3_bytes <= int64_t{4} << 30, "L3 ", cpu.l3_bytes);
  CHECK(!cpu.avx512 || cpu.avx2, "AVX-512 without AVX2");
#if defined(__x86_64__) && defined(__GNUC__)
  CHECK(cpu.avx2 == (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")), "the compiler's run time disagrees about AVX2");
  CHECK(cpu.avx512 == (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512vl") && cpu.avx2),
        "the compiler's run time disagrees about AVX-512");
#endif
}
