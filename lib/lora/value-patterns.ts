/** @file `rankPattern` and `alphaPattern`: values for single modules, by PEFT's rule that the first key which matches decides. */
import { LowrankError, nearest, quoted } from "../native/errors.js";
import { compileSuffixPattern, StepBudget } from "./pattern.js";

/** Regular expressions and their values. A key matches a whole path or what follows one of its dots: `(.*\.)?(key)$`. */
export type ValuePatterns = ReadonlyMap<string, number> | Readonly<Record<string, number>>;

/** Where patterns were given, for messages: an option, or a field of a file. */
export type PatternsName = "rankPattern" | "alphaPattern" | "rank_pattern" | "alpha_pattern";

/**
 * The value of every path: that of the first key that matches, else `fallback`.
 * @param keys `"all-match"` (new training): a key that matches no path is an error; `"any"` (a file that was loaded): it is not
 * @throws LowrankError `TARGET_UNMATCHED`, or `PATTERN_…` for a key that is no pattern
 */
export function valuesFor(
  paths: readonly string[],
  patterns: ValuePatterns,
  fallback: number,
  name: PatternsName,
  keys: "all-match" | "any" = "all-match",
): Map<string, number> {
  const table = new PatternTable(patterns, name);
  if (keys === "all-match") table.requireMatches(paths);
  return new Map(paths.map((path) => [path, table.valueOf(path) ?? fallback]));
}

/** The value of one path, as {@link valuesFor} with `"any"`. */
export function valueFor(path: string, patterns: ValuePatterns, fallback: number, name: PatternsName = "alphaPattern"): number {
  return new PatternTable(patterns, name).valueOf(path) ?? fallback;
}

/**
 * Patterns that mean the same and survive PEFT, which sorts the keys when it saves: the given ones, sorted, or, where the order
 * decides, one key for each path.
 */
export function orderFreePatterns(paths: readonly string[], patterns: ValuePatterns, fallback: number, name: PatternsName): Map<string, number> {
  const sorted = new Map(entriesOf(patterns).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
  const meant = valuesFor(paths, patterns, fallback, name, "any");
  const afterSorting = valuesFor(paths, sorted, fallback, name, "any");
  if (paths.every((path) => meant.get(path) === afterSorting.get(path))) return sorted;
  const changed = [...meant].filter(([, value]) => value !== fallback);
  return new Map(changed.map(([path, value]) => [wholePath(path), value] as const).sort(([a], [b]) => (a < b ? -1 : 1)));
}

class PatternTable {
  private readonly rows: ReadonlyArray<{ readonly key: string; readonly value: number; matches(path: string): boolean }>;

  constructor(
    patterns: ValuePatterns,
    private readonly name: PatternsName,
  ) {
    const budget = new StepBudget();
    this.rows = entriesOf(patterns).map(([key, value]) => {
      const pattern = compileSuffixPattern(key, name);
      return { key, value, matches: (path) => pattern.fullMatch(path, budget) };
    });
  }

  valueOf(path: string): number | undefined {
    return this.rows.find((row) => row.matches(path))?.value;
  }

  requireMatches(paths: readonly string[]): void {
    for (const { key, matches } of this.rows) {
      if (paths.some(matches)) continue;
      const parts = key.split(".").length;
      const names = nearest(key, new Set(paths.map((path) => path.split(".").slice(-parts).join("."))));
      const advice = names.length > 0 ? ` Nearest names: ${names.map(quoted).join(", ")}.` : ` It must match a module that targetModules selects.`;
      const message = `${this.name}: ${quoted(key)} matches none of the ${paths.length} adapted modules.${advice}`;
      throw new LowrankError("TARGET_UNMATCHED", message, { option: this.name, pattern: key, nearest: names });
    }
  }
}

function entriesOf(patterns: ValuePatterns): [string, number][] {
  return patterns instanceof Map ? [...patterns] : Object.entries(patterns);
}

/** A key that matches this path and no other. */
function wholePath(path: string): string {
  return `^${path.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")}`;
}
