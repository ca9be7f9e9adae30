// The LoRA linear layer. The rank is a longer K: y = [x | u] [w | b]^T with u = scale h m, and dx = [dy | v] [w ; a] with v = dh m^T.

bool is_diagonal(const View& m, int64_t rank) { return m.rows == 1 && rank != 1; }

/// Appends c += a b to a product along K.
void append(Product& p, const Segment& s) { p.segments[1] = s; }

/// y = factor * x m, or x m^T; m is absent, diagonal or a matrix. y may be x unless m is a matrix.
Status times_middle(Context& ctx, const View& y, const View& x, const View& m, bool transposed, float factor, std::byte* scratch) {
  if (!m) return map(ctx, y, x, Scaled{factor});
  if (is_diagonal(m, x.cols)) return map(ctx, y, x, m, ScaledBy{factor});
  const Status status = compute(ctx, transposed ? product_nt(y, x, m, View{}) : product_nn(y, x, m), scratch);
  if (!status.ok() || factor == 1.0f) return status;
  return map(ctx, y, y, Scaled{factor});
}

int64_t middle_scratch(int threads, const View& y, const View& x, const View& m, bool transposed) {
  if (!m || is_diagonal(m, x.cols)) return 0;
  return product_scratch(threads, transposed ? product_nt(y, x, m, View{}) : product_nn(y, x, m));
}

// --- forward ---

struct LoraForward {
  View h, u;
  Dropout dropout;
  Product skinny, fused;
  std::byte* shared;  // scratch of one product at a time
  int64_t bytes;
};

/// The steps of a forward pass. With `base` null it only counts bytes; with p > 0 the record is read when there is memory.
void plan_forward(LoraForward& f, int threads, std::byte* base, const View& y, const View& h, const View& x, const View& w,
                  const View& bias, const View& a, const View& m, const View& b, const View& record, float p, uint64_t site) {
  Scratch scratch{base};
  f.h = h ? h : matrix_of(scratch.take(x.rows * a.rows), x.rows, a.rows);
  f.u = matrix_of(scratch.take(x.rows * a.rows), x.rows, a.rows);
  f.skinny = product_nt(f.h, x, a, View{});
  if (p > 0) {
    if (base) f.dropout = make_dropout(record, p, site);
    f.skinny.segments[0].a.dropout = &f.dropout;
  }
  f.fused = product_nt(y, x, w, bias);
  append(f.fused, {factor_of(f.u, true), factor_of(b, true), a.rows});
  f.shared = base ? base + scratch.used : nullptr;
  f.bytes = scratch.used + greater(middle_scratch(threads, f.u, f.h, m, false),
                                   greater(product_scratch(threads, f.skinny), product_scratch(threads, f.fused)));
}

Status lora_forward(Context& ctx, Out y, Out h, In x, In w, In bias, In a, In m, In b, In record, f32 scale, f32 p, u64 site) {
  LoraForward f;
  plan_forward(f, ctx.threads(), ctx.scratch, y, h, x, w, bias, a, m, b, record, p, site);
  Status status = compute(ctx, f.skinny, f.shared);
  if (status.ok()) status = times_middle(ctx, f.u, f.h, m, false, scale, f.shared);
  if (status.ok()) status = compute(ctx, f.fused, f.shared);
  return status;
}

int64_t lora_forward_scratch(int threads, Out y, Out h, In x, In w, In bias, In a, In m, In b, In record, f32, f32 p, u64 site) {
  LoraForward f;
  plan_forward(f, threads, nullptr, y, h, x, w, bias, a, m, b, record, p, site);
  return f.bytes;
}

// --- backward ---

/// Whether db = dy^T u is rather computed as u^T dy, the same sums: dy then fills whole vectors, and far rows of it are read in chunks.
bool turns_db(const View& dy, int64_t rank) {
  constexpr int64_t kFewest = 4;  // a tile of fewer rows waits for its own sums
  return rank >= kFewest && rank <= (lies_close(factor_of(dy, false)) ? kWidth : kUnpackedRows);
}

/// c = t^T
Status turn(Context& ctx, const View& c, const View& t) {
  return for_each_row(ctx, c.rows, c.cols, [&](int64_t r) {
    for (int64_t i = 0; i < c.cols; ++i) c.row<float>(r)[i] = t.row<const float>(i)[r];
  });
}

struct LoraBackward {
  View dh, v, u, turned_db;  // dh = scale dy b; v = dh m^T; u = scale h m; turned_db = db^T, or absent
  Dropout dropout;
  Product for_dh, for_da, for_db, for_dm, for_dx, adapter_dx;  // adapter_dx: with dropout, its part of dx apart
  std::byte* shared;
  int64_t bytes;
};

