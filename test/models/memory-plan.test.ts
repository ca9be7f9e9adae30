/** @file The memory of a training: planned before it runs, measured while it runs, refused where the budget does not allow it. */
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  attach,
  bundledModel,
  generateTokens,
  loadModel,
  memory,
  resetPeakMemory,
  type TokenBatch,
  type TrainingMemory,
  train,
} from "../../lib/index.js";
import { engine } from "../../lib/native/engine.js";
import { trainedLabels } from "../../lib/train/language.js";
import { cases, pathOf } from "./golden-llm.js";
import { batchesOf, examplesOf } from "./recorded-kit.js";

const before = memory().cpu;
afterEach(() => {
  vi.restoreAllMocks();
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});

const ragged = [30, 60, 12, 90, 41, 200, 77, 12, 150, 33];
const settings = [
  ["layers kept", { batchSize: 2 }],
  ["layers computed again", { batchSize: 2, gradientCheckpointing: true }],
  ["micro-batches", { batchSize: 1, accumulate: 4 }],
  ["micro-batches, layers computed again", { batchSize: 1, accumulate: 4, gradientCheckpointing: true }],
  ["sgd", { batchSize: 3, optimizer: "sgd" }],
] as const;

it.each(["int8", "nf4"] as const)("the plan counts the bytes of %s weights as weights", async (quantize) => {
  using model = await loadModel(bundledModel, { quantize });
  const weightBytes = memory().cpu.bytes - before.bytes;
  using adapter = attach(model, { rank: 4, targetModules: "all-linear" });
  const { finished } = train(adapter, examplesOf([30, 20], model.config.vocabSize), { batchSize: 2, maxSteps: 1 });
  expect((await finished).memory?.weightBytes).toBe(weightBytes);
});

describe.each([cases[0] as string, "qwen3"])("the plan of a training of %s", (name) => {
  it.each(settings)("is what was measured: %s", async (_, options) => {
    using model = await loadModel(pathOf(name, "model"));
    const weightBytes = memory().cpu.bytes - before.bytes;
    using adapter = attach(model, { rank: 4, targetModules: "all-linear" });
    const examples = examplesOf(ragged, model.config.vocabSize);
    // The table of angles is made by the first loss.
    model.loss({ tokens: [[1, 2]], labels: [[1, 2]] }).dispose();
    const record = vi.spyOn(engine(), "record");
    const arenas: number[] = [];
    const held: number[] = [];
    resetPeakMemory();
    let told: TrainingMemory | undefined;
    const training = train(adapter, examples, { ...options, epochs: 2 });
    for await (const event of training) {
      if (event.type === "done") told = event.memory;
      if (event.type !== "step") continue;
      arenas.push(engine().memory().arenaBytes);
      held.push(memory().cpu.bytes);
    }
    const found = told as TrainingMemory;
    const state = "optimizer" in options ? 2 : 4;
    expect(found.weightBytes).toBe(weightBytes);
    expect(found.trainedBytes).toBe(state * 4 * adapter.trainableCount);
    // The arena's high-water mark, what the allocator gave for it, and what was in use at most beside everything else.
    expect(found.activationBytes).toBe(Math.max(...record.mock.results.map(({ value }) => value.bytes)));
    expect(found.activationBytes).toBe(Math.max(...arenas));
    expect(found.weightBytes + found.trainedBytes + found.activationBytes + found.otherBytes).toBe(found.plannedBytes);
    expect(found.plannedBytes).toBe(memory().cpu.peakBytes);
    expect(found.peakBytes).toBe(found.plannedBytes);
    // Beside the arena and what stays there are the tokens, positions, spans and labels of a step.
    const rowBytes = (count: number): number => count * Math.max(...ragged) * 5 * 4 + 4;
    const inputs = ("accumulate" in options ? options.accumulate : 1) * rowBytes(options.batchSize);
    expect(found.peakBytes - Math.max(...held)).toBeLessThanOrEqual(inputs);
    expect((await training.finished).memory).toEqual(found);
  });

  it.each([false, true])("is near to what the ops one by one take, layers computed again: %s", async (gradientCheckpointing) => {
    using model = await loadModel(pathOf(name, "model"));
    using adapter = attach(model, { rank: 4, targetModules: "all-linear" });
    const examples = examplesOf([120, 120], model.config.vocabSize);
    const options = { epochs: 1, maxSteps: 1, shuffle: false } as const;
    const { memory: planned } = await train(adapter, examples, { ...options, batchSize: 2, gradientCheckpointing }).finished;
    const batches = batchesOf(examples, 2);
    model.gradientCheckpointing = gradientCheckpointing;
    resetPeakMemory();
    const loss = (batch: TokenBatch) => model.loss(batch);
    await train(adapter, batches, { ...options, loss, count: trainedLabels }).finished;
    const ratio = (planned?.plannedBytes ?? 0) / memory().cpu.peakBytes;
    expect(ratio).toBeGreaterThan(0.99);
    expect(ratio).toBeLessThan(1.2); // gaps between buffers in the arena
  });
});

