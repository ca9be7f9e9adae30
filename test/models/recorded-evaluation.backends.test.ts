/** @file Evaluating a language model replays recorded batches: the same bits as the ops one by one, in memory that does not grow with the lengths. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  attach,
  type EvalEvent,
  evaluate,
  loadModel,
  memory,
  mul,
  type ProfileRow,
  profile,
  resetPeakMemory,
  type TokenBatch,
  type TrainingEvent,
  tensor,
  train,
} from "../../lib/index.js";
import { engine } from "../../lib/native/engine.js";
import { trainedLabels } from "../../lib/train/language.js";
import { pathOf as pathOfChild } from "../children/run.js";
import { cases, pathOf } from "./golden-llm.js";
import { batchesOf, examplesOf } from "./recorded-kit.js";

const before = memory().cpu;
afterEach(() => {
  vi.restoreAllMocks();
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});

const lengths = [5, 9, 9, 5, 17, 2, 9, 9, 18, 300];

/** What does not depend on how examples are counted. */
const told = ({ loss, step, epoch, best, metrics }: EvalEvent) => ({ loss, step, epoch, best, metrics });

async function evaluations(events: AsyncIterable<TrainingEvent>) {
  const found: ReturnType<typeof told>[] = [];
  for await (const event of events) if (event.type === "eval") found.push(told(event));
  return found;
}

describe.each(cases)("%s", (name) => {
  it.each([1, 2, 4])("evaluate gives the loss of the ops one by one, %i rows in a batch", async (batchSize) => {
    using model = await loadModel(pathOf(name, "model"));
    using adapter = attach(model, { rank: 4, alpha: 64, dropout: 0.5, targetModules: "all-linear", method: "lora", seed: 3 });
    await moved(adapter);
    const examples = examplesOf(lengths, model.config.vocabSize);
    const packed = examples.map((row) => ({ ...row, starts: row.tokens.length > 8 ? [0, 3, 7] : [0] }));
    for (const rows of [examples, packed]) {
      const replay = vi.spyOn(engine(), "replay");
      const twice = (batch: TokenBatch) => mul(model.loss(batch), tensor([2], []));
      const replayed = await evaluate(adapter, rows as never, { batchSize, metrics: { twice } });
      const batches = batchesOf(rows, batchSize);
      expect(replay).toHaveBeenCalledTimes(batches.length);
      const eager = await evaluate(adapter, batches, { loss: (batch) => model.loss(batch), count: trainedLabels });
      expect(replay).toHaveBeenCalledTimes(batches.length);
      expect(replayed.loss).toBe(eager.loss);
      expect(replayed.metrics?.["twice"]).toBe(2 * eager.loss);
      replay.mockRestore();
    }
  });

  it.each([false, true])("so does the evaluation between steps, layers computed again: %s", async (gradientCheckpointing) => {
    using model = await loadModel(pathOf(name, "model"));
    const rows = examplesOf(lengths, model.config.vocabSize);
    const held = examplesOf([4, 9, 30, 11, 9], model.config.vocabSize);
    const common = { shuffle: false, learningRate: 3e-3, seed: 5, epochs: 2 } as const;
    const attached = () => attach(model, { rank: 4, alpha: 8, dropout: 0.2, targetModules: "all-linear", seed: 3 });
    using recorded = attached();
    const replayed = await evaluations(
      train(recorded, rows, { ...common, batchSize: 2, gradientCheckpointing, evaluate: { data: held, every: 2, keepBest: true } }),
    );
    recorded.dispose();
    using plain = attached();
    const loss = (batch: TokenBatch) => model.loss(batch);
    const options = { ...common, loss, count: trainedLabels };
    const eager = await evaluations(
      train(plain, batchesOf(rows, 2), { ...options, evaluate: { data: batchesOf(held, 2), every: 2, keepBest: true } }),
    );
    expect(replayed.length).toBe(5);
    expect(replayed).toEqual(eager);
  });
});

/** An adapter that changes the logits: its second factors are no longer zero. */
async function moved(adapter: ReturnType<typeof attach>): Promise<void> {
  for (const parameter of adapter.parameters().values()) {
    const size = parameter.shape.reduce((a, b) => a * b, 1);
    const values = tensor(
      Float32Array.from({ length: size }, (_, i) => Math.sin(i) / 50),
      parameter.shape,
    );
    parameter.assign(values);
    values.dispose();
  }
}

