/** @file Twenty LoRA steps, and ten of all weights, against the float64 run of the golden models. */
import { describe, expect, it } from "vitest";
import {
  adamw,
  type CausalLm,
  loadAdapter,
  loadModel,
  type Parameter,
  type StepEvent,
  type TokenBatch,
  type Trainable,
  train,
} from "../../lib/index.js";
import { openSafetensors, type SafetensorsFile } from "../../lib/io/safetensors.js";
import { type Bounds, cases, numbersOf, pathOf, readJson, rowsOf, shareOfBound } from "./golden-llm.js";

interface Curve {
  readonly learningRate: readonly number[];
  readonly accumulation: number;
  readonly loss: readonly number[];
  readonly gradNorm: readonly number[];
}

/** Every micro-batch of the run, in order. */
async function microBatches(name: string): Promise<TokenBatch[]> {
  const file = await openSafetensors(pathOf(name, "batches.safetensors"));
  const { shape, data: lengths } = await numbersOf(file, "lengths");
  const rows = shape[2] as number;
  const tokens = await rowsOf(file, "input_ids", [...lengths]);
  const labels = await rowsOf(file, "labels", [...lengths]);
  await file.close();
  return Array.from({ length: lengths.length / rows }, (_, i) => ({
    tokens: tokens.slice(i * rows, (i + 1) * rows),
    labels: labels.slice(i * rows, (i + 1) * rows),
  }));
}

const trained = ({ labels }: TokenBatch): number => labels.reduce((sum, row) => sum + row.filter((label, t) => t > 0 && label !== -100).length, 0);

async function run(model: CausalLm, target: Trainable, batches: readonly TokenBatch[], curve: Curve): Promise<StepEvent[]> {
  const seen: StepEvent[] = [];
  const training = train(
    target,
    { length: batches.length, at: (i) => batches[i] },
    {
      loss: (batch) => model.loss(batch),
      count: trained,
      optimizer: adamw({ weightDecay: 0.01 }),
      learningRate: Math.max(...curve.learningRate),
      schedule: "linear",
      warmupSteps: 3,
      maxGradNorm: 1,
      accumulate: curve.accumulation,
      shuffle: false,
    },
  );
  for await (const event of training) if (event.type === "step") seen.push(event);
  return seen;
}

function expectCurve(events: readonly StepEvent[], curve: Curve, bounds: Bounds, prefix: string): void {
  expect(events.map(({ learningRate }) => learningRate)).toEqual(curve.learningRate.map((rate) => expect.closeTo(rate, 12)));
  for (const quantity of ["loss", "gradNorm"] as const) {
    const bound = bounds[`${prefix}.${quantity}`] as Bounds[string];
    const shares = events.map((event, i) => shareOfBound([event[quantity]], [curve[quantity][i] as number], bound));
    expect(Math.max(...shares), `${prefix}.${quantity}: ${shares.map((share) => share.toFixed(2)).join(" ")}`).toBeLessThanOrEqual(1);
  }
}

/** The error of each trained tensor relative to how far training moved it. */
async function expectWeights(
  parameters: ReadonlyMap<string, Parameter>,
  start: SafetensorsFile,
  end: SafetensorsFile,
  boundOf: (name: string) => Bounds[string],
): Promise<void> {
  expect([...parameters.keys()].sort()).toEqual([...end.tensors.keys()].sort());
  for (const [name, parameter] of parameters) {
    const [from, to] = [(await numbersOf(start, name)).data, (await numbersOf(end, name)).data];
    const moved = to.map((value, i) => value - (from[i] as number));
    expect(shareOfBound((await parameter.value.data()) as Float32Array, to, boundOf(name), moved), name).toBeLessThanOrEqual(1);
  }
  await start.close();
  await end.close();
}

describe.each(cases)("%s", (name) => {
  const bounds = readJson<Bounds>(name, "bounds.json");

  it("20 steps of LoRA", async () => {
    const curve = readJson<Curve>(name, "training.json");
    const model = await loadModel(pathOf(name, "model"));
    const adapter = await loadAdapter(model, pathOf(name, "adapter-init"));
    expectCurve(await run(model, adapter, await microBatches(name), curve), curve, bounds, "training");
    const [start, end] = await Promise.all(
      ["adapter-init", "trained"].map((dir) => openSafetensors(pathOf(name, `${dir}/adapter_model.safetensors`))),
    );
    await expectWeights(adapter.parameters(), start as SafetensorsFile, end as SafetensorsFile, () => bounds["training.weights"] as Bounds[string]);
    adapter.dispose();
    model.dispose();
  });
});

it("qwen2: 10 steps of all weights", async () => {
  const bounds = readJson<Bounds>("qwen2", "bounds.json");
  const curve = readJson<Curve>("qwen2", "full_training.json");
  const model = await loadModel(pathOf("qwen2", "model"));
  const batches = (await microBatches("qwen2")).slice(0, curve.loss.length * curve.accumulation);
  expectCurve(await run(model, model, batches, curve), curve, bounds, "fullTraining");
  const [start, end] = [
    await openSafetensors(pathOf("qwen2", "model/model.safetensors")),
    await openSafetensors(pathOf("qwen2", "full_trained.safetensors")),
  ];
  await expectWeights(
    model.parameters(),
    start,
    end,
    (key) => bounds[key.endsWith("k_proj.bias") ? "fullTraining.keyBiases" : "fullTraining.weights"] as Bounds[string],
  );
  model.dispose();
});
