/**
 * @file How many tests ran: each runner leaves its counts as `build/results/<name>.json`.
 * `node scripts/counts.mjs` prints their sum as one line: `N passed, N failed, N skipped`; `node scripts/counts.mjs reset` forgets them.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { root } from "./files.mjs";

const script = fileURLToPath(import.meta.url);
const results = join(root, "build", "results");

/** @param {string} name @param {{ passed: number, failed: number, skipped: number }} counts */
export function recordCounts(name, counts) {
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, `${name}.json`), JSON.stringify(counts));
}

function sum() {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const file of existsSync(results) ? readdirSync(results) : []) {
    const counts = JSON.parse(readFileSync(join(results, file), "utf8"));
    for (const key of /** @type {const} */ (["passed", "failed", "skipped"])) total[key] += counts[key];
  }
  return `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === script) {
  if (process.argv[2] === "reset") rmSync(results, { recursive: true, force: true });
  else console.log(sum());
}
