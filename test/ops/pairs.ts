/** @file All-pairs sampling: few rows in which every two values of every two factors meet. */
import type { Random } from "./random.js";

/** Number of values of each factor. */
export type Factors = Readonly<Record<string, number>>;
/** The index of a value for each factor. */
export type Row = Record<string, number>;

/** Rows that cover every pair, greedily: each the best of a few random ones. */
export function allPairs(factors: Factors, random: Random): Row[] {
  const names = Object.keys(factors);
  const missing = new Set<string>();
  for (const [i, a] of names.entries()) {
    for (const b of names.slice(i + 1)) {
      for (let x = 0; x < (factors[a] as number); x++) for (let y = 0; y < (factors[b] as number); y++) missing.add(`${a}=${x} ${b}=${y}`);
    }
  }
  const rows: Row[] = [];
  while (missing.size > 0) {
    const candidates = Array.from({ length: 12 }, () => forced(randomRow(factors, random), missing, random));
    const covered = candidates.map((row) => pairsOf(names, row).filter((pair) => missing.has(pair)));
    const best = covered.reduce((most, pairs, i) => (pairs.length > (covered[most] as string[]).length ? i : most), 0);
    for (const pair of covered[best] as string[]) missing.delete(pair);
    rows.push(candidates[best] as Row);
  }
  return rows;
}

export const randomRow = (factors: Factors, random: Random): Row =>
  Object.fromEntries(Object.entries(factors).map(([name, count]) => [name, random.below(count)]));

/** The row changed to hold one of the first missing pairs, so that every round makes progress. */
function forced(row: Row, missing: ReadonlySet<string>, random: Random): Row {
  const first = [...take(missing, 16)];
  for (const part of random.pick(first).split(" ")) {
    const [name = "", value] = part.split("=");
    row[name] = Number(value);
  }
  return row;
}

function* take<T>(values: Iterable<T>, count: number): Generator<T> {
  let taken = 0;
  for (const value of values) {
    if (taken++ === count) return;
    yield value;
  }
}

const pairsOf = (names: readonly string[], row: Row): string[] =>
  names.flatMap((a, i) => names.slice(i + 1).map((b) => `${a}=${row[a]} ${b}=${row[b]}`));
