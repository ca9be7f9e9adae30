// Rows of the kernels of a transformer: attention, the loss from hidden states, norms, rotations, gates.
#include <algorithm>
#include <cstring>

#include "core/step_record.h"
#include "harness.h"
#include "reference.h"

namespace bench {

namespace {

using namespace lowrank;

std::string times(int64_t a, int64_t b) { return std::to_string(a) + "x" + std::to_string(b); }

View ints(std::vector<int32_t>& values, int64_t cols) {
  View v;
  v.data = reinterpret_cast<std::byte*>(values.data()), v.dtype = DType::i32;
  v.rows = static_cast<int64_t>(values.size()) / cols, v.cols = cols, v.ld = cols;
  return v;
}

template <class Kind>
Kind as(const View& v) {
  Kind k;
  static_cast<View&>(k) = v;
  return k;
}

/// Causal attention over one row of tokens, `group` query heads to a head of keys.
struct AttentionCase {
  int64_t tokens, heads, kv_heads, width;
  float scale;
  Matrix q, k, v, y, lse, dy, dq, dk, dv;
  std::vector<int32_t> spans;
  Bytes memory[2];

  AttentionCase(int64_t t, int64_t h, int64_t g, int64_t w)
      : tokens(t),
        heads(h),
        kv_heads(g),
        width(w),
        scale(1 / std::sqrt(static_cast<float>(w))),
        q(t * h, w, 1),
        k(t * g, w, 2),
        v(t * g, w, 3),
        y(t * h, w, 4),
        lse(t * h, 1, 5),
        dy(t * h, w, 6),
        dq(t * h, w, 7),
        dk(t * g, w, 8),
        dv(t * g, w, 9) {
    for (int64_t i = 0; i < t; ++i) spans.push_back(0), spans.push_back(static_cast<int32_t>(i) + 1);
  }

  static double dot(const Matrix& a, int64_t i, const Matrix& b, int64_t j) {
    double sum = 0;
    for (int64_t c = 0; c < a.cols; ++c) sum += a.at(i, c) * b.at(j, c);
    return sum;
  }

  /// What one query gives to its keys, in float64: weights, their gradients, and its row of y.
  struct Query {
    std::vector<double> weights;
    std::vector<Dot> slopes, y;
  };

