/**
 * @file Every op against its float64 oracle, generated from the registry: dtypes × layouts × sizes × parameters × optional inputs.
 * Runs on the backend of the process (LOWRANK_BACKEND); `npm test` runs it once for each backend of the machine.
 */
import { afterAll, describe, expect, it } from "vitest";
import { registry } from "../lib/ops/index.js";
import { deviceInfo } from "../lib/tensor/device.js";
import { casesOf, dtypeLabel, dtypeVariants, type Layout } from "./ops/cases.js";
import { checkCase } from "./ops/check.js";

const layouts: readonly Layout[] = ["packed", "strided"];
const shown = 3;
/** Emulation is slow: there (scripts/arm64-tests.mjs) each group makes one of so many calls. */
const oneOf = Number(process.env["LOWRANK_TEST_ONE_OF"] ?? 1);

/** Cases that ran, by "op dtype layout". */
const counts = new Map<string, number>();

for (const op of registry) {
  const cases = casesOf(op);
  describe(op.name, () => {
    for (const dtype of new Set(dtypeVariants(op).map((variant) => dtypeLabel(op, variant)))) {
      for (const layout of layouts) {
        it(`${dtype} ${layout}`, async () => {
          const failures: string[] = [];
          const group = cases.filter((one) => one.dtype === dtype && one.layout === layout).filter((_, i) => i % oneOf === oneOf - 1);
          for (const one of group) failures.push(...(await checkCase(one)));
          counts.set(`${op.name} ${dtype} ${layout}`, group.length);
          expect(group.length, "no case was generated").toBeGreaterThan(0);
          expect(failures.length, `${failures.length} failures in ${group.length} cases:\n  ${failures.slice(0, shown).join("\n  ")}\n`).toBe(0);
        });
      }
    }
  });
}

afterAll(() => {
  const rows = registry.map(({ name }) => {
    const own = [...counts].filter(([key]) => key.startsWith(`${name} `));
    return `  ${name.padEnd(13)} ${own.map(([key, count]) => `${key.slice(name.length + 1)} ${count}`).join(", ")}\n`;
  });
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  process.stdout.write(`${total} cases on ${deviceInfo().backend}:\n${rows.filter((row) => /\d/.test(row.slice(15))).join("")}`);
});
