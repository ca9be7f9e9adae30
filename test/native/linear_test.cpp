// The linear layer and the batched product.
#include "oracle.h"

using namespace test;

namespace {

struct Sizes {
  int64_t m, o, i;
};

/// Ragged sizes around vector widths and register tiles, every size 0 and 1, decode (one row), depths that cross cache blocks, on either
/// side of the one up to which rows are read in place, rows that lie 2 KB and 8 KB apart, and few columns beside long rows.
std::vector<Sizes> sizes() {
  std::vector<Sizes> all = {{70, 130, 600}, {1, 300, 2100}, {2, 97, 700},   {4, 65, 1100}, {150, 40, 1040}, {40, 600, 512},
                            {30, 40, 2080}, {33, 70, 1100}, {33, 1100, 70}, {50, 16, 160}, {19, 3, 144},    {5, 2, 1136},
                            {23, 160, 13},  {7, 144, 2},    {9, 5, 155},    {11, 155, 6}};
  for (int64_t m : {0, 1, 3, 8, 17})
    for (int64_t o : {0, 1, 7, 9, 33})
      for (int64_t i : {0, 1, 3, 8, 64}) all.push_back({m, o, i});
  for (int64_t edge : {5, 6, 13, 14, 15, 16, 31, 32}) all.push_back({edge, edge + 1, edge + 2});
  return all;
}

template <class W>
void check_linear(const char* dtype) {
  for (const Setup& setup : setups()) {
    for (const Sizes& n : sizes()) {
      for (float low : {-1.0f, 0.0f}) {
        Matrix<float> x(setup, n.m, n.i), bias(setup, 1, n.o), y(setup, n.m, n.o), dy(setup, n.m, n.o), dx(setup, n.m, n.i);
        Matrix<W> w(setup, n.o, n.i);
        x.randomize(1, low, 1), w.randomize(2, low, 1), bias.randomize(3), dy.randomize(4, low, 1);
        const std::string what = text("linear ", dtype, " M ", n.m, " O ", n.o, " I ", n.i, " on ", setup.name());
        const Mat plain = product(Mat::of(x), transposed(Mat::of(w)));
        RUN_OK_S(setup, linear_forward, y, x, w, In{});
        EXPECT_MATRIX(what, y, plain);
        RUN_OK_S(setup, linear_forward, y, x, w, bias);
        EXPECT_MATRIX(what + " with bias", y, plus(plain, Mat::of(bias)));
        RUN_OK_S(setup, linear_backward, dx, Out{}, Out{}, dy, x, w);
        EXPECT_MATRIX(what + " dx", dx, product(Mat::of(dy), Mat::of(w)));
      }
    }
  }
}

}  // namespace

TEST(linear_f32) { check_linear<float>("f32"); }
TEST(linear_bf16) { check_linear<bf16>("bf16"); }
TEST(linear_f16) { check_linear<f16>("f16"); }

TEST(linear_weight_gradients) {
  std::vector<Sizes> all = sizes();
  all.push_back({1500, 20, 33});
  all.push_back({700, 512, 40});
  for (int64_t i : {1024, 2056, 2064}) all.push_back({i == 1024 ? 600 : 130, 20, i});  // chunks of K; tiles of one vector
  for (const Setup& setup : setups()) {
    for (const Sizes& n : all) {
      Matrix<float> x(setup, n.m, n.i), w(setup, n.o, n.i), dy(setup, n.m, n.o), dx(setup, n.m, n.i), dw(setup, n.o, n.i),
          dbias(setup, 1, n.o);
      x.randomize(1), w.randomize(2), dy.randomize(3);
      const std::string what = text("linear backward M ", n.m, " O ", n.o, " I ", n.i, " on ", setup.name());
      const Mat expected_w = product(transposed(Mat::of(dy)), Mat::of(x)), expected_bias = column_sums(Mat::of(dy));
      RUN_OK_S(setup, linear_backward, dx, dw, dbias, dy, x, w);
      EXPECT_MATRIX(what + " dx", dx, product(Mat::of(dy), Mat::of(w)));
      EXPECT_MATRIX(what + " dw", dw, expected_w);
      EXPECT_MATRIX(what + " dbias", dbias, expected_bias);
      RUN_OK_S(setup, linear_backward, Out{}, dw.fill(0), Out{}, dy, x, w);
      EXPECT_MATRIX(what + " dw alone", dw, expected_w);
      RUN_OK_S(setup, linear_backward, Out{}, Out{}, dbias.fill(0), dy, x, w);
      EXPECT_MATRIX(what + " dbias alone", dbias, expected_bias);
    }
  }
}

