// The LoRA linear layer, for every kind of middle factor, weight type, wanted output and dropout.
#include "core/rng.h"
#include "core/step_record.h"
#include "oracle.h"

using namespace test;

namespace {

constexpr uint64_t kSite = 0xabcdef0123456789u;
constexpr float kScale = 1.75f;

enum class Middle { none, diagonal, full };

struct Sizes {
  int64_t m, o, i, r;
};

const std::vector<Sizes> kSizes = {{0, 5, 6, 2},       {3, 0, 6, 2},      {3, 5, 0, 2},      {3, 5, 6, 0},     {1, 1, 1, 1},
                                   {1, 9, 7, 3},       {1, 300, 700, 8},  {3, 7, 9, 1},      {8, 33, 17, 4},   {17, 16, 33, 8},
                                   {9, 64, 64, 16},    {14, 32, 31, 5},   {2, 90, 600, 16},  {6, 15, 70, 7},   {40, 70, 300, 16},
                                   {130, 48, 65, 33},  {700, 20, 24, 4},  {14, 1100, 20, 8}, {700, 20, 24, 8}, {150, 512, 24, 9},
                                   {150, 20, 512, 12}, {20, 90, 601, 13}, {15, 70, 1020, 9}};

const StepRecord& step_record() {
  static const StepRecord record = [] {
    StepRecord r{};
    r.seed = 0x5eed, r.step = 9, r.micro = 2;
    return r;
  }();
  return record;
}

In record_view() { return view_of<In>(reinterpret_cast<const uint8_t*>(&step_record()), 1, sizeof(StepRecord)); }

/// keep / (1 - p) for every element of [rows, cols], with the rounding of the factor.
Mat dropout_mask(int64_t rows, int64_t cols, float p) {
  Mat mask(rows, cols, 1);
  for (int64_t e = 0; p > 0 && e < rows * cols; ++e) {
    const Philox4 words =
        philox({static_cast<uint32_t>(e / 4), step_record().micro, step_record().step, static_cast<uint32_t>(kSite)}, step_record().seed);
    const bool kept = std::ldexp(static_cast<double>(words[static_cast<size_t>(e % 4)] >> 8), -24) >= static_cast<double>(p);
    mask.value[static_cast<size_t>(e)] = kept ? 1 / (1 - static_cast<double>(p)) : 0;
    mask.error[static_cast<size_t>(e)] = 2 * kUnit * mask.value[static_cast<size_t>(e)];
  }
  return mask;
}

/// The layer in float64; m is empty, [1, R] or [R, R].
struct Layer {
  Mat x, w, bias, a, m, b, mask;
  double scale;

  Mat through(const Mat& h) const { return m.rows == 0 ? h : m.rows == 1 && h.cols != 1 ? times(h, m) : product(h, m); }
  Mat back(const Mat& g) const { return m.rows == 0 ? g : m.rows == 1 && g.cols != 1 ? times(g, m) : product(g, transposed(m)); }
  Mat hidden() const { return product(times(x, mask), transposed(a)); }

  Mat output() const {
    const Mat y = plus(product(x, transposed(w)), scaled(product(through(hidden()), transposed(b)), scale));
    return bias.rows == 0 ? y : plus(y, bias);
  }

  struct Gradients {
    Mat dx, da, dm, db, dbias;
  };

