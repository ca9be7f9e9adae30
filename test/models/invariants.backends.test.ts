/** @file What must not change an answer: packing, micro-batches, recomputing, merging, saving. Bounds follow from f32 arithmetic. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { type Adapter, type CausalLm, evaluate, loadAdapter, loadModel, memory, sgd, type TokenBatch, train, valueAndGrad } from "../../lib/index.js";
import { cases, openGolden, pathOf } from "./golden-llm.js";

const folder = await mkdtemp(join(tmpdir(), "lowrank-invariants-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

const before = memory().cpu;
afterEach(() => {
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});

async function open(name: string): Promise<{ model: CausalLm; adapter: Adapter; batch: TokenBatch }> {
  const model = await loadModel(pathOf(name, "model"));
  const adapter = await loadAdapter(model, pathOf(name, "adapter-init"));
  const { tokens, labels, file } = await openGolden(name);
  await file.close();
  return { model, adapter, batch: { tokens, labels } };
}

async function gradients(adapter: Adapter, loss: () => ReturnType<CausalLm["loss"]>): Promise<{ loss: number; grad: Map<string, Float32Array> }> {
  const result = valueAndGrad(loss);
  const grad = new Map<string, Float32Array>();
  for (const [name, parameter] of adapter.parameters()) {
    grad.set(name, (await parameter.grad?.data()) as Float32Array);
    parameter.clearGradient();
  }
  const value = await result.item();
  result.dispose();
  return { loss: value, grad };
}

/** Two orders of the same f32 sums of some hundred terms: 64 roundings of the largest. */
function expectClose(a: Map<string, Float32Array>, b: Map<string, Float32Array>): void {
  for (const [name, one] of a) {
    const other = b.get(name) as Float32Array;
    const largest = one.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const off = one.reduce((most, value, i) => Math.max(most, Math.abs(value - (other[i] as number))), 0);
    expect(off, name).toBeLessThanOrEqual(64 * 2 ** -24 * largest);
  }
}

const closeLoss = (loss: number) => ({ asymmetricMatch: (other: number) => Math.abs(other - loss) <= 16 * 2 ** -24 * Math.abs(loss) });

describe.each(cases)("%s", (name) => {
  it("texts packed in one row give what they give in rows of their own", async () => {
    const { model, adapter, batch } = await open(name);
    const starts = batch.tokens.map((_, r) => batch.tokens.slice(0, r).reduce((sum, row) => sum + row.length, 0));
    const packed = { tokens: [batch.tokens.flat()], labels: [batch.labels.flat()], starts: [starts] };
    const apart = await gradients(adapter, () => model.loss(batch));
    const together = await gradients(adapter, () => model.loss(packed));
    expect(together.loss).toEqual(closeLoss(apart.loss));
    expectClose(apart.grad, together.grad);
    adapter.dispose();
    model.dispose();
  });

  it("padding changes nothing", async () => {
    const { model, adapter, batch } = await open(name);
    const longer = [...Array(7).keys()].map((i) => i % 5);
    const padded = {
      tokens: [...batch.tokens, [...(batch.tokens[0] as number[]), ...longer]],
      labels: [...batch.labels, new Array((batch.tokens[0] as number[]).length + 7).fill(-100)],
    };
    const apart = await gradients(adapter, () => model.loss(batch));
    const together = await gradients(adapter, () => model.loss(padded));
    expect(together.loss).toEqual(closeLoss(apart.loss));
    expectClose(apart.grad, together.grad);
    adapter.dispose();
    model.dispose();
  });

  it("layers computed again give the same bits", async () => {
    const { model, adapter, batch } = await open(name);
    const kept = await gradients(adapter, () => model.loss(batch));
    model.gradientCheckpointing = true;
    expect(await gradients(adapter, () => model.loss(batch))).toEqual(kept);
    adapter.dispose();
    model.dispose();
  });

  it("merged is unmerged, unmerging restores the bytes, saved and loaded is in memory", async () => {
    const { model, adapter, batch } = await open(name);
    const plain = await read(model.logits(batch.tokens));
    const bytes = (await model.lm_head.weight.value.data()).slice();
    const weights = async () => Promise.all([...model.parameters().values()].map((parameter) => parameter.value.data()));
    const base = await weights();
    if ([...model.parameters().values()].every(({ dtype }) => dtype === "f32")) {
      adapter.merge();
      const merged = await read(model.logits(batch.tokens));
      const largest = plain.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      // The product B·A is rounded once more, and the sum with W: some hundred roundings per layer of the largest logit.
      plain.forEach((value, i) => void expect(Math.abs(value - (merged[i] as number))).toBeLessThanOrEqual(512 * 2 ** -24 * largest));
      adapter.unmerge();
    }
    expect(await weights()).toEqual(base);
    expect(await model.lm_head.weight.value.data()).toEqual(bytes);
    await adapter.save(join(folder, name));
    adapter.detach();
    const again = await loadAdapter(model, join(folder, name));
    expect(await read(model.logits(batch.tokens))).toEqual(plain);
    again.dispose();
    adapter.dispose();
    model.dispose();
  });
});

