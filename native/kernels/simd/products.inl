// linear and matmul: views turned into products, computed by the path that suits their shape.

/// Computes a product by the path that suits its shape. `scratch` has `product_scratch(threads, p)` bytes.
Status compute(Context& ctx, const Product& p, std::byte* scratch) {
  const int64_t work = 2 * p.batch * p.m * p.n * (p.segments[0].k + p.segments[1].k);
  if (is_few_dots(p)) return run_tiles(ctx, p.batch * divide_up(p.n, kDotTask), work, [&](int64_t i) { few_dots_task(p, i); });
  if (is_axpy(p)) return run_tiles(ctx, p.batch * divide_up(p.n, kAxpyTask), work, [&](int64_t i) { axpy_task(p, i); });
  if (is_few_columns(p)) return few_columns(ctx, p, scratch);
  return multiply(ctx, p, scratch);
}

int64_t product_scratch(int threads, const Product& p) {
  if (is_few_dots(p) || is_axpy(p)) return 0;
  return is_few_columns(p) ? few_columns_scratch(p) : multiply_scratch(threads, p);
}

/// c[M, N] = a[M, K] b[N, K]^T (+ bias)
Product product_nt(const View& c, const View& a, const View& b, const View& bias) {
  Product p;
  p.m = c.rows, p.n = c.cols, p.c = c.row<float>(0), p.ldc = c.ld;
  p.bias = bias ? bias.row<const float>(0) : nullptr;
  p.segments[0] = {factor_of(a, true), factor_of(b, true), a.cols};
  return p;
}

/// c[M, N] = a[M, K] b[K, N]
Product product_nn(const View& c, const View& a, const View& b) {
  Product p;
  p.m = c.rows, p.n = c.cols, p.c = c.row<float>(0), p.ldc = c.ld;
  p.segments[0] = {factor_of(a, true), factor_of(b, false), a.cols};
  return p;
}

/// c[M, N] = a[K, M]^T b[K, N]
Product product_tn(const View& c, const View& a, const View& b) {
  Product p;
  p.m = c.rows, p.n = c.cols, p.c = c.row<float>(0), p.ldc = c.ld;
  p.segments[0] = {factor_of(a, false), factor_of(b, false), a.rows};
  return p;
}

Status linear_forward(Context& ctx, Out y, In x, In w, In bias) { return compute(ctx, product_nt(y, x, w, bias), ctx.scratch); }

int64_t linear_forward_scratch(int threads, Out y, In x, In w, In bias) { return product_scratch(threads, product_nt(y, x, w, bias)); }

Status linear_backward(Context& ctx, Out dx, Out dw, Out dbias, In dy, In x, In w) {
  Status status;
  if (dx) status = compute(ctx, product_nn(dx, dy, w), ctx.scratch);
  if (dw && status.ok()) status = compute(ctx, product_tn(dw, dy, x), ctx.scratch);
  if (dbias && status.ok()) status = column_sums(ctx, dbias, dy, View{}, dy.rows, 1.0f);
  return status;
}

int64_t linear_backward_scratch(int threads, Out dx, Out dw, Out, In dy, In x, In w) {
  const int64_t for_dx = dx ? product_scratch(threads, product_nn(dx, dy, w)) : 0,
                for_dw = dw ? product_scratch(threads, product_tn(dw, dy, x)) : 0;
  return greater(for_dx, for_dw);
}

Product batched_product(const View& c, const View& a, const View& b, int32_t batch, int32_t form) {
  const auto first = [batch](View v) {
    v.rows /= batch;
    return v;
  };
  const View c0 = first(c), a0 = first(a), b0 = first(b);
  Product p = form == 0 ? product_nn(c0, a0, b0) : form == 1 ? product_nt(c0, a0, b0, View{}) : product_tn(c0, a0, b0);
  p.batch = batch, p.c_batch_stride = c0.rows * c.ld;
  p.segments[0].a.batch_stride = a0.rows * a.ld, p.segments[0].b.batch_stride = b0.rows * b.ld;
  return p;
}

Status matmul(Context& ctx, Out c, In a, In b, i32 batch, i32 form) {
  return batch > 0 ? compute(ctx, batched_product(c, a, b, batch, form), ctx.scratch) : Status{};
}

int64_t matmul_scratch(int threads, Out c, In a, In b, i32 batch, i32 form) {
  return batch > 0 ? product_scratch(threads, batched_product(c, a, b, batch, form)) : 0;
}
