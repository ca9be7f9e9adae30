/** @file Loading a model folder: progress, abort, shards, types, and everything that does not fit. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { attach, type CausalLm, type LoadProgress, loadModel, memory, resetPeakMemory, train } from "../../lib/index.js";
import { openSafetensors } from "../../lib/io/safetensors.js";
import { type TensorSource, writeSafetensors } from "../../lib/io/safetensors-write.js";
import { engine } from "../../lib/native/engine.js";
import { narrowBf16 } from "../../lib/tensor/create.js";
import { pathOf } from "./golden-llm.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-load-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const before = memory().cpu;
afterEach(() => {
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }, "what a test or a failed load leaves behind").toEqual({ tensors: before.tensors, bytes: before.bytes });
});

let copies = 0;
/** A copy of a golden model's folder. */
async function copyOf(name: string): Promise<string> {
  const path = join(folder, String(copies++));
  await cp(pathOf(name, "model"), path, { recursive: true });
  return path;
}

/** Rewrites the weights of a folder: `change` may drop, rename or reshape tensors. `shards`: how many files. */
async function rewrite(path: string, change: (sources: TensorSource[]) => TensorSource[], shards = 1): Promise<void> {
  const file = await openSafetensors(join(path, "model.safetensors"));
  const sources: TensorSource[] = [];
  for (const [name, { dtype, shape }] of file.tensors) {
    const bytes = await file.readBytes(name);
    sources.push({ name, dtype, shape, data: async () => bytes });
  }
  await file.close();
  const changed = change(sources);
  await rm(join(path, "model.safetensors"));
  if (shards === 1) return writeSafetensors(join(path, "model.safetensors"), changed, { format: "pt" }).then(() => undefined);
  const weightMap: Record<string, string> = {};
  for (let shard = 0; shard < shards; shard++) {
    const name = `model-0000${shard + 1}-of-0000${shards}.safetensors`;
    const part = changed.filter((_, i) => i % shards === shard);
    for (const source of part) weightMap[source.name] = name;
    await writeSafetensors(join(path, name), part, { format: "pt" });
  }
  await writeFile(join(path, "model.safetensors.index.json"), JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap }));
}

async function logits(model: CausalLm): Promise<Float32Array> {
  const y = model.logits([[1, 2, 3, 4, 5]]);
  const data = (await y.data()) as Float32Array;
  y.dispose();
  model.dispose();
  return data;
}

