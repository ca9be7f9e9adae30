// Products with one to three rows (decoding): every weight is used once or twice, so the weights are read in place, once, in order.

constexpr int64_t kFewRows = 3;
constexpr int64_t kDotColumns = 8, kDotTask = 64;  // columns computed side by side, at most; columns of one task
constexpr int64_t kAxpyTask = 512;                 // columns of one task

bool is_few_dots(const Product& p) {
  const bool plain = !p.segments[0].a.dropout && !p.segments[0].b.dropout;
  return plain && p.m <= kFewRows && p.segments[0].a.k_contiguous && p.segments[0].b.k_contiguous;
}

bool is_axpy(const Product& p) {
  const bool plain = !p.segments[0].a.dropout && !p.segments[0].b.dropout;
  return plain && p.m == 1 && p.segments[0].a.k_contiguous && !p.segments[0].b.k_contiguous;
}

/// out[row][first + column] += a[row] . b[column], for `Columns` rows of B from `first` on.
template <int Rows, int Columns, class Source>
void add_dots(const float* a, int64_t lda, const Source& b, int64_t first, int64_t k, float (&out)[kFewRows][kDotColumns]) {
  decltype(b.row(0)) row[Columns];
  Vec sum[Rows][Columns];
  for (int c = 0; c < Columns; ++c) row[c] = b.row(first + c);
  for (int r = 0; r < Rows; ++r) {
    for (int c = 0; c < Columns; ++c) sum[r][c] = zero();
  }
  int64_t i = 0;
  decltype(part_at(row[0], 0)) part[Columns];
  constexpr int kAtOnce = Source::kVecs;
  for (; i + kPart <= k; i += kPart) {
    for (int c = 0; c < Columns; ++c) {
      part[c] = part_at(row[c], i);
      ask_at(b.row(first + Columns + c), i);
    }
    for (int64_t j = 0; j < kPart; j += kAtOnce * kWidth) {
      Vec x[Rows][kAtOnce];
      LOWRANK_UNROLL(4) for (int r = 0; r < Rows; ++r) {
        LOWRANK_UNROLL(4) for (int v = 0; v < kAtOnce; ++v) x[r][v] = ordered(part[0], load(a + r * lda + i + j + v * kWidth));
      }
      LOWRANK_UNROLL(8) for (int c = 0; c < Columns; ++c) {
        Vec w[kAtOnce];
        load_vecs(part[c], j, w);
        LOWRANK_UNROLL(4) for (int v = 0; v < kAtOnce; ++v) {
          LOWRANK_UNROLL(4) for (int r = 0; r < Rows; ++r) sum[r][c] = fma(x[r][v], w[v], sum[r][c]);
        }
      }
    }
  }
  for (int r = 0; r < Rows && i > 0; ++r) {
    for (int c = 0; c < Columns; ++c) sum[r][c] = restored(part[c], sum[r][c]);
  }
  for (; i + kWidth <= k; i += kWidth) {
    Vec x[Rows];
    LOWRANK_UNROLL(4) for (int r = 0; r < Rows; ++r) x[r] = load(a + r * lda + i);
    LOWRANK_UNROLL(8) for (int c = 0; c < Columns; ++c) {
      const Vec w = load_at(row[c], i);
      LOWRANK_UNROLL(4) for (int r = 0; r < Rows; ++r) sum[r][c] = fma(x[r], w, sum[r][c]);
    }
  }
  if (i < k) {
    for (int c = 0; c < Columns; ++c) {
      const Vec w = load_first_at(row[c], i, k - i);
      for (int r = 0; r < Rows; ++r) sum[r][c] = fma(load_first(a + r * lda + i, k - i), w, sum[r][c]);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int c = 0; c < Columns; ++c) out[r][first + c] += reduce_add(sum[r][c]);
  }
}

template <int Rows>
struct AddDots {
  const float* a;
  int64_t lda, columns, k;
  float (&out)[kFewRows][kDotColumns];