  /// The gradients for the given hidden values (which a kernel has as f32).
  Gradients gradients(const Mat& dy, const Mat& h) const {
    Gradients g;
    const Mat dh = scaled(product(dy, b), scale), dhm = back(dh);
    g.db = scaled(product(transposed(dy), through(h)), scale);
    g.dm = m.rows == 1 && h.cols != 1 ? column_sums(times(h, dh)) : product(transposed(h), dh);
    g.da = product(transposed(dhm), times(x, mask));
    g.dx = plus(product(dy, w), times(product(dhm, a), mask));
    g.dbias = column_sums(dy);
    return g;
  }
};

template <class W>
void check_lora(const Setup& setup, const Sizes& n, Middle middle, float p, bool with_bias) {
  Matrix<float> x(setup, n.m, n.i), bias(setup, 1, n.o), a(setup, n.r, n.i), b(setup, n.o, n.r), y(setup, n.m, n.o), h(setup, n.m, n.r);
  Matrix<float> dy(setup, n.m, n.o), dx(setup, n.m, n.i), da(setup, n.r, n.i), db(setup, n.o, n.r), dbias(setup, 1, n.o);
  Matrix<float> m(setup, middle == Middle::full ? n.r : 1, n.r), dm(setup, m.rows(), n.r);
  Matrix<W> w(setup, n.o, n.i);
  x.randomize(1), w.randomize(2), bias.randomize(3), a.randomize(4), b.randomize(5), m.randomize(6), dy.randomize(7);
  const In m_view = middle == Middle::none ? In{} : In(m), bias_view = with_bias ? In(bias) : In{}, record = p > 0 ? record_view() : In{};
  const Out dm_view = middle == Middle::none ? Out{} : Out(dm);
  const Layer layer{Mat::of(x),
                    Mat::of(w),
                    with_bias ? Mat::of(bias) : Mat{},
                    Mat::of(a),
                    middle == Middle::none ? Mat{} : Mat::of(m),
                    Mat::of(b),
                    dropout_mask(n.m, n.i, p),
                    static_cast<double>(kScale)};
  const std::string what = text("lora ", name_of(DTypeOf<W>::value), " M ", n.m, " O ", n.o, " I ", n.i, " R ", n.r, " middle ",
                                static_cast<int>(middle), " p ", p, " on ", setup.name());
  const Mat expected_y = layer.output();
  RUN_OK_S(setup, lora_forward, y, Out{}, x, w, bias_view, a, m_view, b, record, kScale, p, kSite);
  EXPECT_MATRIX(what + " y without h", y, expected_y);
  RUN_OK_S(setup, lora_forward, y, h, x, w, bias_view, a, m_view, b, record, kScale, p, kSite);
  EXPECT_MATRIX(what + " y", y, expected_y);
  EXPECT_MATRIX(what + " h", h, layer.hidden());

  const Layer::Gradients g = layer.gradients(Mat::of(dy), Mat::of(h));
  const auto backward = [&](Out to_x, Out to_a, Out to_m, Out to_b, Out to_bias) {
    RUN_OK_S(setup, lora_backward, to_x, to_a, to_m, to_b, to_bias, dy, x, w, a, m_view, b, h, record, kScale, p, kSite);
  };
  backward(dx, da, dm_view, db, dbias);
  EXPECT_MATRIX(what + " dx", dx, g.dx);
  EXPECT_MATRIX(what + " da", da, g.da);
  EXPECT_MATRIX(what + " db", db, g.db);
  EXPECT_MATRIX(what + " dbias", dbias, g.dbias);
  if (dm_view) EXPECT_MATRIX(what + " dm", dm, g.dm);
  backward(dx.fill(0), {}, {}, {}, {});
  EXPECT_MATRIX(what + " dx alone", dx, g.dx);
  backward({}, da.fill(0), {}, {}, {});
  EXPECT_MATRIX(what + " da alone", da, g.da);
  backward({}, {}, {}, db.fill(0), {});
  EXPECT_MATRIX(what + " db alone", db, g.db);
  backward({}, {}, {}, {}, dbias.fill(0));
  EXPECT_MATRIX(what + " dbias alone", dbias, g.dbias);
  if (!dm_view) return;
  backward({}, {}, dm.fill(0), {}, {});
  EXPECT_MATRIX(what + " dm alone", dm, g.dm);
}

template <class W>
void check_all() {
  for (const Setup& setup : setups())
    for (const Sizes& n : kSizes)
      for (Middle middle : {Middle::none, Middle::diagonal, Middle::full})
        for (float p : {0.0f, 0.3f}) check_lora<W>(setup, n, middle, p, middle != Middle::diagonal);
}

Mat waves(int64_t rows, int64_t cols, double frequency) {
  Mat y(rows, cols);
  for (size_t i = 0; i < y.value.size(); ++i) y.value[i] = std::sin(frequency * static_cast<double>(i + 1));
  return y;
}

}  // namespace

