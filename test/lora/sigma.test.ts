import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Adapter,
  attach,
  cast,
  crossEntropy,
  Linear,
  loadAdapter,
  Module,
  memory,
  relu,
  type Tensor,
  tensor,
  tidy,
  valueAndGrad,
} from "../../lib/index.js";
import { widenBf16, widenF16 } from "../../lib/tensor/create.js";
import { loadNet, ramp } from "./net.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-sigma-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

class Two extends Module {
  fc1 = new Linear(12, 9);
  fc2 = new Linear(9, 5, { bias: false });
  forward(x: Tensor): Tensor {
    return this.fc2.forward(relu(this.fc1.forward(x as Tensor<[number, 12], "f32">)));
  }
}

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from((await tensor.data()) as Float32Array);

function setDelta(adapter: Adapter, path: string, values: Float32Array): void {
  const source = tensor(values, [values.length]);
  adapter.parameters().get(`${path}.delta`)?.assign(source);
  source.dispose();
}

/** The factors of a layer in plain numbers. */
async function factorsOf(adapter: Adapter, path: string): Promise<{ v: number[]; ut: number[]; delta: number[]; rank: number }> {
  const { branch } = adapter.layers.find((layer) => layer.path === path) as Adapter["layers"][number];
  const [ut, v, delta] = await Promise.all(
    [branch.a, branch.b, branch.middle as NonNullable<typeof branch.middle>].map(({ value }) => numbers(value)),
  );
  return { v: v as number[], ut: ut as number[], delta: delta as number[], rank: branch.a.shape[0] as number };
}

const dot = (n: number, f: (i: number) => number): number => {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += f(i);
  return sum;
};

