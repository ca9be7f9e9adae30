// What profile rows and debug lines count as floating-point operations. Matrix products count a multiply-add as two; everything else
// counts one operation for each element of its largest argument.
#pragma once
#include <algorithm>

#include "kernels/kernel_table.h"

namespace lowrank::flops {

template <auto Slot>
struct Kernel {};

inline int64_t size_of(const View& v) { return v.size(); }
template <class Number>
int64_t size_of(const Number&) {
  return 0;
}

template <auto Slot, class... A>
int64_t count(Kernel<Slot>, const A&... a) {
  return std::max({int64_t{0}, size_of(a)...});
}

inline int64_t count(Kernel<&KernelTable::multiply_add>, const Out& y, const In&, f32, f32, i32 steps) { return 2 * y.size() * steps; }

inline int64_t count(Kernel<&KernelTable::linear_forward>, const Out& y, const In& x, const In&, const In&) {
  return 2 * y.size() * x.cols;
}

inline int64_t count(Kernel<&KernelTable::linear_backward>, const Out& dx, const Out& dw, const Out&, const In& dy, const In& x,
                     const In&) {
  return 2 * dy.size() * x.cols * ((dx ? 1 : 0) + (dw ? 1 : 0));
}

inline int64_t count(Kernel<&KernelTable::matmul>, const Out& c, const In& a, const In&, i32 batch, i32 form) {
  return 2 * c.size() * (form == 2 ? a.rows / std::max(batch, 1) : a.cols);
}

inline int64_t count(Kernel<&KernelTable::lora_forward>, const Out& y, const Out&, const In& x, const In&, const In&, const In& a,
                     const In&, const In&, const In&, f32, f32, u64) {
  return 2 * y.size() * x.cols + 2 * a.rows * (x.size() + y.size());
}

inline int64_t count(Kernel<&KernelTable::lora_backward>, const Out& dx, const Out& da, const Out&, const Out& db, const Out&, const In& dy,
                     const In& x, const In&, const In& a, const In&, const In&, const In&, const In&, f32, f32, u64) {
  const int64_t rank = a.rows, dh = 2 * rank * dy.size();
  return dh + (dx ? 2 * dy.size() * x.cols + 2 * rank * x.size() : 0) + (da ? 2 * rank * x.size() : 0) + (db ? 2 * rank * dy.size() : 0);
}

/// Pairs of a query and a key that attention looks at, for one head.
inline int64_t visible_pairs(const In& spans, const In& k, i32 batch, i32 kv_heads) {
  const int64_t keys = batch > 0 && kv_heads > 0 ? k.rows / batch / kv_heads : 0;
  int64_t pairs = 0;
  for (int64_t t = 0; t < spans.rows; ++t) {
    const i32* span = spans.row<const i32>(t);
    pairs += std::max<int64_t>(0, std::min<int64_t>(keys, span[1]) - std::max<int64_t>(0, span[0]));
  }
  return pairs;
}

inline int64_t count(Kernel<&KernelTable::attention_forward>, const Out&, const Out&, const In& q, const In& k, const In&, const In& spans,
                     i32 batch, i32 heads, i32 kv_heads, f32) {
  return 4 * q.cols * heads * visible_pairs(spans, k, batch, kv_heads);
}

inline int64_t count(Kernel<&KernelTable::attention_backward>, const Out&, const Out&, const Out&, const In&, const In& q, const In& k,
                     const In&, const In&, const In&, const In& spans, i32 batch, i32 heads, i32 kv_heads, f32) {
  return 10 * q.cols * heads * visible_pairs(spans, k, batch, kv_heads);
}

inline int64_t count(Kernel<&KernelTable::linear_cross_entropy>, const Out&, const Out&, const Out& dx, const Out& dw, const In& x,
                     const In& w, const In&, i32, bool) {
  return 2 * x.size() * w.rows * (1 + (dx ? 1 : 0) + (dw ? 1 : 0));
}

}  // namespace lowrank::flops
