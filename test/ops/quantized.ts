/** @file Quantised weights, written from their definition (docs/quantized.md) with the tables of bitsandbytes: what the tests believe. */
import { readFileSync } from "node:fs";
import type { QuantizedDType } from "../../lib/tensor/dtype.js";

/** Arrays are base64 of their bytes; `own` is what bitsandbytes' CPU kernels made where scripts/make-quantized-fixture.py took more care. */
export interface QuantizedFixture {
  readonly nf4: readonly number[];
  readonly dynamicMap: readonly number[];
  readonly cases: readonly {
    readonly rows: number;
    readonly cols: number;
    readonly dtype: "f32" | "bf16" | "f16";
    readonly codes: string;
    readonly scaleCodes: string;
    readonly groupScales: string;
    readonly offset: number;
    /** Dequantised, the first four rows. */
    readonly values: string;
    readonly own: { readonly offset: number; readonly groupScales: string; readonly scaleCodes: string };
  }[];
}

export const fixture = JSON.parse(readFileSync(new URL("../fixtures/quantized.json", import.meta.url), "utf8")) as QuantizedFixture;

export interface QuantizedWeight {
  /** The whole buffer. */
  readonly bytes: Uint8Array;
  /** What each element stands for. */
  readonly values: Float64Array;
}

const { fround } = Math;

/** The place of the number of a rising table that is next to x; the lower one of two as near. */
function nearest(table: readonly number[], x: number): number {
  const midpoint = (i: number): number => fround((table[i] as number) + (table[i + 1] as number)) / 2;
  let place = 0;
  while (place + 1 < table.length && midpoint(place) < x) place++;
  return place;
}

const largest = (values: Float64Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const reciprocal = (x: number): number => (x === 0 ? 0 : fround(1 / x));

/** Quantises float32 numbers. */
export function quantized(dtype: QuantizedDType, values: Float64Array, cols: number): QuantizedWeight {
  return dtype === "nf4" ? nf4Of(values) : int8Of(values, cols);
}

function nf4Of(x: Float64Array): QuantizedWeight {
  const blocks = x.length / 64;
  const groups = Math.ceil(blocks / 256);
  const block = (i: number): Float64Array => x.subarray(64 * i, 64 * i + 64);
  const absmax = Float64Array.from({ length: blocks }, (_, i) => largest(block(i)));
  const codes = Array.from(x, (value, e) => nearest(fixture.nf4, fround(value * reciprocal(absmax[Math.floor(e / 64)] as number))));
  const offset = blocks === 0 ? 0 : fround(absmax.reduce((sum, value) => sum + value, 0) / blocks);
  const centred = absmax.map((value) => fround(value - offset));
  const scales = Float64Array.from({ length: groups }, (_, i) => largest(centred.subarray(256 * i, 256 * i + 256)));
  const scaleCodes = Array.from(centred, (value, i) =>
    nearest(fixture.dynamicMap, fround(value * reciprocal(scales[Math.floor(i / 256)] as number))),
  );
  const scaleOf = (i: number): number =>
    fround(fround((fixture.dynamicMap[scaleCodes[i] as number] as number) * (scales[Math.floor(i / 256)] as number)) + offset);
  const pairs = Array.from({ length: x.length / 2 }, (_, i) => 16 * (codes[2 * i] as number) + (codes[2 * i + 1] as number));
  return {
    bytes: concatenated(padded(pairs), padded(scaleCodes), floats(scales), floats([offset])),
    values: Float64Array.from(codes, (code, e) => fround((fixture.nf4[code] as number) * scaleOf(Math.floor(e / 64)))),
  };
}

function int8Of(x: Float64Array, cols: number): QuantizedWeight {
  const rows = cols === 0 ? 0 : x.length / cols;
  const scales = Float64Array.from({ length: rows }, (_, r) => fround(largest(x.subarray(r * cols, r * cols + cols)) / 127));
  const scaleOf = (e: number): number => scales[Math.floor(e / cols)] as number;
  const codes = Array.from(x, (value, e) => (scaleOf(e) === 0 ? 0 : roundTiesEven(fround(value / scaleOf(e)))));
  return {
    bytes: concatenated(padded(codes.map((code) => code & 255)), floats(scales)),
    values: Float64Array.from(codes, (code, e) => fround(code * scaleOf(e))),
  };
}

function roundTiesEven(x: number): number {
  const low = Math.floor(x);
  return x - low > 0.5 || (x - low === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

/** Filled up with zeros to a multiple of four bytes. */
const padded = (bytes: readonly number[]): Uint8Array => Uint8Array.from({ length: 4 * Math.ceil(bytes.length / 4) }, (_, i) => bytes[i] ?? 0);
const floats = (values: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const concatenated = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
