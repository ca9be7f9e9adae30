#include "kernel_harness.h"

#include <algorithm>
#include <array>

namespace test {

const std::vector<Setup>& setups() {
  static const std::vector<Setup> list = [] {
    std::vector<Setup> all;
    for (const Backend& backend : backends()) {
      if (!backend.available()) continue;
      all.push_back({backend.name, kernel_table(backend.name), 0, 0});
      all.push_back({backend.name, kernel_table(backend.name), 3, 1});
    }
    return all;
  }();
  return list;
}

ThreadPool& pool_of(int threads) {
  static std::array<std::unique_ptr<ThreadPool>, 4> pools;
  auto& pool = pools.at(static_cast<size_t>(threads));
  if (!pool) pool = std::make_unique<ThreadPool>(threads);
  return *pool;
}

// SplitMix64 (Steele, Lea, Flood 2014)
uint64_t Random::bits() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

float Random::between(float low, float high) { return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24f; }

Writable::Writable(const View& v, bool in_out) : view(v), keeps_value(in_out) { before = bytes(); }

void Writable::reset() const {
  std::copy(before.begin(), before.end(), view.data);
  if (keeps_value || before.empty()) return;
  const int64_t size = bytes_of(view.dtype);
  for (int64_t r = 0; r < view.rows; ++r) std::fill_n(view.data + r * view.ld * size, view.cols * size, std::byte{0xFF});
}

std::vector<std::byte> Writable::bytes() const {
  const int64_t elements = view.rows > 0 && view.cols > 0 ? (view.rows - 1) * view.ld + view.cols : 0;
  return {view.data, view.data + elements * bytes_of(view.dtype)};
}

bool Writable::gaps_kept() const {
  const int64_t size = bytes_of(view.dtype);
  for (int64_t r = 0; r + 1 < view.rows; ++r) {
    const int64_t gap = (r * view.ld + view.cols) * size, next_row = (r + 1) * view.ld * size;
    if (!before.empty() && !std::equal(view.data + gap, view.data + next_row, before.data() + gap)) return false;
  }
  return true;
}

namespace {
constexpr size_t kAlignment = 64, kGuard = 64;
}

ScratchMemory::ScratchMemory(int64_t bytes) : bytes_(bytes), storage_(static_cast<size_t>(bytes) + kAlignment + kGuard, std::byte{0xFF}) {
  const auto address = reinterpret_cast<uintptr_t>(storage_.data());
  start_ = storage_.data() + (kAlignment - address % kAlignment) % kAlignment;
}

bool ScratchMemory::intact() const {
  for (const std::byte* p = start_ + bytes_; p < storage_.data() + storage_.size(); ++p)
    if (*p != std::byte{0xFF}) return false;
  return true;
}

}  // namespace test
