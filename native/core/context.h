// What every kernel receives beside its arguments.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/status.h"
#include "core/thread_pool.h"
#include "core/view.h"

namespace lowrank {

struct Context {
  ThreadPool& pool;
  const std::atomic<bool>* cancelled = nullptr;  // the owner's abort flag, or null
  std::byte* scratch = nullptr;                  // as many bytes as the kernel's `_scratch` function asked for, 64-byte aligned

  /// body(i) for i in [0, n), split over threads. One i must be less than 20 ms of work, so that an abort is seen in time.
  template <class Body>
  Status parallel_for(int64_t n, Body&& body) {
    return pool.run(n, cancelled, std::forward<Body>(body)) ? Status{} : Status{Code::cancelled};
  }

  int threads() const { return pool.threads(); }
};

}  // namespace lowrank
