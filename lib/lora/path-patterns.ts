/** @file `rank_pattern` and `alpha_pattern` for values that are known by path. */

/** Patterns that give each path its value where it differs from `fallback`: one key for each, which matches that path and no other. */
export function pathPatterns(values: ReadonlyMap<string, number>, fallback: number): Map<string, number> {
  const changed = [...values].filter(([, value]) => value !== fallback);
  return new Map(changed.map(([path, value]) => [`^${path.replace(/[^A-Za-z0-9_]/g, "\\$&")}`, value] as const).sort(([a], [b]) => (a < b ? -1 : 1)));
}
