// Rows of kernels that memory limits: activations, norms, rotations, casts and the optimizer, in GB/s beside the rate of a plain copy.
#include <algorithm>
#include <cstring>
#include <map>

#include "core/step_record.h"
#include "harness.h"
#include "reference.h"

namespace bench {

namespace {

using namespace lowrank;

constexpr int64_t kRows = 8192, kCols = 1536;  // 50 MB a matrix: more than the caches hold

/// Matrices of one shape, made when first named. Those of one group share them.
struct Matrices {
  std::map<std::string, std::shared_ptr<Matrix>> named;

  Matrix& get(const std::string& name, int64_t rows, int64_t cols, DType dtype) {
    std::shared_ptr<Matrix>& matrix = named[name];
    if (!matrix) matrix = std::make_shared<Matrix>(rows, cols, static_cast<uint32_t>(named.size()), dtype);
    return *matrix;
  }
  Matrix& operator[](const std::string& name) { return get(name, kRows, kCols, DType::f32); }
};

using Run = std::function<void(Context&)>;
/// What element (row, column) of the result should be.
using Expected = std::function<double(int64_t, int64_t)>;

struct Builder {
  std::shared_ptr<Matrices> m = std::make_shared<Matrices>();
  int threads;
  Group group;

  /// `matrices`: how many matrices of kRows x kCols f32 it reads and writes.
  void add(const std::string& name, double matrices, const Run& run, const std::string& result, const Expected& expected,
           double tolerance) {
    Bytes memory;
    const Context context = context_of(threads, 0, memory);
    Row row;
    row.name = "elementwise-" + name, row.shape = std::to_string(kRows) + "x" + std::to_string(kCols), row.form = "-", row.dtype = "f32";
    row.threads = threads, row.bytes = 4.0 * matrices * kRows * kCols;
    row.run = [run, context, memory]() {
      Context ctx = context;
      run(ctx);
    };
    row.verify = [matrices = m, result, expected, tolerance]() -> std::string {
      Matrix& found = (*matrices)[result];
      for (int64_t r : sampled(found.rows)) {
        for (int64_t c = 0; c < found.cols; ++c) {
          const double want = expected(r, c), have = found.read(r, c);
          if (std::fabs(have - want) > tolerance * (std::fabs(want) + 1e-3))
            return result + "[" + std::to_string(r) + ", " + std::to_string(c) + "] is " + std::to_string(have) + ", expected " +
                   std::to_string(want);
        }
      }
      return "";
    };
    group.push_back(std::move(row));
  }
};

double silu(double x) { return x / (1 + std::exp(-x)); }
double silu_slope(double x) {
  const double s = 1 / (1 + std::exp(-x));
  return s * (1 + x * (1 - s));
}

void add_activations(Builder& b, const KernelTable& t) {
  auto m = b.m;
  const auto map = [&](const std::string& name, double tolerance, double (*f)(double),
                       void (*call)(const KernelTable&, Context&, Out, In)) {
    const Out y = (*m)["y"].view<Out>();
    const In x = (*m)["x"].view<In>();
    b.add(
        name, 2, [=, &t](Context& ctx) { call(t, ctx, y, x); }, "y", [m, f](int64_t r, int64_t c) { return f((*m)["x"].at(r, c)); },
        tolerance);
  };
  map(
      "scale", 1e-7, [](double x) { return 3 * x; }, [](const KernelTable& k, Context& ctx, Out y, In x) { k.scale(ctx, y, x, 3); });
  map("silu", 5e-7, silu, [](const KernelTable& k, Context& ctx, Out y, In x) { k.silu_forward(ctx, y, x); });
  map(
      "gelu", 5e-7, [](double x) { return 0.5 * x * std::erfc(-x * 0.70710678118654752); },
      [](const KernelTable& k, Context& ctx, Out y, In x) { k.gelu_forward(ctx, y, x, false); });
  map(
      "gelu-tanh", 1e-6, [](double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))); },
      [](const KernelTable& k, Context& ctx, Out y, In x) { k.gelu_forward(ctx, y, x, true); });

  const In gate = (*m)["x"].view<In>(), up = (*m)["up"].view<In>(), dy = (*m)["dy"].view<In>();
  const Out y = (*m)["y"].view<Out>(), dgate = (*m)["dgate"].view<Out>();
  b.add(
      "swiglu", 3, [=, &t](Context& ctx) { t.swiglu_forward(ctx, y, gate, up); }, "y",
      [m](int64_t r, int64_t c) { return silu((*m)["x"].at(r, c)) * (*m)["up"].at(r, c); }, 5e-7);
  b.add(
      "swiglu-backward", 5, [=, &t](Context& ctx) { t.swiglu_backward(ctx, dgate, y, dy, gate, up); }, "dgate",
      [m](int64_t r, int64_t c) { return (*m)["dy"].at(r, c) * (*m)["up"].at(r, c) * silu_slope((*m)["x"].at(r, c)); }, 1e-4);
}

