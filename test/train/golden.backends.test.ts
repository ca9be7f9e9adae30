import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { adam, adamw, type Optimizer, sgd, train, valueAndGrad } from "../../lib/index.js";
import { distance, fixture, type Golden, goldenLoss, Mlp, openGolden } from "./golden-mlp.js";

const optimizers: Record<string, Optimizer> = {
  adam: adam({ learningRate: 1e-3 }),
  "adam-l2": adam({ learningRate: 1e-3, weightDecay: 1e-2 }),
  adamw: adamw({ learningRate: 1e-3, weightDecay: 1e-2 }),
  "sgd-momentum": sgd({ learningRate: 2e-2, momentum: 0.9 }),
};

let golden: Golden;
beforeAll(async () => {
  golden = await openGolden();
});
afterAll(() => golden.close());

describe("100 steps as PyTorch takes them", () => {
  it.each(Object.keys(optimizers))("%s", async (name) => {
    const { losses, bounds } = golden.runs[name] as Golden["runs"][string];
    const mlp = await new Mlp().load(fixture("weights.safetensors"));
    const seen: number[] = [];
    const options = { loss: goldenLoss(mlp), optimizer: optimizers[name] as Optimizer, epochs: 10, shuffle: false };
    for await (const event of train(mlp, golden.batches, options)) if (event.type === "step") seen.push(event.loss);
    expect(seen).toHaveLength(100);
    const worst = Math.max(...seen.map((loss, i) => Math.abs(loss - (losses[i] as number)) / Math.max(Math.abs(losses[i] as number), 1e-3)));
    expect(worst).toBeLessThanOrEqual(bounds.loss_relative);
    for (const tensor of ["fc2.weight", "fc2.bias"] as const) {
      const { difference } = distance(
        await (mlp.parameters().get(tensor) as { value: { data(): Promise<Float32Array> } }).value.data(),
        await golden.expected(`${name}.trained.${tensor}`),
      );
      expect(difference, tensor).toBeLessThanOrEqual(bounds.trained_absolute);
    }
    mlp.dispose();
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
