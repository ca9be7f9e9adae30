// Runs a kernel as the stream would, on every backend and memory layout, with 1, 2 and 3 threads, and checks what holds for all kernels:
// the same bits for any number of threads, outputs written whole and never read, nothing written outside the views or the scratch memory.
#pragma once
#include <cmath>
#include <cstring>
#include <memory>

#include "harness.h"
#include "kernels/kernel_table.h"

namespace test {

using namespace lowrank;

/// One way to run: a backend, and where rows lie in memory.
struct Setup {
  const char* backend;
  const KernelTable* table;
  int64_t gap;     // elements between rows
  int64_t offset;  // elements before the first: views need not start on a cache line

  std::string name() const { return text(backend, gap ? " with gaps" : ""); }
};

/// Every backend of this machine, with rows side by side and with gaps.
const std::vector<Setup>& setups();

ThreadPool& pool_of(int threads);

/// Uniform numbers, the same in every run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits();
  float between(float low, float high);
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

/// Memory behind a view, allocated to the last element, so that an address sanitizer sees every read outside.
template <class T>
class Matrix {
 public:
  Matrix(const Setup& setup, int64_t rows, int64_t cols)
      : rows_(rows),
        cols_(cols),
        ld_(cols + setup.gap),
        offset_(setup.offset),
        size_(offset_ + (rows > 0 ? (rows - 1) * ld_ + cols : 0)),
        storage_(new T[static_cast<size_t>(size_ > 0 ? size_ : 1)]) {
    std::memset(static_cast<void*>(storage_.get()), 0xA5, static_cast<size_t>(size_) * sizeof(T));
  }

  /// Fills with numbers of [low, high), rounded to T.
  Matrix& randomize(uint64_t seed, float low = -1, float high = 1) {
    Random random(seed);
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t c = 0; c < cols_; ++c) assign(at(r, c), random.between(low, high));
    return *this;
  }

  Matrix& fill(float value) {
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t c = 0; c < cols_; ++c) assign(at(r, c), value);
    return *this;
  }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  T& at(int64_t r, int64_t c) { return storage_[static_cast<size_t>(offset_ + r * ld_ + c)]; }
  const T& at(int64_t r, int64_t c) const { return storage_[static_cast<size_t>(offset_ + r * ld_ + c)]; }

  operator In() const { return view_of<In>(storage_.get() + offset_, rows_, cols_, ld_); }
  operator Out() { return view_of<Out>(storage_.get() + offset_, rows_, cols_, ld_); }
  operator InOut() { return view_of<InOut>(storage_.get() + offset_, rows_, cols_, ld_); }

 private:
  static void assign(float& to, float value) { to = value; }
  static void assign(bf16& to, float value) { to = narrow_bf16(value); }
  static void assign(f16& to, float value) { to = narrow_f16(value); }
  static void assign(int32_t& to, float value) { to = static_cast<int32_t>(value); }
  static void assign(uint8_t& to, float value) { to = static_cast<uint8_t>(value); }

  int64_t rows_, cols_, ld_, offset_, size_;
  std::unique_ptr<T[]> storage_;
};

/// The bytes of a view that a kernel may write, with the gaps between its rows.
struct Writable {
  View view;
  bool keeps_value;  // InOut
  std::vector<std::byte> before;

  Writable(const View& v, bool in_out);
  void reset() const;  // the value before, or garbage in an Out
  std::vector<std::byte> bytes() const;
  bool gaps_kept() const;  // whether what lies between the rows is as before
};

inline void collect(std::vector<Writable>& list, const Out& v) {
  if (v) list.emplace_back(v, false);
}
inline void collect(std::vector<Writable>& list, const InOut& v) {
  if (v) list.emplace_back(v, true);
}
template <class Other>
void collect(std::vector<Writable>&, const Other&) {}

/// Scratch memory of exactly `bytes`, 64-byte aligned, full of garbage, with a guard behind it.
class ScratchMemory {
 public:
  explicit ScratchMemory(int64_t bytes);
  std::byte* start() const { return start_; }
  bool intact() const;

 private:
  int64_t bytes_;
  std::vector<std::byte> storage_;
  std::byte* start_;
};

template <class T>
struct Same {
  using type = T;
};

/// Runs the kernel with 1, 2 and 3 threads and returns its status; outputs are those of the last run.
template <class... P>
Status run_kernel(const Setup& setup, const char* kernel, Status (*function)(Context&, P...), int64_t (*scratch)(int, P...),
                  typename Same<P>::type... arguments) {
  std::vector<Writable> outputs;
  (collect(outputs, arguments), ...);
  std::vector<std::vector<std::byte>> first;
  Status status;
  for (int threads = 1; threads <= 3; ++threads) {
    for (const Writable& output : outputs) output.reset();
    const ScratchMemory memory(scratch ? scratch(threads, arguments...) : 0);
    Context context{pool_of(threads), nullptr, memory.start()};
    const Status now = function(context, arguments...);
    CHECK(memory.intact(), kernel, " on ", setup.name(), " wrote behind its scratch memory");
    if (threads > 1) CHECK(now.code == status.code && now.at == status.at && now.found == status.found, kernel, " on ", setup.name());
    status = now;
    for (size_t i = 0; i < outputs.size(); ++i) {
      CHECK(outputs[i].gaps_kept(), kernel, " on ", setup.name(), " wrote between the rows of output ", i);
      if (threads == 1) first.push_back(outputs[i].bytes());
      if (threads > 1 && status.ok())
        CHECK(outputs[i].bytes() == first[i], kernel, " on ", setup.name(), ": output ", i, " differs with ", threads, " threads");
    }
  }
  return status;
}

/// What a kernel returns when its owner has already been aborted.
template <class... P>
Status run_cancelled(const Setup& setup, Status (*function)(Context&, P...), int64_t (*scratch)(int, P...),
                     typename Same<P>::type... arguments) {
  (void)setup;
  const std::atomic<bool> cancelled{true};
  const ScratchMemory memory(scratch ? scratch(2, arguments...) : 0);
  Context context{pool_of(2), &cancelled, memory.start()};
  return function(context, arguments...);
}

template <class... P>
int64_t (*no_scratch(Status (*)(Context&, P...)))(int, P...) {
  return nullptr;
}

}  // namespace test

/// A kernel without and with scratch memory, by name.
#define RUN_K(setup, kernel, ...) \
  test::run_kernel(setup, #kernel, (setup).table->kernel, test::no_scratch((setup).table->kernel), __VA_ARGS__)
#define RUN_S(setup, kernel, ...) test::run_kernel(setup, #kernel, (setup).table->kernel, (setup).table->kernel##_scratch, __VA_ARGS__)
#define RUN_OK_K(setup, kernel, ...) CHECK(RUN_K(setup, kernel, __VA_ARGS__).ok(), (setup).name())
#define RUN_OK_S(setup, kernel, ...) CHECK(RUN_S(setup, kernel, __VA_ARGS__).ok(), (setup).name())
#define CANCELLED_K(setup, kernel, ...) \
  test::run_cancelled(setup, (setup).table->kernel, test::no_scratch((setup).table->kernel), __VA_ARGS__)
#define CANCELLED_S(setup, kernel, ...) test::run_cancelled(setup, (setup).table->kernel, (setup).table->kernel##_scratch, __VA_ARGS__)
