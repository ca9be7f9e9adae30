/** @file Models whose layers are held as int8 or nf4: what they compute, that they can be trained, what they refuse, and what loading holds. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import {
  type Adapter,
  attach,
  type CausalLm,
  cast,
  evaluate,
  generate,
  Linear,
  loadAdapter,
  loadModel,
  memory,
  Parameter,
  quantize,
  resetPeakMemory,
  type Tensor,
  tensor,
  tidy,
  train,
} from "../../lib/index.js";
import { openSafetensors } from "../../lib/io/safetensors.js";
import { type TensorSource, writeSafetensors } from "../../lib/io/safetensors-write.js";
import { bundledModel } from "../../lib/models/bundled.js";
import { type FloatDType, isQuantized, type QuantizedDType, quantizedDTypes, storageBytes } from "../../lib/tensor/dtype.js";
import { pathOf } from "./golden-llm.js";

const folder = await mkdtemp(join(tmpdir(), "lowrank-quantized-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

const before = memory().cpu;
afterEach(() => {
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }, "what a test leaves behind").toEqual({ tensors: before.tensors, bytes: before.bytes });
});

const open = (dtype: QuantizedDType, more: { readonly dtype?: FloatDType } = {}): Promise<CausalLm> =>
  loadModel(bundledModel, { quantize: dtype, ...more });

/** A model of f32 weights that are what the codes of a quantised one stand for. */
async function twinOf(model: CausalLm): Promise<CausalLm> {
  const twin = await loadModel(bundledModel, { dtype: "f32" });
  const own = twin.parameters();
  for (const [name, parameter] of model.parameters()) tidy(() => own.get(name)?.assign(cast(parameter.value, "f32")));
  return twin;
}

async function taken(made: Tensor): Promise<Float32Array> {
  const data = (await made.data()) as Float32Array;
  made.dispose();
  return data;
}

const texts = ["The cat sees the bird.", "Who are you?", "I am the dog, and I see a fish in the water."];
const rows = (model: CausalLm): { tokens: number[]; labels: number[] }[] =>
  texts.map((text) => {
    const tokens = model.tokenizer.encode(text);
    return { tokens, labels: tokens };
  });

async function lossesOf(adapter: Adapter, model: CausalLm): Promise<number[]> {
  const losses: number[] = [];
  const options = { epochs: 4, learningRate: 1e-2, batchSize: 2, seed: 3 };
  for await (const event of train(adapter, rows(model), options)) if (event.type === "step") losses.push(event.loss);
  return losses;
}

async function answerOf(model: CausalLm): Promise<string> {
  let answer = "";
  for await (const text of generate(model, "The cat", { maxTokens: 12, temperature: 0 })) answer += text;
  return answer;
}

