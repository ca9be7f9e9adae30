/** @file Which keys each query sees: attention takes one range of keys for every query, whatever made it so. */
import { LowrankError } from "../native/errors.js";

export interface SpanOptions {
  /** Query t sees keys up to its own position only. Queries are the last ones of the keys: with T < S the first query stands at S − T. */
  readonly causal?: boolean | undefined;
  /** A sliding window: a query sees this many keys, itself included (causal), or this many to each side, itself included in both. */
  readonly window?: number | undefined;
}

/**
 * Pairs [first, end) for `queries` queries over `keys` keys in each row of a batch; row-major [batch, queries, 2]. `begins` [batch, queries]:
 * the first key of each query's own text, where a row holds several; default 0.
 */
export function attentionSpans(
  batch: number,
  queries: number,
  keys: number,
  { causal = false, window }: SpanOptions = {},
  begins?: Int32Array,
): Int32Array {
  if (window !== undefined && !(Number.isSafeInteger(window) && window > 0)) {
    throw new LowrankError("BAD_ARGUMENT", `attention: window is a positive number of keys, found ${String(window)}`, { actual: window });
  }
  const spans = new Int32Array(2 * batch * queries);
  for (let query = 0; query < batch * queries; query++) {
    const position = keys - queries + (query % queries);
    const begin = begins?.[query] ?? 0;
    spans[2 * query] = window === undefined ? begin : Math.max(begin, position - window + 1);
    spans[2 * query + 1] = causal ? position + 1 : window === undefined ? keys : Math.min(keys, position + window);
  }
  return spans;
}