  Query query(int64_t token, int64_t head) const {
    const int64_t row = token * heads + head, kv = head / (heads / kv_heads);
    Query found;
    double sum = 0, delta = 0;
    for (int64_t s = 0; s <= token; ++s) sum += std::exp(scale * dot(q, row, k, s * kv_heads + kv));
    found.y.resize(static_cast<size_t>(width));
    for (int64_t s = 0; s <= token; ++s) {
      const double weight = std::exp(scale * dot(q, row, k, s * kv_heads + kv)) / sum;
      const double slope = dot(dy, row, v, s * kv_heads + kv);
      found.weights.push_back(weight), found.slopes.push_back({slope, std::fabs(slope)});
      delta += weight * slope;
      for (int64_t c = 0; c < width; ++c) found.y[static_cast<size_t>(c)].add(weight, v.at(s * kv_heads + kv, c));
    }
    for (size_t s = 0; s < found.slopes.size(); ++s) {
      Dot& slope = found.slopes[s];
      slope = {found.weights[s] * (slope.value - delta), found.weights[s] * (slope.size + std::fabs(delta))};
    }
    return found;
  }
};

/// Exponentials of sums of products: their rounding counts some units more than a product's.
constexpr double kFlash = 64;

std::string verify_forward(const AttentionCase& p) {
  for (int64_t token : sampled(p.tokens)) {
    const AttentionCase::Query query = p.query(token, p.heads - 1);
    for (int64_t c = 0; c < p.width; ++c) {
      const std::string wrong = compare(p.y.at(token * p.heads + p.heads - 1, c), query.y[static_cast<size_t>(c)],
                                        kFlash * static_cast<double>(token + 1), "y", token, c);
      if (!wrong.empty()) return wrong;
    }
  }
  return "";
}

/// dq of sampled queries; dk and dv of sampled keys of the last head of keys.
std::string verify_backward(const AttentionCase& p) {
  const int64_t kv = p.kv_heads - 1, group = p.heads / p.kv_heads;
  const std::vector<int64_t> keys = sampled(p.tokens);
  std::vector<std::vector<Dot>> dk(keys.size(), std::vector<Dot>(static_cast<size_t>(p.width))), dv = dk;
  const double bound = kFlash * static_cast<double>(p.tokens * group);
  for (int64_t token = 0; token < p.tokens; ++token) {
    for (int64_t head = kv * group; head < p.heads; ++head) {
      const AttentionCase::Query query = p.query(token, head);
      const int64_t row = token * p.heads + head;
      for (size_t i = 0; i < keys.size(); ++i) {
        if (keys[i] > token) continue;
        for (int64_t c = 0; c < p.width; ++c) {
          dk[i][static_cast<size_t>(c)].add(query.slopes[static_cast<size_t>(keys[i])], p.scale * p.q.at(row, c));
          dv[i][static_cast<size_t>(c)].add(query.weights[static_cast<size_t>(keys[i])], p.dy.at(row, c));
        }
      }
      if (head + 1 < p.heads || std::find(keys.begin(), keys.end(), token) == keys.end()) continue;
      for (int64_t c = 0; c < p.width; ++c) {
        Dot dq;
        for (int64_t s = 0; s <= token; ++s) dq.add(query.slopes[static_cast<size_t>(s)], p.scale * p.k.at(s * p.kv_heads + kv, c));
        const std::string wrong = compare(p.dq.at(row, c), dq, bound, "dq", row, c);
        if (!wrong.empty()) return wrong;
      }
    }
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    for (int64_t c = 0; c < p.width; ++c) {
      const int64_t row = keys[i] * p.kv_heads + kv;
      std::string wrong = compare(p.dk.at(row, c), dk[i][static_cast<size_t>(c)], bound, "dk", row, c);
      if (wrong.empty()) wrong = compare(p.dv.at(row, c), dv[i][static_cast<size_t>(c)], bound, "dv", row, c);
      if (!wrong.empty()) return wrong;
    }
  }
  return "";
}

/// 4 K FLOPs for each pair of query and key that sees it, and 10 K for the gradients.
Group attention_group(const KernelTable& t, int64_t tokens, int threads) {
  constexpr int64_t kHeads = 9, kKvHeads = 3, kWidth = 64;
  auto p = std::make_shared<AttentionCase>(tokens, kHeads, kKvHeads, kWidth);
  const Out y = p->y.view<Out>(), lse = p->lse.view<Out>(), dq = p->dq.view<Out>(), dk = p->dk.view<Out>(), dv = p->dv.view<Out>();
  const In q = p->q.view<In>(), k = p->k.view<In>(), v = p->v.view<In>(), dy = p->dy.view<In>(), y_in = p->y.view<In>();
  const In lse_in = p->lse.view<In>();
  const Index spans = as<Index>(ints(p->spans, 2));
  const float scale = p->scale;
  const Context forward =
      context_of(threads, t.attention_forward_scratch(threads, y, lse, q, k, v, spans, 1, kHeads, kKvHeads, scale), p->memory[0]);
  const Context backward =
      context_of(threads, t.attention_backward_scratch(threads, dq, dk, dv, dy, q, k, v, y_in, lse_in, spans, 1, kHeads, kKvHeads, scale),
                 p->memory[1]);
  const auto run_forward = [=, &t]() {
    Context ctx = forward;
    t.attention_forward(ctx, y, lse, q, k, v, spans, 1, kHeads, kKvHeads, scale);
  };
  const auto run_backward = [=, &t]() {
    Context ctx = backward;
    t.attention_backward(ctx, dq, dk, dv, dy, q, k, v, y_in, lse_in, spans, 1, kHeads, kKvHeads, scale);
  };
  const double pairs = static_cast<double>(kHeads * tokens * (tokens + 1)) / 2;
  Row row;
  row.shape = "T" + std::to_string(tokens) + "h9kv3k64", row.form = "causal", row.dtype = "f32", row.threads = threads;
  Group group{row, row, row};
  group[0].name = "attention-forward", group[0].flops = 4 * kWidth * pairs, group[0].run = run_forward;
  group[0].verify = [p]() { return verify_forward(*p); };
  group[1].name = "attention-backward", group[1].flops = 10 * kWidth * pairs, group[1].run = run_backward;
  group[1].verify = [p]() { return verify_backward(*p); };
  group[2].name = "attention", group[2].flops = 14 * kWidth * pairs;
  group[2].run = [=]() { run_forward(), run_backward(); };
  group[2].verify = []() { return std::string(); };
  return group;
}

/// The loss of M hidden states over V words, and dx. Seven distinct rows are repeated, so that float64 knows the whole loss.
struct LossCase {
  static constexpr int64_t kDistinct = 7;
  Matrix x, w, dx, loss;
  std::vector<int32_t> labels;
  Bytes memory;