describe("the decomposition of a layer", () => {
  it.each([
    ["tall", 7, 18],
    ["wide", 18, 7],
    ["square", 11, 11],
  ])("%s: V and U are orthonormal, VᵀWU is the diagonal of falling singular values", async (_, inputs, outputs) => {
    class One extends Module {
      fc = new Linear<number, number>(inputs, outputs);
    }
    const module = new One().initialize(5);
    const adapter = attach(module, { method: "sigma", targetModules: ["fc"] });
    const w = await numbers(module.fc.weight.value);
    const { v, ut, delta, rank } = await factorsOf(adapter, "fc");
    const n = Math.min(inputs, outputs);
    expect(rank).toBe(n);
    expect(delta).toEqual(new Array(n).fill(0));
    // Every entry of V and U is rounded to f32 once: a product of two columns of length L is off by at most 2·√L·2⁻²⁴ or so.
    const bound = 4 * 2 ** -24 * Math.sqrt(inputs + outputs);
    const norm = Math.sqrt(dot(w.length, (i) => (w[i] as number) ** 2));
    const sigma: number[] = [];
    for (let p = 0; p < n; p++) {
      for (let q = 0; q < n; q++) {
        const same = p === q ? 1 : 0;
        expect(Math.abs(dot(outputs, (o) => (v[o * n + p] as number) * (v[o * n + q] as number)) - same)).toBeLessThan(bound);
        expect(Math.abs(dot(inputs, (i) => (ut[p * inputs + i] as number) * (ut[q * inputs + i] as number)) - same)).toBeLessThan(bound);
        const core = dot(
          outputs,
          (o) => (v[o * n + p] as number) * dot(inputs, (i) => (w[o * inputs + i] as number) * (ut[q * inputs + i] as number)),
        );
        if (p === q) sigma.push(core);
        else expect(Math.abs(core)).toBeLessThan(bound * norm);
      }
    }
    expect(sigma).toEqual([...sigma].sort((a, b) => b - a));
    expect(Math.min(...sigma)).toBeGreaterThan(0);
    // Nothing is left over: the squares of the singular values sum to those of W.
    expect(Math.abs(dot(n, (k) => (sigma[k] as number) ** 2) - norm ** 2)).toBeLessThan(bound * norm ** 2);
    const top = attach(module, { method: "sigma", rank: 3, targetModules: ["fc"] });
    const few = await factorsOf(top, "fc");
    expect(few.ut).toEqual(ut.slice(0, 3 * inputs));
    expect(few.v).toEqual(Array.from({ length: outputs }, (_, o) => v.slice(o * n, o * n + 3)).flat());
    for (const disposable of [adapter, top, module]) disposable.dispose();
  });

  it.each<"bf16" | "f16">(["bf16", "f16"])("works on %s weights: V·diag(1)·Uᵀ applied to W's own σ doubles W", async (dtype) => {
    class One extends Module {
      fc = new Linear<number, number>(6, 8, { bias: false, dtype });
    }
    const module = new One();
    const stored = tidy(() => cast(tensor(ramp(48), [8, 6]), dtype));
    module.fc.weight.assign(stored);
    const w = Array.from((await stored.data()) as Uint16Array, dtype === "bf16" ? widenBf16 : widenF16);
    const adapter = attach(module, { method: "sigma", targetModules: ["fc"] });
    const { v, ut, rank } = await factorsOf(adapter, "fc");
    const sigma = Float32Array.from({ length: rank }, (_, k) =>
      dot(8, (o) => (v[o * rank + k] as number) * dot(6, (i) => (w[o * 6 + i] as number) * (ut[k * 6 + i] as number))),
    );
    setDelta(adapter, "fc", sigma);
    const x = tensor(ramp(6, 3), [1, 6]);
    const y = module.fc.forward(x);
    const values = await numbers(y);
    for (let o = 0; o < 8; o++) {
      const size = dot(6, (i) => Math.abs((w[o * 6 + i] as number) * (ramp(6, 3)[i] as number)));
      const expected = 2 * dot(6, (i) => (w[o * 6 + i] as number) * (ramp(6, 3)[i] as number));
      expect(Math.abs((values[o] as number) - expected)).toBeLessThan(64 * 2 ** -24 * (size + 1));
    }
    for (const made of [x, y, stored, adapter, module]) made.dispose();
  });

  it("of weights that are not finite makes all that depends on it reject", async () => {
    class One extends Module {
      fc = new Linear<number, number>(3, 4);
    }
    const module = new One().initialize(0);
    const nan = tensor(
      Float32Array.from({ length: 12 }, (_, i) => (i === 5 ? Number.NaN : i)),
      [4, 3],
    );
    module.fc.weight.assign(nan);
    const adapter = attach(module, { method: "sigma", targetModules: ["fc"] });
    const x = tensor(ramp(3), [1, 3]);
    for (let attempt = 0; attempt < 2; attempt++) {
      const y = module.fc.forward(x);
      await expect(y.data()).rejects.toMatchObject({ code: "NOT_CONVERGED" });
      y.dispose();
    }
    for (const made of [x, nan, adapter, module]) made.dispose();
  });
});

