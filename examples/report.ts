/** @file The report of the example: one self-contained HTML page, without scripts and without anything to download. */
import { LowrankError } from "lowrank";
import { type ChartData, renderChart, SERIES_STYLES } from "./report-chart.js";
import { pngDataUri } from "./report-png.js";
import { style } from "./report-style.js";
import { count, escapeHtml, fileSize, percent, seconds } from "./report-text.js";

export type { ChartData, Series } from "./report-chart.js";

/** A number to show in large type, already formatted. */
export interface Fact {
  readonly label: string;
  readonly value: string;
  readonly note?: string;
}

/** Accuracy (0 to 1) before and after training. */
export interface Change {
  readonly before: number;
  readonly after: number;
}

/** One way of adapting, measured. What is not known is left out and shown as a dash. */
export interface MethodRow {
  readonly method: string;
  readonly trainedNumbers?: number;
  readonly fileBytes?: number;
  readonly seconds?: number;
  readonly oldTask?: Change;
  readonly newTask?: Change;
}

/** The methods that were compared on one new task. */
export interface TableGroup {
  readonly task: string;
  readonly rows: readonly MethodRow[];
}

export interface Sample {
  /** `[rows, cols]` of the group, 0 black to 255 white. */
  readonly image: Uint8Array;
  readonly label: number;
  readonly before: number;
  readonly after: number;
}

export interface SampleGroup {
  readonly title: string;
  /** A sentence below the title. */
  readonly note?: string;
  readonly rows: number;
  readonly cols: number;
  readonly items: readonly Sample[];
}

/** Everything on the page, in its order. Empty lists leave their section out. All text may hold any characters. */
export interface ReportData {
  readonly title: string;
  /** A sentence or two below the title. */
  readonly lead: string;
  readonly facts: readonly Fact[];
  /** A series with the same name has the same colour in every chart. */
  readonly charts: readonly ChartData[];
  readonly table: readonly TableGroup[];
  readonly samples: readonly SampleGroup[];
  /** Name and value: seed, versions, CPU, … */
  readonly settings: readonly (readonly [name: string, value: string])[];
}

