// A benchmark is a list of rows. Every row proves its answer against float64 before its clock starts; rows of one group take turns, round
// by round, beside a measurement of the machine's own peak; medians are reported.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/kernel_table.h"

namespace bench {

struct Row {
  std::string name, shape, form, dtype;
  int threads = 1;
  double flops = 0, bytes = 0;          // of one run; bytes only where memory is the limit
  bool only_reads = false;              // the limit of its bytes is the rate of reading, else that of copying
  std::function<void()> run;            // one run
  std::function<std::string()> verify;  // after one run: empty, or what is wrong
  std::string compared_with;            // key of the row of the same group whose time divides this one's ("" for none)
  double limit = 0;                     // largest allowed quotient, for the report
  // Results. `share` is of what limits the row: the peak of arithmetic, or the rate of reading or copying.
  double median_ns = 0, share = 0, quotient = 0;

  std::string key() const { return name + " " + shape + " " + form + " " + dtype + " x" + std::to_string(threads); }
};

using Group = std::vector<Row>;

/// Memory at multiples of 64 bytes, as the library hands it out: a wide vector that straddles two cache lines costs two loads.
template <class T>
struct Aligned {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};

  Aligned() = default;
  template <class U>
  explicit Aligned(const Aligned<U>&) {}

  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kAlignment); }
  friend bool operator==(const Aligned&, const Aligned&) { return true; }
  friend bool operator!=(const Aligned&, const Aligned&) { return false; }
};

template <class T>
using AlignedVector = std::vector<T, Aligned<T>>;
using Bytes = std::shared_ptr<AlignedVector<std::byte>>;

/// A pool of the given size, made once.
lowrank::ThreadPool& pool_of(int threads);

/// A context with scratch memory of at least `bytes`, kept by the caller through `memory`.
lowrank::Context context_of(int threads, int64_t scratch_bytes, Bytes& memory);

/// The clock of a measurement: the processor time of this thread when it works alone, so that other programs do not count; else the wall.
double now_ns(int threads);

/// GFLOP/s of f32 fused multiply-adds on `threads` threads in a loop of registers only; 0 where this compiler or processor has no such
/// loop.
double measure_peak(int threads);

/// GB/s of a plain loop over far more memory than the caches hold: bytes read, and bytes read plus bytes written.
double measure_read(int threads);
double measure_copy(int threads);

/// Runs every row of the group in turn, `rounds` times, and fills in the results. Throws std::runtime_error when an answer is wrong.
void run_group(Group& group, int rounds);

/// The kernels that are measured, and which rows are wanted.
struct Subject {
  const lowrank::KernelTable* table = nullptr;
  bool only_products = false;  // it has no kernels but plain f32 products
  std::string version;         // of another library
  std::vector<std::string> words;
  std::vector<std::string>* listed = nullptr;  // takes the keys of wanted groups, none of which is then made

  bool wants(const std::string& key) const {
    for (const std::string& word : words)
      if (key.find(word) == std::string::npos) return false;
    if (listed) listed->push_back(key);
    return !listed;
  }
};

/// A subject whose products are computed by a BLAS found at run time: "openblas" or "onednn". Throws std::runtime_error when it is not
/// installed.
Subject blas_subject(const std::string& name);
bool is_blas(const std::string& name);

/// Makers of groups. A group is made when its turn comes and freed after it.
using Groups = std::vector<std::function<Group()>>;
void add_product_groups(const Subject& subject, Groups& groups);
void add_lora_groups(const Subject& subject, Groups& groups);
void add_grouped_groups(const Subject& subject, Groups& groups);
void add_transformer_groups(const Subject& subject, Groups& groups);
void add_elementwise_groups(const Subject& subject, Groups& groups);

}  // namespace bench
