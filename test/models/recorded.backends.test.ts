/** @file Training a language model replays recorded batches: the same bits as the commands one by one, whatever changes between the steps. */
import { afterEach, describe, expect, it } from "vitest";
import { type Adapter, attach, CausalLm, loadModel, memory, type StepEvent, type TokenBatch, tensor, train } from "../../lib/index.js";
import { elementsOf } from "../../lib/tensor/shape.js";
import { trainedLabels } from "../../lib/train/language.js";
import { cases, pathOf } from "./golden-llm.js";
import { batchesOf, type Example, examplesOf } from "./recorded-kit.js";

const before = memory().cpu;
afterEach(() => {
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});

interface Outcome {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly weights: readonly Float32Array[];
}

async function outcomeOf(adapter: Adapter, steps: AsyncIterable<unknown>, between?: (step: number) => void): Promise<Outcome> {
  const events: StepEvent[] = [];
  for await (const event of steps as AsyncIterable<StepEvent>) {
    if (event.type !== "step") continue;
    events.push(event);
    between?.(event.step);
  }
  const weights: Float32Array[] = [];
  for (const parameter of adapter.parameters().values()) weights.push((await parameter.value.data()) as Float32Array);
  return { losses: events.map(({ loss }) => loss), norms: events.map(({ gradNorm }) => gradNorm), weights };
}

const common = { shuffle: false, learningRate: 3e-3, maxGradNorm: 1, seed: 11 } as const;

interface Settings {
  readonly batchSize: number;
  readonly epochs?: number;
  readonly accumulate?: number;
  readonly gradientCheckpointing?: boolean;
}

/** Both ways, on adapters that are alike. */
async function bothWays(
  model: CausalLm,
  examples: readonly Example[],
  { batchSize, gradientCheckpointing = false, ...options }: Settings,
  dropout: number,
  between?: (step: number) => void,
): Promise<[Outcome, Outcome]> {
  const fresh = (): Adapter => attach(model, { rank: 4, alpha: 8, dropout, targetModules: "all-linear", seed: 3 });
  const recorded = fresh();
  const replayed = await outcomeOf(recorded, train(recorded, examples, { ...common, ...options, batchSize, gradientCheckpointing }), between);
  recorded.dispose();
  const plain = fresh();
  model.gradientCheckpointing = gradientCheckpointing;
  const loss = (batch: TokenBatch) => model.loss(batch);
  const data = batchesOf(examples, batchSize);
  const eager = await outcomeOf(plain, train(plain, data, { ...common, ...options, loss, count: trainedLabels }), between);
  model.gradientCheckpointing = false;
  plain.dispose();
  return [replayed, eager];
}

describe.each(cases)("%s", (name) => {
  it.each([
    ["rows of many lengths, again and again", { batchSize: 2, epochs: 3 }, 0],
    ["dropout, whose masks differ from step to step", { batchSize: 2, epochs: 3 }, 0.3],
    ["layers computed again", { batchSize: 3, epochs: 2, gradientCheckpointing: true }, 0.1],
    ["micro-batches", { batchSize: 1, epochs: 2, accumulate: 3 }, 0.1],
  ])("%s", async (_, options, dropout) => {
    const model = await loadModel(pathOf(name, "model"));
    const examples = examplesOf([5, 9, 9, 5, 17, 2, 9, 9, 18], model.config.vocabSize);
    const [replayed, eager] = await bothWays(model, examples, options, dropout);
    expect(replayed.losses.length).toBeGreaterThan(3);
    expect(replayed).toEqual(eager);
    model.dispose();
  });
});

describe("between the steps", () => {
  const [name] = cases as [string];

  it("another adapter comes, is disabled and goes", async () => {
    const model = await loadModel(pathOf(name, "model"));
    const examples = examplesOf(new Array(16).fill(9), model.config.vocabSize);
    let other: Adapter | undefined;
    const between = (step: number): void => {
      if (step === 2) {
        other = attach(model, { rank: 2, alpha: 8, name: "other", targetModules: "all-linear", seed: 9 });
        for (const parameter of other.parameters().values()) {
          const noise = tensor(new Float32Array(elementsOf(parameter.shape)).fill(0.01), parameter.shape);
          parameter.assign(noise);
          noise.dispose();
        }
      }
      if (step === 4) other?.disable();
      if (step === 6) other?.dispose();
    };
    const [replayed, eager] = await bothWays(model, examples, { batchSize: 2 }, 0, between);
    expect(replayed).toEqual(eager);
    model.dispose();
  });

  it("the model is disposed", async () => {
    const model = await loadModel(pathOf(name, "model"));
    const adapter = attach(model, { targetModules: "all-linear" });
    const steps = train(adapter, examplesOf(new Array(8).fill(9), model.config.vocabSize), { ...common, batchSize: 2 });
    let last = 0;
    const failure = await (async () => {
      for await (const event of steps) {
        if (event.type !== "step") continue;
        last = event.step;
        if (event.step === 2) model.dispose();
      }
    })().catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "DISPOSED", message: expect.stringMatching(/^The language model was disposed/) });
    expect(last).toBe(2);
    adapter.dispose();
  });

  it("the rotary table grows", async () => {
    const model = await loadModel(pathOf(name, "model"));
    const examples = examplesOf([300, 300, 20, 20, 300, 20], model.config.vocabSize);
    const [replayed, eager] = await bothWays(model, examples, { batchSize: 1, epochs: 2 }, 0);
    expect(replayed).toEqual(eager);
    model.dispose();
  });
});

it("more shapes than are kept", async () => {
  const model = await loadModel(pathOf(cases[0] as string, "model"));
  const examples = examplesOf(
    Array.from({ length: 40 }, (_, i) => 2 + i),
    model.config.vocabSize,
  );
  const [replayed, eager] = await bothWays(model, examples, { batchSize: 1, epochs: 2 }, 0);
  expect(replayed).toEqual(eager);
  expect(model).toBeInstanceOf(CausalLm);
  model.dispose();
});