void add_norms(Builder& b, const KernelTable& t) {
  auto m = b.m;
  constexpr double kEps = 1e-5;
  const In x = (*m)["x"].view<In>(), dy = (*m)["dy"].view<In>(), w = m->get("w", 1, kCols, DType::f32).view<In>();
  const Out y = (*m)["y"].view<Out>(), rstd = m->get("rstd", kRows, 1, DType::f32).view<Out>();
  const In rstd_in = m->get("rstd", kRows, 1, DType::f32).view<In>();
  const auto rstd_of = [m](int64_t r) {
    double sum = 0;
    for (int64_t c = 0; c < kCols; ++c) sum += (*m)["x"].at(r, c) * (*m)["x"].at(r, c);
    return 1 / std::sqrt(sum / kCols + kEps);
  };
  b.add(
      "rms-norm", 2, [=, &t](Context& ctx) { t.rms_norm_forward(ctx, y, rstd, x, w, static_cast<float>(kEps)); }, "y",
      [=](int64_t r, int64_t c) { return (*m)["x"].at(r, c) * rstd_of(r) * (*m)["w"].at(0, c); }, 2e-6);
  b.add(
      "rms-norm-backward", 3, [=, &t](Context& ctx) { t.rms_norm_backward(ctx, y, Out{}, dy, x, w, rstd_in); }, "y",
      [=](int64_t r, int64_t c) {
        const double scale = rstd_of(r);
        double mean = 0;
        for (int64_t i = 0; i < kCols; ++i) mean += (*m)["dy"].at(r, i) * (*m)["w"].at(0, i) * (*m)["x"].at(r, i) / kCols;
        return scale * ((*m)["dy"].at(r, c) * (*m)["w"].at(0, c) - (*m)["x"].at(r, c) * scale * scale * mean);
      },
      1e-4);
}

void add_rope(Builder& b, const KernelTable& t) {
  constexpr int64_t kHeads = kCols / 64, kHalf = 32;
  auto m = b.m;
  auto positions = std::make_shared<std::vector<int32_t>>();
  for (int64_t i = 0; i < kRows; ++i) positions->push_back(static_cast<int32_t>(i));
  const auto by_head = [](View v) {
    v.rows *= kHeads, v.cols /= kHeads, v.ld = v.cols;
    return v;
  };
  Out y;
  In x, at;
  static_cast<View&>(y) = by_head((*m)["y"].view<Out>()), static_cast<View&>(x) = by_head((*m)["x"].view<In>());
  at.data = reinterpret_cast<std::byte*>(positions->data()), at.dtype = DType::i32, at.rows = kRows, at.cols = 1, at.ld = 1;
  const In table = m->get("angles", kRows, 2 * kHalf, DType::f32).view<In>();
  b.add(
      "rope", 2, [=, &t](Context& ctx) { t.rope(ctx, y, x, table, at, kHeads, false); }, "y",
      [m, positions](int64_t r, int64_t c) {
        const int64_t i = c % 64, pair = i < kHalf ? c + kHalf : c - kHalf;
        const double cos = (*m)["angles"].at(r, i % kHalf), sin = (*m)["angles"].at(r, i % kHalf + kHalf);
        return (*m)["x"].at(r, c) * cos + (*m)["x"].at(r, pair) * (i < kHalf ? -sin : sin);
      },
      1e-5);
}

