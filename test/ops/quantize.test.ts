/** @file Quantising, against bitsandbytes; every code; what cannot be quantised; and products with quantised weights against float64. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Parameter } from "../../lib/autograd/parameter.js";
import { valueAndGrad } from "../../lib/autograd/value-and-grad.js";
import { cast, linear, loraLinear, mul, sum } from "../../lib/functions.js";
import { engine } from "../../lib/native/engine.js";
import { fromBytes, tensor } from "../../lib/tensor/create.js";
import { memory } from "../../lib/tensor/device.js";
import { type QuantizedDType, quantizedDTypes, storageBytes } from "../../lib/tensor/dtype.js";
import { Quantizer, quantize } from "../../lib/tensor/quantize.js";
import { tidy } from "../../lib/tensor/scope.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { reductionBound } from "./bounds.js";
import { fixture, quantized } from "./quantized.js";
import { Random } from "./random.js";

let before = memory().cpu.bytes;
beforeEach(() => {
  before = memory().cpu.bytes;
});
afterEach(() => expect(memory().cpu.bytes, "what a test leaves behind").toBe(before));

/** The data of a tensor, which is freed. */
async function taken(made: Tensor): Promise<Float32Array> {
  const data = (await made.data()) as Float32Array;
  made.dispose();
  return data;
}

const bytesOf = (base64: string): Buffer => Buffer.from(base64, "base64");
const floatsOf = (base64: string): Float32Array => new Float32Array(new Uint8Array(bytesOf(base64)).buffer);

/** The matrix of scripts/make-quantized-fixture.py. */
function matrix(rows: number, cols: number): Float32Array {
  return Float32Array.from({ length: rows * cols }, (_, place) => {
    const row = Math.floor(place / cols);
    if (row === 5) return 0;
    let word = (Math.imul(place, 2654435761) + 12345) >>> 0;
    word = Math.imul(word ^ (word >>> 15), 2246822519) >>> 0;
    word = Math.imul(word ^ (word >>> 13), 3266489917) >>> 0;
    word = (word ^ (word >>> 16)) >>> 0;
    const total = [0, 8, 16, 24].reduce((all, shift) => all + ((word >>> shift) & 255), -510) + (word % 1021) / 1024;
    return total * 2 ** -((row % 5) + 8);
  });
}

const normal = (count: number, seed: string): Float32Array => {
  const random = new Random(seed);
  return Float32Array.from({ length: count }, () => random.normal());
};

describe("nf4 against bitsandbytes", () => {
  it.each(fixture.cases.map((one) => [`${one.rows} x ${one.cols} ${one.dtype}`, one] as const))(
    "%s: the same bytes, the same values",
    async (_, one) => {
      const { rows, cols, dtype } = one;
      const made = tidy(() => quantize(cast(tensor(matrix(rows, cols), [rows, cols]), dtype), "nf4"));
      expect(memory().cpu.bytes - before).toBe(storageBytes([rows, cols], "nf4"));
      const bytes = (await made.data()) as Uint8Array;
      const blocks = (rows * cols) / 64;
      const [codesEnd, scalesEnd] = [32 * blocks, 32 * blocks + Math.ceil(blocks / 4) * 4];
      expect(Buffer.compare(Buffer.from(bytes.subarray(0, codesEnd)), bytesOf(one.codes))).toBe(0);
      expect([...bytes.subarray(codesEnd, codesEnd + blocks)]).toEqual([...bytesOf(one.scaleCodes)]);
      // Where all scales of a group are the same, bitsandbytes may hold 1e-38, a subnormal number, for their difference.
      const groups = floatsOf(one.groupScales).map((scale) => (scale < 2 ** -126 ? 0 : scale));
      expect([...new Float32Array(bytes.slice(scalesEnd).buffer)]).toEqual([...groups, one.offset]);
      const values = floatsOf(one.values);
      const found = await taken(tidy(() => cast(made, "f32")));
      expect([...found.subarray(0, values.length)]).toEqual([...values]);
      made.dispose();
    },
  );

  it.each(fixture.cases.map((one) => [`${one.rows} x ${one.cols}`, one] as const))(
    "%s: its own mean is within an ulp, its scale codes are no nearer",
    (_, one) => {
      const ulp = 2 ** (Math.floor(Math.log2(one.offset)) - 23);
      expect(Math.abs(one.own.offset - one.offset)).toBeLessThanOrEqual(ulp);
      const absmax = matrix(one.rows, one.cols).reduce((all, value, e) => {
        all[Math.floor(e / 64)] = Math.max(all[Math.floor(e / 64)] ?? 0, Math.abs(value));
        return all;
      }, [] as number[]);
      const [ours, own, groups] = [bytesOf(one.scaleCodes), bytesOf(one.own.scaleCodes), floatsOf(one.groupScales)];
      ours.forEach((code, i) => {
        const other = own[i] as number;
        if (code === other || one.dtype !== "f32") return;
        const wanted = (absmax[i] as number) - one.offset;
        const error = (place: number): number => Math.abs((fixture.dynamicMap[place] as number) * (groups[Math.floor(i / 256)] as number) - wanted);
        expect(error(code)).toBeLessThanOrEqual(error(other));
      });
    },
  );
});

