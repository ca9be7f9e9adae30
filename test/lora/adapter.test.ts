import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { structureVersion } from "../../lib/autograd/structure.js";
import { type Adapter, attach, Linear, Module, memory, type Tensor, tensor, tidy } from "../../lib/index.js";
import { boundedNet, inBounds, loadNet, type Net, ramp, type Update } from "./net.js";

let net: Net;
let x: Tensor;
let base: Map<string, Float32Array>;
let tensorsBefore: number;
beforeEach(async () => {
  tensorsBefore = memory().cpu.tensors;
  ({ net, x, base } = await loadNet());
});
afterEach(() => {
  net.dispose();
  x.dispose();
  expect(memory().cpu.tensors).toBe(tensorsBefore);
});

const forward = async (): Promise<Float32Array> => {
  const y = tidy(() => net.forward(x));
  const values = (await y.data()) as Float32Array;
  y.dispose();
  return values;
};

/** An adapter with plain values, and what it does in plain numbers. */
function filled(options: Parameters<typeof attach>[1], seed = 0): { adapter: Adapter; updates: Map<string, Update> } {
  const adapter = attach(net, options);
  const updates = new Map<string, Update>();
  for (const [i, { path, branch, linear }] of adapter.layers.entries()) {
    const rank = branch.a.shape[0] as number;
    const [a, b] = [ramp(rank * linear.inFeatures, seed + i), ramp(linear.outFeatures * rank, seed + 5 * i)];
    for (const [parameter, values] of [[branch.a, a] as const, [branch.b, b] as const]) {
      const source = tensor(values, parameter.shape);
      parameter.assign(source);
      source.dispose();
    }
    updates.set(path, { a, b, rank, scale: branch.scale });
  }
  return { adapter, updates };
}

const expectOutput = async (updates: Map<string, Update>): Promise<void> => {
  const { value, error } = boundedNet(base, updates);
  expect(inBounds(await forward(), value, error)).toBeLessThanOrEqual(1);
};

const code = (expected: string): unknown => expect.objectContaining({ code: expected });

describe("Adapter", () => {
  it("adds s·B·A: alpha / rank and alpha / √rank", async () => {
    const { adapter, updates } = filled({ rank: 4, alpha: 10, targetModules: ["up"], alphaPattern: { "layers.1.up": 2 } });
    expect(updates.get("layers.0.up")?.scale).toBe(2.5);
    expect(updates.get("layers.1.up")?.scale).toBe(0.5);
    await expectOutput(updates);
    adapter.dispose();
    const rslora = filled({ rank: 4, alpha: 10, useRslora: true, targetModules: ["down"], rankPattern: { "layers.0.down": 9 } });
    expect(rslora.updates.get("layers.0.down")?.scale).toBeCloseTo(10 / 3, 12);
    expect(rslora.updates.get("layers.1.down")?.scale).toBe(5);
    await expectOutput(rslora.updates);
    rslora.adapter.dispose();
  });

  it("is switched off and on", async () => {
    const before = await forward();
    const { adapter, updates } = filled({ targetModules: ["up", "head"] });
    adapter.disable();
    adapter.disable();
    expect(adapter.enabled).toBe(false);
    expect(await forward()).toEqual(before);
    adapter.enable();
    await expectOutput(updates);
    adapter.detach();
    expect(await forward()).toEqual(before);
    adapter.dispose();
    adapter.dispose();
  });

  it("adds up with others on the same layer", async () => {
    const one = filled({ rank: 2, targetModules: ["head"] });
    const two = filled({ rank: 3, alpha: 3, targetModules: ["head"] }, 11);
    const [p, q] = [one.updates.get("head"), two.updates.get("head")] as [Update, Update];
    const join = (key: "a" | "b"): number[] => {
      if (key === "a") return [...Array.from(p.a), ...Array.from(q.a)];
      return Array.from({ length: 10 }, (_, row) => [
        ...Array.from({ length: 2 }, (_, k) => p.scale * (p.b[row * 2 + k] as number)),
        ...Array.from({ length: 3 }, (_, k) => q.scale * (q.b[row * 3 + k] as number)),
      ]).flat();
    };
    await expectOutput(new Map([["head", { a: join("a"), b: join("b"), rank: 5, scale: 1 }]]));
    one.adapter.dispose();
    await expectOutput(two.updates);
    two.adapter.dispose();
  });

  it("counts every change of what a forward pass runs", () => {
    const versions = [structureVersion()];
    const adapter = attach(net, { targetModules: ["head"] });
    versions.push(structureVersion());
    for (const change of ["disable", "enable", "merge", "unmerge", "detach"] as const) {
      adapter[change]();
      versions.push(structureVersion());
    }
    expect(new Set(versions).size).toBe(7);
    adapter.dispose();
  });

  it("refuses the wrong order, and stays usable", () => {
    const adapter = attach(net, { targetModules: ["head"], name: "mine" });
    expect(() => adapter.unmerge()).toThrow(code("ADAPTER_STATE"));
    adapter.requireTrainable();
    adapter.disable();
    expect(() => adapter.requireTrainable()).toThrow(/"mine" is disabled/);
    expect(() => adapter.merge()).toThrow(code("ADAPTER_STATE"));
    adapter.enable();
    adapter.merge();
    for (const call of ["merge", "enable", "disable", "detach", "requireTrainable"] as const) {
      expect(() => adapter[call](), call).toThrow(code("ADAPTER_STATE"));
    }
    expect(() => attach(net, { targetModules: ["head"] })).toThrow(code("ADAPTER_CONFLICT"));
    attach(net, { targetModules: ["up"] }).dispose();
    adapter.unmerge();
    adapter.detach();
    for (const call of ["merge", "unmerge", "enable", "disable", "detach", "requireTrainable"] as const) {
      expect(() => adapter[call](), call).toThrow(code("ADAPTER_STATE"));
    }
    expect(net.head.branches).toEqual([]);
    adapter.dispose();
    for (const call of ["merge", "unmerge", "enable", "disable", "detach", "parameters"] as const) {
      expect(() => adapter[call](), call).toThrow(code("DISPOSED"));
    }
  });

  it("survives its module, and is freed by itself", () => {
    class One extends Module {
      fc = new Linear(4, 4);
    }
    const module = new One().initialize(0);
    const adapter = attach(module, { targetModules: ["fc"] });
    adapter.merge();
    module.dispose();
    expect(() => adapter.unmerge()).toThrow(code("DISPOSED"));
    adapter.dispose();
  });

  it("rejects after dispose, not before", async () => {
    const adapter = attach(net, { targetModules: ["head"] });
    const bytes = adapter.toBytes();
    adapter.dispose(); // the values were read before
    expect((await bytes).length).toBeGreaterThan(0);
    await expect(adapter.toBytes()).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(adapter.save("/nowhere")).rejects.toMatchObject({ code: "DISPOSED" });
  });
});