describe("the gradient of δ", () => {
  const rows = 6;
  const labels = [0, 3, 1, 4, 2, 0];

  /** The mean cross-entropy in float64, layer by layer as y = W·x + V·(δ ⊙ Uᵀx) + bias. */
  async function lossOf(module: Two, adapter: Adapter): Promise<(deltas: Record<string, number[]>) => number> {
    const layers = await Promise.all(
      (["fc1", "fc2"] as const).map(async (path) => ({
        path,
        w: await numbers(module[path].weight.value),
        bias: module[path].bias === undefined ? undefined : await numbers(module[path].bias.value),
        ...(await factorsOf(adapter, path)),
      })),
    );
    const input = ramp(rows * 12, 4);
    return (deltas) => {
      const losses = labels.map((label, row) => {
        const logits = layers.reduce<number[]>(
          (x, { path, w, bias, v, ut, rank }, i) => {
            const inner = Array.from(
              { length: rank },
              (_, k) => (deltas[path]?.[k] ?? 0) * dot(x.length, (j) => (ut[k * x.length + j] as number) * (x[j] as number)),
            );
            const y = Array.from(
              { length: w.length / x.length },
              (_, o) =>
                (bias?.[o] ?? 0) +
                dot(x.length, (j) => (w[o * x.length + j] as number) * (x[j] as number)) +
                dot(rank, (k) => (v[o * rank + k] as number) * (inner[k] as number)),
            );
            return i === 0 ? y.map((value) => Math.max(value, 0)) : y;
          },
          Array.from(input.subarray(row * 12, (row + 1) * 12)),
        );
        return Math.log(dot(logits.length, (i) => Math.exp(logits[i] as number))) - (logits[label] as number);
      });
      return losses.reduce((sum, loss) => sum + loss, 0) / rows;
    };
  }

  it.each([undefined, 3])("agrees with finite differences in float64 (rank %s)", async (rank) => {
    const module = new Two().initialize(2);
    const adapter = attach(module, { method: "sigma", targetModules: "all-linear", ...(rank === undefined ? {} : { rank }) });
    const deltas: Record<string, number[]> = {};
    for (const path of ["fc1", "fc2"]) {
      const { rank: k } = await factorsOf(adapter, path);
      const values = ramp(k, path === "fc1" ? 1 : 8).map((value) => value / 4);
      setDelta(adapter, path, values);
      deltas[path] = Array.from(values);
    }
    const x = tensor(ramp(rows * 12, 4), [rows, 12]);
    const y = tensor(Int32Array.from(labels), [rows]);
    const loss = valueAndGrad(() => crossEntropy(module.forward(x) as Tensor<[number, number], "f32">, y));
    const reference = await lossOf(module, adapter);
    expect(Math.abs((await loss.item()) - reference(deltas))).toBeLessThan(1e-6);
    const h = 1e-5;
    for (const [name, { grad }] of adapter.parameters()) {
      const path = name.replace(".delta", "");
      const actual = await numbers(grad as Tensor);
      const expected = actual.map((_, k) => {
        const moved = (step: number): number =>
          reference({ ...deltas, [path]: (deltas[path] as number[]).map((value, i) => (i === k ? value + step : value)) });
        return (moved(h) - moved(-h)) / (2 * h);
      });
      const largest = Math.max(...expected.map(Math.abs));
      expect(largest).toBeGreaterThan(1e-2);
      actual.forEach((value, k) => {
        expect(Math.abs(value - (expected[k] as number)), `${name}[${k}]`).toBeLessThan(1e-5 * largest);
      });
    }
    for (const made of [loss, x, y, adapter, module]) made.dispose();
  });
});