void add_casts(Builder& b, const KernelTable& t) {
  auto m = b.m;
  const FloatOut narrow = m->get("bf16", kRows, kCols, DType::bf16).view<Out>(), wide = (*m)["y"].view<Out>();
  const In x = (*m)["x"].view<In>(), half = m->get("bf16", kRows, kCols, DType::bf16).view<In>();
  b.add(
      "cast-to-bf16", 1.5, [=, &t](Context& ctx) { t.cast(ctx, narrow, x); }, "bf16",
      [m](int64_t r, int64_t c) { return widen(narrow_bf16(static_cast<float>((*m)["x"].at(r, c)))); }, 0);
  b.add(
      "cast-from-bf16", 1.5, [=, &t](Context& ctx) { t.cast(ctx, wide, half); }, "y",
      [m](int64_t r, int64_t c) { return (*m)["bf16"].read(r, c); }, 0);
}

/// One AdamW step; the proof is the first step from zero moments, whose update is lr * sign(g) up to eps.
void add_adamw(Builder& b, const KernelTable& t) {
  constexpr double kRate = 1e-3;
  auto m = b.m;
  auto record = std::make_shared<StepRecord>();
  std::memset(record.get(), 0, sizeof(StepRecord));
  record->learning_rate = static_cast<float>(kRate), record->clip_factor = 1;
  record->bias_correction1 = 0.1f, record->bias_correction2 = 0.001f;
  auto before = std::make_shared<AlignedVector<float>>((*m)["weights"].f32);
  for (const char* moment : {"first", "second"}) std::fill((*m)[moment].f32.begin(), (*m)[moment].f32.end(), 0.0f);
  const auto flat = [](InOut v) {
    v.cols *= v.rows, v.rows = 1, v.ld = v.cols;
    return v;
  };
  const InOut w = flat((*m)["weights"].view<InOut>()), first = flat((*m)["first"].view<InOut>()),
              second = flat((*m)["second"].view<InOut>());
  In grad = (*m)["dy"].view<In>();
  grad.cols *= grad.rows, grad.rows = 1, grad.ld = grad.cols;
  b.add(
      "adamw", 7,
      [=, &t](Context& ctx) {
        InOut step;
        step.data = reinterpret_cast<std::byte*>(record.get()), step.rows = 1, step.cols = sizeof(StepRecord), step.ld = step.cols,
        step.dtype = DType::u8;
        t.adam(ctx, w, first, second, grad, step, 0, true, 0.1f, 0.001f, 1e-8f);
      },
      "weights",
      [m, before](int64_t r, int64_t c) {
        return (*before)[static_cast<size_t>(r * kCols + c)] - kRate * ((*m)["dy"].at(r, c) > 0 ? 1 : -1);
      },
      1e-3);
}

void add_softmax(Builder& b, const KernelTable& t) {
  auto m = b.m;
  const Out y = (*m)["y"].view<Out>();
  const In x = (*m)["x"].view<In>();
  b.add(
      "softmax", 2, [=, &t](Context& ctx) { t.softmax_forward(ctx, y, x); }, "y",
      [m](int64_t r, int64_t c) {
        double sum = 0;
        for (int64_t i = 0; i < kCols; ++i) sum += std::exp((*m)["x"].at(r, i));
        return std::exp((*m)["x"].at(r, c)) / sum;
      },
      1e-6);
}

}  // namespace

void add_elementwise_groups(const Subject& subject, Groups& groups) {
  if (subject.only_products) return;
  for (const int threads : {1, 2}) {
    if (!subject.wants("elementwise x" + std::to_string(threads))) continue;
    for (const auto part : {add_activations, add_norms, add_rope, add_casts, add_adamw, add_softmax}) {
      groups.push_back([threads, part, &subject]() {
        Builder builder;
        builder.threads = threads;
        part(builder, *subject.table);
        return builder.group;
      });
    }
  }
}

}  // namespace bench
