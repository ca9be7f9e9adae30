/** @file The model of the example, and its batches. */
import { argmax, crossEntropy, Dropout, type IndexedData, Linear, Module, permutation, relu, type Tensor, tensor } from "lowrank";
import { type AugmentOptions, augment } from "./augment.js";
import type { LabelledImages } from "./digits.js";

/** 784 pixels → 256 → 10 classes. */
export class Mlp extends Module {
  readonly fc1 = new Linear(784, 256);
  readonly dropout: Dropout;
  readonly fc2 = new Linear(256, 10);

  constructor(dropout = 0) {
    super();
    this.dropout = new Dropout(dropout);
  }

  forward(x: Tensor<["N", 784], "f32">): Tensor<["N", 10], "f32"> {
    return this.fc2.forward(this.dropout.forward(relu(this.fc1.forward(x))));
  }

  /** Mean cross-entropy, with what accuracy needs. */
  loss({ x, y }: ImageBatch): { loss: Tensor; logits: Tensor; labels: Tensor } {
    const logits = this.forward(x);
    return { loss: crossEntropy(logits, y), logits, labels: y };
  }

  /** The predicted class of each image. */
  async predict(set: LabelledImages, indexes: readonly number[]): Promise<number[]> {
    const { x, y } = batchOf(set, indexes);
    const classes = argmax(this.forward(x));
    const found = await classes.data();
    for (const used of [x, y, classes]) used.dispose();
    return [...found];
  }
}

export interface ImageBatch {
  readonly x: Tensor<["N", 784], "f32">;
  readonly y: Tensor<["N"], "i32">;
}

export interface BatchOptions {
  readonly batchSize: number;
  /** Shuffle the images by (seed, epoch); undefined: keep their order. */
  readonly seed?: number;
  readonly augment?: AugmentOptions;
}

/** Batches of images; the last one may be smaller. */
export class ImageBatches implements IndexedData<ImageBatch> {
  readonly length: number;

  constructor(
    readonly set: LabelledImages,
    readonly options: BatchOptions,
  ) {
    this.length = Math.ceil(set.count / options.batchSize);
  }

  at(index: number, epoch: number): ImageBatch {
    const { batchSize, seed, augment: changes } = this.options;
    const order = seed === undefined ? (i: number) => i : permutation(this.set.count, seed, epoch);
    const first = index * batchSize;
    const count = Math.min(batchSize, this.set.count - first);
    const indexes = Array.from({ length: count }, (_, i) => order(first + i));
    if (changes === undefined) return batchOf(this.set, indexes);
    return batchOf(this.set, indexes, (image, i) => augment(image, this.set.rows, this.set.cols, changes, { seed: seed ?? 0, epoch, index: i }));
  }
}

/** Holds the pixels of one batch: `tensor` copies them at once, so every batch can use the same array. */
let pixelsOfBatch = new Float32Array(0);

/** Pixels become (x / 255 − 0.5) / 0.5. */
function batchOf(set: LabelledImages, indexes: readonly number[], change?: (image: Uint8Array, index: number) => Uint8Array): ImageBatch {
  const pixels = set.rows * set.cols;
  if (pixelsOfBatch.length < indexes.length * pixels) pixelsOfBatch = new Float32Array(indexes.length * pixels);
  const x = pixelsOfBatch.subarray(0, indexes.length * pixels);
  indexes.forEach((index, row) => {
    const stored = set.images.subarray(index * pixels, (index + 1) * pixels);
    const image = change === undefined ? stored : change(stored, index);
    for (let i = 0; i < pixels; i++) x[row * pixels + i] = ((image[i] as number) / 255 - 0.5) / 0.5;
  });
  return {
    x: tensor(x, [indexes.length, pixels]).as(["N", 784]),
    y: tensor(
      Int32Array.from(indexes, (index) => set.labels[index] as number),
      [indexes.length],
    ).as(["N"]),
  };
}
