// What the decoder refuses. Kernels trust what passed it.
#include <cstring>
#include <string>
#include <vector>

#include "expect.h"
#include "kernels/command.h"

using namespace lowrank;

namespace {

/// One buffer of 64 bytes, by handle 1.
struct OneBuffer final : BufferTable {
  mutable std::byte bytes[64];
  int64_t resolve(double handle, View& view) const override {
    if (handle != 1) return -1;
    view.data = bytes;
    return sizeof bytes;
  }
};

std::string refusal(const char* kernel, const std::vector<double>& numbers) {
  OneBuffer buffers;
  alignas(16) std::byte args[Command::kArgumentBytes];
  for (const KernelInfo& info : kernel_infos()) {
    if (std::strcmp(info.name, kernel) != 0) continue;
    if (static_cast<int>(numbers.size()) != info.numbers) return "another count of numbers";
    const char* error = decode(info, buffers, numbers.data(), args);
    return error == nullptr ? "" : error;
  }
  return "no such kernel";
}

std::vector<double> views(std::vector<std::vector<double>> parts) {
  std::vector<double> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<double> view(DType t, double offset = 0, double rows = 2, double cols = 4, double ld = 4) {
  return {1, static_cast<double>(t), offset, rows, cols, ld};
}

const std::vector<double> kAbsent = {0, 0, 0, 0, 0, 0};

}  // namespace

TEST(decode_accepts_the_dtypes_that_a_kernel_takes) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16}) {
    EXPECT_EQUAL(refusal("cast", views({view(t), view(DType::u8)})), "");
    EXPECT_EQUAL(refusal("copy", views({view(t), view(t)})), "");
    EXPECT_EQUAL(refusal("linear_forward", views({view(DType::f32), view(DType::f32), view(t), kAbsent})), "");
  }
}

TEST(decode_refuses_other_dtypes) {
  const std::string refused = "a view has a dtype that the kernel does not take";
  for (const DType t : {DType::bf16, DType::f16, DType::i32, DType::u8}) {
    EXPECT_EQUAL(refusal("fill", views({view(t), {1}})), refused);
    EXPECT_EQUAL(refusal("relu_forward", views({view(DType::f32), view(t)})), refused);
    EXPECT_EQUAL(refusal("accumulate", views({view(t), view(DType::f32)})), refused);
  }
  EXPECT_EQUAL(refusal("cast", views({view(DType::i32), view(DType::f32)})), refused);
  EXPECT_EQUAL(refusal("argmax", views({view(DType::f32), view(DType::f32)})), refused);
  EXPECT_EQUAL(refusal("linear_forward", views({view(DType::f32), view(DType::f32), view(DType::u8), kAbsent})), refused);
  EXPECT_EQUAL(refusal("copy", views({view(DType::f32), view(DType::bf16)})), "two views differ in dtype");
}

TEST(decode_takes_quantised_weights_whole) {
  const auto cast_of = [](std::vector<double> x) { return refusal("cast", views({view(DType::f32, 0, 0, 0, 0), std::move(x)})); };
  const std::string part = "a view of a part of a quantised weight", past = "a view reaches past the end of its buffer";
  // 32 bytes of codes, 4 of scale codes, 4 for the scale of their group, 4 for the offset; int8: 52 bytes of codes, 12 of scales.
  EXPECT_EQUAL(cast_of(view(DType::nf4, 0, 1, 64, 64)), "");
  EXPECT_EQUAL(cast_of(view(DType::nf4, 0, 2, 64, 64)), past);
  EXPECT_EQUAL(cast_of(view(DType::nf4, 0, 1, 32, 32)), "a view of nf4 has rows that are no multiple of 64 elements");
  EXPECT_EQUAL(cast_of(view(DType::int8, 0, 3, 17, 17)), "");
  EXPECT_EQUAL(cast_of(view(DType::int8, 0, 3, 18, 18)), past);
  EXPECT_EQUAL(cast_of(view(DType::int8, 0, 1e15, 1e15, 1e15)), past);
  EXPECT_EQUAL(cast_of(view(DType::int8, 1, 2, 4, 4)), part);
  EXPECT_EQUAL(cast_of(view(DType::int8, 0, 2, 4, 5)), part);
  const std::string refused = "a view has a dtype that the kernel does not take";
  for (const DType t : {DType::int8, DType::nf4}) {
    EXPECT_EQUAL(refusal("copy", views({view(t, 0, 1, 0, 0), view(t, 0, 1, 0, 0)})), refused);
    EXPECT_EQUAL(refusal("svd", views({kAbsent, kAbsent, kAbsent, view(t, 0, 1, 0, 0)})), refused);
    EXPECT_EQUAL(refusal("cast", views({view(t, 0, 1, 0, 0), view(DType::f32)})), refused);
  }
}

TEST(decode_refuses_views_outside_of_their_buffer) {
  const std::string past = "a view reaches past the end of its buffer";
  EXPECT_EQUAL(refusal("fill", views({view(DType::f32, 0, 4, 4, 4), {1}})), "");
  EXPECT_EQUAL(refusal("fill", views({view(DType::f32, 1, 4, 4, 4), {1}})), past);
  EXPECT_EQUAL(refusal("fill", views({view(DType::f32, 0, 4, 4, 5), {1}})), past);
  EXPECT_EQUAL(refusal("fill", views({view(DType::f32, 0, 2, 4, 3), {1}})), "a view has overlapping rows");
  EXPECT_EQUAL(refusal("fill", views({{2, 0, 0, 1, 1, 1}, {1}})), "a view names a buffer that does not exist");
  EXPECT_EQUAL(refusal("fill", views({{1, 9, 0, 1, 1, 1}, {1}})), "a view has an unknown dtype");
  EXPECT_EQUAL(refusal("fill", views({{1, 0, 0.5, 1, 1, 1}, {1}})), "a view has a size that is not a natural number");
}
