import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { siteOf } from "../../lib/autograd/randomness.js";
import {
  adam,
  crossEntropy,
  Dropout,
  dropout,
  evaluate,
  Linear,
  LowrankError,
  Module,
  memory,
  mul,
  ones,
  Parameter,
  relu,
  type StepEvent,
  sgd,
  showProgress,
  sum,
  type Tensor,
  type TrainingEvent,
  tensor,
  tidy,
  train,
  zeros,
} from "../../lib/index.js";
import { dropoutKeeps } from "../../lib/ops/reference.js";

class Net extends Module {
  fc1 = new Linear(6, 8);
  drop: Dropout;
  fc2 = new Linear(8, 3);
  constructor(p = 0) {
    super();
    this.drop = new Dropout(p);
  }
  forward(x: Tensor): Tensor {
    return this.fc2.forward(this.drop.forward(relu(this.fc1.forward(x))));
  }
}

interface Batch {
  readonly x: Tensor;
  readonly y: Tensor;
}

const lossOf =
  (net: Net) =>
  ({ x, y }: Batch): Tensor =>
    crossEntropy(net.forward(x), y as Tensor<["N"], "i32">);

/** Rows `first` … of a fixed little data set. */
function rows(first: number, count: number): Batch {
  const x = Float32Array.from({ length: count * 6 }, (_, i) => Math.sin(1.7 * (first * 6 + i) + 0.3));
  const y = Int32Array.from({ length: count }, (_, i) => ((first + i) * 7) % 3);
  return { x: tensor(x, [count, 6]), y: tensor(y, [count]) };
}

const fresh = (sizes: readonly number[]) => ({
  length: sizes.length,
  at: (i: number): Batch =>
    rows(
      sizes.slice(0, i).reduce((a, b) => a + b, 0),
      sizes[i] as number,
    ),
});

async function numbers(net: Module): Promise<Float32Array[]> {
  return Promise.all([...net.parameters().values()].map((parameter) => parameter.value.data()));
}

async function hash(net: Module): Promise<string> {
  const digest = createHash("sha256");
  for (const data of await numbers(net)) digest.update(new Uint8Array(data.buffer));
  return digest.digest("hex");
}

async function steps(training: AsyncIterable<TrainingEvent>): Promise<StepEvent[]> {
  const seen: StepEvent[] = [];
  for await (const event of training) if (event.type === "step") seen.push(event);
  return seen;
}