describe.each(quantizedDTypes)("a model in %s", (dtype) => {
  it("holds the matrices of its layers so, everything else as before, and not a byte more", async () => {
    const { bytes } = memory().cpu;
    const model = await open(dtype);
    let expected = 0;
    for (const [name, parameter] of model.parameters()) {
      const inLayer = /^model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight$/.test(name);
      expect(parameter.dtype, name).toBe(inLayer ? dtype : name.includes("norm") ? "f32" : "bf16");
      expected += storageBytes(parameter.shape, parameter.dtype);
    }
    expect(memory().cpu.bytes - bytes).toBe(expected);
    expect(model.model.layers).toHaveLength(5);
    model.dispose();
  });

  // Codes are read as the very floats that they stand for, and multiplied in the same order.
  it("computes and trains as a model of the weights that its codes stand for, to the bit", async () => {
    const model = await open(dtype, { dtype: "f32" });
    const twin = await twinOf(model);
    const tokens = rows(model).map((row) => row.tokens);
    const logits = await taken(model.logits(tokens));
    expect(logits).toEqual(await taken(twin.logits(tokens)));
    // One row of one token: the path of decoding.
    expect(await taken(model.logits([[300]]))).toEqual(await taken(twin.logits([[300]])));
    expect(await answerOf(model)).toBe(await answerOf(twin));

    const attached = [model, twin].map((one) => attach(one, { rank: 4, alpha: 8, dropout: 0.1, targetModules: "all-linear" }));
    const [losses, expected] = [await lossesOf(attached[0] as Adapter, model), await lossesOf(attached[1] as Adapter, twin)];
    expect(losses).toEqual(expected);
    expect(losses.at(-1)).toBeLessThan(losses[0] as number);

    const dir = join(folder, dtype);
    await attached[0]?.save(dir);
    const again = await open(dtype, { dtype: "f32" });
    const loaded = await loadAdapter(again, dir);
    const [one, other] = [await evaluate(attached[0] as Adapter, rows(model)), await evaluate(loaded, rows(again))];
    expect(other.loss).toBe(one.loss);
    for (const made of [...attached, loaded, model, twin, again]) made.dispose();
  });

  it("is close to the model that it was made of", async () => {
    const [model, source] = [await open(dtype), await loadModel(bundledModel)];
    const [{ loss }, { loss: exact }] = [await evaluate(model, rows(model)), await evaluate(source, rows(source))];
    expect(Math.abs(loss - exact)).toBeLessThan(dtype === "int8" ? 0.05 : 0.5);
    expect(loss).not.toBe(exact);
    for (const one of [model, source]) one.dispose();
  });

  it("refuses, by name, what would need other weights", async () => {
    const model = await open(dtype);
    const name = "model.layers.0.self_attn.q_proj";
    const adapter = attach(model, { targetModules: ["q_proj"] });
    expect(() => adapter.merge()).toThrow(expect.objectContaining({ code: "BAD_DTYPE", message: expect.stringContaining(name) }));
    expect(adapter.merged).toBe(false);
    adapter.dispose();
    expect(() => attach(model, { method: "sigma", targetModules: ["q_proj"] })).toThrow(
      expect.objectContaining({ code: "BAD_DTYPE", message: expect.stringContaining(name) }),
    );
    const message = expect.stringContaining(`${name}.weight`);
    await expect(model.save(join(folder, "never.safetensors"))).rejects.toMatchObject({ code: "BAD_DTYPE", message });
    await expect(model.load(join(bundledModel, "model.safetensors"))).rejects.toMatchObject({ code: "BAD_DTYPE", message });
    expect(() => model.initialize(1)).toThrow(expect.objectContaining({ code: "BAD_DTYPE", message }));
    model.dispose();
  });

  it("leaves nothing behind when loading is stopped at any tensor", async () => {
    for (const at of [1, 3, 9]) {
      const controller = new AbortController();
      let told = 0;
      const onProgress = (): void => (++told === at ? controller.abort() : undefined);
      await expect(loadModel(bundledModel, { quantize: dtype, signal: controller.signal, onProgress })).rejects.toMatchObject({ code: "ABORTED" });
    }
  });

  it("is refused when a weight is not finite, naming tensor and row", async () => {
    const path = await changed((sources) =>
      sources.map((source) => {
        if (source.name !== "model.layers.2.mlp.up_proj.weight") return source;
        const bytes = async (): Promise<Uint8Array> => {
          const data = ((await source.data()) as Uint8Array).slice();
          new Uint16Array(data.buffer)[7 * 128 + 5] = 0x7f80;
          new Uint16Array(data.buffer)[9 * 128 + 5] = 0x7fc0;
          return data;
        };
        return { ...source, data: bytes };
      }),
    );
    await expect(loadModel(path, { quantize: dtype })).rejects.toMatchObject({
      code: "TENSOR_NONFINITE",
      message: expect.stringContaining("model.layers.2.mlp.up_proj.weight"),
      details: { index: 7, file: "model.safetensors" },
    });
  });
});