const read = async (tensor: ReturnType<CausalLm["logits"]>): Promise<Float32Array> => {
  const data = (await tensor.data()) as Float32Array;
  tensor.dispose();
  return data;
};

describe("the trainer and a language model", () => {
  it("puts examples together to batches and weighs every trained label the same", async () => {
    const [one, other] = [await open("llama"), await open("llama")];
    const examples = one.batch.tokens.map((tokens, r) => ({ tokens, labels: one.batch.labels[r] as number[] }));
    const settings = { optimizer: sgd({ learningRate: 0.1 }), epochs: 3, shuffle: false, maxGradNorm: 1 } as const;
    const losses: number[][] = [[], []];
    for await (const event of train(one.adapter, examples, { ...settings, batchSize: examples.length })) {
      if (event.type === "step") {
        losses[0]?.push(event.loss);
        expect([event.examples, event.tokens]).toEqual([examples.length, one.batch.tokens.flat().length]);
      }
    }
    for await (const event of train(other.adapter, examples, { ...settings, batchSize: 1, accumulate: examples.length }))
      if (event.type === "step") losses[1]?.push(event.loss);
    expect(losses[0]).toHaveLength(3);
    losses[0]?.forEach((loss, i) => void expect(losses[1]?.[i]).toEqual(closeLoss(loss)));
    for (const [name, parameter] of one.adapter.parameters()) {
      const [a, b] = [await parameter.value.data(), await other.adapter.parameters().get(name)?.value.data()];
      expectClose(new Map([[name, a as Float32Array]]), new Map([[name, b as Float32Array]]));
    }
    const { loss, tokens, perplexity } = await evaluate(one.adapter, examples, { batchSize: 2 });
    expect(perplexity).toBeCloseTo(Math.exp(loss), 10);
    expect(tokens).toBe(one.batch.labels.reduce((sum, row) => sum + row.filter((label, t) => t > 0 && label !== -100).length, 0));
    for (const { adapter, model } of [one, other]) {
      adapter.dispose();
      model.dispose();
    }
  });

  it("weighs packed rows by the labels that count: the first of a text has nothing before it", async () => {
    const { model, adapter, batch } = await open("llama");
    // Every label is given, the first ones of texts too, as hand-made rows have them.
    const texts = batch.tokens.map((tokens) => tokens.slice(0, 9));
    const rows = texts.map((tokens) => ({ tokens, labels: tokens }));
    const packed = [
      { tokens: texts[0] as number[], labels: texts[0] as number[], starts: [0] },
      { tokens: texts.slice(1).flat(), labels: texts.slice(1).flat(), starts: texts.slice(1).map((_, i) => i * 9) },
    ];
    const [apart, together] = [await evaluate(adapter, rows, { batchSize: 1 }), await evaluate(adapter, packed, { batchSize: 1 })];
    expect(together.tokens).toBe(apart.tokens);
    expect(together.loss).toEqual(closeLoss(apart.loss));
    const nothing = [{ tokens: [1, 2, 3, 4], labels: [1, -100, 3, -100], starts: [0, 2] }];
    await expect(train(adapter, nothing).finished).rejects.toMatchObject({ code: "DATA_BAD_ITEM" });
    adapter.dispose();
    model.dispose();
  });

  it("refuses data and options that cannot be meant, at once", async () => {
    const { model, adapter } = await open("llama");
    for (const data of [undefined, 5, null]) {
      expect(() => train(adapter, data as never), String(data)).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
      await expect(evaluate(adapter, data as never), String(data)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
      expect(() => train(adapter, [], { evaluate: { data: data as never } })).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    }
    const rows = [{ tokens: [1, 2], labels: [1, 2] }];
    expect(() => train(adapter, rows, { count: () => 1 } as never)).toThrow(/count/);
    await expect(evaluate(adapter, rows, { count: () => 1 } as never)).rejects.toThrow(/count/);
    await expect(evaluate(adapter, rows, { keepBatches: true } as never)).rejects.toThrow(/keepBatches/);
    adapter.dispose();
    model.dispose();
  });

  it("stops when patience is over, and can end with the best weights", async () => {
    const { model, adapter, batch } = await open("llama");
    const examples = batch.tokens.map((tokens, r) => ({ tokens, labels: batch.labels[r] as number[] }));
    // Trains one row and evaluates another: after some steps that gets worse.
    const [own, foreign] = [examples.slice(0, 1), examples.slice(1)];
    const evals: { loss: number; best: boolean; step: number }[] = [];
    const settings = { optimizer: sgd({ learningRate: 2 }), maxSteps: 60, evaluate: { data: foreign, every: 1, patience: 3, keepBest: true } };
    for await (const event of train(adapter, own, settings)) if (event.type === "eval") evals.push(event);
    const lowest = Math.min(...evals.map(({ loss }) => loss));
    expect(evals.length).toBeLessThan(60);
    expect(evals.slice(-3).every(({ best }) => !best)).toBe(true);
    expect((await evaluate(adapter, foreign)).loss).toBe(lowest);
    adapter.dispose();
    model.dispose();
  });

  it("refuses examples that train nothing, and options that do not belong", async () => {
    const { model, adapter, batch } = await open("llama");
    const tokens = batch.tokens[0] as number[];
    const nothing = [{ tokens, labels: tokens.map((token, t) => (t === 0 ? token : -100)) }];
    await expect(train(adapter, nothing).finished).rejects.toMatchObject({
      code: "DATA_BAD_ITEM",
      message: expect.stringContaining("trains nothing"),
    });
    await expect(train(adapter, [{ tokens, labels: [1] }]).finished).rejects.toMatchObject({ code: "DATA_BAD_ITEM" });
    expect(() => train(adapter, [batch], { loss: (one) => model.loss(one), batchSize: 2 })).toThrow(/batchSize/);
    expect(() => train(adapter, nothing, { batchSize: 0 })).toThrow(/batchSize/);
    for (const [wrong, code] of [
      [{ tokens: [[1, 2, 9999]], labels: [[1, 2, 3]] }, "INDEX_OUT_OF_RANGE"],
      [{ tokens: [[1, 2]], labels: [[1]] }, "BAD_ARGUMENT"],
      [{ tokens: [], labels: [] }, "BAD_ARGUMENT"],
      [{ tokens: [[]], labels: [[]] }, "BAD_ARGUMENT"],
      [{ tokens: [[1, 2]], labels: [[1, 2]], starts: [[0, 2]] }, "BAD_ARGUMENT"],
      [{ tokens: [[1, 2]], labels: [[1, 2]], starts: [[1]] }, "BAD_ARGUMENT"],
    ] as const)
      expect(() => model.loss(wrong)).toThrow(expect.objectContaining({ code }));
    adapter.dispose();
    model.dispose();
  });
});