describe("the plan", () => {
  const name = cases[0] as string;

  it("is complete before anything of a step runs: the arena does not grow between its micro-batches", async () => {
    using model = await loadModel(pathOf(name, "model"));
    using adapter = attach(model, { targetModules: "all-linear" });
    const order: string[] = [];
    const spied = (["record", "reserveArena", "replay"] as const).map((method) => {
      const original = engine()[method].bind(engine()) as (argument: never) => never;
      return vi.spyOn(engine(), method).mockImplementation((argument: unknown) => {
        order.push(method);
        return original(argument as never);
      });
    });
    const rows = examplesOf([9, 20, 31, 12, 40, 20], model.config.vocabSize);
    await train(adapter, rows, { batchSize: 1, accumulate: 3, shuffle: false }).finished;
    const step = (recorded: number) => [...new Array(recorded).fill("record"), "reserveArena", "replay", "replay", "replay"];
    expect(order).toEqual([...step(3), ...step(2)]);
    const [record, reserve] = spied;
    const planned = record?.mock.results.map(({ value }) => value.bytes) as number[]; // of 9, 20, 31, 12 and 40 tokens
    expect(reserve?.mock.calls).toEqual([[planned[2]], [planned[4]]]);
    expect(Math.max(...planned)).toBe(planned[4]);
  });

  it("is what was measured where activations are less than the trained values were before they moved", async () => {
    using model = await loadModel(pathOf(name, "model"));
    using adapter = attach(model, { rank: 256, targetModules: "all-linear" });
    model.loss({ tokens: [[1, 2]], labels: [[1, 2]] }).dispose();
    resetPeakMemory();
    const { reservedBytes } = memory().cpu;
    const { memory: told } = await train(adapter, examplesOf([2], model.config.vocabSize), { maxSteps: 1, gradientCheckpointing: true }).finished;
    const valueBytes = 4 * adapter.trainableCount;
    expect(told?.activationBytes).toBeLessThan(valueBytes);
    expect(told?.peakBytes).toBe(told?.plannedBytes);
    expect(memory().cpu.reservedBytes - reservedBytes).toBeLessThan(4 * valueBytes);
  });

  it("counts an evaluation that needs more than a step, and the weights that are kept", async () => {
    using model = await loadModel(pathOf(name, "model"));
    using adapter = attach(model, { rank: 4, targetModules: "all-linear" });
    const [rows, long] = [examplesOf([9, 9], model.config.vocabSize), examplesOf([230, 20, 230, 30], model.config.vocabSize)];
    model.loss({ tokens: [[1, 2]], labels: [[1, 2]] }).dispose();
    const options = { batchSize: 2, epochs: 2 };
    const { memory: small } = await train(adapter, rows, options).finished;
    resetPeakMemory();
    const { memory: large } = await train(adapter, rows, { ...options, evaluate: { data: long, keepBest: true } }).finished;
    expect(large?.activationBytes).toBeGreaterThan(2 * (small?.activationBytes ?? 0));
    expect(large?.trainedBytes).toBe(5 * 4 * adapter.trainableCount);
    expect(large?.peakBytes).toBe(large?.plannedBytes);
  });

  it("is not told of a loss of one's own", async () => {
    using model = await loadModel(pathOf(name, "model"));
    using adapter = attach(model, { targetModules: "all-linear" });
    const batches = batchesOf(examplesOf([9], model.config.vocabSize), 1);
    const result = await train(adapter, batches, { loss: (batch) => model.loss(batch), count: trainedLabels }).finished;
    expect(result).not.toHaveProperty("memory");
  });

  it.each(settings)("that the budget does not allow is refused before the first step, with the parts: %s", async (_, options) => {
    using model = await loadModel(pathOf(name, "model"));
    using adapter = attach(model, { rank: 4, targetModules: "all-linear" });
    const examples = examplesOf(ragged, model.config.vocabSize);
    const one = { ...options, maxSteps: 1, shuffle: false } as const;
    let processBytes = 0;
    let planned: TrainingMemory | undefined;
    for await (const event of train(adapter, examples, one)) {
      if (event.type === "step") processBytes = engine().memory().processBytes;
      if (event.type === "done") planned = event.memory;
    }
    const { activationBytes = 0, weightBytes, trainedBytes, plannedBytes = 0 } = planned ?? {};
    const { budgetBytes } = memory().cpu;
    const weights = async () => Promise.all([...adapter.parameters().values()].map(({ value }) => value.data()));
    const start = await weights();
    const replay = vi.spyOn(engine(), "replay");
    const events: string[] = [];
    try {
      engine().setBudget(plannedBytes - Math.floor(activationBytes / 2));
      const failure = await (async () => {
        for await (const { type } of train(adapter, examples, one)) events.push(type);
      })().catch((error: unknown) => error);
      expect(failure).toMatchObject({
        code: "OUT_OF_MEMORY",
        details: { activationBytes, requestedBytes: activationBytes, weightBytes, trainedBytes },
      });
      const { message, details } = failure as { message: string; details: TrainingMemory & { budgetBytes: number; processBytes: number } };
      for (const part of ["activationBytes", "weightBytes", "trainedBytes", "otherBytes", "budgetBytes", "processBytes"] as const)
        expect(message).toContain(String(details[part]));
      expect(message).toMatch(/batchSize.*maxLength.*gradientCheckpointing.*LOWRANK_MEMORY_BUDGET/s);
      expect(details.processBytes).toBeLessThanOrEqual(details.budgetBytes);
      expect(details.processBytes + activationBytes).toBeGreaterThan(details.budgetBytes);
      expect(events).toEqual([]);
      expect(replay).not.toHaveBeenCalled();
      expect(await weights()).toEqual(start);
      // What was enough before is enough.
      engine().setBudget(processBytes);
      expect((await train(adapter, examples, one).finished).memory?.activationBytes).toBe(activationBytes);
    } finally {
      engine().setBudget(budgetBytes);
    }
  });
});