describe("files", () => {
  it("keep δ and what it belongs to: saved, loaded, the same bits", async () => {
    const { net, x } = await loadNet();
    const adapter = attach(net, { method: "sigma", rank: 4, targetModules: ["up", "head"] });
    [...adapter.parameters().keys()].forEach((name, i) => setDelta(adapter, name.replace(".delta", ""), ramp(4, i)));
    const before = tidy(() => net.forward(x));
    const path = join(folder, "own");
    await adapter.save(path);
    const bytes = await adapter.toBytes();
    adapter.dispose();
    for (const source of [path, bytes]) {
      const loaded = await loadAdapter(net, source);
      expect(loaded.method).toBe("sigma");
      expect(loaded.config.rank).toBe(4);
      expect(loaded.warnings).toEqual([]);
      expect(loaded.targets).toEqual(["layers.0.up", "layers.1.up", "head"]);
      const after = tidy(() => net.forward(x));
      expect(await after.data()).toEqual(await before.data());
      expect(Buffer.compare(await loaded.toBytes(), bytes)).toBe(0);
      after.dispose();
      loaded.dispose();
    }
    for (const made of [before, x, net]) made.dispose();
  });

  it("are refused on another base, which stays as it is", async () => {
    const { net } = await loadNet();
    const adapter = attach(net, { method: "sigma", targetModules: ["up"] });
    const bytes = await adapter.toBytes();
    adapter.dispose();
    const { tensors } = memory().cpu;
    const changed = tensor(ramp(16 * 24), [24, 16]);
    net.layers[1]?.up.weight.assign(changed);
    changed.dispose();
    await expect(loadAdapter(net, bytes)).rejects.toMatchObject({ code: "ADAPTER_WRONG_BASE", details: { module: "layers.1.up" } });
    expect(net.layers[0]?.up.branches).toEqual([]);
    expect(memory().cpu.tensors).toBe(tensors);
    net.dispose();
  });

  it("are not written when the base has changed under the adapter", async () => {
    const { net } = await loadNet();
    const adapter = attach(net, { method: "sigma", targetModules: ["head"] });
    const changed = tensor(ramp(160), [10, 16]);
    net.head.weight.assign(changed);
    changed.dispose();
    await expect(adapter.toBytes()).rejects.toMatchObject({ code: "ADAPTER_STATE" });
    await expect(adapter.save(join(folder, "changed"))).rejects.toMatchObject({ code: "ADAPTER_STATE" });
    await expect(adapter.exportAsLora(join(folder, "changed"))).rejects.toMatchObject({ code: "ADAPTER_STATE" });
    await expect(readFile(join(folder, "changed", "adapter_config.json"))).rejects.toMatchObject({ code: "ENOENT" });
    adapter.dispose();
    net.dispose();
  });

  it.each<[string, (config: string) => string, string]>([
    ["another format", (text) => text.replace('"format": 1', '"format": 2'), "ADAPTER_UNSUPPORTED_FEATURE"],
    ["no format", (text) => text.replace('"format": 1,', ""), "ADAPTER_MISSING_FIELD"],
    ["no base", (text) => text.replace(/"base": \{[\s\S]*?\n {2}\},/, ""), "ADAPTER_MISSING_FIELD"],
    ["a base that is a list", (text) => text.replace(/"base": \{[\s\S]*?\n {2}\},/, '"base": [],'), "ADAPTER_BAD_VALUE"],
    ["a hash of 63 digits", (text) => text.replace(/"sha256": "./, '"sha256": "'), "ADAPTER_BAD_VALUE"],
    ["a shape of one size", (text) => text.replace("[10, 16]", "[160]"), "ADAPTER_BAD_VALUE"],
    ["rank 0", (text) => text.replace('"rank": 2', '"rank": 0'), "ADAPTER_BAD_VALUE"],
    ["another module", (text) => text.replace('"head"', '"tail"'), "TENSOR_MISSING"],
    ["another hash", (text) => text.replace(/"sha256": "[0-9a-f]{4}/, '"sha256": "0000'), "ADAPTER_WRONG_BASE"],
  ])("with %s are refused", async (_, change, code) => {
    const { net } = await loadNet();
    const adapter = attach(net, { method: "sigma", rank: 2, targetModules: ["head"] });
    await adapter.save(join(folder, "tampered"));
    adapter.dispose();
    const { writeFile } = await import("node:fs/promises");
    const file = join(folder, "tampered", "adapter_config.json");
    const text = await readFile(file, "utf8");
    const tampered = change(text);
    expect(tampered).not.toBe(text);
    await writeFile(file, tampered);
    await expect(loadAdapter(net, join(folder, "tampered"))).rejects.toMatchObject({ code });
    net.dispose();
  });

  it("export as LoRA: loaded as LoRA, the same outputs", async () => {
    const { net, x } = await loadNet();
    const adapter = attach(net, { method: "sigma", targetModules: "all-linear" });
    for (const [i, { path, branch }] of adapter.layers.entries()) setDelta(adapter, path, ramp(branch.a.shape[0] as number, i));
    const before = tidy(() => net.forward(x));
    await adapter.exportAsLora(join(folder, "exported"));
    adapter.dispose();
    const loaded = await loadAdapter(net, join(folder, "exported"));
    expect(loaded.method).toBe("lora");
    expect(loaded.layers.map(({ branch }) => branch.scale)).toEqual([1, 1, 1, 1, 1]);
    const after = tidy(() => net.forward(x));
    const [a, b] = [await numbers(before), await numbers(after)];
    const largest = Math.max(...a.map(Math.abs));
    // δ is multiplied into V instead of into Uᵀx: one rounding in another place, in each of five layers.
    a.forEach((value, i) => {
      expect(Math.abs(value - (b[i] as number))).toBeLessThan(2e-6 * largest);
    });
    for (const made of [before, after, x, loaded, net]) made.dispose();
  });
});