const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/** The page as text. An image whose size is not `rows · cols` of its group is `BAD_SHAPE`. */
export function renderReport(data: ReportData): string {
  const title = escapeHtml(data.title);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p class="lead">${escapeHtml(data.lead)}</p>
${data.facts.length === 0 ? "" : `<dl class="facts">${data.facts.map(renderFact).join("")}</dl>`}
</header>
<main>
${section("Curves", "curves", data.charts, renderCharts)}
${section("Comparison", "comparison", data.table, renderTable)}
${section("Sample digits", "samples", data.samples, (groups) => groups.map(renderSamples).join("\n"))}
</main>
<footer>
${section("Settings", "settings", data.settings, renderSettings)}
</footer>
</body>
</html>
`;
}

function section<Item>(title: string, id: string, items: readonly Item[], render: (items: readonly Item[]) => string): string {
  return items.length === 0 ? "" : `<section aria-labelledby="${id}">\n<h2 id="${id}">${title}</h2>\n${render(items)}\n</section>`;
}

function renderFact({ label, value, note }: Fact): string {
  const more = note === undefined ? "" : `<dd>${escapeHtml(note)}</dd>`;
  return `<div class="card"><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd>${more}</div>`;
}

function renderCharts(charts: readonly ChartData[]): string {
  const names = [...new Set(charts.flatMap(({ series }) => series.map(({ name }) => name)))];
  const styleOf = (name: string): number => names.indexOf(name) % SERIES_STYLES;
  return `<div class="charts">\n${charts.map((chart, i) => renderChart(chart, `chart-${i}`, styleOf)).join("\n")}\n</div>`;
}

function renderTable(groups: readonly TableGroup[]): string {
  return `<div class="card scroll" role="region" aria-labelledby="comparison" tabindex="0"><table>
<caption>Accuracy on the old and the new task, before and after training on the new one. The best new accuracy of each task is shaded.</caption>
<thead>
<tr><th class="name" scope="col" rowspan="2">Method</th><th scope="col" rowspan="2">Trained numbers</th><th scope="col" rowspan="2">File</th><th scope="col" rowspan="2">Time</th>
<th class="split" scope="colgroup" colspan="2">Old task</th><th class="split" scope="colgroup" colspan="2">New task</th></tr>
<tr><th class="split" scope="col">before</th><th scope="col">after</th><th class="split" scope="col">before</th><th scope="col">after</th></tr>
</thead>
${groups.map(renderGroup).join("\n")}
</table></div>`;
}

function renderGroup({ task, rows }: TableGroup): string {
  const best = Math.max(...rows.map(({ newTask }) => newTask?.after ?? Number.NaN).filter(Number.isFinite));
  const body = rows.map((row) => {
    const cells = [count(row.trainedNumbers), fileSize(row.fileBytes), seconds(row.seconds)].map((text) => `<td>${text}</td>`).join("");
    return `<tr><th scope="row">${escapeHtml(row.method)}</th>${cells}${renderChange(row.oldTask, false)}${renderChange(row.newTask, row.newTask?.after === best)}</tr>`;
  });
  return `<tbody>\n<tr><th scope="rowgroup" colspan="8">${escapeHtml(task)}</th></tr>\n${body.join("\n")}\n</tbody>`;
}

function renderChange(change: Change | undefined, best: boolean): string {
  const points = change === undefined ? Number.NaN : 100 * (change.after - change.before);
  const sign = points >= 0.05 ? "up" : points <= -0.05 ? "down" : "";
  const text = sign === "" ? "±0.0" : `${sign === "up" ? "▲ +" : "▼ −"}${Math.abs(points).toFixed(1)}`;
  const difference = Number.isFinite(points) ? `<span class="change ${sign}">${text}</span>` : "";
  return `<td class="split">${percent(change?.before)}</td><td${best ? ' class="best"' : ""}>${percent(change?.after)}${difference}</td>`;
}

function renderSamples({ title, note, rows, cols, items }: SampleGroup, group: number): string {
  const right = (key: "before" | "after"): number => items.filter((item) => item[key] === item.label).length;
  const summary = `${right("before")} of ${items.length} right before, ${right("after")} after.`;
  const cards = items.map((item) => renderSample(item, rows, cols)).join("\n");
  const id = `samples-${group}`;
  return `<section class="card group" aria-labelledby="${id}"><h3 id="${id}">${escapeHtml(title)}</h3>
<p class="note">${note === undefined ? "" : `${escapeHtml(note)} `}${summary}</p>
<ul class="samples">
${cards}
</ul></section>`;
}

function renderSample({ image, label, before, after }: Sample, rows: number, cols: number): string {
  if (image.length !== rows * cols || image.length === 0) {
    const message = `report: a sample has ${image.length} bytes, not the ${rows} × ${cols} of its group`;
    throw new LowrankError("BAD_SHAPE", message, { expected: rows * cols, actual: image.length });
  }
  const verdict = (name: string, predicted: number): string => {
    const right = predicted === label;
    const mark = `<span class="${right ? "up" : "down"}"><span aria-hidden="true">${right ? "✓" : "✗"}</span><span class="hidden">${right ? "right" : "wrong"}</span></span>`;
    return `<dt>${name}</dt><dd>${predicted} ${mark}</dd>`;
  };
  return `<li><img src="${pngDataUri(image, rows, cols)}" width="${cols}" height="${rows}" alt="Picture of the digit ${label}"><dl><dt>digit</dt><dd>${label}</dd>${verdict("before", before)}${verdict("after", after)}</dl></li>`;
}

function renderSettings(settings: ReportData["settings"]): string {
  return `<dl class="card">${settings.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`).join("")}</dl>`;
}
