/** @file The kernels that no op runs, against float64: random numbers, chains of multiply-adds, the gate of a step, the optimizers, the decomposition. */
import { describe, expect, it } from "vitest";
import { engine } from "../../lib/native/engine.js";
import { philox } from "../../lib/ops/reference.js";
import { tensor } from "../../lib/tensor/create.js";
import { StepRecord, type StepSettings } from "../../lib/tensor/step-record.js";
import { empty, type Tensor } from "../../lib/tensor/tensor.js";
import { u } from "./bounds.js";
import { encode, roundTo } from "./formats.js";
import { Random } from "./random.js";

const kernels = () => engine().kernels;

async function floats(x: Tensor): Promise<Float64Array> {
  return Float64Array.from((await x.data()) as Float32Array);
}

const normals = (random: Random, size: number, spread = 1): Float64Array =>
  Float64Array.from({ length: size }, () => Math.fround(spread * random.normal()));
const flat = (values: ArrayLike<number>): Tensor => tensor(Float32Array.from(values), [1, values.length]);

function expectNear(got: Float64Array, expected: Float64Array, bound: (i: number) => number, what: string): void {
  const wrong = got.findIndex((value, i) => !(Math.abs(value - (expected[i] as number)) <= bound(i)));
  expect(wrong, `${what}: element ${wrong} is ${got[wrong]}, expected ${expected[wrong]} ± ${bound(Math.max(0, wrong))}`).toBe(-1);
}

describe("Philox4x32-10", () => {
  it("gives the numbers that its authors publish", () => {
    expect(philox([0, 0, 0, 0], 0)).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  });

  it.each([1, 3, 8, 33, 5000])("uniform draws word e % 4 of block e / 4, %d elements", async (n) => {
    const [seed, site, low, high] = [2 ** 45 + 12345, 0xdeadbeef, -0.25, 0.75];
    const y = empty([n], "f32");
    kernels().uniform(y, seed, site, low, high);
    const expected = Float64Array.from(
      { length: n },
      (_, e) => low + (high - low) * ((philox([Math.floor(e / 4), 0, 0, site], seed)[e % 4] as number) >>> 8) * 2 ** -24,
    );
    expectNear(await floats(y), expected, () => u, "uniform");
    y.dispose();
  });
});

describe("multiply_add", () => {
  it.each([
    [1, 1, 3],
    [3, 47, 0],
    [2, 48, 1],
    [5, 193, 70],
    [1, 70_001, 9],
  ])("[%d, %d], %d steps", async (rows, cols, steps) => {
    const values = normals(new Random(cols), rows * cols);
    const [factor, summand] = [Math.fround(-0.9), Math.fround(0.3)];
    const [x, y] = [tensor(Float32Array.from(values), [rows, cols]), empty([rows, cols], "f32")];
    kernels().multiply_add(y, x, factor, summand, steps);
    const expected = values.map((value) => {
      let after = value;
      for (let step = 0; step < steps; step++) after = factor * after + summand;
      return after;
    });
    // Every step rounds at most twice, and shrinks what the earlier ones were off by.
    expectNear(await floats(y), expected, (i) => (steps === 0 ? 0 : (2 * u * (Math.abs(values[i] as number) + 0.3)) / (1 - 0.9)), "y");
    for (const made of [x, y]) made.dispose();
  });

  it("reads and writes rows that lie apart", async () => {
    const [x, y] = [
      tensor(
        Float32Array.from({ length: 300 }, (_, i) => i),
        [3, 100],
      ),
      tensor(new Float32Array(300), [3, 100]),
    ];
    const part = (view: Tensor) => ({ handle: view.handle, dtypeCode: view.dtypeCode, offset: 1, rows: 3, cols: 97, ld: 100 });
    kernels().multiply_add(part(y), part(x), 2, 1, 1);
    expect(await floats(y)).toEqual(Float64Array.from({ length: 300 }, (_, i) => (i % 100 === 0 || i % 100 > 97 ? 0 : 2 * i + 1)));
    for (const made of [x, y]) made.dispose();
  });
});