TEST(lora_f32) { check_all<float>(); }
TEST(lora_bf16) { check_all<bf16>(); }
TEST(lora_f16) { check_all<f16>(); }

TEST(lora_gradients_of_the_oracle) {
  for (int64_t middle_rows : {0, 1, 3}) {
    Layer layer{waves(4, 5, 1),           waves(6, 5, 2), waves(1, 6, 3),           waves(3, 5, 4),
                waves(middle_rows, 3, 5), waves(6, 3, 6), dropout_mask(4, 5, 0.4f), 0.8};
    const Mat dy = waves(4, 6, 7);
    const Layer::Gradients g = layer.gradients(dy, layer.hidden());
    CHECK_GRADIENTS(text("lora with a middle of ", middle_rows, " rows"), {&layer.x, &layer.a, &layer.m, &layer.b, &layer.bias}, dy,
                    [&] { return layer.output(); }, {g.dx, g.da, g.dm, g.db, g.dbias});
  }
}

TEST(lora_nan_reaches_what_depends_on_it) {
  const Sizes n{9, 21, 35, 4};
  for (const Setup& setup : setups()) {
    for (int64_t rank = 0; rank < n.r; ++rank) {
      Matrix<float> x(setup, n.m, n.i), w(setup, n.o, n.i), a(setup, n.r, n.i), b(setup, n.o, n.r), y(setup, n.m, n.o), h(setup, n.m, n.r);
      Matrix<float> dy(setup, n.m, n.o), dx(setup, n.m, n.i), da(setup, n.r, n.i), db(setup, n.o, n.r);
      x.randomize(1), w.randomize(2), a.randomize(3), b.fill(0), dy.randomize(4);
      a.at(rank, 7) = NAN;
      RUN_OK_S(setup, lora_forward, y, h, x, w, In{}, a, In{}, b, In{}, kScale, 0.0f, kSite);
      for (int64_t r = 0; r < n.m; ++r) {
        for (int64_t c = 0; c < n.o; ++c) CHECK(std::isnan(y.at(r, c)), setup.name(), ": b of zeros hides the NaN of a");
        for (int64_t c = 0; c < n.r; ++c) CHECK(std::isnan(h.at(r, c)) == (c == rank), setup.name());
      }
      RUN_OK_S(setup, lora_backward, dx, da, Out{}, db, Out{}, dy, x, w, a, In{}, b, h, In{}, kScale, 0.0f, kSite);
      for (int64_t r = 0; r < n.m; ++r)
        for (int64_t c = 0; c < n.i; ++c) CHECK(std::isnan(dx.at(r, c)) == (c == 7), setup.name(), " dx");
      for (int64_t r = 0; r < n.o; ++r)
        for (int64_t c = 0; c < n.r; ++c) CHECK(std::isnan(db.at(r, c)) == (c == rank), setup.name(), " db");
      for (int64_t r = 0; r < n.r; ++r)
        for (int64_t c = 0; c < n.i; ++c) CHECK(da.at(r, c) == 0, setup.name(), " da depends on b alone");
    }
  }
}

TEST(lora_cancels) {
  for (const Setup& setup : setups()) {
    Matrix<float> x(setup, 64, 300), w(setup, 300, 300), a(setup, 8, 300), b(setup, 300, 8), y(setup, 64, 300), h(setup, 64, 8),
        dx(setup, 64, 300);
    x.randomize(1), w.randomize(2), a.randomize(3), b.randomize(4), h.randomize(5);
    const Status forward = CANCELLED_S(setup, lora_forward, y, h, x, w, In{}, a, In{}, b, In{}, 1.0f, 0.0f, 0);
    const Status backward = CANCELLED_S(setup, lora_backward, dx, Out{}, Out{}, Out{}, Out{}, x, x, w, a, In{}, b, h, In{}, 1.0f, 0.0f, 0);
    CHECK(forward.code == Code::cancelled && backward.code == Code::cancelled, setup.name());
  }
}
