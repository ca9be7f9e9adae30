// The micro-kernel: one register tile of C over one block of K. Included for whole vectors and for halves of them.

/// sum += A B for one k.
template <int Rows, int Vecs>
LOWRANK_INLINE void multiply_step(const float* a, int64_t row_step, const float* b, Vec (&sum)[Rows][Vecs]) {
  Vec column[Vecs];
  LOWRANK_UNROLL(4) for (int v = 0; v < Vecs; ++v) column[v] = load(b + v * kWidth);
  LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
    const auto row = multiplier(a[r * row_step]);
    LOWRANK_UNROLL(4) for (int v = 0; v < Vecs; ++v) add_product(sum[r][v], row, column[v]);
  }
}

/// C[Rows, cols] (+)= A B, where cols <= Vecs * kWidth. Each element is one chain of fused multiply-adds in rising k.
template <int Rows, int Vecs, bool Turned>
LOWRANK_NOINLINE void multiply_tile(const TileCall& t) {
  Vec sum[Rows][Vecs];
  LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) { LOWRANK_UNROLL(4) for (int v = 0; v < Vecs; ++v) sum[r][v] = zero(); }
  if (t.resumes) {
    LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
      LOWRANK_UNROLL(4) for (int v = 0; v < Vecs; ++v) sum[r][v] = load(t.sums + r * kTileCols + v * kWidth);
    }
  }
  const float *c_end = t.c + Rows * t.ldc, *c_row = t.pauses ? c_end : t.c;
  const std::byte *ask = t.ask.at, *ask_end = ask + t.ask.count * t.ask.step;
  int64_t k = 0;
  for (const TilePart& part : t.parts) {
    const float *a = part.a, *b = part.b;
    const int64_t row_step = Turned ? 1 : part.lda, k_step = Turned ? part.lda : 1;
    // Rows of C, then what later tiles need, are asked for little by little: all at once would fill the queue of misses, and A and B would
    // wait. What needs not ask stands in a loop of its own, which decodes as little as it can.
    for (; (c_row != c_end || ask != ask_end) && k + 4 <= part.k_end; k += 4) {
      if (c_row != c_end) {
        prefetch(c_row);
        prefetch(c_row + lesser(t.cols, Vecs * kWidth) - 1);
        c_row += t.ldc;
      } else {
        for (int64_t i = 0; i < t.ask.at_once && ask != ask_end; ++i, ask += t.ask.step) {
          prefetch_far(ask);
          prefetch_far(ask + t.ask.other);
        }
      }
      LOWRANK_UNROLL(4) for (int i = 0; i < 4; ++i, a += k_step, b += part.ldb) multiply_step(a, row_step, b, sum);
    }
    for (; k + 4 <= part.k_end; k += 4) {
      LOWRANK_UNROLL(4) for (int i = 0; i < 4; ++i, a += k_step, b += part.ldb) multiply_step(a, row_step, b, sum);
    }
    for (; k < part.k_end; ++k, a += k_step, b += part.ldb) multiply_step(a, row_step, b, sum);
  }
  if (t.pauses) {
    LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
      LOWRANK_UNROLL(4) for (int v = 0; v < Vecs; ++v) store(t.sums + r * kTileCols + v * kWidth, sum[r][v]);
    }
    return;
  }
  Vec start[Vecs];  // what C begins with
  LOWRANK_UNROLL(4) for (int v = 0; v < Vecs; ++v) start[v] = t.bias ? load_first(t.bias + v * kWidth, t.cols - v * kWidth) : zero();
  if (t.cols == Vecs * kWidth) {
    LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
      float* c = t.c + r * t.ldc;
      LOWRANK_UNROLL(4)
      for (int v = 0; v < Vecs; ++v) store(c + v * kWidth, add(sum[r][v], t.accumulate ? load(c + v * kWidth) : start[v]));
    }
    return;
  }
  LOWRANK_UNROLL(4) for (int v = 0; v < Vecs; ++v) {
    const int64_t n = t.cols - v * kWidth;
    LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
      float* c = t.c + r * t.ldc + v * kWidth;
      if (n >= kWidth) {
        store(c, add(sum[r][v], t.accumulate ? load(c) : start[v]));
      } else if (n > 0) {
        store_first(c, add(sum[r][v], t.accumulate ? load_first(c, n) : start[v]), n);
      }
    }
  }
}
