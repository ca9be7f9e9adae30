/** @file Adapters trained here, as transformers and PEFT read them (scripts/check-llm-with-peft.py; versions in versions.json). */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { loadAdapter, loadModel } from "../../lib/index.js";
import { openSafetensors } from "../../lib/io/safetensors.js";
import { dataOf, numbersOf, pathOf, rowsOf } from "./golden-llm.js";

const root = fileURLToPath(new URL("../fixtures/peft-llm", import.meta.url));
const names = readdirSync(root, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));

describe.each(names)("%s", (name) => {
  it("gives the logits that PEFT computes from the file", async () => {
    const file = await openSafetensors(join(root, name, "expected.safetensors"));
    const tokens = await rowsOf(file, "input_ids", [25, 25]);
    const [base, expected] = [await numbersOf(file, "base"), await numbersOf(file, "logits")];
    await file.close();
    const model = await loadModel(pathOf(name, "model"), { dtype: "f32" });
    const adapter = await loadAdapter(model, join(root, name));
    const logits = model.logits(tokens);
    const { shape, data } = await dataOf(logits);
    expect(shape).toEqual(expected.shape);
    const largest = expected.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const off = (from: Float64Array): number => data.reduce((most, value, i) => Math.max(most, Math.abs(value - (from[i] as number))), 0);
    // Two f32 computations: the bound of the golden logits, 2^-17 of the largest, for each.
    expect(off(expected.data)).toBeLessThanOrEqual(2 * 2 ** -17 * largest);
    expect(off(base.data), "the adapter does something").toBeGreaterThan(0.01 * largest);
    logits.dispose();
    adapter.dispose();
    model.dispose();
  });
});

it("there are as many as golden models", () => {
  expect(names).toHaveLength(6);
});
