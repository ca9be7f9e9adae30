// A benchmark is a list of rows. Every row proves its answer against float64 before its clock starts; rows of one group take turns, round
// by round, beside a measurement of the machine's own peak; medians are reported.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/kernel_table.h"

namespace bench {

struct Row {
  std::string name, shape, form, dtype;
  int threads = 1;
  double flops = 0, bytes = 0;          // of one run; bytes only where memory is the limit
  std::function<void()> run;            // one run
  std::function<std::string()> verify;  // after one run: empty, or what is wrong
  std::string compared_with;            // shape and name of the row of the same group whose time divides this one's ("" for none)
  double limit = 0;                     // largest allowed quotient, for the report
  // Results.
  double median_ns = 0, share_of_peak = 0, quotient = 0;

  std::string key() const { return name + " " + shape + " " + form + " " + dtype + " x" + std::to_string(threads); }
};

using Group = std::vector<Row>;

/// A pool of the given size, made once.
lowrank::ThreadPool& pool_of(int threads);

/// A context with scratch memory of at least `bytes`, kept by the caller through `memory`.
lowrank::Context context_of(int threads, int64_t scratch_bytes, std::shared_ptr<std::vector<std::byte>>& memory);

/// The clock of a measurement: the processor time of this thread when it works alone, so that other programs do not count; else the wall.
double now_ns(int threads);

/// GFLOP/s of f32 fused multiply-adds on `threads` threads in a loop of registers only; 0 where this compiler or processor has no such
/// loop.
double measure_peak(int threads);

/// Runs every row of the group in turn, `rounds` times, and fills in the results. Throws std::runtime_error when an answer is wrong.
void run_group(Group& group, int rounds);

/// The groups of this program, built for one kernel table. Only groups with a row that passes `wanted` are built in full.
using Filter = std::function<bool(const std::string& key)>;
void add_product_groups(const lowrank::KernelTable& table, const Filter& wanted, std::vector<std::function<Group()>>& groups);
void add_lora_groups(const lowrank::KernelTable& table, const Filter& wanted, std::vector<std::function<Group()>>& groups);
void add_elementwise_groups(const lowrank::KernelTable& table, const Filter& wanted, std::vector<std::function<Group()>>& groups);

}  // namespace bench
