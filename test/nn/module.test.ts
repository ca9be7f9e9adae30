import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  attach,
  Dropout,
  Linear,
  Module,
  manualSeed,
  memory,
  mul,
  Parameter,
  relu,
  Sequential,
  sum,
  tensor,
  train,
  valueAndGrad,
  zeros,
} from "../../lib/index.js";
import { serializeSafetensors } from "../../lib/io/safetensors-write.js";
import { narrowBf16, widenBf16, widenF16 } from "../../lib/tensor/create.js";

class Net extends Module {
  layers = [new Linear(5, 4), new Linear(4, 3, { bias: false })];
  gain = new Parameter(tensor([1, 2, 3], [3]));
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-nn-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("Module", () => {
  it("finds parameters and modules by their fields", () => {
    const net = new Net();
    expect([...net.parameters().keys()]).toEqual(["gain", "layers.0.weight", "layers.0.bias", "layers.1.weight"]);
    expect([...net.modules().keys()]).toEqual(["", "layers.0", "layers.1"]);
    expect(() => net.module("layers.2")).toThrow(expect.objectContaining({ code: "NAME_UNKNOWN", message: expect.stringContaining("layers.1") }));
    net.dispose();
    const sequential = new Sequential(new Linear(2, 2), relu, new Dropout(0.1), new Linear(2, 1));
    expect([...sequential.parameters().keys()]).toEqual(["0.weight", "0.bias", "3.weight", "3.bias"]);
  });

  it("refuses to compute before it has values", () => {
    const linear = new Linear(2, 2);
    const x = zeros([1, 2]);
    expect(() => linear.forward(x)).toThrow(expect.objectContaining({ code: "NOT_INITIALIZED" }));
    x.dispose();
  });

  it("initial values are uniform in ±1/√I, differ by path and seed, and are rounded for bf16 and f16", async () => {
    const weights = async (seed: number, dtype: "f32" | "bf16" | "f16"): Promise<Float32Array | Uint16Array> => {
      const linear = new Linear(64, 200, { dtype }).initialize(seed);
      const data = (await linear.weight.value.data()) as Float32Array | Uint16Array;
      linear.dispose();
      return data;
    };
    const f32 = (await weights(3, "f32")) as Float32Array;
    expect(Math.max(...f32)).toBeLessThan(0.125);
    expect(Math.max(...f32)).toBeGreaterThan(0.1249);
    expect(Math.min(...f32)).toBeGreaterThanOrEqual(-0.125);
    const mean = f32.reduce((total, value) => total + value, 0) / f32.length;
    expect(Math.abs(mean)).toBeLessThan(5 * (0.125 / Math.sqrt(3 * f32.length)));
    expect(await weights(3, "f32")).toEqual(f32);
    expect(await weights(4, "f32")).not.toEqual(f32);
    expect([...(await weights(3, "bf16"))]).toEqual([...f32].map(narrowBf16));
    const halves = await weights(3, "f16");
    f32.forEach((value, i) => {
      expect(Math.abs(widenF16(halves[i] as number) - value)).toBeLessThanOrEqual(2 ** -11 * Math.abs(value) + 2 ** -25);
    });
    expect(widenBf16(0x3f80)).toBe(1);
  });

  it("saves and loads the same bits", async () => {
    const file = join(folder, "net.safetensors");
    const net = new Net().initialize(1);
    await net.save(file);
    const other = await new Net().load(file);
    for (const [name, parameter] of net.parameters()) expect(await other.parameters().get(name)?.value.data()).toEqual(await parameter.value.data());
    net.dispose();
    other.dispose();
  });

  it("is strict about names and shapes, and changes nothing when a file does not fit", async () => {
    const linear = new Linear(2, 2).initialize(1);
    const before = await linear.weight.value.data();
    const tensorsBefore = memory().cpu.tensors;
    const attempt = async (tensors: Record<string, number[]>, options = {}): Promise<unknown> => {
      const file = join(folder, "other.safetensors");
      const sources = Object.entries(tensors).map(([name, shape]) => ({
        name,
        dtype: "F32" as const,
        shape,
        data: () => new Uint8Array(shape.reduce((a, b) => a * b, 4)),
      }));
      await writeFile(file, await serializeSafetensors(sources));
      return linear.load(file, options).catch((error: unknown) => error);
    };
    expect(await attempt({ weight: [2, 2] })).toMatchObject({ code: "TENSOR_MISSING", details: { missing: ["bias"] } });
    expect(await attempt({ weight: [2, 2], bias: [2], extra: [1] })).toMatchObject({ code: "TENSOR_UNEXPECTED" });
    expect(await attempt({ weight: [2, 3], bias: [2] })).toMatchObject({ code: "TENSOR_SHAPE", details: { expected: [2, 2], actual: [2, 3] } });
    expect(await linear.weight.value.data()).toEqual(before);
    expect(memory().cpu.tensors).toBe(tensorsBefore);
    expect(await attempt({ bias: [2], extra: [1] }, { strict: false })).toBe(linear);
    expect(await linear.weight.value.data()).toEqual(before);
    expect(await linear.bias?.value.data()).toEqual(new Float32Array(2));
    linear.dispose();
  });

  it("loads again and again in the same memory", async () => {
    const file = join(folder, "again.safetensors");
    const linear = new Linear(300, 200).initialize(1);
    await linear.save(file);
    const reserved: number[] = [];
    for (let i = 0; i < 12; i++) {
      (await new Linear(300, 200).load(file)).dispose();
      await linear.load(file);
      reserved.push(memory().cpu.reservedBytes);
    }
    expect(new Set(reserved.slice(2)).size).toBe(1);
    linear.dispose();
  });

  it("converts stored types to its own", async () => {
    const file = join(folder, "bf16.safetensors");
    const bits = Uint16Array.from([1, -2, 0.5, 3], narrowBf16);
    await writeFile(file, await serializeSafetensors([{ name: "weight", dtype: "BF16", shape: [2, 2], data: () => new Uint8Array(bits.buffer) }]));
    const linear = await new Linear(2, 2, { bias: false }).load(file);
    expect([...((await linear.weight.value.data()) as Float32Array)]).toEqual([1, -2, 0.5, 3]);
    linear.dispose();
  });
});

describe("Dropout", () => {
  it("is the identity outside of valueAndGrad and drops inside, by its path", async () => {
    class Two extends Module {
      first = new Dropout(0.5);
      second = new Dropout(0.5);
      scale = new Parameter(tensor([1], []));
    }
    const net = new Two().initialize(0);
    const x = tensor(new Float32Array(1000).fill(1), [1000]);
    expect(net.first.forward(x)).toBe(x);
    // Each draw sums 1,000 elements that are 0 or 2 with equal chance: 1,000 ± 5 standard deviations, and hardly ever the same twice.
    const draw = async (dropout: Dropout): Promise<number> => {
      const loss = valueAndGrad(() => mul(sum(dropout.forward(x)), net.scale.value));
      const value = await loss.item();
      loss.dispose();
      return value;
    };
    manualSeed(5);
    const seen = [await draw(net.first), await draw(net.second), await draw(net.first)];
    for (const value of seen) expect(Math.abs(value - 1000)).toBeLessThan(5 * Math.sqrt(1000));
    expect(new Set(seen).size).toBe(3);
    manualSeed(5);
    expect([await draw(net.first), await draw(net.second), await draw(net.first)]).toEqual(seen);
    net.dispose();
    x.dispose();
    expect(() => new Dropout(1.5)).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
  });
});

describe("training an adapter that cannot train", () => {
  it("is refused", () => {
    const linear = new Linear(3, 2).initialize(0);
    const net = new Sequential(linear);
    const adapter = attach(net, { rank: 1, targetModules: "all-linear" });
    adapter.disable();
    expect(() => train(adapter, [1], { loss: () => zeros([]) })).toThrow(expect.objectContaining({ code: "ADAPTER_STATE" }));
    adapter.dispose();
    net.dispose();
  });
});
