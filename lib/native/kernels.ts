// Generated from native/kernels/kernels.def by scripts/write-generated.ts. Do not edit.
import type { View } from "./engine.js";

/** The kernels of the active backend. A view that is undefined is an absent optional argument, or an output that nobody wants. */
export interface Kernels {
  /** y = value */
  fill(y: View | undefined, value: number): void;
  /** y = x, same dtype, same rows and cols */
  copy(y: View | undefined, x: View | undefined): void;
  /** y = x converted: between f32, bf16 and f16 (through f32, round to nearest even); from i32 and u8 to these; from int8 and nf4 to f32 */
  cast(y: View | undefined, x: View | undefined): void;
  /** batch matrices stacked by rows: x is [batch*M, N], y is [batch*N, M]; f32 */
  transpose(y: View | undefined, x: View | undefined, batch: number): void;
  /** y += x */
  accumulate(y: View | undefined, x: View | undefined): void;
  /** y[e] = low + (high - low) * unit_float(word e % 4 of philox({e / 4, 0, 0, site}, seed)), e row-major over the unpadded tensor */
  uniform(y: View | undefined, seed: number, site: number, low: number, high: number): void;
  /** Codes of the rows [first, first + M) of w[O, I] (core/quantized.h), of x[M, I]. nf4: absmax[1, O*I/64] = the largest |x| of each block, and an element's code is that of the number next to x / absmax, the lower one of two as near; quantize_scales completes w. int8: the scale of a row is its largest |x| / 127, codes are x / scale rounded to even; absmax is absent. A row with NaN, infinity or |x| > 2^126: not_finite */
  quantize_rows(w: View | undefined, absmax: View | undefined, x: View | undefined, first: number): void;
  /** From the absmax of all blocks: offset = their mean (a sum in f64), scale of a group = its largest |absmax - offset|, scale codes: those of the numbers next to (absmax - offset) / scale */
  quantize_scales(w: View | undefined, absmax: View | undefined): void;
  /** b is of a's shape, or one row [1, cols] (a trailing vector), or one element [1, 1]; the backwards sum over what was broadcast, in a tree of fixed chunks */
  add_forward(y: View | undefined, a: View | undefined, b: View | undefined): void;
  add_backward(da: View | undefined, db: View | undefined, dy: View | undefined): void;
  mul_forward(y: View | undefined, a: View | undefined, b: View | undefined): void;
  mul_backward(da: View | undefined, db: View | undefined, dy: View | undefined, a: View | undefined, b: View | undefined): void;
  scale(y: View | undefined, x: View | undefined, factor: number): void;
  /** y = x after `steps` times y <- factor * y + summand (rounded once or twice): what the processor can do at most, to measure others against */
  multiply_add(y: View | undefined, x: View | undefined, factor: number, summand: number, steps: number): void;
  relu_forward(y: View | undefined, x: View | undefined): void;
  relu_backward(dx: View | undefined, dy: View | undefined, x: View | undefined): void;
  /** tanh: the approximation 0.5x(1 + tanh(sqrt(2/pi)(x + 0.044715x^3))); else the exact form with erf */
  gelu_forward(y: View | undefined, x: View | undefined, tanh: boolean): void;
  gelu_backward(dx: View | undefined, dy: View | undefined, x: View | undefined, tanh: boolean): void;
  silu_forward(y: View | undefined, x: View | undefined): void;
  silu_backward(dx: View | undefined, dy: View | undefined, x: View | undefined): void;
  /** y = x * keep / (1 - p), the rule of core/rng.h with seed, micro and step of `record` (a StepRecord); backward: the same on dy */
  dropout(y: View | undefined, x: View | undefined, record: View | undefined, p: number, site: number): void;
  /** y[1, 1] = factor * sum of all elements, in a tree of fixed chunks */
  sum_all(y: View | undefined, x: View | undefined, factor: number): void;
  /** y[rows, 1] = factor * sum over each row */
  sum_cols(y: View | undefined, x: View | undefined, factor: number): void;
  /** x is [groups*n, cols], y is [groups, cols]: factor * sum over the n rows of each group */
  sum_rows(y: View | undefined, x: View | undefined, n: number, factor: number): void;
  /** the transpose of the three above: y is [groups*n, cols], x is [groups, cols], [groups, 1] or [1, 1]; y = factor * x, repeated */
  broadcast(y: View | undefined, x: View | undefined, n: number, factor: number): void;
  /** y (i32 [rows, 1]) = column of the largest element of each row; the first among equals; a NaN counts as largest */
  argmax(y: View | undefined, x: View | undefined): void;
  softmax_forward(y: View | undefined, x: View | undefined): void;
  softmax_backward(dx: View | undefined, dy: View | undefined, y: View | undefined): void;
  /** labels i32 [rows, 1]; a row with label `ignore` counts nothing. lse[rows, 1] = log(sum(exp(logits))), count[1, 1] = rows that count, loss[1, 1] = sum of (lse - logits[label]), divided by count when `mean` (0 when nothing counts). Another label outside [0, cols): index_out_of_range. The sum over rows is a tree of fixed chunks. */
  cross_entropy_forward(
    loss: View | undefined,
    lse: View | undefined,
    count: View | undefined,
    logits: View | undefined,
    labels: View | undefined,
    ignore: number,
    mean: boolean,
  ): void;
  cross_entropy_backward(
    dlogits: View | undefined,
    dloss: View | undefined,
    logits: View | undefined,
    labels: View | undefined,
    lse: View | undefined,
    count: View | undefined,
    ignore: number,
    mean: boolean,
  ): void;
  /** y[M, O] = x[M, I] * w[O, I]^T + bias[1, O]; backward dw: f32 w only; bias may be absent */
  linear_forward(y: View | undefined, x: View | undefined, w: View | undefined, bias: View | undefined): void;
  linear_backward(
    dx: View | undefined,
    dw: View | undefined,
    dbias: View | undefined,
    dy: View | undefined,
    x: View | undefined,
    w: View | undefined,
  ): void;
  /** batch products stacked by rows. form 0 (NN): c[M,N] = a[M,K] b[K,N]; 1 (NT): a[M,K] b[N,K]^T; 2 (TN): a[K,M]^T b[K,N]. f32. */
  matmul(c: View | undefined, a: View | undefined, b: View | undefined, batch: number, form: number): void;
  /** h[M, R] = drop(x)[M, I] * a[R, I]^T;  y[M, O] = x * w[O, I]^T + bias + (scale * h * m) * b[O, R]^T m is absent (identity), [1, R] (diagonal) or [R, R]; p = 0: no dropout, record may be absent. The R extra columns ride in the same loop over K: y is written once. */
  lora_forward(
    y: View | undefined,
    h: View | undefined,
    x: View | undefined,
    w: View | undefined,
    bias: View | undefined,
    a: View | undefined,
    m: View | undefined,
    b: View | undefined,
    record: View | undefined,
    scale: number,
    p: number,
    site: number,
  ): void;
  /** dh = scale * dy * b;  db = scale * dy^T * (h m);  dm = h^T * dh (its diagonal when m is [1, R]);  da = (dh m^T)^T * drop(x); dx = dy * w + drop'((dh m^T) * a);  dbias = column sums of dy. Any output may be null. */
  lora_backward(
    dx: View | undefined,
    da: View | undefined,
    dm: View | undefined,
    db: View | undefined,
    dbias: View | undefined,
    dy: View | undefined,
    x: View | undefined,
    w: View | undefined,
    a: View | undefined,
    m: View | undefined,
    b: View | undefined,
    h: View | undefined,
    record: View | undefined,
    scale: number,
    p: number,
    site: number,
  ): void;
  /** y[n, D] = row tokens[n] of table[V, D], widened; tokens i32 [rows, 1]. A token outside [0, V): index_out_of_range */
  embedding_forward(y: View | undefined, tokens: View | undefined, table: View | undefined): void;
  /** dtable[V, D]: for each token the sum of its rows of dy, in the order of the rows */
  embedding_backward(dtable: View | undefined, dy: View | undefined, tokens: View | undefined): void;
  /** rstd[rows, 1] = 1 / sqrt(mean(x^2) + eps); y = x * rstd * w[1, D] */
  rms_norm_forward(y: View | undefined, rstd: View | undefined, x: View | undefined, w: View | undefined, eps: number): void;
  /** dx = rstd * (dy * w - x * rstd^2 * mean(dy * w * x)); dw[1, D] = column sums of dy * x * rstd */
  rms_norm_backward(
    dx: View | undefined,
    dw: View | undefined,
    dy: View | undefined,
    x: View | undefined,
    w: View | undefined,
    rstd: View | undefined,
  ): void;
  /** y = silu(gate) * up */
  swiglu_forward(y: View | undefined, gate: View | undefined, up: View | undefined): void;
  swiglu_backward(dgate: View | undefined, dup: View | undefined, dy: View | undefined, gate: View | undefined, up: View | undefined): void;
  /** table[P, K]: row p has factor * cos(p * f) for the K / 2 frequencies, then factor * sin(p * f). frequencies[2, K / 2]: f is the f64 sum of its two rows; angles, cosines and sines are f64, rounded once */
  rope_table(table: View | undefined, frequencies: View | undefined, factor: number): void;
  /** x is [batch*T*heads, K], positions i32 [batch*T, 1] choose the row (cos | sin) of table[P, K]; with i in [0, K / 2): y[i] = x[i] cos[i] - x[i + K / 2] sin[i];  y[i + K / 2] = x[i + K / 2] cos[i] + x[i] sin[i]; inverse: -sin, the transpose. A position outside [0, P): index_out_of_range */
  rope(y: View | undefined, x: View | undefined, table: View | undefined, positions: View | undefined, heads: number, inverse: boolean): void;
  /** q, y are [batch*T*heads, K], k, v are [batch*S*kv_heads, K], lse is [batch*T*heads, 1]; head h reads kv head h / (heads / kv_heads). spans i32 [batch*T, 2]: query t sees keys [first, end) (cut to [0, S)); no key: y = 0, lse = 0. p = softmax over the visible keys of scale * q k^T;  y = p v;  lse = log(sum(exp(scale * q k^T))) */
  attention_forward(
    y: View | undefined,
    lse: View | undefined,
    q: View | undefined,
    k: View | undefined,
    v: View | undefined,
    spans: View | undefined,
    batch: number,
    heads: number,
    kv_heads: number,
    scale: number,
  ): void;
  /** delta = sum(dy y);  ds = p (dy v^T - delta);  dq = scale * ds k;  dk = scale * ds^T q;  dv = p^T dy (sums over the heads of a group) */
  attention_backward(
    dq: View | undefined,
    dk: View | undefined,
    dv: View | undefined,
    dy: View | undefined,
    q: View | undefined,
    k: View | undefined,
    v: View | undefined,
    y: View | undefined,
    lse: View | undefined,
    spans: View | undefined,
    batch: number,
    heads: number,
    kv_heads: number,
    scale: number,
  ): void;
  /** cross_entropy_forward of x[M, D] w[V, D]^T without ever holding all logits; loss, count as there. dx[M, D] and dw[V, D] (null: not wanted) are the gradients of loss. The rows go in chunks of loss_chunk_rows. */
  linear_cross_entropy(
    loss: View | undefined,
    count: View | undefined,
    dx: View | undefined,
    dw: View | undefined,
    x: View | undefined,
    w: View | undefined,
    labels: View | undefined,
    ignore: number,
    mean: boolean,
  ): void;
  /** record.loss_sum += loss[1, 1] (a non-finite loss sets halted, first_bad = -1) */
  record_loss(record: View | undefined, loss: View | undefined): void;
  /** record.grad_squares += sum of squares of grads, in a tree of fixed chunks, in f64; the first non-finite element sets halted and first_bad = base + flat index */
  grad_squares(record: View | undefined, grads: View | undefined, base: number): void;
  /** grad_norm = sqrt(grad_squares) / gradient_divisor; clip_factor = min(1, max_grad_norm / (grad_norm + 1e-6)) / gradient_divisor (max_grad_norm 0: no clipping); a non-finite norm sets halted */
  step_gate(record: View | undefined): void;
  /** On flat f32 buffers [1, n]; the first `decayed` elements take weight decay. g = clip_factor * grad. Nothing happens when record.halted; else the update is whole, whatever is aborted meanwhile, and record.steps_done = record.step + 1. adam: as torch.optim.Adam (decoupled false: g += decay * w) and torch.optim.AdamW (decoupled true: w -= lr * decay * w). rate1 = 1 - beta1 and rate2 = 1 - beta2, rounded once: as floats, 1 - 0.999f is off by 1.3e-5. m += rate1 * (g - m);  v += rate2 * (g * g - v) */
  adam(
    w: View | undefined,
    m: View | undefined,
    v: View | undefined,
    grad: View | undefined,
    record: View | undefined,
    decayed: number,
    decoupled: boolean,
    rate1: number,
    rate2: number,
    eps: number,
  ): void;
  /** sgd: as torch.optim.SGD; g += decay * w; momentum 0: no buffer (null); else buffer = momentum * buffer + g (step 0: buffer = g) */
  sgd(
    w: View | undefined,
    buffer: View | undefined,
    grad: View | undefined,
    record: View | undefined,
    decayed: number,
    momentum: number,
    nesterov: boolean,
  ): void;
  /** w[O, I] (f32, bf16 or f16) = v * diag(s) * u^T with n = min(O, I): v f32 [O, n], s f32 [1, n] falling, ut f32 [n, I]; computed in f64 by one-sided Jacobi rotations. The largest element (by size) of each row of ut is positive. */
  svd(v: View | undefined, s: View | undefined, ut: View | undefined, w: View | undefined): void;
}