  LossCase(int64_t m, int64_t d, int64_t v, DType dtype) : x(m, d, 1), w(v, d, 2, dtype), dx(m, d, 3), loss(1, 1, 4) {
    for (int64_t r = kDistinct; r < m; ++r) {
      for (int64_t c = 0; c < d; ++c) x.f32[static_cast<size_t>(r * d + c)] = x.f32[static_cast<size_t>(r % kDistinct * d + c)];
    }
    for (float& e : x.f32) e *= 0.2f;  // logits of a size that a model has
    for (int64_t r = 0; r < m; ++r) labels.push_back(static_cast<int32_t>(r % kDistinct * 4999 % v));
  }
};

std::string verify_loss(const LossCase& p) {
  const int64_t m = p.x.rows, d = p.x.cols, words = p.w.rows;
  double total = 0;
  for (int64_t r = 0; r < LossCase::kDistinct; ++r) {
    std::vector<double> logits;
    double sum = 0;
    for (int64_t v = 0; v < words; ++v) {
      logits.push_back(AttentionCase::dot(p.x, r, p.w, v));
      sum += std::exp(logits.back());
    }
    const int64_t label = p.labels[static_cast<size_t>(r)];
    const auto times_seen = static_cast<double>((m - r + LossCase::kDistinct - 1) / LossCase::kDistinct);
    total += times_seen * (std::log(sum) - logits[static_cast<size_t>(label)]);
    std::vector<double> slopes;
    for (int64_t v = 0; v < words; ++v)
      slopes.push_back((std::exp(logits[static_cast<size_t>(v)]) / sum - (v == label ? 1 : 0)) / static_cast<double>(m));
    for (int64_t c = 0; c < d; ++c) {
      Dot dot;
      for (int64_t v = 0; v < words; ++v) dot.add(slopes[static_cast<size_t>(v)], p.w.at(v, c));
      for (int64_t row = r; row < m; row += LossCase::kDistinct) {
        const std::string wrong = compare(p.dx.at(row, c), dot, kFlash * static_cast<double>(words), "dx", row, c);
        if (!wrong.empty()) return wrong;
      }
    }
  }
  const double expected = total / static_cast<double>(m), found = p.loss.at(0, 0);
  return std::fabs(found - expected) <= 1e-5 * expected ? ""
                                                        : "the loss is " + std::to_string(found) + ", expected " + std::to_string(expected);
}

Group loss_group(const KernelTable& t, DType dtype, int threads) {
  constexpr int64_t kRows = 1024, kWidth = 576, kWords = 49152;
  auto p = std::make_shared<LossCase>(kRows, kWidth, kWords, dtype);
  const Out loss = p->loss.view<Out>(), dx = p->dx.view<Out>(), none{};
  const In x = p->x.view<In>();
  const Weight w = p->w.view<Weight>();
  const Index labels = as<Index>(ints(p->labels, 1));
  const Context context =
      context_of(threads, t.linear_cross_entropy_scratch(threads, loss, none, dx, none, x, w, labels, -100, true), p->memory);
  Row row;
  row.name = "linear-cross-entropy", row.shape = times(kRows, kWidth) + "x" + std::to_string(kWords), row.form = "dx",
  row.threads = threads;
  row.dtype = name_of(dtype), row.flops = 4.0 * kRows * kWidth * kWords;
  row.run = [=, &t]() {
    Context ctx = context;
    t.linear_cross_entropy(ctx, loss, none, dx, none, x, w, labels, -100, true);
  };
  row.verify = [p]() { return verify_loss(*p); };
  return {row};
}

}  // namespace

void add_transformer_groups(const Subject& subject, Groups& groups) {
  if (subject.only_products) return;
  const KernelTable& t = *subject.table;
  for (const int threads : {1, 2}) {
    const std::string suffix = " x" + std::to_string(threads);
    for (const int64_t tokens : {256, 512, 2048}) {
      if (subject.wants("attention T" + std::to_string(tokens) + suffix))
        groups.push_back([=, &t]() { return attention_group(t, tokens, threads); });
    }
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (subject.wants("linear-cross-entropy " + std::string(name_of(dtype)) + suffix))
        groups.push_back([=, &t]() { return loss_group(t, dtype, threads); });
    }
  }
}

}  // namespace bench
