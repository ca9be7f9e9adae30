import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Adapter, adam, adamw, attach, type Optimizer, sgd, train, valueAndGrad } from "../../lib/index.js";
import { openSafetensors } from "../../lib/io/safetensors.js";
import { readTensor } from "../../lib/io/tensors.js";
import { distance, fixture, type Golden, goldenLoss, Mlp, openGolden } from "./golden-mlp.js";

const optimizers: Record<string, Optimizer> = {
  adam: adam({ learningRate: 1e-3 }),
  "adam-l2": adam({ learningRate: 1e-3, weightDecay: 3e-3 }),
  adamw: adamw({ learningRate: 1e-3, weightDecay: 1e-2 }),
  "sgd-momentum": sgd({ learningRate: 2e-2, momentum: 0.9 }),
};

let golden: Golden;
beforeAll(async () => {
  golden = await openGolden();
});
afterAll(() => golden.close());

const worstOf = (seen: readonly number[], expected: readonly number[]): number =>
  Math.max(...seen.map((loss, i) => Math.abs(loss - (expected[i] as number)) / Math.max(Math.abs(expected[i] as number), 1e-3)));

/** Our tensor names, as the fixture spells them. */
const goldenName = (tensor: string): string => tensor.replace("base_model.model.", "");

async function startFrom(adapter: Adapter, name: string): Promise<void> {
  const file = await openSafetensors(fixture(name));
  for (const [tensor, parameter] of adapter.parameters()) {
    const start = await readTensor(file, goldenName(tensor));
    parameter.assign(start);
    start.dispose();
  }
  await file.close();
}

describe("100 steps as PyTorch takes them", () => {
  it.each(Object.keys(optimizers))("%s", async (name) => {
    const { losses, bounds } = golden.runs[name] as Golden["runs"][string];
    const mlp = await new Mlp().load(fixture("weights.safetensors"));
    const seen: number[] = [];
    const options = { loss: goldenLoss(mlp), optimizer: optimizers[name] as Optimizer, epochs: 10, shuffle: false };
    for await (const event of train(mlp, golden.batches, options)) if (event.type === "step") seen.push(event.loss);
    expect(seen).toHaveLength(100);
    expect(worstOf(seen, losses)).toBeLessThanOrEqual(bounds.loss_relative);
    for (const tensor of ["fc2.weight", "fc2.bias"] as const) {
      const { difference } = distance(
        await (mlp.parameters().get(tensor) as { value: { data(): Promise<Float32Array> } }).value.data(),
        await golden.expected(`${name}.trained.${tensor}`),
      );
      expect(difference, tensor).toBeLessThanOrEqual(bounds.trained_absolute);
    }
    mlp.dispose();
  });

  it.each(["lora", "sigma"] as const)("%s", async (name) => {
    const { losses, bounds } = golden.runs[name] as Golden["runs"][string];
    const shifted = await openGolden(3);
    const mlp = await new Mlp().load(fixture("weights.safetensors"));
    const adapter = attach(mlp, { method: name, targetModules: "all-linear", ...(name === "lora" ? { rank: 8, alpha: 16 } : {}) });
    if (name === "lora") await startFrom(adapter, "lora-init.safetensors");
    const expected = (kind: "grad" | "trained", tensor: string) => shifted.expected(`${name}.${kind}.${goldenName(tensor)}`);

    const loss = valueAndGrad(() => goldenLoss(mlp)(shifted.batches[0] as (typeof shifted.batches)[0]));
    for (const [tensor, parameter] of adapter.parameters()) {
      const { difference, scale } = distance((await parameter.grad?.data()) as Float32Array, await expected("grad", tensor));
      expect(difference / scale, tensor).toBeLessThanOrEqual(bounds.gradient_relative_to_max);
    }
    loss.dispose();

    const seen: number[] = [];
    const optimizer = adam({ learningRate: name === "lora" ? 5e-4 : 2e-2 });
    for await (const event of train(adapter, shifted.batches, { loss: goldenLoss(mlp), optimizer, epochs: 10, shuffle: false })) {
      if (event.type === "step") seen.push(event.loss);
    }
    expect(seen).toHaveLength(100);
    expect(worstOf(seen, losses)).toBeLessThanOrEqual(bounds.loss_relative);
    for (const [tensor, parameter] of adapter.parameters()) {
      const { difference } = distance(await parameter.value.data(), await expected("trained", tensor));
      expect(difference, tensor).toBeLessThanOrEqual(bounds.trained_absolute);
    }
    adapter.dispose();
    mlp.dispose();
    await shifted.close();
  });

  it("first gradients", async () => {
    const { bounds } = golden.runs["adam"] as Golden["runs"][string];
    const mlp = await new Mlp().load(fixture("weights.safetensors"));
    const loss = valueAndGrad(() => goldenLoss(mlp)(golden.batches[0] as (typeof golden.batches)[0]));
    for (const name of ["fc1.bias", "fc2.weight", "fc2.bias"]) {
      const gradient = await mlp.parameters().get(name)?.grad?.data();
      const { difference, scale } = distance(gradient as Float32Array, await golden.expected(`adam.grad.${name}`));
      expect(difference / scale, name).toBeLessThanOrEqual(bounds.gradient_relative_to_max);
    }
    loss.dispose();
    mlp.dispose();
  });
});
