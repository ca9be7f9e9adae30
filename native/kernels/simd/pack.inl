// Packing: a block of a factor is copied into panels that the micro-kernel reads from front to back. Other types than f32 are converted on
// the way and dropout is applied on the way; panels end in zeros where the matrix ends.

/// One factor of a product. `outer` is its axis that is not K: rows of A, columns of B.
struct Factor {
  std::byte* data = nullptr;
  DType dtype = DType::f32;
  int64_t ld = 0;
  int64_t rows = 0;                  // as it is stored; quantised weights need it
  bool k_contiguous = false;         // element (outer, k) at outer * ld + k; else at k * ld + outer
  int64_t batch_stride = 0;          // elements from one matrix of a batch to the next
  const Dropout* dropout = nullptr;  // f32 only; elements are counted row by row, `ld_unpadded` to a row
  int64_t ld_unpadded = 0;
};

Factor factor_of(const View& v, bool k_contiguous) {
  Factor f;
  f.data = v.data, f.dtype = v.dtype, f.ld = v.ld, f.rows = v.rows, f.k_contiguous = k_contiguous, f.ld_unpadded = v.cols;
  return f;
}

/// Whether elements of neighbouring k may be read again and again where they lie. Rows a multiple of 2 KB apart want the same few lines of
/// each cache, and rows of 8 KB and more too many pages.
bool lies_close(const Factor& f) {
  constexpr int64_t kCrowded = 2048 / sizeof(float), kFar = 8192 / sizeof(float);
  return f.ld < kFar && f.ld % kCrowded != 0;
}

template <class T>
PlainRows<T> plain_rows(const Factor& f, int64_t batch, int64_t row, int64_t column) {
  return {reinterpret_cast<const T*>(f.data) + batch * f.batch_stride + row * f.ld + column, f.ld};
}

/// use(source) with the rows of a factor as it is stored, from an element on.
template <class Use>
void with_rows(const Factor& f, int64_t batch, int64_t row, int64_t column, const Use& use) {
  if (f.dtype == DType::bf16) return use(plain_rows<bf16>(f, batch, row, column));
  if (f.dtype == DType::f16) return use(plain_rows<f16>(f, batch, row, column));
  if (f.dtype == DType::nf4) return use(Nf4Rows{nf4_weight(f.data, f.rows, f.ld), f.ld, row, column});
  if (f.dtype == DType::int8) return use(Int8Rows{int8_weight(f.data, f.rows, f.ld), f.ld, row, column});
  use(plain_rows<float>(f, batch, row, column));
}

/// Packs `outer` rows, from `first` on, of `k` elements each, transposed: element (o, k) goes to panel[k * Width + o].
template <int64_t Width, class Source>
void pack_rows(const Source& src, int64_t first, int64_t outer, int64_t k, float* panel) {
  constexpr bool kSpills = Width % kWidth != 0;  // the store of one k runs into the next one, which is written later
  for (int64_t k0 = 0; k0 < k; k0 += kWidth) {
    const int64_t n = lesser(kWidth, k - k0);
    for (int64_t o = 0; o < Width; o += kWidth) {
      Vec block[kWidth];
      for (int64_t i = 0; i < kWidth; ++i) {
        const auto row = src.row(first + o + i);
        block[i] = o + i >= outer || o + i >= Width ? zero() : n == kWidth ? load_at(row, k0) : load_first_at(row, k0, n);
      }
      transpose(block);
      float* to = panel + k0 * Width + o;
      if (n == kWidth && (!kSpills || k0 + kWidth < k)) {
        for (int64_t i = 0; i < kWidth; ++i) store(to + i * Width, block[i]);
      } else {
        for (int64_t i = 0; i < n; ++i) store_first(to + i * Width, block[i], Width - o);
      }
    }
  }
}

/// Packs `k` rows of `outer` elements each into neighbouring panels, `panel_stride` floats apart: element (o, k) goes to
/// panels[o / Width * panel_stride + k * Width + o % Width]. A panel gets `deep` rows before the next one does.
template <int64_t Width, class Source>
void pack_columns(const Source& src, int64_t outer, int64_t k, float* panels, int64_t panel_stride, int64_t deep) {
  static_assert(Width <= kWidth || Width % kWidth == 0, "a store may run into the next k of its own column of vectors only");
  for (int64_t begin = 0; begin < k; begin += deep) {
    const int64_t end = lesser(k, begin + deep);
    for (int64_t o = 0; o < outer; o += Width) {
      for (int64_t v = 0; v < Width; v += kWidth) {
        const int64_t n = outer - o - v, room = Width - v;
        float* to = panels + o / Width * panel_stride + v;
        for (int64_t i = begin; i < end; ++i) {
          const auto row = src.row(i);
          const Vec x = n >= kWidth ? load_at(row, o + v) : load_first_at(row, o + v, n);
          if (room >= kWidth || i + 1 < k) {
            store(to + i * Width, x);
          } else {
            store_first(to + i * Width, x, room);
          }
        }
      }
    }
  }
}

/// The part of a block that one call packs: panels from outer index `outer0` on (`outer` of them are in the matrix), k in [k0, k0 + k).
struct Window {
  int64_t batch, outer0, outer, k0, k;
};

/// Rows that one panel gets before the next one does, so that it is written without a break. Where rows of A crowd the caches they are
/// fewer, about 112 floats of a panel (8 rows with AVX-512, 18 with AVX2): the lines that two panels share must still be there for the
/// second.
constexpr int64_t kPackDepth = 32;
template <int64_t Width>
constexpr int64_t kCrowdedPackDepth = greater(8, 112 / Width);

