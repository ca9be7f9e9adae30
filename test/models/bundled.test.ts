/** The bundled model is where the package says, in a clone; test/package/train.mjs asks the same of the package. */
import { isAbsolute } from "node:path";
import { bundledModel, loadModel } from "lowrank";
import { expect, test } from "vitest";

test("bundledModel is the folder of a model that loads", async () => {
  expect(isAbsolute(bundledModel)).toBe(true);
  const model = await loadModel(bundledModel);
  try {
    expect(model.config.layers).toBe(5);
    expect(model.tokenizer?.vocabSize).toBe(768);
  } finally {
    model.dispose();
  }
});
