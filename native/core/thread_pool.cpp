#include "core/thread_pool.h"

#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#if defined(_MSC_VER)
#include <float.h>
#endif

namespace lowrank {

void flush_subnormals() {
#if defined(_MSC_VER)
  unsigned int current;
  _controlfp_s(&current, _DN_FLUSH, _MCW_DN);
#elif defined(__x86_64__)
  constexpr unsigned int kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;
  __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | kFlushToZero | kDenormalsAreZero);
#elif defined(__aarch64__)
  constexpr uint64_t kFlushToZero = uint64_t{1} << 24;
  uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | kFlushToZero));
#endif
}

namespace {

thread_local int worker_number = 0;

/// Compute threads give way to threads that serve a user.
void lower_priority() {
#if defined(__linux__)
  constexpr int kStep = 5;
  const auto thread = static_cast<id_t>(syscall(SYS_gettid));
  setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + kStep);
  pthread_setname_np(pthread_self(), "lowrank-worker");
#elif defined(_WIN32)
  SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_BELOW_NORMAL);
#endif
}

void pause() {
#if defined(_MSC_VER)
  YieldProcessor();
#elif defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Waits some tens of microseconds for `ready` (a pause takes 40 to 140 cycles), without giving up the processor.
template <class Ready>
bool spin_until(const Ready& ready) {
  constexpr int kSpins = 1000;
  for (int i = 0; i < kSpins; ++i) {
    if (ready()) return true;
    pause();
  }
  return false;
}

}  // namespace

/// The jobs in progress, each on the stack of its caller.
struct ThreadPool::State {
  struct Job {
    int64_t n;
    const std::atomic<bool>* cancelled;
    void (*call)(void*, int64_t);
    void* body;
    std::atomic<int64_t> next{0};
    std::atomic<int> helpers{0};  // workers inside; changed under the mutex, so that a job cannot vanish under a worker
    std::atomic<bool> skipped{false};

    Job(int64_t tiles, const std::atomic<bool>* flag, void (*function)(void*, int64_t), void* argument)
        : n(tiles), cancelled(flag), call(function), body(argument) {}

    bool exhausted() const { return next.load(std::memory_order_relaxed) >= n; }

    /// Runs tiles until none is left or `stop()`.
    template <class Stop>
    void run(const Stop& stop) {
      while (!stop()) {
        const int64_t tile = next.fetch_add(1, std::memory_order_relaxed);
        if (tile >= n) return;
        if (cancelled && cancelled->load(std::memory_order_relaxed)) {
          skipped.store(true, std::memory_order_relaxed);
          next.store(n, std::memory_order_relaxed);
          return;
        }
        call(body, tile);
      }
    }
  };

  std::mutex mutex;
  std::condition_variable work, left;
  std::vector<Job*> jobs;
  std::atomic<uint64_t> arrivals{0};  // counts jobs; workers look for the neediest job whenever it moves
  bool stopping = false;
  std::vector<std::thread> workers;

  void add(Job& job) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      jobs.push_back(&job);
      arrivals.fetch_add(1, std::memory_order_relaxed);
    }
    work.notify_all();
  }

  /// Takes the job off the list and waits for the workers that are still inside.
  void remove(Job& job) {
    const auto alone = [&] { return job.helpers.load(std::memory_order_acquire) == 0; };
    std::unique_lock<std::mutex> lock(mutex);
    for (size_t i = 0; i < jobs.size(); ++i) {
      if (jobs[i] != &job) continue;
      jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(i));
      break;
    }
    if (alone()) return;
    lock.unlock();
    if (spin_until(alone)) return;
    lock.lock();
    left.wait(lock, alone);
  }

  /// The job with tiles left that has the fewest workers: so several callers share them evenly. The mutex is held.
  Job* neediest() const {
    Job* best = nullptr;
    for (Job* job : jobs) {
      if (job->exhausted()) continue;
      if (!best || job->helpers.load(std::memory_order_relaxed) < best->helpers.load(std::memory_order_relaxed)) best = job;
    }
    return best;
  }

  void work_forever(int number) {
    worker_number = number;
    lower_priority();
    flush_subnormals();
    std::unique_lock<std::mutex> lock(mutex);
    while (!stopping) {
      const uint64_t seen = arrivals.load(std::memory_order_relaxed);
      const auto moved = [&] { return arrivals.load(std::memory_order_relaxed) != seen; };
      if (Job* job = neediest()) {
        job->helpers.fetch_add(1, std::memory_order_relaxed);
        lock.unlock();
        job->run(moved);
        lock.lock();
        if (job->helpers.fetch_sub(1, std::memory_order_release) == 1) left.notify_all();
        continue;
      }
      lock.unlock();
      spin_until(moved);
      lock.lock();
      work.wait(lock, [&] { return stopping || moved(); });
    }
  }
};

ThreadPool& ThreadPool::shared() {
  static auto* pool = new ThreadPool(default_threads());  // never destroyed: exit() runs destructors under live threads
  return *pool;
}

ThreadPool::ThreadPool(int threads) : threads_(1), state_(std::make_unique<State>()) {
  try {
    for (; threads_ < threads; ++threads_)
      state_->workers.emplace_back([state = state_.get(), number = threads_] { state->work_forever(number); });
  } catch (const std::system_error&) {
    // The system gives no more threads: those that started do all the work.
  }
}

int ThreadPool::worker() { return worker_number; }

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stopping = true;
  }
  state_->work.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

bool ThreadPool::run_tiles(int64_t n, const std::atomic<bool>* cancelled, void (*call)(void*, int64_t), void* body) {
  State::Job job(n, cancelled, call, body);
  const auto never = [] { return false; };
  if (n <= 1 || threads_ == 1) {
    job.run(never);
    return !job.skipped.load(std::memory_order_relaxed);
  }
  state_->add(job);
  job.run(never);
  state_->remove(job);
  return !job.skipped.load(std::memory_order_relaxed);
}

}  // namespace lowrank