describe("loadModel", () => {
  it("tells its progress up to the end", async () => {
    const seen: LoadProgress[] = [];
    const model = await loadModel(pathOf("llama", "model"), { onProgress: (progress) => seen.push(progress) });
    const { totalBytes } = seen[0] as LoadProgress;
    expect(seen).toHaveLength(model.parameters().size);
    expect(seen.every(({ loadedBytes }, i) => loadedBytes > (seen[i - 1]?.loadedBytes ?? 0))).toBe(true);
    expect(seen.at(-1)).toEqual({ loadedBytes: totalBytes, totalBytes });
    expect(totalBytes).toBe(
      [...model.parameters().values()].reduce((sum, { shape }) => sum + 4 * shape.reduce((a: number, b: number) => a * b, 1), 0),
    );
    model.dispose();
  });

  it("can be aborted at any tensor, and keeps nothing", async () => {
    for (const at of [1, 5, 19]) {
      const controller = new AbortController();
      let told = 0;
      const loading = loadModel(pathOf("llama", "model"), {
        signal: controller.signal,
        onProgress: () => {
          if (++told === at) controller.abort(new Error("enough"));
        },
      });
      await expect(loading).rejects.toMatchObject({ code: "ABORTED" });
      expect(told).toBe(at);
    }
    await expect(loadModel(pathOf("llama", "model"), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("sets the budget of the process, which then holds for weights and steps", async () => {
    const { budgetBytes } = memory().cpu;
    const path = pathOf("llama", "model");
    try {
      for (const memoryBudget of [0, -1, 1.5, Number.NaN, "4GB" as never])
        await expect(loadModel(path, { memoryBudget })).rejects.toMatchObject({
          code: "BAD_ARGUMENT",
          message: expect.stringContaining("memoryBudget"),
        });
      expect(memory().cpu.budgetBytes).toBe(budgetBytes);
      await expect(loadModel(path, { memoryBudget: 10_000 })).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
      using model = await loadModel(path, { memoryBudget: 1_500_000 });
      expect(memory().cpu.budgetBytes).toBe(1_500_000);
      using adapter = attach(model, { targetModules: "all-linear" });
      const tokens = new Array(200).fill(3);
      const training = train(adapter, new Array(8).fill({ tokens, labels: tokens }), { batchSize: 8 });
      await expect(training.finished).rejects.toMatchObject({ code: "OUT_OF_MEMORY", details: { budgetBytes: 1_500_000 } });
    } finally {
      engine().setBudget(budgetBytes);
    }
  });

  it("reads the same from several files", async () => {
    const path = await copyOf("llama");
    await rewrite(path, (sources) => sources, 3);
    expect(await logits(await loadModel(path))).toEqual(await logits(await loadModel(pathOf("llama", "model"))));
  });

  it("holds weights as they are stored, or as it is told", async () => {
    for (const [name, dtype] of [
      ["llama", "f32"],
      ["llama-tied-bf16", "bf16"],
      ["llama-v4-f16", "f16"],
    ] as const) {
      const stored = await loadModel(pathOf(name, "model"));
      expect(stored.model.layers[0]?.mlp.up_proj.weight.dtype).toBe(dtype);
      expect(stored.model.norm.weight.dtype).toBe("f32");
      const wide = await loadModel(pathOf(name, "model"), { dtype: "f32" });
      // Widening is exact, but products of another type may take another path.
      expect(await logits(wide)).toEqual(await logits(stored));
    }
    const model = await loadModel(pathOf("llama", "model"), { dtype: "bf16" });
    const source = await loadModel(pathOf("llama", "model"));
    const [narrow, exact] = [await model.lm_head.weight.value.data(), await source.lm_head.weight.value.data()];
    expect([...(narrow as Uint16Array)]).toEqual(Array.from(exact as Float32Array, narrowBf16));
    for (const one of [model, source]) one.dispose();
  });

  it("accepts a stored head that is tied, and buffers of older files", async () => {
    const path = await copyOf("llama-tied-bf16");
    await rewrite(path, (sources) => {
      const embedding = sources.find(({ name }) => name === "model.embed_tokens.weight") as TensorSource;
      const frequencies = new Uint8Array(32);
      return [
        ...sources,
        { ...embedding, name: "lm_head.weight" },
        { name: "model.layers.0.self_attn.rotary_emb.inv_freq", dtype: "F32", shape: [8], data: async () => frequencies },
      ];
    });
    expect(await logits(await loadModel(path))).toEqual(await logits(await loadModel(pathOf("llama-tied-bf16", "model"))));
  });

  it("names what is missing, unexpected or of another shape", async () => {
    const lost = await copyOf("llama");
    await rewrite(lost, (sources) => sources.filter(({ name }) => name !== "model.norm.weight"));
    await expect(loadModel(lost)).rejects.toMatchObject({ code: "TENSOR_MISSING", message: expect.stringContaining("model.norm.weight") });
    const more = await copyOf("llama");
    await rewrite(more, (sources) => [...sources, { ...(sources[0] as TensorSource), name: "model.layers.0.self_attn.q_proj.bias" }]);
    await expect(loadModel(more)).rejects.toMatchObject({ code: "TENSOR_UNEXPECTED", message: expect.stringContaining("q_proj.bias") });
    const other = await copyOf("llama");
    const config = JSON.parse(await readFile(join(other, "config.json"), "utf8")) as Record<string, unknown>;
    await writeFile(join(other, "config.json"), JSON.stringify({ ...config, intermediate_size: 151 }));
    await expect(loadModel(other)).rejects.toMatchObject({ code: "TENSOR_SHAPE", details: { expected: [151, 64] } });
    await rm(join(other, "config.json"));
    await expect(loadModel(other)).rejects.toMatchObject({ code: "IO_NOT_FOUND" });
    await expect(loadModel(other, { dtyp: "f32" } as object)).rejects.toMatchObject({
      code: "UNKNOWN_OPTION",
      message: expect.stringContaining("dtype"),
    });
    await expect(loadModel(other, { dtype: "i32" as "f32" })).rejects.toMatchObject({ code: "BAD_DTYPE" });
  });

  it("holds at most the weights and 64 MB while it converts", async () => {
    const path = join(folder, "wide");
    await cp(pathOf("llama", "model"), path, { recursive: true });
    const config = JSON.parse(await readFile(join(path, "config.json"), "utf8")) as Record<string, unknown>;
    // An embedding of 100 MB as it is stored, 200 MB as it is held.
    await writeFile(join(path, "config.json"), JSON.stringify({ ...config, vocab_size: 800_000, tie_word_embeddings: true }));
    const bytes = new Uint8Array(800_000 * 64 * 2);
    await rewrite(path, (sources) => [
      ...sources.filter(({ name }) => name !== "lm_head.weight" && name !== "model.embed_tokens.weight"),
      { name: "model.embed_tokens.weight", dtype: "BF16", shape: [800_000, 64], data: async () => bytes },
    ]);
    resetPeakMemory();
    const model = await loadModel(path, { dtype: "f32" });
    const { bytes: held, peakBytes } = memory().cpu;
    expect(held).toBeGreaterThan(800_000 * 64 * 4);
    expect(peakBytes - held).toBeLessThan(64 * 2 ** 20);
    model.dispose();
  });
});
