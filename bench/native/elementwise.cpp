// Rows of kernels that memory limits: activations, softmax, dropout, casts and the optimizer, in GB/s.
#include <cstring>

#include "core/step_record.h"
#include "harness.h"
#include "reference.h"

namespace bench {

namespace {

using namespace lowrank;

using Function = std::function<double(double)>;

/// A row y = f(x), element by element.
Row map_row(const std::string& name, int64_t rows, int64_t cols, const std::function<void(Context&, Out, In)>& kernel, const Function& f,
            double tolerance) {
  auto x = std::make_shared<Matrix>(rows, cols, 1), y = std::make_shared<Matrix>(rows, cols, 2);
  auto memory = std::make_shared<std::vector<std::byte>>();
  const Context context = context_of(1, 0, memory);
  Row row;
  row.name = name, row.shape = std::to_string(rows) + "x" + std::to_string(cols), row.form = "-", row.dtype = "f32";
  row.bytes = 8.0 * static_cast<double>(rows * cols);
  row.run = [=]() {
    Context ctx = context;
    (void)memory;
    kernel(ctx, y->view<Out>(), x->view<In>());
  };
  row.verify = [=]() -> std::string {
    for (int64_t r : sampled(rows)) {
      for (int64_t c = 0; c < cols; ++c) {
        const double expected = f(x->at(r, c)), found = y->at(r, c);
        if (std::fabs(found - expected) > tolerance * std::fabs(expected) + 1e-30) {
          return "f(" + std::to_string(x->at(r, c)) + ") is " + std::to_string(found) + ", expected " + std::to_string(expected);
        }
      }
    }
    return "";
  };
  return row;
}

Row softmax_row(const KernelTable& t, int64_t rows, int64_t cols) {
  Row row = map_row(
      "softmax", rows, cols, [&t](Context& ctx, Out y, In x) { t.softmax_forward(ctx, y, x); }, nullptr, 0);
  auto x = std::make_shared<Matrix>(rows, cols, 1), y = std::make_shared<Matrix>(rows, cols, 2);
  auto memory = std::make_shared<std::vector<std::byte>>();
  const Context context = context_of(1, 0, memory);
  row.run = [=, &t]() {
    Context ctx = context;
    (void)memory;
    t.softmax_forward(ctx, y->view<Out>(), x->view<In>());
  };
  row.verify = [=]() -> std::string {
    for (int64_t r : sampled(rows)) {
      double sum = 0;
      for (int64_t c = 0; c < cols; ++c) sum += std::exp(x->at(r, c));
      for (int64_t c = 0; c < cols; ++c) {
        const double expected = std::exp(x->at(r, c)) / sum;
        if (std::fabs(y->at(r, c) - expected) > 1e-6 * expected) return "softmax of row " + std::to_string(r);
      }
    }
    return "";
  };
  return row;
}

/// One AdamW step on n weights; the proof is the first step from zero moments, whose update is lr * sign(g) up to eps.
Row adam_row(const KernelTable& t, int64_t n) {
  auto w = std::make_shared<Matrix>(1, n, 1), m = std::make_shared<Matrix>(1, n, 2), v = std::make_shared<Matrix>(1, n, 3);
  auto g = std::make_shared<Matrix>(1, n, 4);
  auto before = std::make_shared<std::vector<float>>(w->f32);
  auto record = std::make_shared<StepRecord>();
  auto memory = std::make_shared<std::vector<std::byte>>();
  const Context context = context_of(1, 0, memory);
  std::memset(record.get(), 0, sizeof(StepRecord));
  record->learning_rate = 1e-3f, record->clip_factor = 1, record->bias_correction1 = 0.1f, record->bias_correction2 = 0.001f;
  for (float& x : m->f32) x = 0;
  for (float& x : v->f32) x = 0;
  Row row;
  row.name = "adamw", row.shape = std::to_string(n), row.form = "-", row.dtype = "f32", row.bytes = 28.0 * static_cast<double>(n);
  row.run = [=, &t]() {
    Context ctx = context;
    (void)memory;
    InOut step;
    step.data = reinterpret_cast<std::byte*>(record.get()), step.rows = 1, step.cols = sizeof(StepRecord), step.ld = step.cols,
    step.dtype = DType::u8;
    t.adam(ctx, w->view<InOut>(), m->view<InOut>(), v->view<InOut>(), g->view<In>(), step, 0, true, 0.1f, 0.001f, 1e-8f);
  };
  row.verify = [=]() -> std::string {
    for (int64_t i = 0; i < n; i += 97) {
      const double expected = (*before)[static_cast<size_t>(i)] - 1e-3 * (g->at(0, i) > 0 ? 1 : -1);
      if (std::fabs(w->at(0, i) - expected) > 1e-6) return "weight " + std::to_string(i);
    }
    return "";
  };
  return row;
}

}  // namespace

void add_elementwise_groups(const KernelTable& t, const Filter& wanted, std::vector<std::function<Group()>>& groups) {
  if (!wanted("elementwise")) return;
  groups.push_back([&t]() {
    constexpr int64_t kRows = 512, kCols = 1536;
    const auto erf_gelu = [](double x) { return 0.5 * x * std::erfc(-x * 0.70710678118654752); };
    const auto tanh_gelu = [](double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))); };
    const auto silu = [](double x) { return x / (1 + std::exp(-x)); };
    Group group;
    group.push_back(map_row(
        "elementwise silu", kRows, kCols, [&t](Context& c, Out y, In x) { t.silu_forward(c, y, x); }, silu, 5e-7));
    group.push_back(map_row(
        "elementwise gelu", kRows, kCols, [&t](Context& c, Out y, In x) { t.gelu_forward(c, y, x, false); }, erf_gelu, 5e-7));
    group.push_back(map_row(
        "elementwise gelu-tanh", kRows, kCols, [&t](Context& c, Out y, In x) { t.gelu_forward(c, y, x, true); }, tanh_gelu, 1e-6));
    group.push_back(map_row(
        "elementwise scale", kRows, kCols, [&t](Context& c, Out y, In x) { t.scale(c, y, x, 3); }, [](double x) { return 3 * x; }, 1e-7));
    group.push_back(softmax_row(t, kRows, kCols));
    group.push_back(adam_row(t, 1 << 20));
    return group;
  });
}

}  // namespace bench
