/** @file Aborts that come while a step runs: at its products, and at its update. */
import { createHash } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { Linear, memory, sum, type Tensor, tensor, train } from "../../lib/index.js";

afterEach(() => {
  expect(memory().cpu).toMatchObject({ tensors: 0, bytes: 0 });
});

const hash = async (module: Linear): Promise<string> =>
  createHash("sha256")
    .update(await module.weight.value.data())
    .digest("hex");

describe("an abort", () => {
  it("aborts a step that is running", async () => {
    const wide = new Linear(2048, 2048, { bias: false }).initialize(0);
    const start = await hash(wide);
    const controller = new AbortController();
    const data = { length: 1, at: () => tensor(new Float32Array(2048 * 2048).fill(1e-3), [2048, 2048]) };
    const loss = (x: Tensor): Tensor => {
      let y = x;
      for (let i = 0; i < 20; i++) y = wide.forward(y as Tensor<[2048, 2048], "f32">);
      setTimeout(() => controller.abort(), 5);
      return sum(y);
    };
    await expect(train(wide, data, { loss, signal: controller.signal }).finished).rejects.toMatchObject({ code: "ABORTED" });
    expect(await hash(wide)).toBe(start);
    wide.dispose();
  });

  it("reports a step whose update had begun when the abort came: the weights are those of the last event", async () => {
    // Weights so many and a product so small that much of a step is the update.
    const wide = new Linear(4096, 1024, { bias: false }).initialize(0);
    const data = { length: 1, at: () => tensor(new Float32Array(4096).fill(1e-3), [1, 4096]) };
    const lossOf = (x: Tensor): Tensor => sum(wide.forward(x as Tensor<[1, 4096], "f32">));
    const seen = new Map([[await hash(wide), 0]]);
    const stepMilliseconds: number[] = [];
    let submitted = performance.now();
    const timed = (x: Tensor): Tensor => {
      submitted = performance.now();
      return lossOf(x);
    };
    for await (const event of train(wide, data, { loss: timed, epochs: 6 })) {
      if (event.type !== "step") continue;
      stepMilliseconds.push(performance.now() - submitted);
      seen.set(await hash(wide), event.step);
    }
    const stepTime = Math.min(...stepMilliseconds);
    const attempts = 60;
    for (let i = 0; i < attempts; i++) {
      wide.initialize(0);
      const controller = new AbortController();
      const abortAfter = (i / attempts) * 1.2 * stepTime;
      let micro = 0;
      const loss = (x: Tensor): Tensor => {
        // Holds the event loop while the third step runs, so that the abort comes in the midst of it.
        if (++micro === 3)
          setImmediate(() => {
            const until = performance.now() + abortAfter;
            while (performance.now() < until);
            controller.abort();
          });
        return lossOf(x);
      };
      let reported = 0;
      const failure = await (async () => {
        for await (const event of train(wide, data, { loss, epochs: 6, signal: controller.signal })) if (event.type === "step") reported = event.step;
      })().catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: "ABORTED" });
      expect(seen.get(await hash(wide)), `the step of the weights, aborted after ${abortAfter} of ${stepTime} ms`).toBe(reported);
    }
    wide.dispose();
  });
});