describe("what is not recorded", () => {
  const lengths = Array.from({ length: 92 }, (_, i) => 20 + 2 * i);
  const orders = { rising: lengths, falling: lengths.toReversed(), mixed: lengths.map((_, i) => lengths[(i * 37) % 92] as number) };

  /** Runs `work` for every length; gives what it reserved and what was in use, both at most. */
  async function mostOf(work: (length: number) => Promise<unknown>, order: readonly number[]): Promise<{ reserved: number; used: number }> {
    const { bytes, reservedBytes } = memory().cpu;
    resetPeakMemory();
    let reserved = 0;
    for (const length of order) {
      await work(length);
      reserved = Math.max(reserved, memory().cpu.reservedBytes - reservedBytes);
    }
    expect(memory().cpu.bytes).toBe(bytes);
    return { reserved, used: memory().cpu.peakBytes - bytes };
  }

  it.each(Object.entries(orders))("leaves no free blocks of every length behind: %s", async (_, order) => {
    using model = await loadModel(pathOf("llama", "model"));
    using adapter = attach(model, { targetModules: "all-linear" });
    model.loss({ tokens: [new Array(256).fill(1)], labels: [new Array(256).fill(1)] }).dispose();
    const loss = (batch: TokenBatch) => model.loss(batch);
    const step = (length: number) => {
      const batch = batchesOf(examplesOf([length], model.config.vocabSize), 1);
      return train(adapter, batch, { loss, count: trainedLabels }).finished;
    };
    const answer = async (length: number) => {
      const tokens = new Array(Math.min(length, 150)).fill(7);
      for await (const _ of generateTokens(model, tokens, { maxTokens: 3, temperature: 0 }));
    };
    for (const work of [step, answer]) {
      const { reserved, used } = await mostOf(work, order);
      // Twice what was in use, in blocks up to an eighth larger.
      expect(reserved).toBeLessThan(2.5 * used);
    }
  });
});