describe("grad_squares and step_gate", () => {
  const sizes = [1, 7, 64, 1001, 70_001];

  it.each(sizes)("norm and clip factor of %d gradients", async (n) => {
    const g = normals(new Random(n), n);
    const record = new StepRecord();
    const grads = flat(g);
    record.begin({ ...record.settings, maxGradNorm: 0.5, gradientDivisor: 3 });
    kernels().grad_squares(record, grads, 0);
    kernels().step_gate(record);
    const norm = Math.sqrt(g.reduce((sum, value) => sum + value * value, 0)) / 3;
    const { gradNorm, halted } = await record.results();
    expect(halted).toBe(false);
    expect(Math.abs(gradNorm - norm)).toBeLessThanOrEqual(2 * u * norm);
    // The clip factor is not read back; sgd shows it: w = −lr · clip · g.
    const w = flat(new Float64Array(n));
    record.begin({ ...record.settings, learningRate: 1 });
    kernels().grad_squares(record, grads, 0);
    kernels().step_gate(record);
    kernels().sgd(w, undefined, grads, record, 0, 0, false);
    const clip = Math.min(1, 0.5 / (norm + 1e-6)) / 3;
    expectNear(
      await floats(w),
      g.map((value) => -clip * value),
      (i) => 4 * u * Math.abs(clip * (g[i] as number)),
      "clipped step",
    );
    for (const tensor of [grads, w]) tensor.dispose();
    record.dispose();
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])("%d halts, names the first one, and no weight changes", async (bad) => {
    const g = normals(new Random(5), 5000);
    g[777] = bad;
    g[4000] = Number.NaN;
    const record = new StepRecord();
    const [w, m, v, grads] = [flat(normals(new Random(6), 5000)), flat(new Float64Array(5000)), flat(new Float64Array(5000)), flat(g)];
    const before = [await floats(w), await floats(m), await floats(v)];
    record.begin({ ...record.settings, learningRate: 0.1, weightDecay: 0.1 });
    kernels().grad_squares(record, grads, 100);
    kernels().step_gate(record);
    kernels().adam(w, m, v, grads, record, 5000, true, 0.1, 0.001, 1e-8);
    kernels().sgd(w, m, grads, record, 5000, 0.9, false);
    expect(await record.results()).toMatchObject({ halted: true, firstBad: 877 });
    expect([await floats(w), await floats(m), await floats(v)]).toEqual(before);
    for (const tensor of [w, m, v, grads]) tensor.dispose();
    record.dispose();
  });

  it("a loss that is not finite halts with firstBad −1; finite ones add up", async () => {
    const record = new StepRecord();
    const losses = [0.1, 2.5, Number.NaN].map((value) => flat([value]));
    for (const loss of losses.slice(0, 2)) kernels().record_loss(record, loss);
    expect(await record.results()).toMatchObject({ lossSum: Math.fround(0.1) + 2.5, halted: false });
    kernels().record_loss(record, losses[2]);
    expect(await record.results()).toMatchObject({ halted: true, firstBad: -1 });
    for (const loss of losses) loss.dispose();
    record.dispose();
  });
});

/** Four ulp of the parameter, and of what the step takes from it. */
const stepBound = (before: number, after: number): number => 8 * u * (Math.abs(after) + Math.abs(after - before));

describe.each([1, 8, 33, 20_011])("optimizers on %d weights", (n) => {
  const decayed = Math.floor(n / 2);
  const [beta1, beta2, eps, rate, decay, steps] = [0.9, 0.99, 1e-7, 0.05, 0.3, 4];

  function corrected(step: number): Pick<StepSettings, "step" | "biasCorrection1" | "biasCorrection2"> {
    return { step, biasCorrection1: 1 - beta1 ** (step + 1), biasCorrection2: 1 - beta2 ** (step + 1) };
  }

  it.each([true, false])("adam, decoupled decay: %s", async (decoupled) => {
    const record = new StepRecord();
    const random = new Random(n);
    const [w, m, v] = [flat(normals(random, n)), flat(new Float64Array(n)), flat(new Float64Array(n))];
    for (let step = 0; step < steps; step++) {
      // Some so small that eps counts.
      const g = normals(random, n).map((value, i) => Math.fround(value * 10 ** -(i % 9)));
      const [w0, m0, v0] = [await floats(w), await floats(m), await floats(v)];
      const grads = flat(g);
      const corrections = corrected(step);
      record.begin({ ...record.settings, ...corrections, learningRate: rate, weightDecay: decay });
      kernels().step_gate(record);
      kernels().adam(w, m, v, grads, record, decayed, decoupled, 1 - beta1, 1 - beta2, eps);
      const total = g.map((value, i) => value + (!decoupled && i < decayed ? decay * (w0[i] as number) : 0));
      const m1 = total.map((value, i) => beta1 * (m0[i] as number) + (1 - beta1) * value);
      const v1 = total.map((value, i) => beta2 * (v0[i] as number) + (1 - beta2) * value * value);
      const w1 = w0.map((value, i) => {
        const shrunk = decoupled && i < decayed ? value * (1 - rate * decay) : value;
        return (
          shrunk - ((rate / corrections.biasCorrection1) * (m1[i] as number)) / (Math.sqrt((v1[i] as number) / corrections.biasCorrection2) + eps)
        );
      });
      // m and v are sums of two terms: rounding of each.
      const size = total.map((value, i) => Math.abs(value) + (i < decayed ? Math.abs(decay * (w0[i] as number)) : 0));
      expectNear(await floats(m), m1, (i) => 4 * u * (Math.abs(m0[i] as number) + (size[i] as number)), `m of step ${step}`);
      expectNear(await floats(v), v1, (i) => 8 * u * ((v0[i] as number) + (size[i] as number) ** 2), `v of step ${step}`);
      // An error of m is an error of the step: 4u of its terms, in units of √v.
      const slack = (i: number): number =>
        (16 * u * rate * (Math.abs(m0[i] as number) + (size[i] as number))) /
        (Math.sqrt((v1[i] as number) / corrections.biasCorrection2) * corrections.biasCorrection1);
      expectNear(await floats(w), w1, (i) => stepBound(w0[i] as number, w1[i] as number) + slack(i), `w of step ${step}`);
      grads.dispose();
    }
    for (const tensor of [w, m, v]) tensor.dispose();
    record.dispose();
  });

  it.each([
    [0, false],
    [0.9, false],
    [0.9, true],
  ])("sgd, momentum %d, nesterov %s", async (momentum, nesterov) => {
    const record = new StepRecord();
    const random = new Random(n + 1);
    const [w, buffer] = [flat(normals(random, n)), momentum > 0 ? flat(normals(random, n)) : undefined];
    for (let step = 0; step < steps; step++) {
      const g = normals(random, n);
      const w0 = await floats(w);
      const b0 = buffer === undefined ? new Float64Array(n) : await floats(buffer);
      const grads = flat(g);
      record.begin({ ...record.settings, step, learningRate: rate, weightDecay: decay });
      kernels().step_gate(record);
      kernels().sgd(w, buffer, grads, record, decayed, momentum, nesterov);
      const total = g.map((value, i) => value + (i < decayed ? decay * (w0[i] as number) : 0));
      const b1 = total.map((value, i) => (step === 0 ? value : momentum * (b0[i] as number) + value));
      const w1 = w0.map(
        (value, i) =>
          value - rate * (momentum === 0 ? (total[i] as number) : nesterov ? (total[i] as number) + momentum * (b1[i] as number) : (b1[i] as number)),
      );
      const size = g.map((value, i) => Math.abs(value) + Math.abs(decay * (w0[i] as number)) + Math.abs(b0[i] as number));
      if (buffer !== undefined) expectNear(await floats(buffer), b1, (i) => 4 * u * (size[i] as number), `buffer of step ${step}`);
      expectNear(await floats(w), w1, (i) => stepBound(w0[i] as number, w1[i] as number) + 8 * u * rate * (size[i] as number), `w of step ${step}`);
      grads.dispose();
    }
    for (const tensor of [w, buffer]) tensor?.dispose();
    record.dispose();
  });
});

