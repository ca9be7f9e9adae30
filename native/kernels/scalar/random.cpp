// Random numbers and dropout: pure functions of a key and the element's position (core/rng.h).
#include "core/rng.h"

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/random.h"

namespace lowrank::scalar {

Status uniform(Context& ctx, Out y, u64 seed, u64 site, f32 low, f32 high) {
  const uint32_t place = static_cast<uint32_t>(site);
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    for_each_word(r * y.cols + begin, end - begin, seed, 0, 0, place,
                  [&](int64_t i, uint32_t word) { y.row<float>(r)[begin + i] = low + (high - low) * unit_float(word); });
  });
}

Status drop(Context& ctx, const View& y, const View& x, const StepRecord& record, f32 p, u64 site) {
  const float kept = 1.0f / (1.0f - p);
  const uint32_t place = static_cast<uint32_t>(site);
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    float* out = y.row<float>(r) + begin;
    const float* in = x.row<const float>(r) + begin;
    for_each_word(r * y.cols + begin, end - begin, record.seed, record.micro, record.step, place,
                  [&](int64_t i, uint32_t word) { out[i] = in[i] * (dropout_keeps(word, p) ? kept : 0.0f); });
  });
}

// y = x * keep / (1 - p)
Status dropout(Context& ctx, Out y, In x, In record, f32 p, u64 site) { return drop(ctx, y, x, record_of(record), p, site); }

}  // namespace lowrank::scalar
