/** @file Line charts as inline SVG; colours come from the page's style sheet (`--series-0` …). */
import { escapeHtml, numberText, percentText } from "./format.js";

export type Point = readonly [x: number, y: number];

/** One line of a chart. Points in rising x; a point with a value that is not finite is a gap. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface ChartData {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** Default `"linear"`. On `"log"`, values of 0 and below are drawn on the bottom edge. */
  readonly scale?: "linear" | "log";
  /** `"percent"` shows 0.5 as 50 %. Default `"number"`. */
  readonly format?: "number" | "percent";
  readonly series: readonly Series[];
}

/** Gives each series name one number (its colour and dashes) for the whole page. */
export type StyleOf = (name: string) => number;

const SERIES_STYLES = 8;
const DASHES = ["", "9 4", "2 4", "11 4 2 4"];
const WIDTH = 560;
const HEIGHT = 320;
const LEFT = 70;
const RIGHT = 14;
const TOP = 14;
const BOTTOM = 46;
/** Longer series are averaged down to at most this many points. */
const MOST_POINTS = 400;
/** A log axis shows at most this many powers of ten below its top. */
const MOST_DECADES = 8;

interface Axis {
  ticks: number[];
  /** Pixel of a value; values outside the axis land on its ends. */
  at(value: number): number;
}

const short = (value: number): string => numberText(value, 3);

/** Charts side by side; a series with the same name looks the same in all of them. */
export function renderCharts(charts: readonly ChartData[]): string {
  const names = [...new Set(charts.flatMap(({ series }) => series.map(({ name }) => name)))];
  const styleOf = (name: string): number => names.indexOf(name) % SERIES_STYLES;
  return `<div class="charts">\n${charts.map((chart, i) => renderChart(chart, `chart-${i}`, styleOf)).join("\n")}\n</div>`;
}

/** One chart with title, legend and (for screen readers) a description of where each line ends. */
export function renderChart(chart: ChartData, id: string, styleOf: StyleOf): string {
  const format = chart.format === "percent" ? percentText : short;
  const series = chart.series.map(({ name, points }) => ({ name, style: styleOf(name), ...thin(points) }));
  const finite = series.flatMap(({ points }) => points.filter(isFinitePoint));
  const x = tightAxis(range(finite.map(([value]) => value)), LEFT, WIDTH - RIGHT);
  const values = finite.map(([, value]) => value);
  const y =
    chart.scale === "log" ? logAxis(values, HEIGHT - BOTTOM, TOP) : linearAxis(range(values, chart.format === "percent"), HEIGHT - BOTTOM, TOP);
  const ends = series.map(({ name, points }) => `${name}: ${lastValue(points, format)}`).join("; ");
  const most = Math.max(1, ...series.map(({ each }) => each));
  const caption = most > 1 ? `<p class="note">Each point is the mean of up to ${most} steps.</p>` : "";
  return `<figure class="chart card">
<figcaption id="${id}">${escapeHtml(chart.title)}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="${id}" aria-describedby="${id}-ends">
<desc id="${id}-ends">${escapeHtml(`Last values: ${ends || "none"}`)}</desc>
${renderAxes(chart, x, y, format)}
${series.map(({ points, style }) => renderLine(points, style, x, y)).join("\n")}
</svg>
<ul class="legend">${series.map(({ name, points, style }) => renderLegend(name, style, lastValue(points, format))).join("")}</ul>${caption}
</figure>`;
}

function renderAxes(chart: ChartData, x: Axis, y: Axis, format: (value: number) => string): string {
  const bottom = HEIGHT - BOTTOM;
  const rows = y.ticks.map((value) => {
    const at = px(y.at(value));
    return `<path class="grid" d="M${LEFT} ${at}H${WIDTH - RIGHT}"/><text x="${LEFT - 8}" y="${at}" dy="0.32em" text-anchor="end">${format(value).replace(/\.0(?!\d)/, "")}</text>`;
  });
  const columns = x.ticks.map((value) => `<text x="${px(x.at(value))}" y="${bottom + 18}" text-anchor="middle">${short(value)}</text>`);
  const middle = (TOP + bottom) / 2;
  return `<g class="axes" aria-hidden="true">${rows.join("")}${columns.join("")}<path class="axis" d="M${LEFT} ${bottom}H${WIDTH - RIGHT}"/>
<text class="axis-name" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escapeHtml(chart.xLabel)}</text>
<text class="axis-name" x="14" y="${middle}" text-anchor="middle" transform="rotate(-90 14 ${middle})">${escapeHtml(chart.yLabel)}</text></g>`;
}