TEST(linear_gradients_of_the_oracle) {
  Mat x(3, 4), w(2, 4), bias(1, 2), dy(3, 2);
  for (size_t i = 0; i < 12; ++i) x.value[i] = std::sin(static_cast<double>(i));
  for (size_t i = 0; i < 8; ++i) w.value[i] = std::cos(static_cast<double>(3 * i));
  for (size_t i = 0; i < 6; ++i) dy.value[i] = std::cos(static_cast<double>(i));
  CHECK_GRADIENTS("linear", {&x, &w, &bias}, dy, [&] { return plus(product(x, transposed(w)), bias); },
                  {product(dy, w), product(transposed(dy), x), column_sums(dy)});
}

TEST(linear_nan_reaches_what_depends_on_it) {
  const int64_t m = 9, o = 21, i = 35;
  for (const Setup& setup : setups()) {
    Random random(6);
    for (int trial = 0; trial < 30; ++trial) {
      const int64_t row = random.below(m), out = random.below(o), in = random.below(i);
      Matrix<float> x(setup, m, i), w(setup, o, i), zero_x(setup, m, i), y(setup, m, o), dy(setup, m, o), dx(setup, m, i), dw(setup, o, i);
      Matrix<float> dbias(setup, 1, o);
      x.randomize(1), w.randomize(2), dy.randomize(3), zero_x.fill(0);
      x.at(row, in) = NAN;
      RUN_OK_S(setup, linear_forward, y, x, w, In{});
      for (int64_t r = 0; r < m; ++r)
        for (int64_t c = 0; c < o; ++c) CHECK(std::isnan(y.at(r, c)) == (r == row), setup.name(), " NaN in x");
      w.at(out, in) = INFINITY;
      RUN_OK_S(setup, linear_forward, y, zero_x, w, In{});
      for (int64_t r = 0; r < m; ++r)
        for (int64_t c = 0; c < o; ++c) CHECK(std::isnan(y.at(r, c)) == (c == out), setup.name(), " 0 * infinity in w");
      w.at(out, in) = 0, x.at(row, in) = 0;
      dy.at(row, out) = NAN;
      RUN_OK_S(setup, linear_backward, dx, dw, dbias, dy, x, w);
      for (int64_t r = 0; r < m; ++r)
        for (int64_t c = 0; c < i; ++c) CHECK(std::isnan(dx.at(r, c)) == (r == row), setup.name(), " NaN in dy");
      for (int64_t r = 0; r < o; ++r)
        for (int64_t c = 0; c < i; ++c)
          CHECK(std::isnan(dw.at(r, c)) == (r == out) && std::isnan(dbias.at(0, r)) == (r == out), setup.name());
    }
  }
}

TEST(matmul_forms) {
  std::vector<Sizes> all = sizes();
  all.push_back({9, 512, 130});
  for (const Setup& setup : setups()) {
    for (int batch : {1, 2, 5}) {
      for (const Sizes& n : all) {
        if (batch > 1 && n.m * n.o * n.i > 50000 && n.o != 512) continue;
        for (int form : {0, 1, 2}) {
          Matrix<float> a = form == 2 ? Matrix<float>(setup, batch * n.i, n.m) : Matrix<float>(setup, batch * n.m, n.i);
          Matrix<float> b = form == 1 ? Matrix<float>(setup, batch * n.o, n.i) : Matrix<float>(setup, batch * n.i, n.o);
          Matrix<float> c(setup, batch * n.m, n.o);
          a.randomize(1), b.randomize(2);
          RUN_OK_S(setup, matmul, c, a, b, batch, form);
          Mat expected(batch * n.m, n.o);
          for (int64_t i = 0; i < batch; ++i) {
            const Mat left = rows_of(Mat::of(a), i * a.rows() / batch, a.rows() / batch),
                      right = rows_of(Mat::of(b), i * b.rows() / batch, b.rows() / batch);
            const Mat one = product(form == 2 ? transposed(left) : left, form == 1 ? transposed(right) : right);
            std::copy(one.value.begin(), one.value.end(), expected.value.begin() + i * n.m * n.o);
            std::copy(one.error.begin(), one.error.end(), expected.error.begin() + i * n.m * n.o);
          }
          EXPECT_MATRIX(text("matmul form ", form, " batch ", batch, " M ", n.m, " N ", n.o, " K ", n.i, " on ", setup.name()), c,
                        expected);
        }
      }
    }
  }
}

TEST(linear_cancels) {
  for (const Setup& setup : setups()) {
    Matrix<float> x(setup, 64, 300), w(setup, 300, 300), y(setup, 64, 300), dw(setup, 300, 300), square(setup, 300, 300);
    x.randomize(1), w.randomize(2);
    CHECK(CANCELLED_S(setup, linear_forward, y, x, w, In{}).code == Code::cancelled, setup.name());
    CHECK(CANCELLED_S(setup, linear_backward, y, dw, Out{}, x, x, w).code == Code::cancelled, setup.name());
    CHECK(CANCELLED_S(setup, matmul, square, w, w, 1, 0).code == Code::cancelled, setup.name());
  }
}