describe("the memory of an evaluation", () => {
  const name = cases[0] as string;
  const many = Array.from({ length: 92 }, (_, i) => 20 + ((i * 37) % 92) * 2);

  it("does not grow with the number of lengths: it is what the longest batch needs", async () => {
    using model = await loadModel(pathOf(name, "model"));
    const examples = examplesOf(many, model.config.vocabSize);
    const longest = examples.reduce((a, b) => (b.tokens.length > a.tokens.length ? b : a));
    const planned: number[] = [];
    const record = vi.spyOn(engine(), "record");
    await evaluate(model, [longest], { batchSize: 1 });
    for (const { value } of record.mock.results) planned.push(value.bytes);
    const most = Math.max(...planned);
    expect(most).toBeGreaterThan(100_000);
    const { reservedBytes } = memory().cpu;
    let grown = 0;
    const watching = {
      length: examples.length,
      at: (i: number) => {
        grown = Math.max(grown, memory().cpu.reservedBytes - reservedBytes);
        return examples[i] as (typeof examples)[number];
      },
    };
    await evaluate(model, watching, { batchSize: 1 });
    expect(record).toHaveBeenCalledTimes(93);
    // Tokens, positions, spans and labels of the shapes that are kept, and of one batch of each length whose blocks the pool keeps.
    const inputs = many.reduce((sum, length) => sum + 2 * 5 * 4 * (length + 16), 0);
    expect(grown).toBeGreaterThanOrEqual(most - reservedBytes);
    expect(grown).toBeLessThanOrEqual(most + inputs);
  });

  it("is part of the arena of the training that it interrupts", async () => {
    using model = await loadModel(pathOf(name, "model"));
    using adapter = attach(model, { targetModules: "all-linear" });
    const rows = examplesOf(new Array(8).fill(200), model.config.vocabSize); // none of those held out is as long
    const held = examplesOf(many.slice(0, 8), model.config.vocabSize);
    const seen: number[] = [];
    for await (const event of train(adapter, rows, { batchSize: 4, epochs: 2, evaluate: { data: held } })) {
      if (event.type === "step" || event.type === "eval") seen.push(memory().cpu.reservedBytes);
    }
    const arena = seen[1] as number;
    for (const reserved of seen.slice(2)) expect(reserved - arena).toBeLessThan(100_000);
  });

  it("is that of one layer when layers are computed again in training, too", async () => {
    using model = await loadModel(pathOf(name, "model"));
    const [row] = examplesOf([200], model.config.vocabSize);
    const batch = { tokens: [row?.tokens ?? []], labels: [row?.labels ?? []] };
    const peakOf = async (checkpointing: boolean): Promise<number> => {
      model.gradientCheckpointing = checkpointing;
      const start = memory().cpu.bytes;
      resetPeakMemory();
      const loss = model.loss(batch);
      await loss.item();
      loss.dispose();
      return memory().cpu.peakBytes - start;
    };
    await peakOf(false);
    expect(await peakOf(true)).toBe(await peakOf(false));
  });
});

