import { expect, test } from "vitest";
import { attach, loadModel, train } from "../lib/index.js";
import { pathOf } from "./models/golden-llm.js";

test.each([
  ["disposed", "DISPOSED", (adapter: { dispose(): void }) => adapter.dispose()],
  ["detached", "ADAPTER_STATE", (adapter: { detach(): void }) => adapter.detach()],
])("a training whose adapter is %s ends with %s", async (_, code, change) => {
  using model = await loadModel(pathOf("llama", "model"));
  using adapter = attach(model, { targetModules: ["q_proj"] });
  const example = { tokens: [5, 6, 7, 8], labels: [5, 6, 7, 8] };
  const run = async (): Promise<void> => {
    for await (const _ of train(adapter, [example, example], { batchSize: 1, maxSteps: 3 })) change(adapter);
  };
  await expect(run()).rejects.toMatchObject({ code, message: expect.stringContaining("train: the adapter") });
});

test("options by their initials get the name in the advice", async () => {
  using model = await loadModel(pathOf("llama", "model"));
  expect(() => train(model, [], { lr: 1 } as never)).toThrow("Did you mean learningRate?");
});

test("an evaluation between the steps ends likewise", async () => {
  using model = await loadModel(pathOf("llama", "model"));
  using adapter = attach(model, { targetModules: ["q_proj"] });
  const example = { tokens: [5, 6, 7, 8], labels: [5, 6, 7, 8] };
  const run = async (): Promise<void> => {
    for await (const _ of train(adapter, [example], { batchSize: 1, maxSteps: 1, evaluate: { data: [example], every: 1 } })) adapter.dispose();
  };
  await expect(run()).rejects.toMatchObject({ code: "DISPOSED" });
});