describe("svd", () => {
  /** Σ_k v[i, k] s[k] ut[k, j] */
  function product(v: Float64Array, s: Float64Array, ut: Float64Array, o: number, n: number, i: number): Float64Array {
    const back = new Float64Array(o * i);
    for (let r = 0; r < o; r++)
      for (let c = 0; c < i; c++)
        for (let k = 0; k < n; k++)
          back[r * i + c] = (back[r * i + c] as number) + (v[r * n + k] as number) * (s[k] as number) * (ut[k * i + c] as number);
    return back;
  }

  /** Largest |⟨row a, row b⟩ − [a = b]| of `count` vectors whose element e is value(vector, e). */
  function fromOrthonormal(count: number, length: number, value: (vector: number, e: number) => number): number {
    let most = 0;
    for (let a = 0; a < count; a++) {
      for (let b = 0; b <= a; b++) {
        let dot = 0;
        for (let e = 0; e < length; e++) dot += value(a, e) * value(b, e);
        most = Math.max(most, Math.abs(dot - (a === b ? 1 : 0)));
      }
    }
    return most;
  }

  it.each([
    [1, 1, "f32"],
    [9, 5, "f32"],
    [5, 9, "bf16"],
    [17, 17, "f16"],
    [64, 33, "f32"],
    [1, 40, "f32"],
  ] as const)("[%d, %d] %s", async (o, i, dtype) => {
    const n = Math.min(o, i);
    const values = normals(new Random(o * i), o * i).map((value) => roundTo(dtype, value));
    const w = tensor(encode(dtype, values), [o, i], { dtype });
    const [v, s, ut] = [empty([o, n], "f32"), empty([1, n], "f32"), empty([n, i], "f32")];
    kernels().svd(v, s, ut, w);
    const [left, middle, right] = [await floats(v), await floats(s), await floats(ut)];
    const largest = middle[0] as number;
    // Computed in f64 and rounded once: one rounding of each of the three factors, over n terms.
    expectNear(product(left, middle, right, o, n, i), values, () => 4 * u * Math.sqrt(n) * largest, "v·diag(s)·uᵀ");
    expect(middle.every((value, k) => value >= 0 && (k === 0 || value <= (middle[k - 1] as number)))).toBe(true);
    expect(fromOrthonormal(n, o, (k, e) => left[e * n + k] as number)).toBeLessThanOrEqual(4 * u * Math.sqrt(o));
    expect(fromOrthonormal(n, i, (k, e) => right[k * i + e] as number)).toBeLessThanOrEqual(4 * u * Math.sqrt(i));
    for (let k = 0; k < n; k++) {
      const row = right.subarray(k * i, (k + 1) * i);
      const peak = row.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
      expect(peak).toBeGreaterThan(0);
    }
    for (const tensor of [w, v, s, ut]) tensor.dispose();
  });
});