  template <class Source>
  void operator()(const Source& b) const {
    constexpr int kSideBySide = Rows == 1 ? Source::kColumns : 4;
    int64_t c = 0;
    for (; c + kSideBySide <= columns; c += kSideBySide) add_dots<Rows, kSideBySide>(a, lda, b, c, k, out);
    for (; c + 4 <= columns; c += 4) add_dots<Rows, 4>(a, lda, b, c, k, out);
    for (; c < columns; ++c) add_dots<Rows, 1>(a, lda, b, c, k, out);
  }
};

template <int Rows>
void dot_task(const Product& p, int64_t batch, int64_t begin, int64_t end) {
  for (int64_t column = begin; column < end; column += kDotColumns) {
    const int64_t columns = lesser(kDotColumns, end - column);
    float out[kFewRows][kDotColumns] = {};
    for (const Segment& s : p.segments) {
      if (s.k == 0) continue;
      const float* a = reinterpret_cast<const float*>(s.a.data) + batch * s.a.batch_stride;
      with_rows(s.b, batch, column, 0, AddDots<Rows>{a, s.a.ld, columns, s.k, out});
    }
    for (int r = 0; r < Rows; ++r) {
      float* c = p.c + batch * p.c_batch_stride + r * p.ldc + column;
      for (int64_t j = 0; j < columns; ++j) c[j] = out[r][j] + (p.accumulate ? c[j] : p.bias ? p.bias[column + j] : 0.0f);
    }
  }
}

void few_dots_task(const Product& p, int64_t task) {
  const int64_t per_matrix = divide_up(p.n, kDotTask), batch = task / per_matrix, begin = task % per_matrix * kDotTask;
  const int64_t end = lesser(p.n, begin + kDotTask);
  if (p.m == 1) dot_task<1>(p, batch, begin, end);
  if (p.m == 2) dot_task<2>(p, batch, begin, end);
  if (p.m == 3) dot_task<3>(p, batch, begin, end);
}

/// y[0 .. n) += sum over Rows of x[row] * b[row, 0 .. n), for rows from `first` on.
template <int Rows, class Source>
void add_scaled_rows(const float* x, const Source& b, int64_t first, int64_t n, float* y) {
  for (int64_t j = 0; j < n; j += kWidth) {
    const int64_t lanes = n - j;
    Vec sum = load_lanes(y + j, lanes);
    LOWRANK_UNROLL(4) for (int r = 0; r < Rows; ++r) {
      const auto row = b.row(first + r);
      sum = fma(broadcast(x[first + r]), lanes >= kWidth ? load_at(row, j) : load_first_at(row, j, lanes), sum);
    }
    store_lanes(y + j, sum, lanes);
  }
}

struct AddScaledRows {
  const float* x;
  int64_t rows, n;
  float* y;

  template <class Source>
  void operator()(const Source& b) const {
    int64_t k = 0;
    for (; k + 4 <= rows; k += 4) add_scaled_rows<4>(x, b, k, n, y);
    for (; k < rows; ++k) add_scaled_rows<1>(x, b, k, n, y);
  }
};

void axpy_task(const Product& p, int64_t task) {
  const int64_t per_matrix = divide_up(p.n, kAxpyTask), batch = task / per_matrix, column = task % per_matrix * kAxpyTask;
  const int64_t n = lesser(kAxpyTask, p.n - column);
  float* y = p.c + batch * p.c_batch_stride + column;
  for (int64_t j = 0; j < n && !p.accumulate; ++j) y[j] = p.bias ? p.bias[column + j] : 0.0f;
  for (const Segment& s : p.segments) {
    if (s.k == 0) continue;
    const float* x = reinterpret_cast<const float*>(s.a.data) + batch * s.a.batch_stride;
    with_rows(s.b, batch, 0, column, AddScaledRows{x, s.k, n, y});
  }
}
