// Rows of the fused LoRA layer against the plain linear layer of the same shape.
#include "harness.h"
#include "reference.h"

namespace bench {

namespace {

using namespace lowrank;

struct LoraCase {
  int64_t m, n, k, r;
  Matrix x, w, a, b, y, h, dy, dx, da, db;
  float scale = 2.0f;
  std::vector<Bytes> memory;

  LoraCase(int64_t m_, int64_t n_, int64_t k_, int64_t r_, DType dtype)
      : m(m_),
        n(n_),
        k(k_),
        r(r_),
        x(m, k, 1),
        w(n, k, 2, dtype),
        a(r, k, 3),
        b(n, r, 4),
        y(m, n, 5),
        h(m, r, 6),
        dy(m, n, 7),
        dx(m, k, 8),
        da(r, k, 9),
        db(n, r, 10) {}

  Dot h_at(int64_t row, int64_t j) const {
    Dot dot;
    for (int64_t i = 0; i < k; ++i) dot.add(x.at(row, i), a.at(j, i));
    return dot;
  }

  Dot dh_at(int64_t row, int64_t j) const {
    Dot dot;
    for (int64_t i = 0; i < n; ++i) dot.add(dy.at(row, i) * static_cast<double>(scale), b.at(i, j));
    return dot;
  }
};

std::string verify_forward(const LoraCase& p, bool fused) {
  for (int64_t row : sampled(p.m)) {
    std::vector<Dot> h;
    for (int64_t j = 0; j < p.r && fused; ++j) h.push_back(p.h_at(row, j));
    for (int64_t c = 0; c < p.n; ++c) {
      Dot dot;
      for (int64_t i = 0; i < p.k; ++i) dot.add(p.x.at(row, i), p.w.at(c, i));
      for (size_t j = 0; j < h.size(); ++j) dot.add(h[j], static_cast<double>(p.scale) * p.b.at(c, static_cast<int64_t>(j)));
      const std::string wrong = compare(p.y.at(row, c), dot, static_cast<double>(p.k + p.r), "y", row, c);
      if (!wrong.empty()) return wrong;
    }
  }
  return "";
}

std::string verify_dx(const LoraCase& p, bool fused) {
  for (int64_t row : sampled(p.m)) {
    std::vector<Dot> dh;
    for (int64_t j = 0; j < p.r && fused; ++j) dh.push_back(p.dh_at(row, j));
    for (int64_t c = 0; c < p.k; ++c) {
      Dot dot;
      for (int64_t i = 0; i < p.n; ++i) dot.add(p.dy.at(row, i), p.w.at(i, c));
      for (size_t j = 0; j < dh.size(); ++j) dot.add(dh[j], p.a.at(static_cast<int64_t>(j), c));
      const std::string wrong = compare(p.dx.at(row, c), dot, static_cast<double>(p.n + p.r), "dx", row, c);
      if (!wrong.empty()) return wrong;
    }
  }
  return "";
}

/// Gradients of a and b. h is an input of the backward kernel: db is checked against the h that it was given.
std::string verify_adapter(const LoraCase& p) {
  for (int64_t j : sampled(p.r)) {
    std::vector<Dot> dh;
    for (int64_t row = 0; row < p.m; ++row) dh.push_back(p.dh_at(row, j));
    for (int64_t c : sampled(p.k)) {
      Dot dot;
      for (int64_t row = 0; row < p.m; ++row) dot.add(dh[static_cast<size_t>(row)], p.x.at(row, c));
      const std::string wrong = compare(p.da.at(j, c), dot, static_cast<double>(p.m + p.n), "da", j, c);
      if (!wrong.empty()) return wrong;
    }
    for (int64_t o : sampled(p.n)) {
      Dot dot;
      for (int64_t row = 0; row < p.m; ++row) dot.add(p.dy.at(row, o) * static_cast<double>(p.scale), p.h.at(row, j));
      const std::string wrong = compare(p.db.at(o, j), dot, static_cast<double>(p.m), "db", o, j);
      if (!wrong.empty()) return wrong;
    }
  }
  return "";
}

std::string shape_of(int64_t m, int64_t n, int64_t k, int64_t r) {
  return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + "r" + std::to_string(r);
}

Row row_of(const LoraCase& p, const std::string& name, const char* form, int threads, double products) {
  Row row;
  row.name = name, row.form = form, row.threads = threads, row.dtype = name_of(p.w.dtype);
  row.shape = shape_of(p.m, p.n, p.k, p.r);
  const double m = static_cast<double>(p.m), n = static_cast<double>(p.n), k = static_cast<double>(p.k), r = static_cast<double>(p.r);
  row.flops = 2 * m * n * k + products * m * r * (n + k);
  return row;
}

/// What fusion may cost: the FLOPs that it adds, half as dear again, and two percent.
double limit_of_fused(const Group& group) {
  const double share = 1 - group[0].flops / group[1].flops;
  return 1 + 1.5 * share + 0.02;
}

Group forward_group(const KernelTable& t, int64_t m, int64_t n, int64_t k, int64_t r, DType dtype, int threads) {
  auto p = std::make_shared<LoraCase>(m, n, k, r, dtype);
  p->memory.resize(2);
  const Out y = p->y.view<Out>(), h = p->h.view<Out>();
  const In x = p->x.view<In>(), w = p->w.view<In>(), a = p->a.view<In>(), b = p->b.view<In>(), none{};
  const float scale = p->scale;
  const Context plain = context_of(threads, t.linear_forward_scratch(threads, y, x, w, none), p->memory[0]);
  const Context fused = context_of(threads, t.lora_forward_scratch(threads, y, h, x, w, none, a, none, b, none, scale, 0, 0), p->memory[1]);
  Group group{row_of(*p, "linear-forward", "NT", threads, 0), row_of(*p, "lora-forward", "NT", threads, 2)};
  group[0].run = [=, &t]() {
    Context ctx = plain;
    t.linear_forward(ctx, y, x, w, none);
  };
  group[0].verify = [=]() { return verify_forward(*p, false); };
  group[1].run = [=, &t]() {
    Context ctx = fused;
    t.lora_forward(ctx, y, h, x, w, none, a, none, b, none, scale, 0, 0);
  };
  group[1].verify = [=]() { return verify_forward(*p, true); };
  group[1].compared_with = group[0].key(), group[1].limit = limit_of_fused(group);
  return group;
}

Group backward_group(const KernelTable& t, int64_t m, int64_t n, int64_t k, int64_t r, DType dtype, int threads) {
  auto p = std::make_shared<LoraCase>(m, n, k, r, dtype);
  p->memory.resize(2);
  const Out dx = p->dx.view<Out>(), da = p->da.view<Out>(), db = p->db.view<Out>(), no{};
  const In x = p->x.view<In>(), w = p->w.view<In>(), a = p->a.view<In>(), b = p->b.view<In>(), h = p->h.view<In>(), dy = p->dy.view<In>(),
           none{};
  const float scale = p->scale;
  const Context plain = context_of(threads, t.linear_backward_scratch(threads, dx, no, no, dy, x, w), p->memory[0]);
  const Context fused =
      context_of(threads, t.lora_backward_scratch(threads, dx, da, no, db, no, dy, x, w, a, none, b, h, none, scale, 0, 0), p->memory[1]);
  Group group{row_of(*p, "linear-dx", "NN", threads, 0), row_of(*p, "lora-dx-da-db", "NN", threads, 4)};
  group[0].run = [=, &t]() {
    Context ctx = plain;
    t.linear_backward(ctx, dx, no, no, dy, x, w);
  };
  group[0].verify = [=]() { return verify_dx(*p, false); };
  group[1].run = [=, &t]() {
    Context ctx = fused;
    t.lora_backward(ctx, dx, da, no, db, no, dy, x, w, a, none, b, h, none, scale, 0, 0);
  };
  group[1].verify = [=]() {
    const std::string wrong = verify_dx(*p, true);
    return wrong.empty() ? verify_adapter(*p) : wrong;
  };
  group[1].compared_with = group[0].key(), group[1].limit = limit_of_fused(group);
  return group;
}

}  // namespace

void add_lora_groups(const Subject& subject, Groups& groups) {
  if (subject.only_products) return;
  const int64_t shapes[][3] = {{2048, 2048, 2048}, {512, 576, 576}};
  for (const auto& s : shapes) {
    for (const int64_t r : {8, 16, 64}) {
      for (const int threads : {1, 2}) {
        for (const DType dtype : {DType::f32, DType::bf16}) {
          const int64_t m = s[0], n = s[1], k = s[2];
          const std::string shape = shape_of(m, n, k, r) + " " + name_of(dtype) + " x" + std::to_string(threads);
          const KernelTable& t = *subject.table;
          if (subject.wants("lora-forward " + shape)) groups.push_back([=, &t]() { return forward_group(t, m, n, k, r, dtype, threads); });
          if (subject.wants("lora-dx-da-db " + shape))
            groups.push_back([=, &t]() { return backward_group(t, m, n, k, r, dtype, threads); });
        }
      }
    }
  }
}

}  // namespace bench
