/** @file Which keys each query sees: attention takes one range of keys for every query, whatever made it so. */
import { LowrankError } from "../native/errors.js";

export interface SpanOptions {
  /** Query t sees keys up to its own position only. Queries are the last ones of the keys: with T < S the first query stands at S − T. */
  readonly causal?: boolean | undefined;
  /** A sliding window: a query sees this many keys, itself included (causal), or this many to each side, itself included in both. */
  readonly window?: number | undefined;
}

/** Pairs [first, end) for `queries` queries over `keys` keys, the same for every row of a batch; row-major [batch, queries, 2]. */
export function attentionSpans(batch: number, queries: number, keys: number, { causal = false, window }: SpanOptions = {}): Int32Array {
  if (window !== undefined && !(Number.isSafeInteger(window) && window > 0)) {
    throw new LowrankError("BAD_ARGUMENT", `attention: window is a positive number of keys, found ${String(window)}`, { actual: window });
  }
  const row = new Int32Array(2 * queries);
  for (let t = 0; t < queries; t++) {
    const position = keys - queries + t;
    row[2 * t] = window === undefined ? 0 : Math.max(0, position - window + 1);
    row[2 * t + 1] = causal ? position + 1 : window === undefined ? keys : Math.min(keys, position + window);
  }
  const spans = new Int32Array(batch * row.length);
  for (let b = 0; b < batch; b++) spans.set(row, b * row.length);
  return spans;
}
