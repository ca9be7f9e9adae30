// Embedding, RMS norm, SwiGLU, rotary positions and the loss from hidden states.
#include <algorithm>

#include "oracle.h"

using namespace test;

namespace {

struct Size {
  int64_t rows, cols;
};
const Size kSizes[] = {{0, 4}, {1, 1}, {3, 7}, {5, 16}, {70, 33}, {9, 576}, {2, 2049}};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

Mat bounded(Mat m, double roundings, double magnitude) {
  for (double& bound : m.error) bound = roundings * kUnit * magnitude + kTiny;
  return m;
}

template <class T>
void check_embedding(const Setup& setup) {
  Matrix<T> table(setup, 11, 37);
  table.randomize(5);
  Matrix<int32_t> tokens(setup, 6, 1);
  const int32_t ids[] = {3, 0, 10, 3, 3, 7};
  for (int64_t r = 0; r < 6; ++r) tokens.at(r, 0) = ids[r];
  Matrix<float> y(setup, 6, 37);
  RUN_OK_K(setup, embedding_forward, y, tokens, table);
  for (int64_t r = 0; r < 6; ++r)
    for (int64_t c = 0; c < 37; ++c) CHECK(y.at(r, c) == widen(table.at(ids[r], c)), setup.name(), " ", r, " ", c);
  tokens.at(4, 0) = 11;
  const Status bad = RUN_K(setup, embedding_forward, y, tokens, table);
  CHECK(bad.code == Code::index_out_of_range && bad.found == 11 && bad.at == 4 && bad.limit == 11, setup.name());
}

}  // namespace

TEST(embedding_reads_rows_and_adds_up_their_gradients) {
  for (const Setup& setup : setups()) {
    check_embedding<float>(setup);
    check_embedding<bf16>(setup);
    check_embedding<f16>(setup);
    Matrix<int32_t> tokens(setup, 5, 1);
    for (int64_t r = 0; r < 5; ++r) tokens.at(r, 0) = static_cast<int32_t>(r % 2 * 3);
    Matrix<float> dy(setup, 5, 70), dtable(setup, 4, 70);
    dy.randomize(6);
    RUN_OK_K(setup, embedding_backward, dtable, dy, tokens);
    Mat expected(4, 70);
    for (int64_t r = 0; r < 5; ++r)
      for (int64_t c = 0; c < 70; ++c) expected(r % 2 * 3, c) += static_cast<double>(dy.at(r, c));
    EXPECT_MATRIX(setup.name(), dtable, bounded(expected, 4, 3));
  }
}

TEST(rms_norm_forward_and_backward) {
  for (const Setup& setup : setups()) {
    for (const auto& [rows, cols] : kSizes) {
      Matrix<float> x(setup, rows, cols), w(setup, 1, cols), dy(setup, rows, cols), y(setup, rows, cols), rstd(setup, rows, 1);
      Matrix<float> dx(setup, rows, cols), dw(setup, 1, cols);
      x.randomize(1), w.randomize(2), dy.randomize(3);
      RUN_OK_K(setup, rms_norm_forward, y, rstd, x, w, 1e-5f);
      RUN_OK_K(setup, rms_norm_backward, dx, dw, dy, x, w, rstd);
      Mat to_y(rows, cols), to_dx(rows, cols), to_dw(1, cols);
      for (int64_t r = 0; r < rows; ++r) {
        double squares = 0, dot = 0;
        for (int64_t c = 0; c < cols; ++c) squares += std::pow(static_cast<double>(x.at(r, c)), 2);
        const double inverse = 1 / std::sqrt(squares / static_cast<double>(cols) + static_cast<double>(1e-5f));
        const auto at = [](const Matrix<float>& m, int64_t i, int64_t j) { return static_cast<double>(m.at(i, j)); };
        for (int64_t c = 0; c < cols; ++c) dot += at(dy, r, c) * at(w, 0, c) * at(x, r, c) * inverse;
        for (int64_t c = 0; c < cols; ++c) {
          to_y(r, c) = at(x, r, c) * inverse * at(w, 0, c);
          to_dx(r, c) = inverse * (at(dy, r, c) * at(w, 0, c) - at(x, r, c) * inverse * dot / static_cast<double>(cols));
          to_dw(0, c) += at(dy, r, c) * at(x, r, c) * inverse;
        }
      }
      const std::string what = text(setup.name(), " ", rows, "x", cols);
      EXPECT_MATRIX(what + " y", y, bounded(to_y, 64, 2));
      EXPECT_MATRIX(what + " dx", dx, bounded(to_dx, 64, 8));
      EXPECT_MATRIX(what + " dw", dw, bounded(to_dw, 64, 8));
    }
  }
}

TEST(swiglu_forward_and_backward) {
  for (const Setup& setup : setups()) {
    for (const auto& [rows, cols] : kSizes) {
      Matrix<float> gate(setup, rows, cols), up(setup, rows, cols), dy(setup, rows, cols), y(setup, rows, cols);
      Matrix<float> dgate(setup, rows, cols), dup(setup, rows, cols);
      gate.randomize(1, -8, 8), up.randomize(2), dy.randomize(3);
      RUN_OK_K(setup, swiglu_forward, y, gate, up);
      RUN_OK_K(setup, swiglu_backward, dgate, dup, dy, gate, up);
      Mat to_y(rows, cols), to_gate(rows, cols), to_up(rows, cols);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c) {
          const double g = static_cast<double>(gate.at(r, c)), u = static_cast<double>(up.at(r, c)), d = static_cast<double>(dy.at(r, c));
          const double s = sigmoid(g);
          to_y(r, c) = g * s * u, to_up(r, c) = d * g * s, to_gate(r, c) = d * u * s * (1 + g * (1 - s));
        }
      const std::string what = text(setup.name(), " ", rows, "x", cols);
      EXPECT_MATRIX(what + " y", y, bounded(to_y, 8, 8));
      EXPECT_MATRIX(what + " dgate", dgate, bounded(to_gate, 8, 8));
      EXPECT_MATRIX(what + " dup", dup, bounded(to_up, 8, 8));
    }
  }
}

