import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { type Adapter, attach, cast, type FloatDType, Linear, Module, memory, type Tensor, tensor } from "../../lib/index.js";
import { widenBf16, widenF16 } from "../../lib/tensor/create.js";
import { boundedLinear, inBounds, loadNet, ramp } from "./net.js";

const inputs = 20;
const outputs = 12;

class One extends Module {
  fc: Linear<number, number>;
  constructor(dtype: FloatDType) {
    super();
    this.fc = new Linear<number, number>(inputs, outputs, { dtype });
  }
}

function one(dtype: FloatDType): One {
  const module = new One(dtype);
  const exact = tensor(ramp(inputs * outputs, 5), [outputs, inputs]);
  const values = cast(exact, dtype);
  module.fc.weight.assign(values);
  const bias = tensor(ramp(outputs, 2), [outputs]);
  module.fc.bias?.assign(bias);
  for (const made of [exact, values, bias]) made.dispose();
  return module;
}

const hash = async (tensor: Tensor): Promise<string> =>
  createHash("sha256")
    .update(new Uint8Array((await tensor.data()).buffer as ArrayBuffer))
    .digest("hex");

async function numbers(tensor: Tensor): Promise<number[]> {
  const values = Array.from((await tensor.data()) as Float32Array);
  if (tensor.dtype === "f32") return values;
  return values.map(tensor.dtype === "bf16" ? widenBf16 : widenF16);
}

function fill(adapter: Adapter): void {
  [...adapter.parameters().values()].forEach((parameter, i) => {
    const size = parameter.shape.reduce((count, n) => count * n, 1);
    const source = tensor(
      ramp(size, 3 * i).map((value) => value / 8),
      parameter.shape,
    );
    parameter.assign(source);
    source.dispose();
  });
}

/** Half the distance between neighbours at 1, for the types that weights are stored in. */
const unit: Record<FloatDType, number> = { f32: 2 ** -24, bf16: 2 ** -8, f16: 2 ** -11 };

describe.each<FloatDType>(["f32", "bf16", "f16"])("merge into %s", (dtype) => {
  it.each<"lora" | "sigma">(["lora", "sigma"])("%s: W + s·B·M·A, rounded once; unmerge restores the exact bytes", async (method) => {
    const before = memory().cpu.tensors;
    const module = one(dtype);
    const adapter = attach(module, { method, rank: 3, targetModules: ["fc"] });
    fill(adapter);
    const { weight } = module.fc;
    const original = await hash(weight.value);
    const w = await numbers(weight.value);
    const { a, b, middle, scale } = (adapter.layers[0] as Adapter["layers"][number]).branch;
    const [av, bv, mv] = [await numbers(a.value), await numbers(b.value), middle === undefined ? [1, 1, 1] : await numbers(middle.value)];
    const x = tensor(ramp(4 * inputs, 9), [4, inputs]);
    const unmerged = module.fc.forward(x);

    adapter.merge();
    expect(adapter.merged).toBe(true);
    const merged = await numbers(weight.value);
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < inputs; i++) {
        let change = 0;
        let size = 0;
        for (let k = 0; k < 3; k++) {
          const product = scale * (bv[o * 3 + k] as number) * (mv[k] as number) * (av[k * inputs + i] as number);
          change += product;
          size += Math.abs(product);
        }
        const exact = (w[o * inputs + i] as number) + change;
        // The product's own roundings, one addition in f32, one rounding to the stored type.
        const bound = 2 ** -24 * (4 * Math.sqrt(3) * size + 3 * size + Math.abs(exact)) + unit[dtype] * Math.abs(exact) + 2 ** -24 * unit.f16;
        expect(Math.abs((merged[o * inputs + i] as number) - exact)).toBeLessThanOrEqual(bound);
      }
    }
    expect(await hash(weight.value)).not.toBe(original);

    // Merged against not merged: the arithmetic of both, and the rounding of the weights carried through the layer.
    const after = module.fc.forward(x);
    const bias = await numbers((module.fc.bias as NonNullable<typeof module.fc.bias>).value);
    const update = { a: av.map((value, i) => value * (mv[Math.floor(i / inputs)] as number)), b: bv, rank: 3, scale };
    for (let row = 0; row < 4; row++) {
      const xr = Array.from(ramp(4 * inputs, 9).subarray(row * inputs, (row + 1) * inputs));
      const { error } = boundedLinear({ value: xr, error: new Array<number>(inputs).fill(0) }, w, bias, update);
      const rounding = Array.from({ length: outputs }, (_, o) =>
        xr.reduce((total, value, i) => total + 2 * unit[dtype] * Math.abs(value * (merged[o * inputs + i] as number)), 0),
      );
      const [first, second] = [unmerged, after].map(async (y) => (await numbers(y)).slice(row * outputs, (row + 1) * outputs));
      const bound = error.map((value, o) => 2 * value + (rounding[o] as number));
      expect(inBounds((await second) as number[], (await first) as number[], bound)).toBeLessThanOrEqual(1);
    }

    adapter.unmerge();
    expect(await hash(weight.value)).toBe(original);
    expect(adapter.merged).toBe(false);
    const again = module.fc.forward(x);
    expect(await hash(again)).toBe(await hash(unmerged));
    for (const made of [x, unmerged, after, again]) made.dispose();
    adapter.dispose();
    module.dispose();
    expect(memory().cpu.tensors).toBe(before);
  });
});

