/** @file Plain float64 oracles for the example's data: a rotation, two classifiers. They share no code with what they test. */
import type { LabelledImages } from "../../examples/digits.js";

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** The mean image of `count` images that lie one after another. */
export function meanOf(images: Uint8Array, count: number): Float64Array {
  const mean = new Float64Array(images.length / count);
  images.forEach((value, i) => {
    mean[i % mean.length] = (mean[i % mean.length] ?? 0) + value / count;
  });
  return mean;
}

/** A square image turned clockwise (y points down) about (middle, middle), bilinear, 0 outside. */
export function rotate(image: Uint8Array, size: number, degrees: number, middle: number): Float64Array {
  const angle = (degrees * Math.PI) / 180;
  return Float64Array.from(image, (_, p) => {
    const x = (p % size) - middle;
    const y = Math.floor(p / size) - middle;
    const fromX = middle + x * Math.cos(angle) + y * Math.sin(angle);
    const fromY = middle - x * Math.sin(angle) + y * Math.cos(angle);
    let value = 0;
    for (const cy of [Math.floor(fromY), Math.floor(fromY) + 1]) {
      for (const cx of [Math.floor(fromX), Math.floor(fromX) + 1]) {
        if (cx < 0 || cy < 0 || cx >= size || cy >= size) continue;
        value += (1 - Math.abs(fromX - cx)) * (1 - Math.abs(fromY - cy)) * (image[cy * size + cx] ?? 0);
      }
    }
    return value;
  });
}

export function nearestCentroidAccuracy(train: LabelledImages, test: LabelledImages): number {
  const pixels = train.rows * train.cols;
  const centroids = Array.from({ length: 10 }, (_, label) => {
    const members = [...train.labels.keys()].filter((i) => train.labels[i] === label);
    const sum = new Float64Array(pixels);
    for (const i of members) for (let p = 0; p < pixels; p++) sum[p] = (sum[p] ?? 0) + (train.images[i * pixels + p] ?? 0) / members.length;
    return sum;
  });
  let right = 0;
  for (let i = 0; i < test.count; i++) {
    const image = test.images.subarray(i * pixels, (i + 1) * pixels);
    const distances = centroids.map((centroid) => centroid.reduce((sum, v, p) => sum + (v - (image[p] ?? 0)) ** 2, 0));
    if (distances.indexOf(Math.min(...distances)) === test.labels[i]) right++;
  }
  return right / test.count;
}

/** Trains a linear softmax classifier by plain stochastic gradient descent; returns its accuracy on any set. */
export function trainSoftmax(train: LabelledImages, epochs: number): (test: LabelledImages) => number {
  const pixels = train.rows * train.cols;
  const weights = new Float64Array(10 * (pixels + 1));
  const scores = (set: LabelledImages, i: number): number[] =>
    Array.from({ length: 10 }, (_, label) => {
      const row = label * (pixels + 1);
      let sum = weights[row + pixels] ?? 0;
      for (let p = 0; p < pixels; p++) sum += ((weights[row + p] ?? 0) * (set.images[i * pixels + p] ?? 0)) / 255;
      return sum;
    });
  for (let step = 0; step < epochs * train.count; step++) {
    const i = step % train.count;
    const values = scores(train, i);
    const top = Math.max(...values);
    const total = values.reduce((sum, v) => sum + Math.exp(v - top), 0);
    values.forEach((value, label) => {
      const slope = 0.02 * (Math.exp(value - top) / total - (train.labels[i] === label ? 1 : 0));
      const row = label * (pixels + 1);
      for (let p = 0; p < pixels; p++) weights[row + p] = (weights[row + p] ?? 0) - (slope * (train.images[i * pixels + p] ?? 0)) / 255;
      weights[row + pixels] = (weights[row + pixels] ?? 0) - slope;
    });
  }
  return (test) => {
    let right = 0;
    for (let i = 0; i < test.count; i++) {
      const values = scores(test, i);
      if (values.indexOf(Math.max(...values)) === test.labels[i]) right++;
    }
    return right / test.count;
  };
}
