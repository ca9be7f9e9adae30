// The one pool of the process: N threads are N - 1 workers and the stream thread that asks. Jobs of several streams share the
// workers fairly. Work is split over outputs only, so results do not depend on the number of threads.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace lowrank {

class ThreadPool {
 public:
  /// The pool of the process, made on first use with `default_threads()`, never destroyed.
  static ThreadPool& shared();

  /// LOWRANK_NUM_THREADS, else the physical cores inside the affinity mask and the cgroup quota. At least 1.
  static int default_threads();

  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  /// Which thread of a job runs a tile: 0 for the one that asked, else the number of the worker, below `threads()`.
  static int worker();

  /// Runs body(i) once for every i in [0, n), on any thread, in any order, and returns when all are done.
  /// When `cancelled` is set, tiles that have not started are skipped; returns false if any was.
  template <class Body>
  bool run(int64_t n, const std::atomic<bool>* cancelled, Body&& body) {
    using B = std::remove_reference_t<Body>;
    return run_tiles(
        n, cancelled, [](void* b, int64_t i) { (*static_cast<B*>(b))(i); }, const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  struct State;
  bool run_tiles(int64_t n, const std::atomic<bool>* cancelled, void (*call)(void*, int64_t), void* body);

  int threads_;
  std::unique_ptr<State> state_;
};

/// Hands the tiles of a job out in runs: to each thread neighbours, which share what they read, then what is left of the others'.
class Deal {
 public:
  Deal(int64_t tiles, int threads) : tiles_(tiles), runs_(threads < kMost ? threads : kMost) {
    for (int64_t run = 0; run < runs_; ++run) next_[run].store(begin(run), std::memory_order_relaxed);
  }

  /// One that nobody has; `tiles` when there is none. On a thread of the job.
  int64_t take() {
    const int64_t own = ThreadPool::worker() % runs_;
    for (int64_t i = 0; i < runs_; ++i) {
      const int64_t run = (own + i) % runs_, tile = next_[run].fetch_add(1, std::memory_order_relaxed);
      if (tile < begin(run + 1)) return tile;
    }
    return tiles_;
  }

 private:
  static constexpr int kMost = 64;

  int64_t begin(int64_t run) const { return tiles_ * run / runs_; }

  int64_t tiles_, runs_;
  std::atomic<int64_t> next_[kMost];
};

/// Treats subnormals as zero on the calling thread. Every compute thread calls it, on every backend; the JavaScript thread never does.
void flush_subnormals();

}  // namespace lowrank