/** A copy of the bundled model with other weights. */
async function changed(change: (sources: TensorSource[]) => TensorSource[], config: object = {}): Promise<string> {
  const path = await mkdtemp(join(folder, "changed-"));
  await cp(bundledModel, path, { recursive: true });
  const file = await openSafetensors(join(bundledModel, "model.safetensors"));
  const sources = await Promise.all(
    [...file.tensors].map(async ([name, { dtype, shape }]): Promise<TensorSource> => {
      const bytes = await file.readBytes(name);
      return { name, dtype, shape, data: async () => bytes };
    }),
  );
  await file.close();
  await rm(join(path, "model.safetensors"));
  await writeSafetensors(join(path, "model.safetensors"), change(sources), { format: "pt" });
  const own = JSON.parse(await readFile(join(path, "config.json"), "utf8")) as object;
  await writeFile(join(path, "config.json"), JSON.stringify({ ...own, ...config }));
  return path;
}

describe("loadModel", () => {
  it("refuses types that do not exist, and nf4 for rows that have no whole blocks", async () => {
    await expect(loadModel(bundledModel, { quantize: "nf3" as "nf4" })).rejects.toMatchObject({
      code: "BAD_DTYPE",
      message: expect.stringContaining("int8 or nf4, found nf3"),
    });
    await expect(loadModel(pathOf("llama", "model"), { quantize: "nf4" })).rejects.toMatchObject({
      code: "BAD_SHAPE",
      message: expect.stringContaining("down_proj.weight is [64, 150]"),
    });
    const model = await loadModel(pathOf("llama", "model"), { quantize: "int8" });
    expect(model.model.layers[0]?.mlp.down_proj.weight.dtype).toBe("int8");
    model.dispose();
  });

  it("never holds more than the quantised weights and a window", async () => {
    // Three matrices of 8 MB in nf4, of which each is 64 MB in f32 and 32 MB in the file. Numbers of bf16 around 2^-7, of both signs.
    const size = 131_072;
    const stored = new Uint8Array(
      Uint16Array.from(
        { length: size * 128 },
        (_, i) => 0x3b80 ^ (((Math.imul(i, 2654435761) >>> 23) << 7) & 0x8080) ^ ((Math.imul(i, 40503) >>> 9) & 0x7f),
      ).buffer,
    );
    const path = await changed(
      (sources) =>
        sources
          .map((source) =>
            source.name.includes(".0.mlp.")
              ? { ...source, shape: source.shape.map((n) => (n === 320 ? size : n)), data: async () => stored }
              : source,
          )
          .filter(({ name }) => !/layers\.[1-4]\./.test(name)),
      { intermediate_size: size, num_hidden_layers: 1 },
    );
    resetPeakMemory();
    const model = await loadModel(path, { quantize: "nf4" });
    const { bytes, peakBytes } = memory().cpu;
    expect(bytes - before.bytes).toBeGreaterThan(3 * 8 * 2 ** 20);
    expect(peakBytes - bytes).toBeLessThan(18 * 2 ** 20);
    // The same as from one piece.
    const exact = tensor(new Uint16Array(stored.buffer), [size, 128], { dtype: "bf16" });
    const whole = await taken(tidy(() => quantize(exact, "nf4")));
    exact.dispose();
    const up = (await model.model.layers[0]?.mlp.up_proj.weight.value.data()) as Uint8Array;
    expect(Buffer.compare(Buffer.from(up), Buffer.from(whole))).toBe(0);
    model.dispose();
  });
});

describe("a module of one's own", () => {
  it("can be built on a quantised weight, and initialized around it", async () => {
    const weight = tidy(() => new Parameter(quantize(tensor(new Float32Array(2 * 64).fill(0.5), [2, 64]), "nf4")));
    const layer = new Linear<number, number>(64, 2, { weight });
    layer.initialize(1);
    const x = tensor(new Float32Array(64).fill(1), [1, 64]);
    const y = await taken(layer.forward(x));
    const [bias] = [(await layer.bias?.value.data()) as Float32Array];
    expect([...y].map((value, i) => value - (bias[i] as number))).toEqual([32, 32].map((value) => expect.closeTo(value, 5)));
    expect(isQuantized(layer.weight.dtype)).toBe(true);
    x.dispose();
    layer.dispose();
  });
});
