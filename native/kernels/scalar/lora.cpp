// The LoRA linear layer with a middle factor m (absent, diagonal or R x R) and dropout on the adapter's input.
#include "kernels/scalar/kernels.h"
#include "kernels/scalar/products.h"
#include "kernels/scalar/random.h"
#include "kernels/scalar/sums.h"

namespace lowrank::scalar {

namespace {

/// Hands out f32 matrices from scratch memory, or counts their bytes when there is none.
class Scratch {
 public:
  explicit Scratch(std::byte* start = nullptr) : start_(start) {}

  View take(int64_t rows, int64_t cols) {
    View v = ViewOf<float>::make(start_ ? reinterpret_cast<float*>(start_ + bytes_) : nullptr, rows, cols, cols);
    bytes_ += ceil_div(rows * cols * bytes_of(DType::f32), 64) * 64;
    return v;
  }

  int64_t bytes() const { return bytes_; }

 private:
  std::byte* start_;
  int64_t bytes_ = 0;
};

bool is_diagonal(const View& m, int64_t rank) { return m.rows == 1 && rank != 1; }

/// y = x m, or x m^T
Status times_middle(Context& ctx, const View& y, const View& x, const In& m, bool transposed) {
  if (!is_diagonal(m, x.cols)) return transposed ? product_nt(ctx, y, x, m, View{}, 1.0f, false) : product_nn(ctx, y, x, m, 1.0f, false);
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) y.row<float>(r)[c] = x.row<const float>(r)[c] * m.row<const float>(0)[c];
  });
}

/// The intermediate matrices of the forward pass; those that need no memory of their own name an argument.
struct ForwardBuffers {
  View h, hm, dropped;

  ForwardBuffers(Scratch& scratch, const Out& h_out, const In& x, const In& a, const In& m, float p)
      : h(h_out ? View(h_out) : scratch.take(x.rows, a.rows)),
        hm(m ? scratch.take(x.rows, a.rows) : h),
        dropped(p > 0 ? scratch.take(x.rows, x.cols) : View(x)) {}
};

struct BackwardBuffers {
  View dh, dhm, hm, dropped;

  BackwardBuffers(Scratch& scratch, const Out& da, const Out& db, const In& x, const In& a, const In& m, const In& h, float p)
      : dh(scratch.take(x.rows, a.rows)),
        dhm(m ? scratch.take(x.rows, a.rows) : dh),
        hm(m && db ? scratch.take(x.rows, a.rows) : View(h)),
        dropped(p > 0 && da ? scratch.take(x.rows, x.cols) : View(x)) {}
};

}  // namespace

// h = drop(x) a^T; y = x w^T + bias + scale (h m) b^T
Status lora_forward(Context& ctx, Out y, Out h, In x, In w, In bias, In a, In m, In b, In record, f32 scale, f32 p, u64 site) {
  Scratch scratch(ctx.scratch);
  const ForwardBuffers t(scratch, h, x, a, m, p);
  Status status;
  if (p > 0) status = drop(ctx, t.dropped, x, record_of(record), p, site);
  if (status.ok()) status = product_nt(ctx, t.h, t.dropped, a, View{}, 1.0f, false);
  if (m && status.ok()) status = times_middle(ctx, t.hm, t.h, m, false);
  if (status.ok()) status = product_nt(ctx, y, x, w, bias, 1.0f, false);
  if (status.ok()) status = product_nt(ctx, y, t.hm, b, View{}, scale, true);
  return status;
}

int64_t lora_forward_scratch(int, Out, Out h, In x, In, In, In a, In m, In, In, f32, f32 p, u64) {
  Scratch scratch;
  ForwardBuffers(scratch, h, x, a, m, p);
  return scratch.bytes();
}

// dh = scale dy b; db = scale dy^T (h m); dm = h^T dh; da = (dh m^T)^T drop(x); dx = dy w + drop'((dh m^T) a); dbias = column sums of dy
Status lora_backward(Context& ctx, Out dx, Out da, Out dm, Out db, Out dbias, In dy, In x, In w, In a, In m, In b, In h, In record,
                     f32 scale, f32 p, u64 site) {
  Scratch scratch(ctx.scratch);
  const BackwardBuffers t(scratch, da, db, x, a, m, h, p);
  Status status = product_nn(ctx, t.dh, dy, b, scale, false);
  if (m && status.ok()) status = times_middle(ctx, t.dhm, t.dh, m, true);
  if (db && m && status.ok()) status = times_middle(ctx, t.hm, h, m, false);
  if (db && status.ok()) status = product_tn(ctx, db, dy, t.hm, scale, false);
  if (dm && status.ok()) {
    const auto term = [&](int64_t r, int64_t c) { return h.row<const float>(r)[c] * t.dh.row<const float>(r)[c]; };
    status = is_diagonal(m, a.rows) ? column_sums(ctx, dm, h.rows, 1.0f, term) : product_tn(ctx, dm, h, t.dh, 1.0f, false);
  }
  if (da && p > 0 && status.ok()) status = drop(ctx, t.dropped, x, record_of(record), p, site);
  if (da && status.ok()) status = product_tn(ctx, da, t.dhm, t.dropped, 1.0f, false);
  if (dx && status.ok()) status = product_nn(ctx, dx, t.dhm, a, 1.0f, false);
  if (dx && p > 0 && status.ok()) status = drop(ctx, dx, dx, record_of(record), p, site);
  if (dx && status.ok()) status = product_nn(ctx, dx, dy, w, 1.0f, true);
  if (dbias && status.ok())
    status = column_sums(ctx, dbias, dy.rows, 1.0f, [&](int64_t r, int64_t c) { return dy.row<const float>(r)[c]; });
  return status;
}

int64_t lora_backward_scratch(int, Out, Out da, Out, Out db, Out, In, In x, In, In a, In m, In, In h, In, f32, f32 p, u64) {
  Scratch scratch;
  BackwardBuffers(scratch, da, db, x, a, m, h, p);
  return scratch.bytes();
}

}  // namespace lowrank::scalar
