/** @file The ten digits as strokes: x from −0.62 to 0.62 (right), y from −1 to 1 (down). */

/** A polyline: x0, y0, x1, y1, … */
export type Stroke = readonly number[];

/** Points that a curved stroke adds between two of its given points. */
const STEPS_PER_SPAN = 5;

/** Straight lines from point to point. */
function line(...points: number[]): Stroke {
  return points;
}

/** A smooth (Catmull–Rom) curve through all points; its ends have no neighbour and lean on themselves. */
function curve(...points: number[]): Stroke {
  return smooth(points, (i, count) => Math.min(Math.max(i, 0), count - 1), points.length / 2 - 1);
}

/** A smooth closed curve through all points. */
function loop(...points: number[]): Stroke {
  return smooth(points, (i, count) => (i + count) % count, points.length / 2);
}

function smooth(points: readonly number[], neighbour: (i: number, count: number) => number, spans: number): Stroke {
  const count = points.length / 2;
  const at = (i: number, axis: number): number => points[2 * neighbour(i, count) + axis] as number;
  const out: number[] = [at(0, 0), at(0, 1)];
  for (let span = 0; span < spans; span++) {
    for (let step = 1; step <= STEPS_PER_SPAN; step++) {
      const t = step / STEPS_PER_SPAN;
      for (const axis of [0, 1]) out.push(catmullRom(at(span - 1, axis), at(span, axis), at(span + 1, axis), at(span + 2, axis), t));
    }
  }
  return out;
}

function catmullRom(a: number, b: number, c: number, d: number, t: number): number {
  return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
}

/** `digitShapes[label]` lists the ways in which that digit is written, each a few strokes. */
export const digitShapes: readonly (readonly (readonly Stroke[])[])[] = [
  [[loop(0, -1, 0.42, -0.7, 0.56, 0, 0.42, 0.7, 0, 1, -0.42, 0.7, -0.56, 0, -0.42, -0.7)]],
  [[line(0, -1, 0, 1)], [line(-0.38, -0.55, 0.08, -1, 0.08, 1)], [line(-0.34, -0.6, 0.02, -1, 0.02, 1), line(-0.4, 1, 0.42, 1)]],
  [
    [curve(-0.54, -0.55, -0.34, -0.92, 0.12, -1, 0.5, -0.66, 0.42, -0.15, 0, 0.42, -0.58, 0.96), line(-0.58, 0.96, 0.6, 0.96)],
    [curve(-0.52, -0.62, -0.1, -1, 0.46, -0.7, 0.34, 0, -0.1, 0.62, -0.5, 0.9, -0.5, 0.62, -0.1, 0.66, 0.28, 0.92, 0.6, 0.8)],
  ],
  [
    [
      curve(-0.5, -0.72, -0.1, -1, 0.42, -0.78, 0.4, -0.3, -0.08, -0.06),
      curve(-0.08, -0.06, 0.46, 0.14, 0.54, 0.6, 0.1, 0.99, -0.34, 0.92, -0.58, 0.62),
    ],
    [line(-0.5, -0.96, 0.46, -0.96, -0.04, -0.2), curve(-0.04, -0.2, 0.48, 0.04, 0.54, 0.58, 0.12, 0.98, -0.34, 0.92, -0.58, 0.64)],
  ],
  [[line(0.26, 1, 0.26, -1, -0.6, 0.34, 0.62, 0.34)], [line(-0.42, -1, -0.56, 0.12, 0.6, 0.12), line(0.3, -0.62, 0.3, 1)]],
  [[line(0.52, -0.96, -0.4, -0.96, -0.48, -0.12), curve(-0.48, -0.12, -0.05, -0.28, 0.46, -0.04, 0.54, 0.5, 0.18, 0.94, -0.28, 0.96, -0.58, 0.7)]],
  [
    [curve(0.4, -0.96, -0.08, -0.72, -0.46, -0.16, -0.54, 0.4, -0.34, 0.88, 0.08, 1, 0.46, 0.76, 0.5, 0.32, 0.14, 0.02, -0.28, 0.12, -0.52, 0.5)],
    [curve(0.1, -1, -0.26, -0.5, -0.48, 0.2, -0.4, 0.8, 0.02, 1, 0.42, 0.78, 0.42, 0.34, 0.06, 0.12, -0.3, 0.3, -0.46, 0.62)],
  ],
  [[line(-0.56, -0.96, 0.56, -0.96, -0.16, 1)], [line(-0.54, -0.96, 0.54, -0.96, -0.1, 1), line(-0.26, 0, 0.5, 0)]],
  [[loop(0, -0.08, 0.4, -0.38, 0.34, -0.82, 0, -1, -0.34, -0.82, -0.4, -0.38, 0, -0.08, 0.48, 0.3, 0.44, 0.8, 0, 1, -0.44, 0.8, -0.48, 0.3)]],
  [
    [curve(0.46, -0.5, 0.24, -0.12, -0.24, -0.08, -0.5, -0.44, -0.34, -0.88, 0.08, -1, 0.42, -0.8, 0.46, -0.5), line(0.46, -0.5, 0.36, 1)],
    [
      curve(0.46, -0.5, 0.24, -0.1, -0.24, -0.06, -0.5, -0.42, -0.34, -0.86, 0.08, -1, 0.42, -0.8, 0.46, -0.5),
      curve(0.46, -0.5, 0.5, 0.1, 0.36, 0.7, 0, 0.99, -0.44, 0.8),
    ],
  ],
];