const before = memory().cpu;
afterEach(() => {
  const after = memory().cpu;
  expect({ tensors: after.tensors, bytes: after.bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});

describe("what a step computes", () => {
  it("weighs every example the same: micro-batches of 5, 2 and 9 are one batch of 16", async () => {
    const whole = new Net().initialize(3);
    const split = new Net().initialize(3);
    const options = { optimizer: sgd({ learningRate: 0.1 }), shuffle: false, maxGradNorm: 0.05, epochs: 3 };
    const one = await steps(train(whole, fresh([16]), { ...options, loss: lossOf(whole) }));
    const three = await steps(train(split, fresh([5, 2, 9]), { ...options, accumulate: 3, loss: lossOf(split) }));
    expect(three.map(({ step }) => step)).toEqual([1, 2, 3]);
    one.forEach(({ loss, gradNorm }, i) => {
      expect(Math.abs((three[i] as StepEvent).loss - loss)).toBeLessThan(16 * 2 ** -24 * Math.max(1, loss));
      expect(Math.abs((three[i] as StepEvent).gradNorm - gradNorm)).toBeLessThan(64 * 2 ** -24 * gradNorm);
    });
    const [a, b] = [await numbers(whole), await numbers(split)];
    a.forEach((data, i) => {
      data.forEach((value, j) => {
        expect(Math.abs(value - ((b[i] as Float32Array)[j] as number))).toBeLessThan(3 * 0.1 * 64 * 2 ** -24);
      });
    });
    whole.dispose();
    split.dispose();
  });

  it("draws the masks of each step and micro-batch from their numbers", async () => {
    const weight = new Parameter(ones([96]));
    const drawn: Promise<Float32Array>[] = [];
    const loss = (x: Tensor): Tensor => {
      const masked = dropout(x, { p: 0.5, site: "drop" });
      drawn.push(masked.data());
      return sum(mul(masked, weight.value));
    };
    const data = { length: 4, at: () => ones([96]) };
    const target = { parameters: () => new Map([["weight", weight]]) };
    await steps(train(target, data, { loss, optimizer: sgd({ learningRate: 0 }), accumulate: 2, seed: 5 }));
    const masks = await Promise.all(drawn);
    const expected = [0, 1, 2, 3].map((batch) => ({ seed: 5, step: Math.floor(batch / 2), micro: batch % 2 }));
    masks.forEach((mask, batch) => {
      const kept = expected.map((settings) => Array.from(mask, (_, i) => (dropoutKeeps(i, 0.5, settings, siteOf("drop")) ? 2 : 0)));
      expect(kept.map((one) => isDeepStrictEqual(one, [...mask]))).toEqual(expected.map((_, i) => i === batch));
    });
    weight.dispose();
  });

  it("clips as torch.nn.utils.clip_grad_norm_ does", async () => {
    const weight = new Parameter(tensor([3, 4], [2]));
    const target = { parameters: () => new Map([["weight", weight]]) };
    const data = { length: 1, at: () => tensor([1, 1], [1, 2]) };
    const loss = (): Tensor => sum(mul(weight.value, tensor([30, 40], [2])));
    const [event] = await steps(train(target, data, { loss, optimizer: sgd({ learningRate: 1 }), maxGradNorm: 5 }));
    expect(event?.gradNorm).toBeCloseTo(50, 4);
    const factor = 5 / (50 + 1e-6);
    const after = await weight.value.data();
    expect(after[0]).toBeCloseTo(3 - 30 * factor, 5);
    expect(after[1]).toBeCloseTo(4 - 40 * factor, 5);
    weight.dispose();
  });

  it("decays matrices only, unless decayAll", async () => {
    for (const decayAll of [false, true]) {
      const net = new Net().initialize(1);
      const still = (): Tensor => sum(mul(net.fc1.weight.value as Tensor, zeros([8, 6])));
      const start = await numbers(net);
      const optimizer = sgd({ learningRate: 0.5, weightDecay: 0.25 });
      await steps(train(net, fresh([4]), { loss: still, optimizer, decayAll }));
      const end = await numbers(net);
      [...net.parameters().values()].forEach(({ shape }, i) => {
        const factor = decayAll || shape.length > 1 ? 1 - 0.5 * 0.25 : 1;
        (end[i] as Float32Array).forEach((value, j) => {
          expect(value).toBeCloseTo(((start[i] as Float32Array)[j] as number) * factor, 6);
        });
      });
      net.dispose();
    }
  });

  it("follows the schedules of transformers", async () => {
    const rates = async (schedule: "constant" | "linear" | "cosine"): Promise<number[]> => {
      const net = new Net().initialize(0);
      const seen = await steps(train(net, fresh([4, 4, 4, 4]), { loss: lossOf(net), learningRate: 1, schedule, warmupSteps: 2, epochs: 2 }));
      net.dispose();
      return seen.map(({ learningRate }) => learningRate);
    };
    const cosine = (k: number): number => 0.5 * (1 + Math.cos((Math.PI * (k - 2)) / 6));
    expect(await rates("constant")).toEqual([0, 0.5, 1, 1, 1, 1, 1, 1]);
    expect(await rates("linear")).toEqual([0, 0.5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]);
    expect(await rates("cosine")).toEqual([0, 0.5, 1, cosine(3), cosine(4), cosine(5), cosine(6), cosine(7)]);
  });

  it("gives the same bits for the same seed, and others for another, with dropout and shuffling", async () => {
    const run = async (seed: number): Promise<string> => {
      const net = new Net(0.5).initialize(7);
      await steps(train(net, fresh([4, 4, 4, 4, 3]), { loss: lossOf(net), optimizer: adam(), seed, epochs: 3 }));
      const digest = await hash(net);
      net.dispose();
      return digest;
    };
    const [a, b, c] = [await run(1), await run(1), await run(2)];
    expect(a).toBe(b);
    expect(a).not.toBe(c);
  });
});

describe("a training is in the caller's hands", () => {
  it("is lazy, and tells the state after step n before step n + 1", async () => {
    const net = new Net().initialize(0);
    const options = { loss: lossOf(net), optimizer: sgd({ learningRate: 0.1 }), shuffle: false, maxSteps: 4 };
    const start = await hash(net);
    const training = train(net, fresh([4, 4, 4]), options);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await hash(net)).toBe(start);
    const hashes: string[] = [];
    for await (const event of training) {
      if (event.type !== "step") continue;
      const now = await hash(net);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(await hash(net)).toBe(now);
      hashes.push(now);
    }
    expect(new Set([start, ...hashes]).size).toBe(5);
    expect(await training.finished).toMatchObject({ steps: 4 });

    const again = new Net().initialize(0);
    expect(await train(again, fresh([4, 4, 4]), { ...options, loss: lossOf(again) }).finished).toMatchObject({ steps: 4 });
    expect(await hash(again)).toBe(hashes[3]);
    net.dispose();
    again.dispose();
  });

  it("stops when the loop is left, and can be trained again", async () => {
    const net = new Net().initialize(0);
    for await (const event of train(net, fresh([4, 4]), { loss: lossOf(net), epochs: 100 })) if (event.type === "step" && event.step === 3) break;
    expect((await numbers(net)).flatMap((data) => [...data]).every(Number.isFinite)).toBe(true);
    await train(net, fresh([4]), { loss: lossOf(net) }).finished;
    net.dispose();
  });

  it("abort leaves the weights of the last complete step, keeps the reason, and works before the start", async () => {
    const net = new Net().initialize(0);
    const controller = new AbortController();
    const reason = new Error("enough");
    let last = await hash(net);
    const training = train(net, fresh([4, 4]), { loss: lossOf(net), epochs: 1000, signal: controller.signal });
    const failure = await (async () => {
      for await (const event of training) {
        if (event.type !== "step") continue;
        last = await hash(net);
        if (event.step === 5) controller.abort(reason);
      }
    })().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LowrankError);
    expect(failure).toMatchObject({ code: "ABORTED", cause: reason });
    await expect(training.finished).rejects.toMatchObject({ code: "ABORTED" });
    expect(await hash(net)).toBe(last);
    const late = train(net, fresh([4]), { loss: lossOf(net), signal: controller.signal });
    await expect(late.finished).rejects.toMatchObject({ code: "ABORTED", cause: reason });
    net.dispose();
  });

  it("stops before the weights change when the loss or a gradient is not finite", async () => {
    for (const poison of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const net = new Net().initialize(0);
      let clean = await hash(net);
      const data = fresh([4, 4, 4]);
      const poisoned = {
        length: 3,
        at: (i: number): Batch => {
          const batch = data.at(i);
          if (i < 2) return batch;
          batch.x.dispose();
          return { x: tensor(new Float32Array(24).fill(poison), [4, 6]), y: batch.y };
        },
      };
      const failure = await (async () => {
        for await (const event of train(net, poisoned, { loss: lossOf(net), shuffle: false })) if (event.type === "step") clean = await hash(net);
      })().catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: "TRAIN_NONFINITE", details: { step: 3, rows: 4 } });
      expect(await hash(net)).toBe(clean);
      net.dispose();
    }
  });

  it("frees the batches it was given to free, and keeps those of an array", async () => {
    const net = new Net().initialize(0);
    const batches = [rows(0, 4), rows(4, 4)];
    await train(net, batches, { loss: lossOf(net), epochs: 3 }).finished;
    await train(net, batches, { loss: lossOf(net) }).finished;
    for (const { x, y } of batches) {
      x.dispose();
      y.dispose();
    }
    function* generated(): Generator<Batch> {
      yield rows(0, 4);
      yield rows(4, 3);
    }
    await expect(train(net, generated(), { loss: lossOf(net), epochs: 2 }).finished).rejects.toMatchObject({ code: "DATA_EMPTY" });
    await train(net, { [Symbol.iterator]: generated }, { loss: lossOf(net), epochs: 2 }).finished;
    net.dispose();
  });
});

