// Weights as int8 and nf4: the same bytes on every backend, the floats that they stand for, and products with them. What bitsandbytes makes
// of the same numbers is tested in test/ops/quantize.test.ts.
#include "oracle.h"

using namespace test;

namespace {

/// A quantised weight in memory of exactly its bytes.
class Quantized {
 public:
  Quantized(DType t, int64_t rows, int64_t cols)
      : bytes_(quantized_bytes(t, rows, cols)), storage_(new std::byte[static_cast<size_t>(bytes_)]) {
    std::memset(storage_.get(), 0xA5, static_cast<size_t>(bytes_));
    view_.data = storage_.get(), view_.dtype = t, view_.rows = rows, view_.cols = cols, view_.ld = cols;
  }

  /// Quantises x in two pieces.
  Status quantize(const Setup& setup, const Matrix<float>& x) {
    Matrix<float> absmax(setups()[0], 1, view_.dtype == DType::nf4 ? nf4_blocks(x.rows(), x.cols()) : 0);
    const Out scales = view_.dtype == DType::nf4 ? Out(absmax) : Out{};
    Context context{pool_of(2), nullptr, nullptr};
    const View all = static_cast<In>(x);
    const int64_t half = x.rows() / 2;
    Status status = setup.table->quantize_rows(context, out(), scales, as_in(rows_of(all, 0, half)), 0);
    if (status.ok())
      status = setup.table->quantize_rows(context, out(), scales, as_in(rows_of(all, half, x.rows() - half)), static_cast<i32>(half));
    if (status.ok() && scales) status = setup.table->quantize_scales(context, out(), absmax);
    return status;
  }

  operator In() const { return as_in(view_); }
  std::string bytes() const { return {reinterpret_cast<const char*>(storage_.get()), static_cast<size_t>(bytes_)}; }

 private:
  static In as_in(const View& v) {
    In in;
    static_cast<View&>(in) = v;
    return in;
  }
  Out out() const {
    Out out;
    static_cast<View&>(out) = view_;
    return out;
  }

  int64_t bytes_;
  std::unique_ptr<std::byte[]> storage_;
  View view_;
};

struct Sizes {
  int64_t m, o, i;
};

const Sizes kSizes[] = {{0, 7, 64}, {3, 0, 64},    {5, 3, 0},      {1, 1, 64},     {2, 9, 192},  {3, 33, 320},
                        {8, 7, 64}, {17, 33, 128}, {70, 130, 576}, {1, 300, 2112}, {2, 97, 704}, {150, 40, 1088}};

void check_products(DType t, int64_t more) {
  for (const Sizes& n : kSizes) {
    const int64_t i = n.i == 0 ? 0 : n.i + more;
    std::string first;
    for (const Setup& setup : setups()) {
      Matrix<float> x(setup, n.m, i), y(setup, n.m, n.o), dy(setup, n.m, n.o), dx(setup, n.m, i), source(setup, n.o, i),
          plain(setup, n.o, i);
      x.randomize(1), source.randomize(2), dy.randomize(4);
      const std::string what = text(name_of(t), " M ", n.m, " O ", n.o, " I ", i, " on ", setup.name());
      Quantized w(t, n.o, i);
      CHECK(w.quantize(setup, source).ok(), what);
      if (first.empty()) first = w.bytes();
      CHECK(w.bytes() == first, what, ": other bytes than on ", setups()[0].name());
      RUN_OK_K(setup, cast, plain, w);
      Matrix<float> expected(setup, n.o, i);
      Context context{pool_of(1), nullptr, nullptr};
      CHECK(kernel_table("scalar")->cast(context, expected, w).ok(), what);
      for (int64_t r = 0; r < n.o; ++r)
        for (int64_t c = 0; c < i; ++c) CHECK(plain.at(r, c) == expected.at(r, c), what, " at ", r, ", ", c);
      RUN_OK_S(setup, linear_forward, y, x, w, In{});
      EXPECT_MATRIX(what, y, product(Mat::of(x), transposed(Mat::of(plain))));
      RUN_OK_S(setup, linear_backward, dx, Out{}, Out{}, dy, x, w);
      EXPECT_MATRIX(what + " dx", dx, product(Mat::of(dy), Mat::of(plain)));
    }
  }
}

}  // namespace

TEST(quantized_nf4) { check_products(DType::nf4, 0); }
TEST(quantized_int8) { check_products(DType::int8, 0); }
TEST(quantized_int8_ragged) { check_products(DType::int8, 3); }

TEST(quantized_rows_must_be_finite) {
  for (const Setup& setup : setups()) {
    for (const DType t : {DType::int8, DType::nf4}) {
      for (const float bad : {NAN, INFINITY, -INFINITY, 0x1p127f}) {
        Matrix<float> x(setup, 9, 128);
        x.randomize(1).at(6, 127) = bad;
        Quantized w(t, 9, 128);
        const Status status = w.quantize(setup, x);
        CHECK(status.code == Code::not_finite && status.at == 6, name_of(t), " ", bad, " on ", setup.name(), ": row ", status.at);
      }
    }
  }
}
