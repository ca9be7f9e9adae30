/** @file Line charts as inline SVG; colours come from the page's style sheet (`--series-0`, `--series-1`). */
import { escapeHtml, numberText } from "./format.js";

export type Point = readonly [x: number, y: number];

/** One line of a chart. Points in rising x; a point with a value that is not finite is a gap. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface ChartData {
  readonly title: string;
  readonly xLabel: string;
  readonly series: readonly Series[];
}

const width = 560;
const height = 300;
const left = 66;
const right = 14;
const top = 14;
const bottom = 42;
/** Longer series are averaged down to at most this many points. */
const mostPoints = 400;
const dashes = ["", ' stroke-dasharray="9 4"'];

interface Axis {
  readonly ticks: readonly number[];
  /** Pixel of a value. */
  at(value: number): number;
}

/** One chart with title, legend and, for screen readers, where each line ends. */
export function renderChart({ title, xLabel, series: given }: ChartData, id: string): string {
  const series = given.map(({ name, points }) => ({ name, ...thinned(points) }));
  const finite = series.flatMap(({ points }) => points.filter(isFinitePoint));
  const x = axis(
    finite.map(([value]) => value),
    left,
    width - right,
    false,
  );
  const y = axis(
    finite.map(([, value]) => value),
    height - bottom,
    top,
    true,
  );
  const most = Math.max(1, ...series.map(({ each }) => each));
  const note = most > 1 ? `<p class="note">Each point is the mean of up to ${most} steps.</p>` : "";
  const ends = series.map(({ name, points }) => `${name}: ${lastText(points)}`).join("; ");
  return `<figure class="chart card">
<figcaption id="${id}">${escapeHtml(title)}</figcaption>
<svg viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="${id}" aria-describedby="${id}-ends">
<desc id="${id}-ends">${escapeHtml(`Last values: ${ends || "none"}`)}</desc>
${renderAxes(x, y, xLabel)}
${series.map(({ points }, style) => renderLine(points, style, x, y)).join("\n")}
</svg>
<ul class="legend">${series.map(({ name, points }, style) => renderLegend(name, style, lastText(points))).join("")}</ul>${note}
</figure>`;
}

function renderAxes(x: Axis, y: Axis, xLabel: string): string {
  const base = height - bottom;
  const rows = y.ticks.map((value) => {
    const at = px(y.at(value));
    return `<path class="grid" d="M${left} ${at}H${width - right}"/><text x="${left - 8}" y="${at}" dy="0.32em" text-anchor="end">${numberText(value)}</text>`;
  });
  const columns = x.ticks.map((value) => `<text x="${px(x.at(value))}" y="${base + 17}" text-anchor="middle">${numberText(value)}</text>`);
  const name = `<text x="${(left + width - right) / 2}" y="${height - 6}" text-anchor="middle">${escapeHtml(xLabel)}</text>`;
  return `<g class="axes" aria-hidden="true">${rows.join("")}${columns.join("")}<path class="axis" d="M${left} ${base}H${width - right}"/>${name}</g>`;
}

function renderLine(points: readonly Point[], style: number, x: Axis, y: Axis): string {
  let path = "";
  let drawing = false;
  for (const point of points) {
    const finite = isFinitePoint(point);
    if (finite) path += `${drawing ? "L" : "M"}${px(x.at(point[0]))} ${px(y.at(point[1]))}`;
    drawing = finite;
  }
  const last = points.findLast(isFinitePoint);
  const dot = last === undefined ? "" : `<circle cx="${px(x.at(last[0]))}" cy="${px(y.at(last[1]))}" r="3.5" fill="var(--series-${style})"/>`;
  return `<path class="line" d="${path}" stroke="var(--series-${style})"${dashes[style] ?? ""}/>${dot}`;
}

function renderLegend(name: string, style: number, last: string): string {
  const line = `<path class="line" d="M1 5H29" stroke="var(--series-${style})"${dashes[style] ?? ""}/>`;
  return `<li><svg width="30" height="10" aria-hidden="true">${line}</svg><span>${escapeHtml(name)}</span> <b>${last}</b></li>`;
}

const lastText = (points: readonly Point[]): string => numberText(points.findLast(isFinitePoint)?.[1]);

/** Means over runs of equal length, when there are more points than a chart can show. */
function thinned(points: readonly Point[]): { points: readonly Point[]; each: number } {
  const each = Math.ceil(points.length / mostPoints);
  if (each <= 1) return { points, each: 1 };
  const means = Array.from({ length: Math.ceil(points.length / each) }, (_, i): Point => {
    const run = points.slice(i * each, (i + 1) * each);
    return [run.reduce((sum, [x]) => sum + x, 0) / run.length, run.reduce((sum, [, y]) => sum + y, 0) / run.length];
  });
  return { points: means, each };
}

const isFinitePoint = ([x, y]: Point): boolean => Number.isFinite(x) && Number.isFinite(y);

/** Ticks at round numbers; `round`: the axis begins and ends at one. */
function axis(values: readonly number[], start: number, end: number, round: boolean): Axis {
  let low = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  let high = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  if (low > high) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
  const step = roundStep(high - low);
  const first = round ? Math.floor(low / step + 1e-9) : Math.ceil(low / step - 1e-9);
  const last = round ? Math.ceil(high / step - 1e-9) : Math.floor(high / step + 1e-9);
  const [from, to] = round ? [first * step, last * step] : [low, high];
  const ticks = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return { ticks, at: (value) => start + Math.min(1, Math.max(0, (value - from) / (to - from))) * (end - start) };
}

/** 1, 2 or 5 times a power of ten that divides the span into 3 to 5 parts. */
function roundStep(span: number): number {
  const power = 10 ** Math.floor(Math.log10(span / 5));
  return power * ([1, 2, 5].find((factor) => 5 * factor * power >= span) ?? 10);
}

const px = (value: number): string => String(Number(value.toFixed(1)));
