// Gradient norms and optimizer steps on flat f32 buffers. An update runs whole or not at all, so it ignores aborts.

/// acc[j] += square of x[j], in f64.
LOWRANK_INLINE void add_squares(double (&acc)[kWidth], const float* x, int64_t n) {
  for (int64_t j = 0; j < n; ++j) acc[j] += static_cast<double>(x[j]) * static_cast<double>(x[j]);
}

double sum_squares(const float* x, int64_t n) {
  double acc[kWidth] = {};
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) add_squares(acc, x + i, kWidth);
  add_squares(acc, x + i, n - i);
  double sum = 0;
  for (int64_t j = 0; j < kWidth; ++j) sum += acc[j];
  return sum;
}

bool is_finite(float x) { return (bits_of(x) & 0x7fffffffu) < 0x7f800000u; }

int64_t first_not_finite(const View& x) {
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t c = 0; c < x.cols; ++c) {
      if (!is_finite(x.row<const float>(r)[c])) return r * x.cols + c;
    }
  }
  return -1;
}

/// Squares of f32 numbers do not overflow f64: the sum is finite exactly when every element is.
Status grad_squares(Context& ctx, InOut record, In grads, u64 base) {
  constexpr int64_t kSegments = 256;
  const View g = flat(grads);
  const bool one_row = g.rows == 1;
  const int64_t whole = one_row ? g.cols : g.rows, grain = one_row ? kSpan : greater(1, kSpan / greater(1, g.cols));
  const int64_t length = greater(grain, divide_up(whole, kSegments)), segments = divide_up(whole, length);
  double partial[kSegments];
  const auto segment = [&](int64_t s) {
    const int64_t begin = s * length, end = lesser(whole, begin + length);
    partial[s] = 0;
    if (one_row) partial[s] = sum_squares(g.row<const float>(0) + begin, end - begin);
    for (int64_t r = begin; r < end && !one_row; ++r) partial[s] += sum_squares(g.row<const float>(r), g.cols);
  };
  const Status status = run_tiles(ctx, segments, g.size(), segment);
  if (!status.ok()) return status;
  double sum = 0;
  for (int64_t s = 0; s < segments; ++s) sum += partial[s];
  StepRecord& step = *reinterpret_cast<StepRecord*>(record.data);
  step.grad_squares += sum;
  if (sum - sum != 0 && !step.halted) {
    step.halted = 1;
    step.first_bad = static_cast<int32_t>(static_cast<int64_t>(base) + first_not_finite(grads));
  }
  return {};
}

/// body(begin, end) over [0, n), cut at `decayed`, whatever the owner's abort flag says.
template <class Body>
Status update(Context& ctx, StepRecord& step, int64_t n, int64_t decayed, const Body& body) {
  Context whole{ctx.pool, nullptr, ctx.scratch};
  step.steps_done = step.step + 1;
  const auto span = [&](int64_t, int64_t begin, int64_t end) {
    const int64_t cut = clamp(decayed, begin, end);
    if (begin < cut) body(begin, cut, true);
    if (cut < end) body(cut, end, false);
  };
  return for_each_span(whole, 1, n, span);
}

struct AdamStep {
  float *w, *m, *v;
  const float* grad;
  float clip, step_size, root, lost, decay, rate1, rate2, eps;
  bool decoupled;
};

void adam_span(const AdamStep& s, int64_t begin, int64_t end, bool decays) {
  for (int64_t i = begin; i < end; i += kWidth) {
    const int64_t lanes = end - i;
    Vec w = load_lanes(s.w + i, lanes), m = load_lanes(s.m + i, lanes), v = load_lanes(s.v + i, lanes);
    Vec g = mul(broadcast(s.clip), load_lanes(s.grad + i, lanes));
    if (decays && s.decoupled) w = sub(w, mul(broadcast(s.lost), w));
    if (decays && !s.decoupled) g = add(g, mul(broadcast(s.decay), w));
    m = add(m, mul(broadcast(s.rate1), sub(g, m)));
    v = add(v, mul(broadcast(s.rate2), sub(mul(g, g), v)));
    w = sub(w, div(mul(broadcast(s.step_size), m), add(div(root(v), broadcast(s.root)), broadcast(s.eps))));
    store_lanes(s.w + i, w, lanes);
    store_lanes(s.m + i, m, lanes);
    store_lanes(s.v + i, v, lanes);
  }
}

Status adam(Context& ctx, InOut w, InOut m, InOut v, In grad, InOut record, i32 decayed, bool decoupled, f32 rate1, f32 rate2, f32 eps) {
  StepRecord& step = *reinterpret_cast<StepRecord*>(record.data);
  if (step.halted) return {};
  const double rate = step.learning_rate, decay = step.weight_decay;
  AdamStep s;
  s.w = w.row<float>(0), s.m = m.row<float>(0), s.v = v.row<float>(0), s.grad = grad.row<const float>(0);
  s.clip = step.clip_factor, s.decay = step.weight_decay, s.rate1 = rate1, s.rate2 = rate2, s.eps = eps, s.decoupled = decoupled;
  s.step_size = static_cast<float>(rate / step.bias_correction1), s.lost = static_cast<float>(rate * decay);
  s.root = sqrtf(step.bias_correction2);
  return update(ctx, step, w.cols, decayed, [&](int64_t begin, int64_t end, bool decays) { adam_span(s, begin, end, decays); });
}

struct SgdStep {
  float *w = nullptr, *buffer = nullptr;
  const float* grad = nullptr;
  float clip = 0, rate = 0, decay = 0, momentum = 0;
  bool first = false, nesterov = false;
};

void sgd_span(const SgdStep& s, int64_t begin, int64_t end, bool decays) {
  for (int64_t i = begin; i < end; i += kWidth) {
    const int64_t lanes = end - i;
    const Vec w = load_lanes(s.w + i, lanes);
    Vec g = mul(broadcast(s.clip), load_lanes(s.grad + i, lanes));
    if (decays) g = add(g, mul(broadcast(s.decay), w));
    if (s.buffer) {
      const Vec velocity = s.first ? g : add(mul(broadcast(s.momentum), load_lanes(s.buffer + i, lanes)), g);
      store_lanes(s.buffer + i, velocity, lanes);
      g = s.nesterov ? add(g, mul(broadcast(s.momentum), velocity)) : velocity;
    }
    store_lanes(s.w + i, sub(w, mul(broadcast(s.rate), g)), lanes);
  }
}

Status sgd(Context& ctx, InOut w, InOut buffer, In grad, InOut record, i32 decayed, f32 momentum, bool nesterov) {
  StepRecord& step = *reinterpret_cast<StepRecord*>(record.data);
  if (step.halted) return {};
  SgdStep s;
  s.w = w.row<float>(0), s.buffer = buffer ? buffer.row<float>(0) : nullptr, s.grad = grad.row<const float>(0);
  s.clip = step.clip_factor, s.rate = step.learning_rate, s.decay = step.weight_decay, s.momentum = momentum;
  s.first = step.step == 0, s.nesterov = nesterov;
  return update(ctx, step, w.cols, decayed, [&](int64_t begin, int64_t end, bool decays) { sgd_span(s, begin, end, decays); });
}
