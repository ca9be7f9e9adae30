/** @file Changed copies of images: random ones for augmentation, fixed ones that turn a set of images into another task. */
import { LowrankError } from "lowrank";
import { type LabelledImages, type Task, taskRules } from "./digits.js";
import { Random } from "./random.js";

export interface AugmentOptions {
  /** Move by a whole number of pixels, at most this many in x and in y; default 0. */
  readonly shift?: number;
  /** Turn by at most this many degrees either way; default 0. */
  readonly turn?: number;
  /** Add noise of this standard deviation, in steps of 1/255; default 0. */
  readonly noise?: number;
}

/** Names one change: the same key always gives the same one. */
export interface AugmentKey {
  readonly seed: number;
  readonly epoch: number;
  /** Which image of the set. */
  readonly index: number;
}

const AUGMENT_STREAM = 2;
const RETARGET_STREAM = 3;

/**
 * A changed copy of one image `[rows, cols]`: a pure function of image, options and key. Where the picture has moved away, the pixels
 * of its edge go on. With all options 0 the copy equals the image. Bad options are `BAD_ARGUMENT`.
 */
export function augment(image: Uint8Array, rows: number, cols: number, options: AugmentOptions, key: AugmentKey): Uint8Array {
  const { shift = 0, turn = 0, noise = 0 } = options;
  checkOption("shift", shift, Math.min(rows, cols), Number.isInteger(shift));
  checkOption("turn", turn, 180, true);
  checkOption("noise", noise, 255, true);
  checkSize("augment", image, 1, rows, cols);
  const random = new Random(AUGMENT_STREAM, key.seed, key.epoch, key.index);
  const moveX = random.below(2 * shift + 1) - shift;
  const moveY = random.below(2 * shift + 1) - shift;
  const moved = turned(image, rows, cols, random.between(-turn, turn), moveX, moveY);
  return noise === 0 ? moved : moved.map((pixel) => toByte(pixel + noise * random.normal()));
}

/**
 * The images of another task, made from images of the base task: `mild` halves the contrast and adds noise, `strong` turns by 30°
 * (clockwise) and inverts. For MNIST files; the generator of `digits.ts` draws its tasks directly. Noise depends on `(seed, i)` only.
 */
export function retarget(set: LabelledImages, task: Task, seed: number): LabelledImages {
  const { rows, cols, count } = set;
  const { contrast, noise, turn, inverted } = taskRules[task];
  checkSize("retarget", set.images, count, rows, cols);
  const images = new Uint8Array(set.images.length);
  for (let i = 0; i < count; i++) {
    const start = i * rows * cols;
    const random = new Random(RETARGET_STREAM, seed, i);
    const addedNoise = task === "mild" ? noise : 0;
    images.set(
      turned(set.images.subarray(start, start + rows * cols), rows, cols, turn, 0, 0).map((pixel) => {
        const value = toByte(contrast * pixel + addedNoise * random.normal());
        return inverted ? 255 - value : value;
      }),
      start,
    );
  }
  return { images, labels: set.labels.slice(), rows, cols, count };
}

/** A copy turned clockwise about its middle, then moved right and down; bilinear between pixels, edges go on outside. */
function turned(image: Uint8Array, rows: number, cols: number, degrees: number, moveX: number, moveY: number): Uint8Array {
  const cos = Math.cos((degrees * Math.PI) / 180);
  const sin = Math.sin((degrees * Math.PI) / 180);
  const middleX = (cols - 1) / 2;
  const middleY = (rows - 1) / 2;
  const out = new Uint8Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const x = col - moveX - middleX;
      const y = row - moveY - middleY;
      out[row * cols + col] = sample(image, rows, cols, middleX + x * cos + y * sin, middleY - x * sin + y * cos);
    }
  }
  return out;
}

function sample(image: Uint8Array, rows: number, cols: number, x: number, y: number): number {
  const inX = Math.min(cols - 1, Math.max(0, x));
  const inY = Math.min(rows - 1, Math.max(0, y));
  const left = Math.floor(inX);
  const top = Math.floor(inY);
  const right = Math.min(cols - 1, left + 1);
  const bottom = Math.min(rows - 1, top + 1);
  const across = inX - left;
  const at = (row: number, col: number): number => image[row * cols + col] as number;
  const upper = at(top, left) * (1 - across) + at(top, right) * across;
  const lower = at(bottom, left) * (1 - across) + at(bottom, right) * across;
  return toByte(upper + (lower - upper) * (inY - top));
}

function toByte(value: number): number {
  return Math.min(255, Math.max(0, Math.round(value)));
}

function checkOption(name: string, value: number, highest: number, ok: boolean): void {
  if (!(ok && value >= 0 && value <= highest)) {
    const kind = name === "shift" ? "an integer" : "a number";
    throw new LowrankError("BAD_ARGUMENT", `augment: ${name} must be ${kind} from 0 to ${highest}, not ${String(value)}`, { actual: value });
  }
}

function checkSize(where: string, images: Uint8Array, count: number, rows: number, cols: number): void {
  if (images.length !== count * rows * cols) {
    const message = `${where}: ${images.length} bytes are not ${count} image(s) of ${rows} × ${cols} pixels`;
    throw new LowrankError("BAD_SHAPE", message, { expected: count * rows * cols, actual: images.length });
  }
}