describe("evaluation", () => {
  it("weighs by examples and counts right answers", async () => {
    const net = new Net().initialize(5);
    const loss = ({ x, y }: Batch) => {
      const logits = net.forward(x);
      return { loss: crossEntropy(logits, y as Tensor<["N"], "i32">), logits, labels: y };
    };
    const whole = await evaluate(net, fresh([16]), { loss });
    const split = await evaluate(net, fresh([1, 3, 12]), { loss, metrics: { twice: () => tensor([2], []) } });
    expect(split.loss).toBeCloseTo(whole.loss, 5);
    expect(split).toMatchObject({ examples: 16, accuracy: whole.accuracy, metrics: { twice: 2 } });
    const batch = rows(0, 16);
    const logits = tidy(() => net.forward(batch.x));
    const data = await logits.data();
    const labels = await batch.y.data();
    const right = labels.filter((label: number, r: number) => {
      const row = [...data.subarray(r * 3, r * 3 + 3)] as number[];
      return row.indexOf(Math.max(...row)) === label;
    }).length;
    expect(whole.accuracy).toBe(right / 16);
    for (const used of [batch.x, batch.y, logits]) used.dispose();
    net.dispose();
  });

  it("cut short by maxSteps is at the fraction of the epoch that was trained", async () => {
    const net = new Net().initialize(0);
    const training = train(net, fresh([4, 4, 4, 4]), { loss: lossOf(net), maxSteps: 1, evaluate: { data: fresh([4]) } });
    const epochs: number[] = [];
    for await (const event of training) if (event.type === "step" || event.type === "eval") epochs.push(event.epoch);
    expect(epochs).toEqual([0.25, 0.25]);
    net.dispose();
  });

  it("runs inside of training and names the best", async () => {
    const net = new Net().initialize(5);
    const seen: TrainingEvent[] = [];
    const options = { loss: lossOf(net), optimizer: adam({ learningRate: 0.05 }), epochs: 2, evaluate: { data: fresh([5]), every: 3 } };
    for await (const event of train(net, fresh([4, 4, 4]), options)) seen.push(event);
    expect(seen.map(({ type }) => type)).toEqual(["step", "step", "step", "eval", "step", "step", "step", "eval", "done"]);
    const evals = seen.filter((event) => event.type === "eval");
    expect(evals[0]).toMatchObject({ step: 3, best: true, examples: 5 });
    const best = evals.reduce((a, b) => (b.loss < a.loss ? b : a));
    expect(seen.at(-1)).toMatchObject({ type: "done", steps: 6, best: { step: best.step, loss: best.loss } });
    net.dispose();
  });
});

