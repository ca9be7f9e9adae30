// The micro-kernel: one register tile of C over one block of K. Included for whole vectors and for halves of them.

/// C[Rows, cols] (+)= A B, where Rows <= kTileRows and cols <= Vecs * kWidth. Each element is one chain of fused multiply-adds in rising k.
template <int Rows, int Vecs, bool Turned>
LOWRANK_NOINLINE void multiply_tile(const TileCall& t) {
  const float* a = t.a;
  const int64_t row_step = Turned ? 1 : t.lda, k_step = Turned ? t.lda : 1;
  Vec sum[Rows][Vecs];
  LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) { LOWRANK_UNROLL(2) for (int v = 0; v < Vecs; ++v) sum[r][v] = zero(); }
  const float* c_row = t.c;
  const std::byte *ask = t.ask.at, *ask_end = ask + t.ask.count * t.ask.step;
  int64_t k = 0;
  for (const PanelRows& rows : t.b) {
    const float* b = rows.at;
    LOWRANK_UNROLL(4) for (; k < rows.k_end; ++k) {
      // Rows of C, then what is packed next, are asked for little by little: all at once would fill the queue of misses, and A and B would
      // wait.
      if (k % 4 == 0 && k < 4 * Rows) {
        prefetch(c_row);
        prefetch(c_row + lesser(t.cols, Vecs * kWidth) - 1);
        c_row += t.ldc;
      } else if ((k & t.ask.mask) == 0 && ask != ask_end) {
        prefetch_far(ask);
        prefetch_far(ask + t.ask.other);
        ask += t.ask.step;
      }
      Vec column[Vecs];
      LOWRANK_UNROLL(2) for (int v = 0; v < Vecs; ++v) column[v] = load(b + v * kWidth);
      LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
        const Vec row = broadcast(a[r * row_step]);
        LOWRANK_UNROLL(2) for (int v = 0; v < Vecs; ++v) sum[r][v] = fma(row, column[v], sum[r][v]);
      }
      a += k_step;
      b += rows.ld;
    }
  }
  LOWRANK_UNROLL(2) for (int v = 0; v < Vecs; ++v) {
    const int64_t n = t.cols - v * kWidth;
    if (n >= kWidth) {
      const Vec bias = t.bias ? load(t.bias + v * kWidth) : zero();
      LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
        float* c = t.c + r * t.ldc + v * kWidth;
        store(c, add(sum[r][v], t.accumulate ? load(c) : bias));
      }
    } else if (n > 0) {
      const Vec bias = t.bias ? load_first(t.bias + v * kWidth, n) : zero();
      LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
        float* c = t.c + r * t.ldc + v * kWidth;
        store_first(c, add(sum[r][v], t.accumulate ? load_first(c, n) : bias), n);
      }
    }
  }
}
