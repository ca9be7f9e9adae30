/** @file The same bits for any number of threads, and every time. */
import { describe, expect, it } from "vitest";
import { deviceInfo } from "../lib/index.js";
import { answerOf } from "./children/run.js";

interface Hashes {
  readonly threads: number;
  readonly backend: string;
  /** [small, large, small, large] */
  readonly hashes: readonly [string, string, string, string];
}

const scripts = ["hash-training-step.ts", "hash-language-model.ts"];

describe.each(deviceInfo().backends)("a training step on %s", (backend) => {
  it.each(scripts)("has the same bits with 1, 2 and 3 threads, twice each: %s", async (script) => {
    const runs: Hashes[] = [];
    for (const threads of [1, 2, 3]) {
      const run = await answerOf<Hashes>(script, { LOWRANK_NUM_THREADS: String(threads), LOWRANK_BACKEND: backend });
      expect(run).toMatchObject({ threads, backend });
      runs.push(run);
    }
    const [small, large] = (runs[0] as Hashes).hashes;
    expect(small).not.toBe(large);
    for (const { hashes } of runs) expect(hashes).toEqual([small, large, small, large]);
  });
});