describe("a batch that is replayed", () => {
  const name = cases[0] as string;

  it("is stopped where it is by an abort, between batches and in their midst", async () => {
    using model = await loadModel(pathOf(name, "model"));
    const rows = examplesOf(new Array(24).fill(250), model.config.vocabSize);
    const whole = await evaluate(model, rows, { batchSize: 8 });
    const adapter = attach(model, { targetModules: "all-linear" });
    const replay = vi.spyOn(engine(), "replay");
    for (const at of [1, 2, 3]) {
      for (const [run, skipped] of [
        [(signal: AbortSignal) => evaluate(model, rows, { batchSize: 8, signal }), 0],
        [(signal: AbortSignal) => train(adapter, rows.slice(0, 8), { maxSteps: 1, signal, evaluate: { data: rows, every: 1 } }).finished, 1],
      ] as const) {
        const controller = new AbortController();
        const why = new Error("enough");
        replay.mockClear();
        const ended = run(controller.signal).catch((error: unknown) => error);
        const timer = setInterval(() => {
          if (replay.mock.calls.length < at + skipped) return;
          clearInterval(timer);
          controller.abort(why);
        });
        expect(await ended).toMatchObject({ code: "ABORTED", cause: why });
      }
    }
    adapter.dispose();
    expect(await evaluate(model, rows, { batchSize: 8 })).toEqual(whole);
  });

  it("fails with the error of the op, as one by one", async () => {
    using model = await loadModel(pathOf(name, "model"));
    using adapter = attach(model, { targetModules: "all-linear" });
    const rows = [{ tokens: [1, 2, 3], labels: [1, 2, 9999] }];
    const batches = batchesOf(rows, 1);
    const failureOf = (run: Promise<unknown>) =>
      run.then(
        () => undefined,
        (error) => error.toJSON(),
      );
    const loss = (batch: TokenBatch) => model.loss(batch);
    const eager = await failureOf(evaluate(model, batches, { loss, count: trainedLabels }));
    expect(eager).toMatchObject({ code: "INDEX_OUT_OF_RANGE", details: { kernel: "linear_cross_entropy", actual: 9999 } });
    expect(await failureOf(evaluate(model, rows, { batchSize: 1 }))).toEqual(eager);
    expect(await failureOf(train(adapter, rows, { batchSize: 1 }).finished)).toEqual(eager);
    expect((await evaluate(model, [{ tokens: [1, 2, 3], labels: [1, 2, 3] }], {})).loss).toBeGreaterThan(0);
  });

  it("is a row of a profile for each of its kernels", async () => {
    using model = await loadModel(pathOf(name, "model"));
    const rows = examplesOf([9, 9, 20], model.config.vocabSize);
    const counted = (found: ProfileRow[]) => {
      const counts: Record<string, number> = {};
      for (const { kernel, shapes, flops, ns } of found) {
        expect(ns).toBeGreaterThanOrEqual(0);
        if (kernel !== "copy") counts[`${kernel} ${shapes} ${flops}`] = (counts[`${kernel} ${shapes} ${flops}`] ?? 0) + 1;
      }
      return counts;
    };
    model.loss({ tokens: [[1, 2]], labels: [[1, 2]] }).dispose();
    const replayed = counted(await profile(() => evaluate(model, rows, { batchSize: 1 })));
    const loss = (batch: TokenBatch) => model.loss(batch);
    const eager = counted(await profile(() => evaluate(model, batchesOf(rows, 1), { loss, count: trainedLabels })));
    expect(Object.keys(replayed).length).toBeGreaterThan(10);
    expect(replayed).toEqual(eager);
  });

  it.each(["2", "4"])("is written by LOWRANK_DEBUG=%s, a line for each of its kernels", (LOWRANK_DEBUG) => {
    // Into a file: what native code writes into a pipe is lost when its reader is slow, because Node does not let it block.
    const file = join(mkdtempSync(join(tmpdir(), "lowrank-debug-")), "stderr.txt");
    const out = openSync(file, "w");
    const { status, stdout } = spawnSync(process.execPath, ["--import", "tsx", pathOfChild("evaluate-twice.ts")], {
      env: { ...process.env, NODE_OPTIONS: "", LOWRANK_DEBUG },
      stdio: ["ignore", "pipe", out],
    });
    closeSync(out);
    const [, first = "", second = ""] = readFileSync(file, "utf8").split("batch\n");
    rmSync(dirname(file), { recursive: true });
    expect(status).toBe(0);
    expect(Number(stdout)).toBeGreaterThan(0);
    const kernels = (text: string) => [...text.matchAll(/^lowrank: (\w+) +[\d.]+ us/gm)].map(([, kernel]) => kernel as string);
    expect(kernels(second).filter((kernel) => kernel === "attention_forward")).toHaveLength(2);
    expect(kernels(second)).toContain("linear_cross_entropy");
    // The table of angles is made once.
    expect(kernels(first).filter((kernel) => kernel !== "rope_table")).toEqual(kernels(second));
    const values = second.match(/^ {5}-?[\d.]/gm) ?? [];
    expect(values.length > 0).toBe(LOWRANK_DEBUG === "4");
  });
});
