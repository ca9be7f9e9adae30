// What a training step does after the gradients: loss, norm, gate, update. An update runs whole or not at all, so it ignores aborts.
#include <cmath>
#include <limits>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/sums.h"

namespace lowrank::scalar {

namespace {

/// The first halt of a run stays.
void halt(StepRecord& record, int64_t first_bad) {
  if (record.halted) return;
  record.halted = 1;
  record.first_bad = static_cast<int32_t>(first_bad);
}

/// Sum of squares and the flat index of the first element that is not finite.
struct Squares {
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  double sum = 0;
  int64_t first_bad = kNone;

  friend Squares operator+(const Squares& a, const Squares& b) { return {a.sum + b.sum, std::min(a.first_bad, b.first_bad)}; }
};

/// body(i) for every element of an update, whatever the owner's abort flag says.
template <class Body>
Status update(Context& ctx, StepRecord& step, int64_t n, const Body& body) {
  Context whole{ctx.pool, nullptr, ctx.scratch};
  step.steps_done = step.step + 1;
  return for_each_span(whole, 1, n, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

}  // namespace

Status record_loss(Context&, InOut record, In loss) {
  StepRecord& step = record_of(record);
  const float value = *loss.row<const float>(0);
  step.loss_sum += static_cast<double>(value);
  if (!std::isfinite(value)) halt(step, -1);
  return {};
}

Status grad_squares(Context& ctx, InOut record, In grads, u64 base) {
  StepRecord& step = record_of(record);
  Squares total;
  const Status status = matrix_sum(ctx, total, grads.rows, grads.cols, [&](int64_t r, int64_t c) {
    const float g = grads.row<const float>(r)[c];
    return Squares{static_cast<double>(g) * static_cast<double>(g), std::isfinite(g) ? Squares::kNone : r * grads.cols + c};
  });
  if (!status.ok()) return status;
  step.grad_squares += total.sum;
  if (total.first_bad != Squares::kNone) halt(step, static_cast<int64_t>(base) + total.first_bad);
  return {};
}

// grad_norm = sqrt(grad_squares) / divisor; clip_factor = min(1, max_grad_norm / (grad_norm + 1e-6)) / divisor
Status step_gate(Context&, InOut record) {
  StepRecord& step = record_of(record);
  const double divisor = step.gradient_divisor, norm = std::sqrt(step.grad_squares) / divisor;
  const double clip = step.max_grad_norm > 0 ? std::min(1.0, step.max_grad_norm / (norm + 1e-6)) : 1.0;
  step.grad_norm = static_cast<float>(norm);
  step.clip_factor = static_cast<float>(clip / divisor);
  if (!std::isfinite(step.grad_norm)) halt(step, -1);
  return {};
}

// g = clip_factor grad (+ decay w, or decoupled w *= 1 - lr decay); m += rate1 (g - m); v += rate2 (g^2 - v);
// w -= lr / bias_correction1 * m / (sqrt(v) / sqrt(bias_correction2) + eps)
Status adam(Context& ctx, InOut w, InOut m, InOut v, In grad, InOut record, i32 decayed, bool decoupled, f32 rate1, f32 rate2, f32 eps) {
  StepRecord& step = record_of(record);
  if (step.halted) return {};
  const double rate = step.learning_rate, decay = step.weight_decay;
  const float step_size = static_cast<float>(rate / step.bias_correction1), root = std::sqrt(step.bias_correction2);
  const float lost = static_cast<float>(rate * decay), added = step.weight_decay;
  float *weights = w.row<float>(0), *first = m.row<float>(0), *second = v.row<float>(0);
  const float* gradients = grad.row<const float>(0);
  return update(ctx, step, w.cols, [&](int64_t i) {
    float g = step.clip_factor * gradients[i];
    // Not w *= 1 - lr decay: that factor, rounded, is off by the same 3e-8 in every step.
    if (i < decayed && decoupled) weights[i] -= lost * weights[i];
    if (i < decayed && !decoupled) g += added * weights[i];
    first[i] += rate1 * (g - first[i]);
    second[i] += rate2 * (g * g - second[i]);
    weights[i] -= step_size * first[i] / (std::sqrt(second[i]) / root + eps);
  });
}

// g = clip_factor grad + decay w; buffer = momentum buffer + g (step 0: g); w -= lr (nesterov ? g + momentum buffer : buffer)
Status sgd(Context& ctx, InOut w, InOut buffer, In grad, InOut record, i32 decayed, f32 momentum, bool nesterov) {
  StepRecord& step = record_of(record);
  if (step.halted) return {};
  float *weights = w.row<float>(0), *velocity = buffer ? buffer.row<float>(0) : nullptr;
  const float* gradients = grad.row<const float>(0);
  return update(ctx, step, w.cols, [&](int64_t i) {
    float g = step.clip_factor * gradients[i];
    if (i < decayed) g += step.weight_decay * weights[i];
    if (velocity) {
      velocity[i] = step.step == 0 ? g : momentum * velocity[i] + g;
      g = nesterov ? g + momentum * velocity[i] : velocity[i];
    }
    weights[i] -= step.learning_rate * g;
  });
}

}  // namespace lowrank::scalar
