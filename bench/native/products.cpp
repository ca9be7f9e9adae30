// Rows of matrix products: the three forms, with weights of every type, and decoding.
#include "harness.h"
#include "reference.h"

namespace bench {

namespace {

using namespace lowrank;

struct ProductCase {
  Matrix c, a, b;
  Bytes memory;
};

std::string shape_of(int64_t m, int64_t n, int64_t k) { return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k); }

std::string verify_product(const ProductCase& p, const std::string& form, int64_t k) {
  for (int64_t r : sampled(p.c.rows)) {
    for (int64_t c = 0; c < p.c.cols; ++c) {
      Dot dot;
      for (int64_t i = 0; i < k; ++i) dot.add(form == "TN" ? p.a.at(i, r) : p.a.at(r, i), form == "NT" ? p.b.at(c, i) : p.b.at(i, c));
      const std::string wrong = compare(p.c.at(r, c), dot, static_cast<double>(k), "c", r, c);
      if (!wrong.empty()) return wrong;
    }
  }
  return "";
}

/// C[M, N] over K, through the linear kernels: forward is NT, dx is NN, dw is TN.
Row product_row(const KernelTable& t, const std::string& name, const std::string& form, DType dtype, int64_t m, int64_t n, int64_t k,
                int threads) {
  const bool tn = form == "TN", nt = form == "NT";
  auto p = std::make_shared<ProductCase>(
      ProductCase{Matrix(m, n, 1), Matrix(tn ? k : m, tn ? m : k, 2), Matrix(nt ? n : k, nt ? k : n, 3, dtype), nullptr});
  Row row;
  row.name = name, row.shape = shape_of(m, n, k), row.form = form, row.dtype = name_of(dtype), row.threads = threads;
  row.flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  if (m == 1) row.bytes = static_cast<double>(p->b.bytes()), row.only_reads = true;
  const Out c = p->c.view<Out>(), none{};
  const In a = p->a.view<In>(), b = p->b.view<In>(), no_bias{};
  const int64_t scratch = nt   ? t.linear_forward_scratch(threads, c, a, b, no_bias)
                          : tn ? t.linear_backward_scratch(threads, none, c, none, a, b, b)
                               : t.linear_backward_scratch(threads, c, none, none, a, a, b);
  const Context context = context_of(threads, scratch, p->memory);
  row.run = [=, &t]() {
    Context ctx = context;
    if (nt) t.linear_forward(ctx, c, a, b, no_bias);
    if (tn) t.linear_backward(ctx, none, c, none, a, b, b);
    if (!nt && !tn) t.linear_backward(ctx, c, none, none, a, a, b);
  };
  row.verify = [=]() { return verify_product(*p, form, k); };
  return row;
}

/// Types of weights beside f32, and the smallest share of the speed with f32 that each is to have.
constexpr struct {
  DType dtype;
  double share;
} kWeights[] = {{DType::bf16, 0.94}, {DType::f16, 0.94}, {DType::int8, 0.88}, {DType::nf4, 0.88}};

/// The forms side by side, on one number of threads; weights of other types beside f32.
Group product_group(const Subject& subject, int64_t m, int64_t n, int64_t k, int threads) {
  Group group;
  for (const char* form : {"NT", "NN", "TN"}) group.push_back(product_row(*subject.table, "product", form, DType::f32, m, n, k, threads));
  if (subject.only_products) return group;
  for (const auto& weight : kWeights) {
    for (const size_t form : {size_t{0}, size_t{1}}) {
      Row row = product_row(*subject.table, "product", group[form].form, weight.dtype, m, n, k, threads);
      row.compared_with = group[form].key(), row.limit = 1 / weight.share;
      group.push_back(std::move(row));
    }
  }
  return group;
}

Group decode_group(const Subject& subject, int64_t n, int64_t k, int threads) {
  Group group{product_row(*subject.table, "decode", "NT", DType::f32, 1, n, k, threads)};
  if (subject.only_products) return group;
  for (const auto& weight : kWeights) group.push_back(product_row(*subject.table, "decode", "NT", weight.dtype, 1, n, k, threads));
  return group;
}

}  // namespace

void add_product_groups(const Subject& subject, Groups& groups) {
  const int64_t shapes[][3] = {{2048, 2048, 2048}, {1024, 1024, 1024}, {512, 576, 576},  {512, 576, 1536},
                               {512, 1536, 576},   {4096, 576, 576},   {512, 2048, 8192}};
  for (const auto& s : shapes) {
    for (const int threads : {1, 2}) {
      const int64_t m = s[0], n = s[1], k = s[2];
      if (subject.wants("product " + shape_of(m, n, k) + " x" + std::to_string(threads)))
        groups.push_back([=, &subject]() { return product_group(subject, m, n, k, threads); });
    }
  }
  for (const int threads : {1, 2}) {
    constexpr int64_t kOut = 16384, kIn = 4096;  // weights of 128 MB in two bytes: more than the caches hold
    if (subject.wants("decode " + shape_of(1, kOut, kIn) + " x" + std::to_string(threads)))
      groups.push_back([=, &subject]() { return decode_group(subject, kOut, kIn, threads); });
  }
}

}  // namespace bench
