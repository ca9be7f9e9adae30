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

describe.each(deviceInfo().backends)("a training step on %s", (backend) => {
  it("has the same bits with 1, 2 and 3 threads, twice each", async () => {
    const runs: Hashes[] = [];
    for (const threads of [1, 2, 3]) {
      const run = await answerOf<Hashes>("hash-training-step.ts", { LOWRANK_NUM_THREADS: String(threads), LOWRANK_BACKEND: backend });
      expect(run).toMatchObject({ threads, backend });
      runs.push(run);
    }
    const [small, large] = (runs[0] as Hashes).hashes;
    expect(small).not.toBe(large);
    for (const { hashes } of runs) expect(hashes).toEqual([small, large, small, large]);
  });
});