constexpr int64_t kDropTile = 2048;  // floats

template <int64_t Width>
void pack_dropped(const Factor& f, const Window& w, float* panels, int64_t panel_stride) {
  const float* base = reinterpret_cast<const float*>(f.data);
  float tile[kDropTile];
  const int64_t across = f.k_contiguous ? lesser(w.k, kDropTile / Width) : w.outer;
  const int64_t k_chunk = f.k_contiguous ? across : kDropTile / round_up(w.outer, Width);
  for (int64_t k = 0; k < w.k; k += k_chunk) {
    const int64_t n = lesser(k_chunk, w.k - k);
    if (f.k_contiguous) {
      for (int64_t o = 0; o < w.outer; o += Width) {
        const int64_t rows = lesser(Width, w.outer - o);
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t row = w.outer0 + o + r, column = w.k0 + k;
          drop_span(*f.dropout, tile + r * across, base + row * f.ld + column, row * f.ld_unpadded + column, n);
        }
        pack_rows<Width>(PlainRows<float>{tile, across}, 0, rows, n, panels + o / Width * panel_stride + k * Width);
      }
    } else {
      for (int64_t r = 0; r < n; ++r) {
        const int64_t row = w.k0 + k + r;
        drop_span(*f.dropout, tile + r * across, base + row * f.ld + w.outer0, row * f.ld_unpadded + w.outer0, across);
      }
      pack_columns<Width>(PlainRows<float>{tile, across}, w.outer, n, panels + k * Width, panel_stride, n);
    }
  }
}

template <int64_t Width>
struct PackWindow {
  const Window& w;
  bool k_contiguous;
  float* panels;
  int64_t panel_stride, deep;

  template <class Source>
  void operator()(const Source& src) const {
    if (!k_contiguous) return pack_columns<Width>(src, w.outer, w.k, panels, panel_stride, deep);
    for (int64_t o = 0; o < w.outer; o += Width)
      pack_rows<Width>(src, o, lesser(Width, w.outer - o), w.k, panels + o / Width * panel_stride);
  }
};

/// Packs one window. The first panel begins at `panels`, at the place of its first k.
template <int64_t Width>
void pack_window(const Factor& f, const Window& w, float* panels, int64_t panel_stride) {
  if (f.dropout) return pack_dropped<Width>(f, w, panels, panel_stride);
  const int64_t row = f.k_contiguous ? w.outer0 : w.k0, column = f.k_contiguous ? w.k0 : w.outer0;
  const int64_t deep = f.dtype == DType::f32 && !lies_close(f) ? kCrowdedPackDepth<Width> : kPackDepth;
  with_rows(f, w.batch, row, column, PackWindow<Width>{w, f.k_contiguous, panels, panel_stride, deep});
}

/// What the tiles that meet a panel ask for, one after the other, so that the window `next` is near when it is packed or read. Quantised
/// weights are few bytes: nothing.
class Asks {
 public:
  Asks() = default;

  Asks(const Factor& f, const Window& next, int64_t tiles) {
    const int64_t size = f.dtype == DType::f32 ? 4 : f.dtype == DType::bf16 || f.dtype == DType::f16 ? 2 : 0;
    if (size == 0 || next.outer <= 0 || next.k <= 0) return;
    const int64_t row = f.k_contiguous ? next.outer0 : next.k0, column = f.k_contiguous ? next.k0 : next.outer0;
    row_bytes_ = f.ld * size;
    first_.at = f.data + (next.batch * f.batch_stride + row * f.ld + column) * size;
    if (f.k_contiguous) {
      rows_ = next.outer, rows_each_ = 2;
      first_.other = row_bytes_, first_.step = kLine, first_.count = divide_up(next.k * size, kLine);
    } else {
      rows_ = next.k, rows_each_ = greater(32, divide_up(next.k, tiles));
      first_.other = (next.outer - 1) * size, first_.step = row_bytes_, first_.count = rows_each_;
      first_.at_once = rows_each_ > 64 ? 4 : rows_each_ > 32 || next.k <= 64 ? 2 : 1;
    }
    k_contiguous_ = f.k_contiguous;
  }

  /// Packed rows: each of the next `tiles` tiles asks for one panel of `floats` floats, the first one for that at `next`.
  Asks(const float* next, int64_t floats, int64_t tiles) {
    row_bytes_ = floats * static_cast<int64_t>(sizeof(float));
    first_.at = reinterpret_cast<const std::byte*>(next);
    first_.other = kLine, first_.step = 2 * kLine, first_.count = row_bytes_ / first_.step, first_.at_once = 4;
    rows_ = tiles, rows_each_ = 1;
  }

  Ask take() {
    Ask ask = first_;
    if (rows_ < rows_each_) {
      if (rows_ <= 0) return {};
      if (k_contiguous_) {
        ask.other = 0;
      } else {
        ask.count = rows_;
      }
    }
    first_.at += rows_each_ * row_bytes_;
    rows_ -= rows_each_;
    return ask;
  }

 private:
  static constexpr int64_t kLine = 64;  // bytes

  Ask first_;
  int64_t rows_ = 0, rows_each_ = 0, row_bytes_ = 0;  // rows (panels of packed ones) still to be asked for; those one tile asks for
  bool k_contiguous_ = false;
};