const float = new DataView(new ArrayBuffer(4));
/** The float32 next to x, upwards. */
function above(x: number): number {
  float.setFloat32(0, x);
  float.setInt32(0, float.getInt32(0) + (x < 0 ? -1 : 1));
  return x === 0 ? 2 ** -126 : float.getFloat32(0);
}

describe("every code", () => {
  it("of nf4 is that of its number, and of everything up to the midpoints around it", async () => {
    const { nf4 } = fixture;
    const midpoints = nf4.slice(1).map((value, i) => Math.fround(value + (nf4[i] as number)) / 2);
    const rows = [nf4, midpoints, midpoints.map(above)].map((values) => Float32Array.from({ length: 64 }, (_, i) => values[i] ?? (i % 2 ? 1 : -1)));
    const made = tidy(() => quantize(tensor(Float32Array.from(rows.flatMap((row) => [...row])), [3, 64]), "nf4"));
    const bytes = (await taken(made)) as unknown as Uint8Array;
    const codes = (row: number): number[] => [...bytes.subarray(32 * row, 32 * row + 8)].flatMap((byte) => [byte >> 4, byte & 15]);
    expect(codes(0)).toEqual(nf4.map((_, i) => i));
    expect(codes(1).slice(0, 15)).toEqual(midpoints.map((_, i) => i));
    expect(codes(2).slice(0, 15)).toEqual(midpoints.map((_, i) => i + 1));
  });

  it("of nf4 stands for its number times each of the 256 scales", async () => {
    const { nf4, dynamicMap } = fixture;
    const codes = Array.from({ length: 256 * 32 }, (_, i) => (i % 8) * 34 + 1);
    const [group, offset] = [Math.fround(0.3), Math.fround(0.7)];
    const tail = new Uint8Array(Float32Array.of(group, offset).buffer);
    const bytes = Uint8Array.from([...codes, ...dynamicMap.map((_, i) => i), ...tail]);
    const values = await taken(tidy(() => cast(fromBytes(bytes, [256, 64], "nf4"), "f32")));
    const expected = Array.from(values, (_, e) => {
      const byte = codes[e >> 1] as number;
      const scale = Math.fround(Math.fround((dynamicMap[e >> 6] as number) * group) + offset);
      return Math.fround((nf4[e % 2 === 0 ? byte >> 4 : byte & 15] as number) * scale);
    });
    expect([...values]).toEqual(expected);
    expect(new Set(codes.flatMap((byte) => [byte >> 4, byte & 15])).size).toBe(16);
  });

  it("of a scale is that of its number", async () => {
    const { dynamicMap } = fixture;
    // Their mean is 0, the largest of the first group 1: nothing is rounded.
    const absmax = tensor([...dynamicMap, -1], [1, 257]);
    const weight = fromBytes(new Uint8Array(storageBytes([257, 64], "nf4")), [257, 64], "nf4");
    engine().kernels.quantize_scales(weight, absmax);
    absmax.dispose();
    const bytes = (await taken(weight)) as unknown as Uint8Array;
    const start = 257 * 32;
    expect([...bytes.subarray(start, start + 257)]).toEqual([...dynamicMap.map((_, i) => i), 0]);
    expect([...new Float32Array(bytes.slice(start + 260).buffer)]).toEqual([1, 1, 0]);
  });

  it("of int8 is rounded to even; zero rows are zero", async () => {
    const row = [127, 2.5, 3.5, -2.5, -3.5, 0.5, -0.5, 1.49, -127];
    const made = tidy(() => quantize(tensor([...row, ...row.map(() => 0)], [2, 9]), "int8"));
    const values = await taken(tidy(() => cast(made, "f32")));
    const bytes = (await taken(made)) as unknown as Uint8Array;
    expect([...new Int8Array(bytes.buffer, 0, 18)]).toEqual([127, 2, 4, -2, -4, 0, 0, 1, -127, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect([...new Float32Array(bytes.slice(20).buffer)]).toEqual([1, 0]);
    expect([...values]).toEqual([127, 2, 4, -2, -4, 0, 0, 1, -127, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  });
});

describe.each(quantizedDTypes)("%s", (dtype) => {
  it("has the same bytes however the rows are cut, and those of its definition", async () => {
    const [rows, cols] = dtype === "nf4" ? [37, 448] : [37, 451];
    const values = normal(rows * cols, `cut ${dtype}`);
    const whole = tidy(() => quantize(tensor(values, [rows, cols]), dtype));
    const quantizer = new Quantizer([rows, cols], dtype);
    for (const [first, end] of [
      [0, 1],
      [1, 20],
      [20, 37],
    ] as const) {
      tidy(() => quantizer.add(tensor(values.slice(first * cols, end * cols), [end - first, cols]), first));
    }
    const [a, b] = [await taken(whole), await taken(quantizer.finish())];
    expect(a).toEqual(b);
    expect(Buffer.compare(Buffer.from(a), Buffer.from(quantized(dtype, Float64Array.from(values), cols).bytes))).toBe(0);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** 127])(
    "of a row with %s is an error that names the row",
    async (bad) => {
      for (const [row, column] of [
        [0, 0],
        [2, 63],
        [4, 100],
      ] as const) {
        const values = normal(5 * 128, "bad");
        values[row * 128 + column] = bad;
        values[4 * 128 + 127] = bad;
        const made = tidy(() => quantize(tensor(values, [5, 128]), dtype));
        await expect(made.data()).rejects.toMatchObject({ code: "TENSOR_NONFINITE", details: { index: row } });
        made.dispose();
      }
    },
  );

  it("of tiny and of huge numbers is right, and of nothing is nothing", async () => {
    for (const size of [2 ** -100, 2 ** -126, 2 ** 125]) {
      const values = normal(2 * 64, "size").map((value) => Math.max(-2, Math.min(2, value)) * size);
      const made = tidy(() => cast(quantize(tensor(values, [2, 64]), dtype), "f32"));
      const error = (await taken(made)).map((value, i) => Math.abs(value - (values[i] as number)) / size);
      expect(Math.max(...error)).toBeLessThanOrEqual(size < 2 ** -119 ? 2 : 0.4);
    }
    for (const shape of [
      [0, 64],
      [3, 0],
    ] as const) {
      expect(await taken(tidy(() => cast(quantize(tensor([], shape), dtype), "f32")))).toHaveLength(0);
    }
  });

  it("makes products that are right for any number of rows", async () => {
    for (const rows of [1, 2, 3, 5, 49]) {
      for (const [o, i] of dtype === "nf4"
        ? [
            [1, 64],
            [67, 1088],
            [130, 192],
          ]
        : [
            [1, 61],
            [67, 1087],
            [130, 195],
          ]) {
        await checkProducts(dtype, rows, o as number, i as number, 5);
      }
    }
  });

  it("makes products with the bits of those with the weight that its codes stand for", async () => {
    const [o, i] = [67, dtype === "nf4" ? 1088 : 1087];
    const made = tensor(normal(o * i, "weight"), [o, i]);
    const w = quantize(made, dtype);
    const plain = cast(w, "f32");
    for (const rows of [1, 2, 3, 5, 49]) {
      const x = tensor(normal(rows * i, `x ${rows}`), [rows, i]);
      expect(await taken(linear(x, w)), `${rows} rows`).toEqual(await taken(linear(x, plain)));
      x.dispose();
    }
    for (const one of [made, w, plain]) one.dispose();
  });
});

interface Sum {
  readonly value: number;
  readonly size: number;
}

/** Σ a b and Σ |a b| of `n` pairs. */
function dot(n: number, a: (k: number) => number, b: (k: number) => number): Sum {
  let [value, size] = [0, 0];
  for (let k = 0; k < n; k++) {
    const term = a(k) * b(k);
    value += term;
    size += Math.abs(term);
  }
  return { value, size };
}

const plus = (a: Sum, b: Sum, factor: number): Sum => ({ value: a.value + factor * b.value, size: a.size + factor * b.size });

function expectWithin(what: string, found: Float32Array, expected: (place: number) => Sum, chains: number): void {
  found.forEach((y, place) => {
    const { value, size } = expected(place);
    const error = Math.abs(y - value);
    if (!(error <= reductionBound(chains, size, value))) throw new Error(`${what}: element ${place} is ${y}, expected ${value}, off by ${error}`);
  });
}

/** linear and loraLinear, forward and the gradients, with W as what its codes stand for. */
async function checkProducts(dtype: QuantizedDType, m: number, o: number, i: number, r: number): Promise<void> {
  const seed = `${dtype} ${m} ${o} ${i}`;
  const weight = quantized(dtype, Float64Array.from(normal(o * i, `w ${seed}`)), i);
  const [x, a, b, dy] = [normal(m * i, `x ${seed}`), normal(r * i, `a ${seed}`), normal(o * r, `b ${seed}`), normal(m * o, `dy ${seed}`)];
  const at = (data: ArrayLike<number>, cols: number) => (row: number, column: number) => data[row * cols + column] as number;
  const [W, X, A, B, DY] = [at(weight.values, i), at(x, i), at(a, i), at(b, r), at(dy, o)];
  const scale = 0.5;

  const w = fromBytes(weight.bytes, [o, i], dtype);
  const [px, pa, pb] = [new Parameter(tensor(x, [m, i])), new Parameter(tensor(a, [r, i])), new Parameter(tensor(b, [o, r]))];
  const weights = tensor(dy, [m, o]);
  try {
    const base = (p: number): Sum =>
      dot(
        i,
        (k) => X(Math.floor(p / o), k),
        (k) => W(p % o, k),
      );
    expectWithin(`y ${seed}`, await taken(tidy(() => linear(px.value, w))), base, Math.sqrt(i));
    valueAndGrad(() => sum(mul(linear(px.value, w) as Tensor<[number, number], "f32">, weights))).dispose();
    const dBase = (p: number): Sum =>
      dot(
        o,
        (k) => DY(Math.floor(p / i), k),
        (k) => W(k, p % i),
      );
    expectWithin(`dx ${seed}`, (await px.grad?.data()) as Float32Array, dBase, Math.sqrt(o));
    px.clearGradient();

    const h = (row: number, k: number): Sum =>
      dot(
        i,
        (c) => X(row, c),
        (c) => A(k, c),
      );
    const branch = (row: number, column: number): Sum => {
      const parts = Array.from({ length: r }, (_, k) => ({ ...h(row, k), b: B(column, k) }));
      return { value: parts.reduce((all, p) => all + p.value * p.b, 0), size: parts.reduce((all, p) => all + p.size * Math.abs(p.b), 0) };
    };
    const loraY = (p: number): Sum => plus(base(p), branch(Math.floor(p / o), p % o), scale);
    const chains = Math.sqrt(i + r) + Math.sqrt(i);
    const run = (): Tensor => loraLinear(px.value, w, pa.value, pb.value, { scale });
    if (m * o * i * r < 3e7) expectWithin(`lora y ${seed}`, await taken(tidy(run)), loraY, chains);
    valueAndGrad(() => sum(mul(run() as Tensor<[number, number], "f32">, weights))).dispose();
    const v = (row: number, k: number): Sum =>
      dot(
        o,
        (c) => DY(row, c),
        (c) => B(c, k),
      );
    const vs = Array.from({ length: m * r }, (_, p) => v(Math.floor(p / r), p % r));
    const dLora = (p: number): Sum => {
      const [row, column] = [Math.floor(p / i), p % i];
      const low = Array.from({ length: r }, (_, k) => [vs[row * r + k] as Sum, A(k, column)] as const);
      const part = { value: low.reduce((all, [s, f]) => all + s.value * f, 0), size: low.reduce((all, [s, f]) => all + s.size * Math.abs(f), 0) };
      return plus(dBase(p), part, scale);
    };
    expectWithin(`lora dx ${seed}`, (await px.grad?.data()) as Float32Array, dLora, Math.sqrt(o + r) + Math.sqrt(o));
    const da = (p: number): Sum => {
      const [k, column] = [Math.floor(p / i), p % i];
      let [value, size] = [0, 0];
      for (let row = 0; row < m; row++) {
        value += scale * (vs[row * r + k] as Sum).value * X(row, column);
        size += scale * (vs[row * r + k] as Sum).size * Math.abs(X(row, column));
      }
      return { value, size };
    };
    expectWithin(`lora da ${seed}`, (await pa.grad?.data()) as Float32Array, da, Math.sqrt(m) + Math.sqrt(o));
  } finally {
    for (const one of [w, px, pa, pb, weights]) one.dispose();
  }
}

describe("a quantised tensor", () => {
  it("is refused by everything that cannot take it, by name", async () => {
    const plain = tensor(new Float32Array(128), [2, 64]);
    const error = (code: string, ...texts: string[]): object => ({ code, message: expect.stringContaining(texts.join("")) });
    expect(() => quantize(plain, "nf3" as "nf4")).toThrow(expect.objectContaining(error("BAD_DTYPE", "int8 or nf4, not to nf3")));
    const narrow = tensor(new Float32Array(12), [2, 6]);
    expect(() => quantize(narrow, "nf4")).toThrow(expect.objectContaining(error("BAD_SHAPE", "multiple of 64")));
    const vector = tensor(new Float32Array(64), [64]);
    expect(() => quantize(vector as never, "nf4")).toThrow(expect.objectContaining(error("BAD_SHAPE", "only matrices")));
    const indexes = tensor(new Int32Array(64), [1, 64]);
    expect(() => quantize(indexes as never, "nf4")).toThrow(expect.objectContaining(error("BAD_DTYPE", "x is i32")));
    expect(() => tensor(new Float32Array(64), [1, 64], { dtype: "nf4" as "f32" })).toThrow(
      expect.objectContaining(error("BAD_DTYPE", 'quantize(x, "nf4")')),
    );
    expect(() => cast(plain, "int8" as "f32")).toThrow(expect.objectContaining(error("BAD_DTYPE", "not int8; quantize(x, dtype)")));
    const q = quantize(plain, "nf4");
    await expect(q.item()).rejects.toMatchObject(error("BAD_DTYPE", 'cast(x, "f32")'));
    expect(() => cast(q, "bf16")).toThrow(expect.objectContaining(error("BAD_DTYPE", "nf4 converts to f32 only")));
    expect(() => mul(q as never, plain)).toThrow(expect.objectContaining(error("BAD_DTYPE", "mul: a")));
    for (const made of [plain, narrow, vector, indexes, q]) made.dispose();
  });

  it("can be the value of a parameter, which is copied", async () => {
    const source = tidy(() => quantize(tensor(normal(128, "parameter"), [2, 64]), "int8"));
    const bytes = (await source.data()) as Uint8Array;
    const parameter = new Parameter(source);
    expect(parameter.trainable).toBe(false);
    expect((await parameter.value.data()) as Uint8Array).toEqual(bytes);
    parameter.dispose();
  });
});
