/** @file The golden models on every backend: logits, losses, gradients. */
import { afterEach, describe, expect, it } from "vitest";
import { attach, type CausalLm, loadAdapter, loadModel, memory, type Parameter, valueAndGrad } from "../../lib/index.js";
import { cases, dataOf, type Golden, numbersOf, openGolden, pathOf, shareOfBound, withinRows } from "./golden-llm.js";

const before = memory().cpu;
afterEach(() => {
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});

async function expectLogits(model: CausalLm, golden: Golden, which: "logits" | "logits_adapter"): Promise<void> {
  const logits = model.logits(golden.tokens);
  const found = withinRows(await dataOf(logits), golden.lengths);
  const expected = withinRows(await numbersOf(golden.file, which), golden.lengths);
  logits.dispose();
  const bound = golden.bounds[which === "logits" ? "logits" : "logitsAdapter"];
  expect(shareOfBound(found, expected, bound as NonNullable<typeof bound>), which).toBeLessThanOrEqual(1);
}

async function expectLoss(loss: number, golden: Golden, which: "loss" | "loss_adapter"): Promise<void> {
  const { data } = await numbersOf(golden.file, which);
  const bound = golden.bounds[which === "loss" ? "loss" : "lossAdapter"];
  expect(shareOfBound([loss], data, bound as NonNullable<typeof bound>), which).toBeLessThanOrEqual(1);
}

async function expectGradients(parameters: ReadonlyMap<string, Parameter>, golden: Golden, prefix: string, quantity: string): Promise<void> {
  const names = [...golden.file.tensors.keys()].filter((name) => name.startsWith(prefix));
  expect([...parameters.keys()].sort()).toEqual(names.map((name) => name.slice(prefix.length)).sort());
  for (const [name, parameter] of parameters) {
    const { data } = await numbersOf(golden.file, prefix + name);
    const found = (await parameter.grad?.data()) ?? [];
    const bound = golden.bounds[quantity];
    expect(shareOfBound(found, data, bound as NonNullable<typeof bound>), name).toBeLessThanOrEqual(1);
  }
}

describe.each(cases)("%s", (name) => {
  it("logits, loss and adapter gradients", async () => {
    const golden = await openGolden(name);
    const model = await loadModel(pathOf(name, "model"));
    await expectLogits(model, golden, "logits");
    const plain = model.loss(golden);
    await expectLoss(await plain.item(), golden, "loss");
    plain.dispose();
    const adapter = await loadAdapter(model, pathOf(name, "adapter-init"));
    await expectLogits(model, golden, "logits_adapter");
    for (const checkpointing of [false, true]) {
      model.gradientCheckpointing = checkpointing;
      const loss = valueAndGrad(() => model.loss(golden));
      await expectLoss(await loss.item(), golden, "loss_adapter");
      loss.dispose();
      await expectGradients(adapter.parameters(), golden, "grad.", "adapterGradients");
      for (const parameter of adapter.parameters().values()) parameter.clearGradient();
    }
    adapter.dispose();
    model.dispose();
    await golden.file.close();
  });

  it("gradients of all weights, held as f32", async () => {
    const golden = await openGolden(name);
    const model = await loadModel(pathOf(name, "model"), { dtype: "f32" });
    await expectLogits(model, golden, "logits");
    const loss = valueAndGrad(() => model.loss(golden));
    await expectLoss(await loss.item(), golden, "loss");
    loss.dispose();
    if ([...golden.file.tensors.keys()].some((key) => key.startsWith("full_grad.")))
      await expectGradients(model.parameters(), golden, "full_grad.", "fullGradients");
    model.dispose();
    await golden.file.close();
  });
});

it("all-linear leaves the head out", async () => {
  const model = await loadModel(pathOf("llama", "model"));
  const adapter = attach(model, { rank: 2, targetModules: "all-linear" });
  expect([...adapter.parameters().keys()].some((key) => key.includes("lm_head"))).toBe(false);
  adapter.dispose();
  model.dispose();
});
