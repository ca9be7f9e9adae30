// Packing: a block of a factor is copied into panels that the micro-kernel reads from front to back. Bf16 and f16 are widened on the way
// and dropout is applied on the way; panels end in zeros where the matrix ends.

/// One factor of a product. `outer` is its axis that is not K: rows of A, columns of B.
struct Factor {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
  int64_t ld = 0;
  bool k_contiguous = false;         // element (outer, k) at outer * ld + k; else at k * ld + outer
  int64_t batch_stride = 0;          // elements from one matrix of a batch to the next
  const Dropout* dropout = nullptr;  // f32 only; elements are counted row by row, `ld_unpadded` to a row
  int64_t ld_unpadded = 0;
};

Factor factor_of(const View& v, bool k_contiguous) {
  Factor f;
  f.data = v.data, f.dtype = v.dtype, f.ld = v.ld, f.k_contiguous = k_contiguous, f.ld_unpadded = v.cols;
  return f;
}

/// Packs `outer` rows of `k` elements each, transposed: element (o, k) goes to panel[k * Width + o].
template <int64_t Width, class T>
void pack_rows(const T* src, int64_t ld, int64_t outer, int64_t k, float* panel) {
  constexpr bool kSpills = Width % kWidth != 0;  // the store of one k runs into the next one, which is written later
  for (int64_t k0 = 0; k0 < k; k0 += kWidth) {
    const int64_t n = lesser(kWidth, k - k0);
    for (int64_t o = 0; o < Width; o += kWidth) {
      Vec block[kWidth];
      for (int64_t i = 0; i < kWidth; ++i) {
        const T* row = src + (o + i) * ld + k0;
        block[i] = o + i >= outer || o + i >= Width ? zero() : n == kWidth ? load(row) : load_first(row, n);
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
/// panels[o / Width * panel_stride + k * Width + o % Width].
template <int64_t Width, class T>
void pack_columns(const T* src, int64_t ld, int64_t outer, int64_t k, float* panels, int64_t panel_stride) {
  for (int64_t i = 0; i < k; ++i) {
    const T* row = src + i * ld;
    for (int64_t o = 0; o < outer; o += Width) {
      float* to = panels + o / Width * panel_stride + i * Width;
      for (int64_t v = 0; v < Width; v += kWidth) {
        const int64_t n = outer - o - v, room = Width - v;
        const Vec x = n >= kWidth ? load(row + o + v) : load_first(row + o + v, n);
        if (room >= kWidth || i + 1 < k) {
          store(to + v, x);
        } else {
          store_first(to + v, x, room);
        }
      }
    }
  }
}

/// The part of a block that one call packs: panels from outer index `outer0` on (`outer` of them are in the matrix), k in [k0, k0 + k).
struct Window {
  int64_t batch, outer0, outer, k0, k;
};

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
        pack_rows<Width>(tile, across, rows, n, panels + o / Width * panel_stride + k * Width);
      }
    } else {
      for (int64_t r = 0; r < n; ++r) {
        const int64_t row = w.k0 + k + r;
        drop_span(*f.dropout, tile + r * across, base + row * f.ld + w.outer0, row * f.ld_unpadded + w.outer0, across);
      }
      pack_columns<Width>(tile, across, w.outer, n, panels + k * Width, panel_stride);
    }
  }
}

template <int64_t Width, class T>
void pack_plain(const Factor& f, const Window& w, float* panels, int64_t panel_stride) {
  const T* base = reinterpret_cast<const T*>(f.data) + w.batch * f.batch_stride;
  if (!f.k_contiguous) {
    pack_columns<Width>(base + w.k0 * f.ld + w.outer0, f.ld, w.outer, w.k, panels, panel_stride);
    return;
  }
  for (int64_t o = 0; o < w.outer; o += Width) {
    pack_rows<Width>(base + (w.outer0 + o) * f.ld + w.k0, f.ld, lesser(Width, w.outer - o), w.k, panels + o / Width * panel_stride);
  }
}

/// Packs one window. The first panel begins at `panels`, at the place of its first k.
template <int64_t Width>
void pack_window(const Factor& f, const Window& w, float* panels, int64_t panel_stride) {
  if (f.dropout) return pack_dropped<Width>(f, w, panels, panel_stride);
  if (f.dtype == DType::bf16) return pack_plain<Width, bf16>(f, w, panels, panel_stride);
  if (f.dtype == DType::f16) return pack_plain<Width, f16>(f, w, panels, panel_stride);
  return pack_plain<Width, float>(f, w, panels, panel_stride);
}