TEST(rope_turns_and_turns_back) {
  for (const Setup& setup : setups()) {
    for (const int64_t width : {2, 6, 16, 34, 64}) {
      Matrix<float> frequencies(setup, 2, width / 2), table(setup, 100'001, width);
      for (int64_t i = 0; i < width / 2; ++i) {
        const double f = std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(width));
        frequencies.at(0, i) = static_cast<float>(f),
                          frequencies.at(1, i) = static_cast<float>(f - static_cast<double>(frequencies.at(0, i)));
      }
      RUN_OK_K(setup, rope_table, table, frequencies, 1.0f);
      Matrix<int32_t> positions(setup, 3, 1);
      positions.at(0, 0) = 0, positions.at(1, 0) = 7, positions.at(2, 0) = 100'000;
      Matrix<float> x(setup, 6, width), y(setup, 6, width), back(setup, 6, width);
      x.randomize(1);
      RUN_OK_K(setup, rope, y, x, table, positions, 2, false);
      RUN_OK_K(setup, rope, back, y, table, positions, 2, true);
      Mat expected(6, width);
      for (int64_t r = 0; r < 6; ++r)
        for (int64_t i = 0; i < width / 2; ++i) {
          const double angle = positions.at(r / 2, 0) * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(width));
          const double a = static_cast<double>(x.at(r, i)), b = static_cast<double>(x.at(r, i + width / 2));
          expected(r, i) = a * std::cos(angle) - b * std::sin(angle),
                      expected(r, i + width / 2) = b * std::cos(angle) + a * std::sin(angle);
        }
      // Angles of 100,000 radians are as exact as small ones.
      EXPECT_MATRIX(text(setup.name(), " ", width), y, bounded(expected, 4, 2));
      EXPECT_MATRIX(text(setup.name(), " ", width, " back"), back, bounded(Mat::of(x), 8, 2));
      positions.at(1, 0) = 100'001;
      CHECK(RUN_K(setup, rope, y, x, table, positions, 2, false).code == Code::index_out_of_range, setup.name());
    }
  }
}

namespace {

template <class T>
void check_loss(const Setup& setup, int64_t rows, int64_t words, int64_t width, bool mean, bool with_dw) {
  constexpr int32_t kIgnore = -100;
  Matrix<float> x(setup, rows, width), loss(setup, 1, 1), count(setup, 1, 1), dx(setup, rows, width), dw(setup, words, width);
  Matrix<T> w(setup, words, width);
  x.randomize(1), w.randomize(2);
  Matrix<int32_t> labels(setup, rows, 1);
  for (int64_t r = 0; r < rows; ++r) labels.at(r, 0) = r % 4 == 2 ? kIgnore : static_cast<int32_t>(r * 7 % words);
  RUN_OK_S(setup, linear_cross_entropy, loss, count, dx, with_dw ? Out(dw) : Out{}, x, w, labels, kIgnore, mean);
  const Mat to_x = Mat::of(x), to_w = Mat::of(w), logits = product(to_x, transposed(to_w));
  Mat total(1, 1), counted(1, 1), slopes(rows, words);
  for (int64_t r = 0; r < rows; ++r) counted(0, 0) += labels.at(r, 0) != kIgnore;
  const double n = mean && counted(0, 0) > 0 ? counted(0, 0) : 1;
  for (int64_t r = 0; r < rows; ++r) {
    if (labels.at(r, 0) == kIgnore) continue;
    double sum = 0;
    for (int64_t c = 0; c < words; ++c) sum += std::exp(logits(r, c));
    total(0, 0) += (std::log(sum) - logits(r, labels.at(r, 0))) / n;
    for (int64_t c = 0; c < words; ++c) slopes(r, c) = (std::exp(logits(r, c)) / sum - (c == labels.at(r, 0) ? 1 : 0)) / n;
  }
  const std::string what = text(setup.name(), " ", rows, "x", words, "x", width, mean ? " mean" : " sum");
  EXPECT_MATRIX(what + " loss", loss, bounded(total, 64, 1 + std::abs(total(0, 0))));
  EXPECT_MATRIX(what + " count", count, counted);
  EXPECT_MATRIX(what + " dx", dx, bounded(product(slopes, to_w), 256, 1));
  if (with_dw) EXPECT_MATRIX(what + " dw", dw, bounded(product(transposed(slopes), to_x), 256, 1));
}

}  // namespace

TEST(linear_cross_entropy_is_the_loss_of_the_product) {
  for (const Setup& setup : setups()) {
    for (const bool mean : {true, false}) {
      check_loss<float>(setup, 1, 1, 1, mean, true);
      check_loss<float>(setup, 9, 37, 5, mean, true);
      check_loss<bf16>(setup, 21, 301, 24, mean, false);
      check_loss<f16>(setup, 3, 70, 65, mean, false);
    }
    check_loss<float>(setup, 0, 5, 4, true, true);
  }
}
