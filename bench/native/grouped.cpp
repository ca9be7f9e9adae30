// Rows of layers with one input (q, k, v; gate, up): layer by layer, their dx added up, beside one layer as wide as all of them. The
// quotient of their times is the most that projecting them in one pass over x and one dx could gain (docs/adr/0006-single-projections.md).
#include "harness.h"
#include "reference.h"

namespace bench {

namespace {

using namespace lowrank;

constexpr int64_t kRows = 1024, kInputs = 576;

std::string shape_of(const std::vector<int64_t>& widths) {
  std::string each;
  for (const int64_t width : widths) each += (each.empty() ? "" : "+") + std::to_string(width);
  return std::to_string(kRows) + "x" + each + "x" + std::to_string(kInputs);
}

struct GroupedCase {
  int64_t n;
  Matrix x, w, dy, y[2], dx[2], part;  // y and dx: of the layers one by one, of the wide one; part: dx of one layer, to be added

  explicit GroupedCase(int64_t outputs)
      : n(outputs),
        x(kRows, kInputs, 1),
        w(n, kInputs, 2),
        dy(kRows, n, 3),
        y{{kRows, n, 4}, {kRows, n, 5}},
        dx{{kRows, kInputs, 6}, {kRows, kInputs, 7}},
        part(kRows, kInputs, 8) {}
};

/// One of the layers, or all of them: its rows of W, its columns of y and dy, where its dx goes, and memory of its own.
struct Layer {
  In x, w, dy;
  Out y, dx;
  int threads = 1;
  Bytes memory;

  Context context() const { return {pool_of(threads), nullptr, memory->data()}; }
};

Layer layer_at(const KernelTable& t, GroupedCase& p, int64_t first, int64_t width, Matrix& y, Matrix& dx, bool backward, int threads) {
  Layer layer;
  layer.x = p.x.view<In>(), layer.w = p.w.view<In>(), layer.dy = p.dy.view<In>(), layer.y = y.view<Out>(), layer.dx = dx.view<Out>();
  static_cast<View&>(layer.w) = rows_of(layer.w, first, width);
  layer.dy.data += first * 4, layer.dy.cols = width;
  layer.y.data += first * 4, layer.y.cols = width;
  const int64_t bytes = backward ? t.linear_backward_scratch(threads, layer.dx, Out{}, Out{}, layer.dy, layer.x, layer.w)
                                 : t.linear_forward_scratch(threads, layer.y, layer.x, layer.w, In{});
  layer.threads = threads, layer.memory = std::make_shared<AlignedVector<std::byte>>(static_cast<size_t>(bytes));
  return layer;
}

void run_layer(const KernelTable& t, const Layer& layer, bool backward) {
  Context ctx = layer.context();
  if (backward) t.linear_backward(ctx, layer.dx, Out{}, Out{}, layer.dy, layer.x, layer.w);
  if (!backward) t.linear_forward(ctx, layer.y, layer.x, layer.w, In{});
}

std::string verify(const Matrix& c, const Matrix& a, const Matrix& b, bool turned) {
  for (const int64_t row : sampled(c.rows)) {
    for (int64_t column = 0; column < c.cols; ++column) {
      Dot dot;
      for (int64_t i = 0; i < a.cols; ++i) dot.add(a.at(row, i), turned ? b.at(i, column) : b.at(column, i));
      const std::string wrong = compare(c.at(row, column), dot, static_cast<double>(a.cols), turned ? "dx" : "y", row, column);
      if (!wrong.empty()) return wrong;
    }
  }
  return "";
}

Group grouped_group(const KernelTable& t, const std::vector<int64_t>& widths, bool backward, int threads) {
  int64_t n = 0;
  for (const int64_t width : widths) n += width;
  auto p = std::make_shared<GroupedCase>(n);
  std::vector<Layer> layers;
  int64_t first = 0;
  for (const int64_t width : widths) {
    layers.push_back(layer_at(t, *p, first, width, p->y[0], first == 0 ? p->dx[0] : p->part, backward, threads));
    first += width;
  }
  const Layer wide = layer_at(t, *p, 0, n, p->y[1], p->dx[1], backward, threads);
  InOut sum;
  static_cast<View&>(sum) = p->dx[0].view<Out>();
  Group group(2);
  group[0].name = backward ? "layers-dx" : "layers-forward", group[1].name = backward ? "grouped-dx" : "grouped-forward";
  for (size_t i = 0; i < 2; ++i) {
    Row& row = group[i];
    row.shape = shape_of(widths), row.form = backward ? "NN" : "NT", row.dtype = "f32", row.threads = threads;
    row.flops = 2 * static_cast<double>(kRows) * static_cast<double>(n) * static_cast<double>(kInputs);
    row.verify = [=]() { return backward ? verify(p->dx[i], p->dy, p->w, true) : verify(p->y[i], p->x, p->w, false); };
  }
  group[0].run = [=, &t]() {
    for (size_t i = 0; i < layers.size(); ++i) {
      run_layer(t, layers[i], backward);
      Context ctx = layers[i].context();
      if (backward && i > 0) t.accumulate(ctx, sum, p->part.view<In>());
    }
  };
  group[1].run = [=, &t]() { run_layer(t, wide, backward); };
  group[1].compared_with = group[0].key();
  return group;
}

}  // namespace

void add_grouped_groups(const Subject& subject, Groups& groups) {
  if (subject.only_products) return;
  const std::vector<std::vector<int64_t>> sets{{576, 192, 192}, {1536, 1536}, {16, 16, 16}};
  for (const auto& widths : sets) {
    for (const bool backward : {false, true}) {
      for (const int threads : {1, 2}) {
        const KernelTable& t = *subject.table;
        const std::string key =
            std::string("grouped-") + (backward ? "dx " : "forward ") + shape_of(widths) + " x" + std::to_string(threads);
        if (subject.wants(key)) groups.push_back([=, &t]() { return grouped_group(t, widths, backward, threads); });
      }
    }
  }
}

}  // namespace bench
