/** @file A generator of handwritten-looking digits, for running the example without the MNIST files. Image i is a pure function of (seed, i). */
import { LowrankError } from "lowrank";
import { digitShapes, type Stroke } from "./digit-shapes.js";
import { Random } from "./random.js";

/**
 * What is drawn. `base`: light digits on a dark ground. `mild`: the same digits with half the contrast and twice the noise.
 * `strong`: the same pictures turned by 30° (clockwise) and inverted.
 */
export type Task = "base" | "mild" | "strong";

/** Labelled images; image i is `images.subarray(i · rows · cols, (i + 1) · rows · cols)`, row by row, one byte a pixel. */
export interface LabelledImages {
  /** `[count, rows, cols]`, 0 to 255. */
  readonly images: Uint8Array;
  /** `[count]`, 0 to 9. */
  readonly labels: Uint8Array;
  readonly rows: number;
  readonly cols: number;
  readonly count: number;
}

export interface DigitsOptions {
  readonly seed: number;
  readonly count: number;
  /** Index of the first image; default 0. */
  readonly first?: number;
  /** Default `"base"`. */
  readonly task?: Task;
}

/** The sets of the example. Their index ranges do not overlap, so no test digit is a training digit of any task. */
export const digitSets = {
  baseTrain: { task: "base", first: 0, count: 12_000 },
  baseTest: { task: "base", first: 12_000, count: 2_000 },
  mildTrain: { task: "mild", first: 14_000, count: 2_000 },
  mildTest: { task: "mild", first: 16_000, count: 1_000 },
  strongTrain: { task: "strong", first: 17_000, count: 2_000 },
  strongTest: { task: "strong", first: 19_000, count: 1_000 },
} as const satisfies Record<string, Omit<DigitsOptions, "seed">>;

/** What makes a task, for the generator and for images that come from files: see `retarget` in `augment.ts`. */
export const taskRules: Readonly<Record<Task, { contrast: number; noise: number; turn: number; inverted: boolean }>> = {
  base: { contrast: 1, noise: 10, turn: 0, inverted: false },
  mild: { contrast: 0.5, noise: 20, turn: 0, inverted: false },
  strong: { contrast: 1, noise: 10, turn: 30, inverted: true },
};

const SIZE = 28;
const PIXELS = SIZE * SIZE;
/** Pixels from a digit's middle to its top, at scale 1. */
const HALF_HEIGHT = 8.5;
const DEGREE = Math.PI / 180;
const STREAM = 1;

/** How one digit is written. Lengths in pixels, angles in degrees (clockwise). */
interface Hand {
  label: number;
  shape: readonly Stroke[];
  moveX: number;
  moveY: number;
  turn: number;
  scale: number;
  thickness: number;
  /** Displacement of the four corners of the digit's box, x and y each: every hand deforms a digit a little. */
  corners: readonly number[];
}

/** One image `[28, 28]` and its label. The same `(seed, index)` is the same digit in every task. Bad arguments are `BAD_ARGUMENT`. */
export function digit(seed: number, index: number, task: Task = "base"): { image: Uint8Array; label: number } {
  const image = new Uint8Array(PIXELS);
  return { image, label: draw(image, seed, index, task) };
}

/** Images `first` to `first + count − 1`. Bad arguments are `BAD_ARGUMENT`. */
export function digits({ seed, count, first = 0, task = "base" }: DigitsOptions): LabelledImages {
  if (!Number.isInteger(count) || count < 0 || count > 1_000_000) {
    throw new LowrankError("BAD_ARGUMENT", `digits: count must be an integer from 0 to 1,000,000, not ${String(count)}`, { actual: count });
  }
  const images = new Uint8Array(count * PIXELS);
  const labels = new Uint8Array(count);
  for (let i = 0; i < count; i++) labels[i] = draw(images.subarray(i * PIXELS, (i + 1) * PIXELS), seed, first + i, task);
  return { images, labels, rows: SIZE, cols: SIZE, count };
}