describe("several merges", () => {
  const two = (): { module: One; first: Adapter; second: Adapter } => {
    const module = one("bf16");
    const first = attach(module, { targetModules: ["fc"], name: "first" });
    const second = attach(module, { method: "sigma", targetModules: ["fc"], name: "second" });
    for (const adapter of [first, second]) fill(adapter);
    return { module, first, second };
  };
  const code = (expected: string): unknown => expect.objectContaining({ code: expected });

  it("come off in reverse order, each with its exact bytes", async () => {
    const { module, first, second } = two();
    const { weight } = module.fc;
    const states = [await hash(weight.value)];
    first.merge();
    states.push(await hash(weight.value));
    second.merge();
    states.push(await hash(weight.value));
    expect(new Set(states).size).toBe(3);
    expect(() => first.unmerge()).toThrow(/"second" was merged after "first"/);
    expect(await hash(weight.value)).toBe(states[2]);
    second.unmerge();
    expect(await hash(weight.value)).toBe(states[1]);
    second.merge();
    second.unmerge();
    first.unmerge();
    expect(await hash(weight.value)).toBe(states[0]);
    for (const disposable of [first, second, module]) disposable.dispose();
  });

  it("stay for good when the adapter is disposed", async () => {
    const { module, first, second } = two();
    const { weight } = module.fc;
    const original = await hash(weight.value);
    first.merge();
    const merged = await hash(weight.value);
    second.merge();
    first.dispose();
    second.unmerge();
    expect(await hash(weight.value)).toBe(merged);
    expect(merged).not.toBe(original);
    // δ of the second belongs to the weight before the first was merged.
    await expect(second.toBytes()).rejects.toMatchObject({ code: "ADAPTER_STATE" });
    second.dispose();
    expect(weight.trainable).toBe(false); // bf16 never was
    expect(module.fc.bias?.trainable).toBe(true);
    attach(module, { targetModules: ["fc"] }).dispose();
    module.dispose();
  });

  it("are not undone over weights that were written since", async () => {
    const { module, first, second } = two();
    first.merge();
    const zeros = tensor(new Uint16Array(inputs * outputs), [outputs, inputs], { dtype: "bf16" });
    module.fc.weight.assign(zeros);
    zeros.dispose();
    expect(() => first.unmerge()).toThrow(code("ADAPTER_STATE"));
    expect((await numbers(module.fc.weight.value)).every((value) => value === 0)).toBe(true);
    for (const disposable of [first, second, module]) disposable.dispose();
  });

  it("are refused for a weight that two layers share", () => {
    class Tied extends Module {
      table = new Linear(4, 4);
      head = new Linear(4, 4);
      constructor() {
        super();
        (this.head as { weight: unknown }).weight = this.table.weight;
      }
    }
    const module = new Tied().initialize(0);
    const adapter = attach(module, { targetModules: ["head"] });
    expect(() => adapter.merge()).toThrow(/"table" and "head" share one weight/);
    expect(adapter.merged).toBe(false);
    adapter.dispose();
    module.dispose();
  });

  it("save the adapter as it was before", async () => {
    const { module, first, second } = two();
    const [a, b] = [await first.toBytes(), await second.toBytes()];
    first.merge();
    second.merge();
    expect(Buffer.compare(await first.toBytes(), a)).toBe(0);
    expect(Buffer.compare(await second.toBytes(), b)).toBe(0);
    for (const disposable of [first, second, module]) disposable.dispose();
  });
});

describe("out of memory", () => {
  it("merges nothing", async () => {
    const { net } = await loadNet();
    const { engine } = await import("../../lib/native/engine.js");
    const adapter = attach(net, { targetModules: "all-linear" });
    fill(adapter);
    const hashes = async (): Promise<string[]> => Promise.all([...net.parameters().values()].map(({ value }) => hash(value)));
    const before = await hashes();
    const { budgetBytes } = engine().memory();
    const { tensors } = memory().cpu;
    // Every merge fails at one of its steps: find the smallest budget that suffices, from below.
    let failures = 0;
    const originalAllocate = engine().allocate.bind(engine());
    for (let limit = 0; ; limit++) {
      let left = limit;
      engine().allocate = (...args) => {
        if (left-- <= 0) throw Object.assign(new Error("full"), { code: "OUT_OF_MEMORY" });
        return originalAllocate(...args);
      };
      try {
        adapter.merge();
        break;
      } catch (error) {
        expect(error).toMatchObject({ code: "OUT_OF_MEMORY" });
        failures++;
      } finally {
        engine().allocate = originalAllocate;
      }
      expect(adapter.merged).toBe(false);
      expect(memory().cpu.tensors).toBe(tensors);
      expect(await hashes()).toEqual(before);
    }
    expect(failures).toBeGreaterThan(5);
    expect(engine().memory().budgetBytes).toBe(budgetBytes);
    adapter.unmerge();
    expect(await hashes()).toEqual(before);
    adapter.dispose();
    net.dispose();
  });
});
