// Kernels that move numbers, and random numbers: bit-exact.
#include "core/rng.h"
#include "kernel_harness.h"

using namespace test;

namespace {

struct Shape {
  int64_t rows, cols;
};

const std::vector<Shape> kShapes = {{0, 5}, {5, 0}, {1, 1}, {3, 7}, {2, 8}, {7, 9}, {5, 17}, {3, 33}, {4, 64}, {37, 1000}, {1, 40001}};

template <class T>
void check_copy() {
  for (const Setup& setup : setups()) {
    for (const Shape& shape : kShapes) {
      Matrix<T> x(setup, shape.rows, shape.cols), y(setup, shape.rows, shape.cols);
      x.randomize(1, 0, 200);
      RUN_OK_K(setup, copy, y, x);
      for (int64_t r = 0; r < shape.rows; ++r)
        for (int64_t c = 0; c < shape.cols; ++c) CHECK(std::memcmp(&y.at(r, c), &x.at(r, c), sizeof(T)) == 0, setup.name());
    }
  }
}

}  // namespace

TEST(memory_fill) {
  for (const Setup& setup : setups()) {
    for (const Shape& shape : kShapes) {
      Matrix<float> y(setup, shape.rows, shape.cols);
      RUN_OK_K(setup, fill, y, -2.5f);
      for (int64_t r = 0; r < shape.rows; ++r)
        for (int64_t c = 0; c < shape.cols; ++c) CHECK(y.at(r, c) == -2.5f, setup.name());
    }
  }
}

TEST(memory_copy) {
  check_copy<float>();
  check_copy<bf16>();
  check_copy<f16>();
  check_copy<int32_t>();
  check_copy<uint8_t>();
}

TEST(memory_transpose) {
  for (const Setup& setup : setups()) {
    for (int batch : {1, 3}) {
      for (int64_t m : {0, 1, 3, 8, 17, 70}) {
        for (int64_t n : {0, 1, 7, 9, 64, 130}) {
          Matrix<float> x(setup, batch * m, n), y(setup, batch * n, m);
          x.randomize(2);
          RUN_OK_K(setup, transpose, y, x, batch);
          for (int64_t b = 0; b < batch; ++b)
            for (int64_t r = 0; r < m; ++r)
              for (int64_t c = 0; c < n; ++c) CHECK(y.at(b * n + c, r) == x.at(b * m + r, c), setup.name(), " ", m, " x ", n);
        }
      }
    }
  }
}

TEST(memory_accumulate) {
  for (const Setup& setup : setups()) {
    for (const Shape& shape : kShapes) {
      Matrix<float> x(setup, shape.rows, shape.cols), y(setup, shape.rows, shape.cols), before(setup, shape.rows, shape.cols);
      x.randomize(3), y.randomize(4), before.randomize(4);
      RUN_OK_K(setup, accumulate, y, x);
      for (int64_t r = 0; r < shape.rows; ++r)
        for (int64_t c = 0; c < shape.cols; ++c) CHECK(y.at(r, c) == before.at(r, c) + x.at(r, c), setup.name());
    }
  }
}

// The known-answer vectors of Random123.
TEST(rng_philox_known_answers) {
  constexpr uint32_t kOnes = 0xffffffffu;
  const Philox4 zero{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}, ones{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
  const Philox4 pi{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u};
  CHECK(philox({0, 0, 0, 0}, 0) == zero, "counter 0, key 0");
  CHECK(philox({kOnes, kOnes, kOnes, kOnes}, ~uint64_t{0}) == ones, "all ones");
  CHECK(philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, 0x299f31d0a4093822u) == pi, "digits of pi");
}

TEST(rng_uniform) {
  constexpr uint64_t kSeed = 0x0123456789abcdefu, kSite = 0xfedcba9876543210u;
  for (const Setup& setup : setups()) {
    for (const Shape& shape : kShapes) {
      Matrix<float> y(setup, shape.rows, shape.cols);
      RUN_OK_K(setup, uniform, y, kSeed, kSite, -3.0f, 5.0f);
      for (int64_t r = 0; r < shape.rows; ++r) {
        for (int64_t c = 0; c < shape.cols; ++c) {
          const auto e = static_cast<uint64_t>(r * shape.cols + c);
          const Philox4 words = philox({static_cast<uint32_t>(e / 4), 0, 0, static_cast<uint32_t>(kSite)}, kSeed);
          const double unit = std::ldexp(static_cast<double>(words[e % 4] >> 8), -24);
          CHECK(std::abs(static_cast<double>(y.at(r, c)) - (-3 + 8 * unit)) <= 8 * 0x1p-23, setup.name(), " element ", e);
        }
      }
    }
  }
}

// The mean of 40,000 uniform numbers is within 5 standard deviations of the middle, and so is the variance.
TEST(rng_uniform_is_uniform) {
  for (const Setup& setup : setups()) {
    Matrix<float> y(setup, 1, 40000);
    RUN_OK_K(setup, uniform, y, 1, 2, 0.0f, 1.0f);
    double mean = 0, square = 0;
    for (int64_t c = 0; c < y.cols(); ++c) mean += static_cast<double>(y.at(0, c)) / 40000;
    for (int64_t c = 0; c < y.cols(); ++c) square += std::pow(static_cast<double>(y.at(0, c)) - mean, 2) / 40000;
    CHECK(std::abs(mean - 0.5) < 5 * std::sqrt(1 / 12.0 / 40000), setup.name(), " mean ", mean);
    CHECK(std::abs(square - 1 / 12.0) < 5 * std::sqrt(1 / 180.0 / 40000), setup.name(), " variance ", square);
  }
}