function draw(image: Uint8Array, seed: number, index: number, task: Task): number {
  if (!Object.hasOwn(taskRules, task)) {
    throw new LowrankError("BAD_ARGUMENT", `digits: task must be "base", "mild" or "strong", not ${JSON.stringify(task)}`, { actual: task });
  }
  const random = new Random(STREAM, seed, index);
  const hand = chooseHand(random);
  const rules = taskRules[task];
  const distances = squaredDistances(hand, rules.turn);
  const ground = rules.inverted ? 255 : 0;
  const sign = rules.inverted ? -1 : 1;
  for (let p = 0; p < PIXELS; p++) {
    const coverage = Math.min(1, Math.max(0, hand.thickness / 2 + 0.5 - Math.sqrt(distances[p] as number)));
    const value = Math.round(255 * rules.contrast * coverage + rules.noise * random.normal());
    image[p] = ground + sign * Math.min(255, Math.max(0, value));
  }
  return hand.label;
}

function chooseHand(random: Random): Hand {
  const label = random.below(10);
  const shapes = digitShapes[label] as readonly (readonly Stroke[])[];
  return {
    label,
    shape: shapes[random.below(shapes.length)] as readonly Stroke[],
    moveX: random.between(-2, 2),
    moveY: random.between(-2, 2),
    turn: random.between(-12, 12),
    scale: random.between(0.8, 1.1),
    thickness: random.between(1, 3),
    corners: Array.from({ length: 8 }, () => random.between(-0.1, 0.1)),
  };
}

/** For every pixel the squared distance to the nearest stroke, exact as far as ink reaches and infinite beyond. */
function squaredDistances(hand: Hand, pictureTurn: number): Float64Array {
  const distances = new Float64Array(PIXELS).fill(Number.POSITIVE_INFINITY);
  const reach = hand.thickness / 2 + 0.5;
  for (const stroke of hand.shape) {
    const points = place(stroke, hand, pictureTurn);
    for (let i = 0; i + 3 < points.length; i += 2) {
      nearSegment(distances, points[i] as number, points[i + 1] as number, points[i + 2] as number, points[i + 3] as number, reach);
    }
  }
  return distances;
}

/** A stroke from its own coordinates to pixels: deformed, scaled, turned, moved; then the whole picture turned about its middle. */
function place(stroke: Stroke, hand: Hand, pictureTurn: number): number[] {
  const cos = Math.cos(hand.turn * DEGREE) * HALF_HEIGHT * hand.scale;
  const sin = Math.sin(hand.turn * DEGREE) * HALF_HEIGHT * hand.scale;
  const pictureCos = Math.cos(pictureTurn * DEGREE);
  const pictureSin = Math.sin(pictureTurn * DEGREE);
  const middle = (SIZE - 1) / 2;
  const placed: number[] = [];
  for (let i = 0; i < stroke.length; i += 2) {
    const bentX = (stroke[i] as number) + bend(hand.corners, 0, stroke, i);
    const bentY = (stroke[i + 1] as number) + bend(hand.corners, 1, stroke, i);
    const x = hand.moveX + bentX * cos - bentY * sin;
    const y = hand.moveY + bentX * sin + bentY * cos;
    placed.push(middle + x * pictureCos - y * pictureSin, middle + x * pictureSin + y * pictureCos);
  }
  return placed;
}

/** The displacement of point i along one axis, interpolated between the four corners. */
function bend(corners: readonly number[], axis: 0 | 1, stroke: Stroke, i: number): number {
  const right = ((stroke[i] as number) / 0.62 + 1) / 2;
  const down = ((stroke[i + 1] as number) + 1) / 2;
  const top = (corners[axis] as number) * (1 - right) + (corners[axis + 2] as number) * right;
  const bottom = (corners[axis + 4] as number) * (1 - right) + (corners[axis + 6] as number) * right;
  return top * (1 - down) + bottom * down;
}

/** Lowers the distances of the pixels that lie within `reach` of the segment's bounding box. */
function nearSegment(distances: Float64Array, ax: number, ay: number, bx: number, by: number, reach: number): void {
  const dx = bx - ax;
  const dy = by - ay;
  const square = dx * dx + dy * dy;
  const lastX = Math.min(SIZE - 1, Math.floor(Math.max(ax, bx) + reach));
  const lastY = Math.min(SIZE - 1, Math.floor(Math.max(ay, by) + reach));
  for (let y = Math.max(0, Math.ceil(Math.min(ay, by) - reach)); y <= lastY; y++) {
    for (let x = Math.max(0, Math.ceil(Math.min(ax, bx) - reach)); x <= lastX; x++) {
      const along = square === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / square));
      const offX = ax + along * dx - x;
      const offY = ay + along * dy - y;
      const distance = offX * offX + offY * offY;
      const p = y * SIZE + x;
      if (distance < (distances[p] as number)) distances[p] = distance;
    }
  }
}
