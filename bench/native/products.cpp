// Rows of matrix products: the three forms with f32 and bf16 weights, scaling to two threads, and decoding.
#include "harness.h"
#include "reference.h"

namespace bench {

namespace {

using namespace lowrank;

struct ProductCase {
  Matrix c, a, b;
  std::shared_ptr<std::vector<std::byte>> memory;
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
  if (m == 1) row.bytes = static_cast<double>(n * k * bytes_of(dtype));
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

}  // namespace

void add_product_groups(const KernelTable& t, const Filter& wanted, std::vector<std::function<Group()>>& groups) {
  const int64_t shapes[][3] = {{1024, 1024, 1024}, {512, 576, 1536}, {512, 1536, 576}};
  for (const auto& s : shapes) {
    const int64_t m = s[0], n = s[1], k = s[2];
    if (!wanted("product " + shape_of(m, n, k))) continue;
    groups.push_back([=, &t]() {
      Group group;
      for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const char* form : {"NT", "NN", "TN"}) {
          if (dtype == DType::f32 || std::string(form) != "TN") group.push_back(product_row(t, "product", form, dtype, m, n, k, 1));
        }
      }
      return group;
    });
  }
  if (wanted("scaling " + shape_of(2048, 2048, 2048))) {
    groups.push_back([&t]() {
      Group group{product_row(t, "scaling", "NT", DType::f32, 2048, 2048, 2048, 1),
                  product_row(t, "scaling", "NT", DType::f32, 2048, 2048, 2048, 2)};
      group[1].compared_with = group[0].key(), group[1].limit = 1 / 1.6;
      return group;
    });
  }
  if (wanted("decode " + shape_of(1, 4096, 4096))) {
    groups.push_back([&t]() {
      Group group;
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        group.push_back(product_row(t, "decode", "NT", dtype, 1, 4096, 4096, 1));
        group.push_back(product_row(t, "decode", "NT", dtype, 1, 4096, 4096, 2));
      }
      group.push_back(product_row(t, "decode", "NN", DType::f32, 1, 4096, 4096, 1));
      return group;
    });
  }
}

}  // namespace bench
