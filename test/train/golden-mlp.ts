/** The golden 784-256-10 classifier (test/fixtures/mlp, written by make_mlp.py there with PyTorch in float64). */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { crossEntropy, Linear, Module, relu, type Tensor, tensor } from "../../lib/index.js";
import { openSafetensors, type SafetensorsFile } from "../../lib/io/safetensors.js";

export const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/mlp/${name}`, import.meta.url));

export class Mlp extends Module {
  fc1 = new Linear(784, 256);
  fc2 = new Linear(256, 10);
  forward(x: Tensor<["N", 784], "f32">): Tensor<["N", 10], "f32"> {
    return this.fc2.forward(relu(this.fc1.forward(x)));
  }
}

export interface GoldenBatch {
  readonly x: Tensor<["N", 784], "f32">;
  readonly y: Tensor<["N"], "i32">;
}

export interface GoldenRun {
  readonly losses: readonly number[];
  readonly bounds: { readonly loss_relative: number; readonly gradient_relative_to_max: number; readonly trained_absolute: number };
}

export interface Golden {
  readonly batches: readonly GoldenBatch[];
  readonly runs: Readonly<Record<string, GoldenRun>>;
  /** Expected gradients of the first step and trained tensors, as float64. */
  expected(name: string): Promise<Float64Array>;
  close(): Promise<void>;
}

/** The ten batches of 64; labels shifted by `labelShift` modulo 10 (the task that adapters learn). */
export async function openGolden(labelShift = 0): Promise<Golden> {
  const data = await openSafetensors(fixture("batches.safetensors"));
  const pixels = await data.readBytes("x");
  const labels = await data.readBytes("y");
  await data.close();
  const batches = Array.from({ length: 10 }, (_, n) => ({
    x: tensor(
      Float32Array.from(pixels.subarray(n * 64 * 784, (n + 1) * 64 * 784), (value) => (value / 255 - 0.5) / 0.5),
      [64, 784],
    ).as(["N", 784]),
    y: tensor(
      Int32Array.from(labels.subarray(n * 64, (n + 1) * 64), (label) => (label + labelShift) % 10),
      [64],
    ).as(["N"]),
  }));
  const file = await openSafetensors(fixture("expected.safetensors"));
  const { runs } = JSON.parse(await readFile(fixture("expected.json"), "utf8")) as { runs: Record<string, GoldenRun> };
  return {
    batches,
    runs,
    expected: (name) => readNumbers(file, name),
    close: async () => {
      for (const { x, y } of batches) {
        x.dispose();
        y.dispose();
      }
      await file.close();
    },
  };
}

/** A stored tensor as float64. */
export async function readNumbers(file: SafetensorsFile, name: string): Promise<Float64Array> {
  const { dtype } = file.tensor(name);
  const { buffer } = await file.readBytes(name);
  return dtype === "F64" ? new Float64Array(buffer as ArrayBuffer) : Float64Array.from(new Float32Array(buffer as ArrayBuffer));
}

export const goldenLoss =
  (mlp: Mlp) =>
  ({ x, y }: GoldenBatch): Tensor =>
    crossEntropy(mlp.forward(x), y);

/** Largest absolute difference, and the largest absolute value of the expectation. */
export function distance(actual: ArrayLike<number>, expected: Float64Array): { difference: number; scale: number } {
  let difference = actual.length === expected.length ? 0 : Number.POSITIVE_INFINITY;
  let scale = 0;
  expected.forEach((value, i) => {
    difference = Math.max(difference, Math.abs((actual[i] as number) - value));
    scale = Math.max(scale, Math.abs(value));
  });
  return { difference, scale };
}