describe("what a caller can get wrong", () => {
  it("options", () => {
    const net = new Net().initialize(0);
    const data = fresh([4]);
    const loss = lossOf(net);
    const attempt = (options: object) => () => train(net, data, { loss, ...options } as never);
    expect(attempt({ learningrate: 1 })).toThrow(
      expect.objectContaining({ code: "UNKNOWN_OPTION", message: expect.stringContaining("Did you mean learningRate?") }),
    );
    expect(attempt({ loss: undefined })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    expect(attempt({ epochs: 0 })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    expect(attempt({ learningRate: Number.NaN })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    expect(attempt({ optimizer: "lion" })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT", message: expect.stringContaining("adamw") }));
    expect(attempt({ schedule: "step" })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    expect(() => adam({ lr: 1 } as never)).toThrow(expect.objectContaining({ code: "UNKNOWN_OPTION" }));
    expect(() => train(net, [], { loss })).toThrow(expect.objectContaining({ code: "DATA_EMPTY" }));
    expect(() => train(net, 3 as never, { loss })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    expect(() => train({} as never, data, { loss })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    expect(() => train(net, { *[Symbol.iterator]() {} }, { loss, schedule: "linear" })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    net.dispose();
  });

  it("data and losses", async () => {
    const net = new Net().initialize(0);
    const broken = {
      length: 2,
      at: () => {
        throw new Error("no such row");
      },
    };
    await expect(train(net, broken, { loss: lossOf(net) }).finished).rejects.toMatchObject({
      code: "DATA_SOURCE_ERROR",
      cause: { message: "no such row" },
    });
    await expect(train(net, fresh([4]), { loss: ({ x }: Batch) => net.forward(x) }).finished).rejects.toMatchObject({ code: "NOT_SCALAR" });
    await expect(train(net, fresh([4]), { loss: (async () => 1) as never }).finished).rejects.toMatchObject({ code: "ASYNC_IN_SCOPE" });
    await expect(train(net, fresh([4]), { loss: ({ x }: Batch) => sum(x) }).finished).rejects.toMatchObject({ code: "NO_GRADIENT" });
    const holes = train(net, { length: 3, at: () => undefined }, { loss: () => zeros([]) });
    await expect(holes.finished).rejects.toMatchObject({ code: "DATA_BAD_ITEM", message: expect.stringContaining("undefined") });
    await expect(train(net, fresh([4]), { loss: lossOf(net), count: () => 0 }).finished).rejects.toMatchObject({ code: "DATA_BAD_ITEM" });
    const wrongLabels = { length: 1, at: () => ({ x: tensor(new Float32Array(24), [4, 6]), y: tensor(Int32Array.of(0, 1, 2, 3), [4]) }) };
    const start = await hash(net);
    await expect(train(net, wrongLabels, { loss: lossOf(net) }).finished).rejects.toMatchObject({ code: "INDEX_OUT_OF_RANGE" });
    expect(await hash(net)).toBe(start);
    net.dispose();
  });

  it("warns of parameters that the loss does not use", async () => {
    const net = new Net().initialize(0);
    const loss = ({ x }: Batch): Tensor => sum(net.fc1.forward(x as Tensor<[4, 6], "f32">));
    const seen: TrainingEvent[] = [];
    for await (const event of train(net, fresh([4]), { loss })) seen.push(event);
    expect(seen.filter(({ type }) => type === "warning")).toEqual([expect.objectContaining({ message: expect.stringContaining("fc2.weight") })]);
    net.dispose();
  });
});

describe("progress", () => {
  it("draws a line on a terminal and plain lines elsewhere", async () => {
    for (const isTTY of [true, false]) {
      const net = new Net().initialize(0);
      let text = "";
      const stream = { isTTY, columns: 200, write: (part: string) => (text += part) };
      const training = train(net, fresh([4, 4]), { loss: lossOf(net), epochs: 2, evaluate: { data: fresh([4]) } });
      const types: string[] = [];
      for await (const event of showProgress(training, { stream, label: "net", every: 1 })) types.push(event.type);
      expect(types).toEqual(["step", "step", "eval", "step", "step", "eval", "done"]);
      expect(text).toContain("step 1/4");
      expect(text).toContain("net: evaluation after step 2");
      expect(text.includes("\r")).toBe(isTTY);
      net.dispose();
    }
  });
});