void plan_backward(LoraBackward& f, int threads, std::byte* base, const View& dx, const View& da, const View& dm, const View& db,
                   const View& dy, const View& x, const View& w, const View& a, const View& m, const View& b, const View& h,
                   const View& record, float p, uint64_t site) {
  const int64_t rows = dy.rows, rank = a.rows;
  Scratch scratch{base};
  f.dh = matrix_of(scratch.take(rows * rank), rows, rank);
  f.v = m ? matrix_of(scratch.take(rows * rank), rows, rank) : f.dh;
  f.u = matrix_of(db ? scratch.take(rows * rank) : nullptr, rows, rank);
  f.for_dh = product_nn(f.dh, dy, b);
  int64_t shared = greater(product_scratch(threads, f.for_dh),
                           greater(middle_scratch(threads, f.v, f.dh, m, true), middle_scratch(threads, f.u, h, m, false)));
  if (p > 0 && base) f.dropout = make_dropout(record, p, site);
  if (db && turns_db(dy, rank)) {
    f.turned_db = matrix_of(scratch.take(rank * db.rows), rank, db.rows);
    f.for_db = product_tn(f.turned_db, f.u, dy);
  } else if (db) {
    f.for_db = product_tn(db, dy, f.u);
  }
  if (dm && !is_diagonal(m, rank)) f.for_dm = product_tn(dm, h, f.dh);
  if (da) {
    f.for_da = product_tn(da, f.v, x);
    if (p > 0) f.for_da.segments[0].b.dropout = &f.dropout;
  }
  if (dx) {
    f.for_dx = product_nn(dx, dy, w);
    f.adapter_dx = product_nn(dx, f.v, a);
    if (p > 0) {
      f.for_dx.accumulate = true;
    } else {
      append(f.for_dx, f.adapter_dx.segments[0]);
    }
  }
  for (const Product* product : {&f.for_da, &f.for_db, &f.for_dm, &f.for_dx, &f.adapter_dx})
    shared = greater(shared, product_scratch(threads, *product));
  f.shared = base ? base + scratch.used : nullptr;
  f.bytes = scratch.used + shared;
}

/// dx = dy w + the adapter's part, of which dropout takes its share first.
Status backward_dx(Context& ctx, const LoraBackward& f, const View& dx, float p) {
  Status status;
  if (p > 0) {
    status = compute(ctx, f.adapter_dx, f.shared);
    if (status.ok()) status = drop_matrix(ctx, dx, dx, f.dropout);
  }
  return status.ok() ? compute(ctx, f.for_dx, f.shared) : status;
}

Status lora_backward(Context& ctx, Out dx, Out da, Out dm, Out db, Out dbias, In dy, In x, In w, In a, In m, In b, In h, In record,
                     f32 scale, f32 p, u64 site) {
  LoraBackward f;
  plan_backward(f, ctx.threads(), ctx.scratch, dx, da, dm, db, dy, x, w, a, m, b, h, record, p, site);
  Status status;
  if (dx || da || dm) {
    status = compute(ctx, f.for_dh, f.shared);
    if (status.ok() && scale != 1.0f) status = map(ctx, f.dh, f.dh, Scaled{scale});
    if (status.ok() && m) status = times_middle(ctx, f.v, f.dh, m, true, 1.0f, f.shared);
  }
  if (db && status.ok()) {
    status = times_middle(ctx, f.u, h, m, false, scale, f.shared);
    if (status.ok()) status = compute(ctx, f.for_db, f.shared);
    if (status.ok() && turns_db(dy, a.rows)) status = turn(ctx, db, f.turned_db);
  }
  if (dm && status.ok()) status = is_diagonal(m, a.rows) ? column_sums(ctx, dm, h, f.dh, h.rows, 1.0f) : compute(ctx, f.for_dm, f.shared);
  if (da && status.ok()) status = compute(ctx, f.for_da, f.shared);
  if (dx && status.ok()) status = backward_dx(ctx, f, dx, p);
  if (dbias && status.ok()) status = column_sums(ctx, dbias, dy, View{}, dy.rows, 1.0f);
  return status;
}

int64_t lora_backward_scratch(int threads, Out dx, Out da, Out dm, Out db, Out, In dy, In x, In w, In a, In m, In b, In h, In record, f32,
                              f32 p, u64 site) {
  LoraBackward f;
  plan_backward(f, threads, nullptr, dx, da, dm, db, dy, x, w, a, m, b, h, record, p, site);
  return f.bytes;
}