function renderLine(points: Series["points"], style: number, x: Axis, y: Axis): string {
  let path = "";
  let drawing = false;
  for (const point of points) {
    const finite = isFinitePoint(point);
    if (finite) path += `${drawing ? "L" : "M"}${px(x.at(point[0]))} ${px(y.at(point[1]))}`;
    drawing = finite;
  }
  const last = points.findLast(isFinitePoint);
  const dot = last ? `<circle cx="${px(x.at(last[0]))}" cy="${px(y.at(last[1]))}" r="3.5" fill="var(--series-${style})"/>` : "";
  return `<path class="line" d="${path}" stroke="var(--series-${style})"${dashes(style)}/>${dot}`;
}

function renderLegend(name: string, style: number, last: string): string {
  const swatch = `<svg width="30" height="10" aria-hidden="true"><path class="line" d="M1 5H29" stroke="var(--series-${style})"${dashes(style)}/></svg>`;
  return `<li>${swatch}<span>${escapeHtml(name)}</span> <b>${last}</b></li>`;
}

function dashes(style: number): string {
  const pattern = DASHES[style % DASHES.length];
  return pattern ? ` stroke-dasharray="${pattern}"` : "";
}

function lastValue(points: Series["points"], format: (value: number) => string): string {
  const last = points.findLast(isFinitePoint);
  return last ? format(last[1]) : "–";
}

/** Means over runs of equal length, when there are more points than a chart can show. A run that is not finite stays a gap. */
function thin(points: Series["points"]): { points: Series["points"]; each: number } {
  const each = Math.ceil(points.length / MOST_POINTS);
  if (each <= 1) return { points, each: 1 };
  const means = Array.from({ length: Math.ceil(points.length / each) }, (_, i): [number, number] => {
    const run = points.slice(i * each, (i + 1) * each);
    return [run.reduce((sum, [x]) => sum + x, 0) / run.length, run.reduce((sum, [, y]) => sum + y, 0) / run.length];
  });
  return { points: means, each };
}

function isFinitePoint([x, y]: readonly [number, number]): boolean {
  return Number.isFinite(x) && Number.isFinite(y);
}

interface Range {
  low: number;
  high: number;
  /** What no axis goes beyond. */
  ceiling: number;
}

/** The span of the values, never empty; `share` says that they are shares, which end at 1. */
function range(values: readonly number[], share = false): Range {
  const low = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const high = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const ceiling = share && high <= 1 ? 1 : Number.POSITIVE_INFINITY;
  if (low > high) return { low: 0, high: 1, ceiling };
  if (low < high) return { low, high, ceiling };
  const margin = Math.abs(low) * 0.1 || 1;
  return { low: low - margin, high: high + margin, ceiling };
}

/** From a round number to a round number (or to the ceiling). */
function linearAxis({ low, high, ceiling }: Range, start: number, end: number): Axis {
  const step = roundStep(high - low);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.min(Math.ceil(high / step - 1e-9), Math.floor(ceiling / step + 1e-9));
  return { ticks: multiples(step, first, last), at: between(first * step, Math.min(Math.max(last * step, high), ceiling), start, end) };
}

/** Exactly from the lowest to the highest value, with ticks at the round numbers inside. */
function tightAxis({ low, high }: Range, start: number, end: number): Axis {
  const step = roundStep(high - low);
  return { ticks: multiples(step, Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)), at: between(low, high, start, end) };
}

/** 1, 2 or 5 times a power of ten that divides the span into 3 to 5 parts. */
function roundStep(span: number): number {
  const power = 10 ** Math.floor(Math.log10(span / 5));
  return power * ([1, 2, 5].find((factor) => 5 * factor * power >= span) ?? 10);
}

/** `first · step` to `last · step`, without the noise of floating point. */
function multiples(step: number, first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function between(low: number, high: number, start: number, end: number): (value: number) => number {
  return (value) => start + Math.min(1, Math.max(0, (value - low) / (high - low))) * (end - start);
}

function logAxis(values: readonly number[], start: number, end: number): Axis {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const { low, high } = logs.length === 0 ? { low: -1, high: 0 } : range(logs);
  const top = Math.min(Math.ceil(high - 1e-9), 300); // far from where a float, or a hundred times it, ends
  const bottom = Math.min(top - 1, Math.max(Math.floor(low + 1e-9), top - MOST_DECADES));
  const ticks = Array.from({ length: top - bottom + 1 }, (_, i) => Number(`1e${bottom + i}`));
  const place = (value: number): number => (value > 0 ? (Math.log10(value) - bottom) / (top - bottom) : 0);
  return { ticks, at: (value) => start + Math.min(1, Math.max(0, place(value))) * (end - start) };
}

function px(value: number): string {
  return String(Number(value.toFixed(1)));
}
