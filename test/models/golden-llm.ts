/** The golden models (test/fixtures/llm): float64 results of the formulas, checked against PyTorch, transformers and PEFT. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Tensor } from "../../lib/index.js";
import { openSafetensors, type SafetensorsFile } from "../../lib/io/safetensors.js";
import { elementsOf } from "../../lib/tensor/shape.js";

const root = fileURLToPath(new URL("../fixtures/llm", import.meta.url));

export const cases: readonly string[] = readdirSync(root).sort();
export const pathOf = (name: string, file: string): string => join(root, name, file);
export const readJson = <T>(name: string, file: string): T => JSON.parse(readFileSync(pathOf(name, file), "utf8")) as T;

interface Measures {
  readonly max: number;
  readonly rms: number;
}
export type Bounds = Readonly<Record<string, { readonly bound: Measures }>>;

/** Numbers of a stored tensor, with its shape. */
export interface Numbers {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export async function numbersOf(file: SafetensorsFile, name: string): Promise<Numbers> {
  const { shape, dtype } = file.tensor(name);
  const bytes = await file.readBytes(name);
  const { buffer, byteOffset } = bytes;
  const count = elementsOf(shape);
  if (dtype === "F64") return { shape, data: new Float64Array(buffer.slice(byteOffset) as ArrayBuffer, 0, count) };
  if (dtype === "F32") return { shape, data: Float64Array.from(new Float32Array(buffer.slice(byteOffset) as ArrayBuffer, 0, count)) };
  if (dtype === "I32") return { shape, data: Float64Array.from(new Int32Array(buffer.slice(byteOffset) as ArrayBuffer, 0, count)) };
  throw new Error(`${name} is ${dtype}`);
}

/** Rows of a stored i32 matrix, cut to their lengths. */
export async function rowsOf(file: SafetensorsFile, name: string, lengths: readonly number[]): Promise<number[][]> {
  const { shape, data } = await numbersOf(file, name);
  const columns = shape[shape.length - 1] as number;
  return lengths.map((length, r) => [...data.subarray(r * columns, r * columns + length)]);
}

export interface Golden {
  readonly file: SafetensorsFile;
  readonly lengths: readonly number[];
  readonly tokens: number[][];
  readonly labels: number[][];
  readonly bounds: Bounds;
}

export async function openGolden(name: string): Promise<Golden> {
  const file = await openSafetensors(pathOf(name, "expected.safetensors"));
  const lengths = [...(await numbersOf(file, "lengths")).data];
  return {
    file,
    lengths,
    tokens: await rowsOf(file, "input_ids", lengths),
    labels: await rowsOf(file, "labels", lengths),
    bounds: readJson<Bounds>(name, "bounds.json"),
  };
}

/** Both measures of the bounds: max|x − e| / max|s| and ‖x − e‖ / ‖s‖, over the bound; at most 1 is right. */
export function shareOfBound(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  { bound }: { readonly bound: Measures },
  scale = expected,
): number {
  let [most, size, squares, sizeSquares] = [0, 0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const difference = (found[i] as number) - (expected[i] as number);
    most = Math.max(most, Math.abs(difference));
    size = Math.max(size, Math.abs(scale[i] as number));
    squares += difference ** 2;
    sizeSquares += (scale[i] as number) ** 2;
  }
  if (Number.isNaN(squares)) return Number.NaN;
  if (size === 0) return most === 0 ? 0 : Number.POSITIVE_INFINITY;
  return Math.max(most / size / bound.max, Math.sqrt(squares / sizeSquares) / bound.rms);
}

/** Logits [B, T, V] without what stands behind the rows' ends. */
export function withinRows(
  { shape, data }: { readonly shape: readonly number[]; readonly data: ArrayLike<number> },
  lengths: readonly number[],
): number[] {
  const [, length = 0, vocabulary = 0] = shape;
  return lengths.flatMap((own, r) => Array.from({ length: own * vocabulary }, (_, i) => data[r * length * vocabulary + i] as number));
}

export const dataOf = async (tensor: Tensor): Promise<{ shape: readonly number[]; data: Float32Array }> => ({
  shape: tensor.shape,
  data: (await tensor.data()) as Float32Array,
});
