/** @file Generation against PyTorch's greedy tokens, and the cache against no cache, on every backend. */
import { afterEach, describe, expect, it } from "vitest";
import { CausalLm, generateTokens, loadAdapter, loadModel, memory, parseModelConfig } from "../../lib/index.js";
import { KvCache } from "../../lib/models/kv-cache.js";
import { tiny } from "./config-kit.js";
import { collect } from "./generate-kit.js";
import { cases, openGolden, pathOf, readJson, shareOfBound } from "./golden-llm.js";

const before = memory().cpu;
afterEach(() => {
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});

interface GoldenText {
  readonly promptIds: number[];
  readonly base: { readonly ids: number[] };
  readonly adapter: { readonly ids: number[] };
}

/** Token ids that look random, the same for every run. */
const someIds = (count: number, vocabSize: number): number[] => Array.from({ length: count }, (_, i) => (i * i * 31 + i * 17 + 5) % vocabSize);

/** Logits of the positions `from` … of `ids`, one step at a time from a cache, the first part at once. */
async function cachedLogits(model: CausalLm, ids: readonly number[], from: number): Promise<Float32Array[]> {
  const cache = new KvCache(model.config);
  const rows: Float32Array[] = [];
  for (let length = from + 1; length <= ids.length; length++) {
    const logits = model.nextLogits(ids.slice(0, length), cache);
    rows.push((await logits.data()) as Float32Array);
    logits.dispose();
  }
  cache.dispose();
  return rows;
}

async function uncachedRows(model: CausalLm, ids: readonly number[]): Promise<Float32Array[]> {
  const logits = model.logits([[...ids]]);
  const data = (await logits.data()) as Float32Array;
  logits.dispose();
  const { vocabSize } = model.config;
  return ids.map((_, t) => data.subarray(t * vocabSize, (t + 1) * vocabSize));
}

describe.each(cases)("%s", (name) => {
  it("speaks as transformers does, with the adapter off and on", async () => {
    const model = await loadModel(pathOf(name, "model"));
    const texts = readJson<GoldenText[]>(name, "generate.json");
    const greedy = { temperature: 0, maxTokens: 32 };
    for (const { promptIds, base } of texts) expect(await collect(generateTokens(model, promptIds, greedy))).toEqual(base.ids);
    const adapter = await loadAdapter(model, pathOf(name, "adapter-init"));
    for (const { promptIds, base, adapter: adapted } of texts) {
      expect(await collect(generateTokens(model, promptIds, greedy))).toEqual(adapted.ids);
      expect(await collect(generateTokens(model, promptIds, { ...greedy, adapter: null }))).toEqual(base.ids);
      adapter.disable();
      expect(await collect(generateTokens(model, promptIds, { ...greedy, adapter }))).toEqual(adapted.ids);
      adapter.enable();
    }
    adapter.dispose();
    model.dispose();
  });

  it("computes with the cache what it computes without, where the cache grows too", async () => {
    const golden = await openGolden(name);
    await golden.file.close();
    const bound = golden.bounds["logits"] as NonNullable<(typeof golden.bounds)["logits"]>;
    const model = await loadModel(pathOf(name, "model"));
    const ids = someIds(270, model.config.vocabSize);
    const expected = await uncachedRows(model, ids);
    for (const from of [0, 245]) {
      const found = await cachedLogits(model, ids, from);
      found.forEach((row, i) => {
        expect(shareOfBound(row, expected[from + i] as Float32Array, bound), `position ${from + i}`).toBeLessThanOrEqual(1);
      });
    }
    model.dispose();
  });
});

it.each([
  { rope_type: "dynamic", factor: 2 },
  { rope_type: "longrope", factor: 4, original_max_position_embeddings: 10, short_factor: [1, 1, 1, 1], long_factor: [1, 2, 3, 4] },
])("computes all anew where rotary frequencies depend on the length: $rope_type", async (rope_scaling) => {
  const file = tiny("llama", { head_dim: 8, hidden_size: 32, max_position_embeddings: 12, rope_scaling });
  const config = parseModelConfig(new TextEncoder().encode(JSON.stringify(file)), "config.json");
  const model = new CausalLm(config);
  model.initialize(1);
  const ids = someIds(20, config.vocabSize);
  const found = await cachedLogits(model, ids, 3);
  for (let length = 4; length <= ids.length; length++) {
    const expected = (await uncachedRows(model, ids.slice(0, length)))[length - 1] as Float32Array;
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const off = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - (found[length - 4]?.[i] as number))), 0);
    expect(off, `length ${length}`).toBeLessThanOrEqual(64 * 2 ** -24 * largest);
  }
  model.dispose();
});
