/** @file The report of the example: one self-contained HTML page, without scripts and without anything to download. */
import { LowrankError } from "lowrank";
import { type ChartData, renderCharts } from "../lib/cli/report-chart.js";
import { type Fact, renderPage } from "../lib/cli/report-page.js";
import { pngDataUri } from "./report-png.js";
import { style } from "./report-style.js";
import { count, escapeHtml, fileSize, percent, seconds } from "./report-text.js";

export type { ChartData, Series } from "../lib/cli/report-chart.js";

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

/** The page as text. An image whose size is not `rows · cols` of its group is `BAD_SHAPE`. */
export function renderReport({ charts, table, samples, ...page }: ReportData): string {
  return renderPage({
    ...page,
    sections: [
      { title: "Curves", id: "curves", html: charts.length === 0 ? "" : renderCharts(charts) },
      { title: "Comparison", id: "comparison", html: table.length === 0 ? "" : renderTable(table) },
      { title: "Sample digits", id: "samples", html: samples.map(renderSamples).join("\n") },
    ],
    style,
  });
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
