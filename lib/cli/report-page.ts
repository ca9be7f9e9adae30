/** @file One self-contained HTML page, without scripts and without anything to download. */
import { escapeHtml } from "./format.js";
import { type ChartData, renderChart } from "./report-chart.js";
import { style } from "./report-style.js";

/** A number to show in large type, already formatted. */
export interface Fact {
  readonly label: string;
  readonly value: string;
  readonly note?: string;
}

/** A prompt and its answers by their names: "Before", "After", … */
export interface AnswerCard {
  readonly prompt: string;
  readonly answers: readonly (readonly [name: string, text: string])[];
}

/** Everything on the page, in its order. Empty lists leave their section out. All text may hold any characters. */
export interface PageData {
  readonly title: string;
  readonly lead: string;
  readonly facts: readonly Fact[];
  readonly charts: readonly ChartData[];
  readonly answers: readonly AnswerCard[];
  readonly settings: readonly (readonly [name: string, value: string])[];
}

const policy = "default-src 'none'; style-src 'unsafe-inline'";

/** The page as text. */
export function renderPage({ title, lead, facts, charts, answers, settings }: PageData): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="lead">${escapeHtml(lead)}</p>
<dl class="facts">${facts.map(renderFact).join("")}</dl>
</header>
<main>
${section("Curves", "curves", charts, (all) => `<div class="charts">\n${all.map((chart, i) => renderChart(chart, `chart-${i}`)).join("\n")}\n</div>`)}
${section("Answers", "answers", answers, (all) => all.map(renderAnswer).join("\n"))}
</main>
<footer>
${section("Settings", "settings", settings, (all) => `<dl class="card">${all.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`).join("")}</dl>`)}
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

function renderAnswer({ prompt, answers }: AnswerCard): string {
  const columns = answers.map(
    ([name, text]) => `<div class="${escapeHtml(name.toLowerCase())}"><h4>${escapeHtml(name)}</h4><p>${escapeHtml(text) || "(nothing)"}</p></div>`,
  );
  return `<article class="card answer"><h3>Prompt</h3><p>${escapeHtml(prompt)}</p><div class="columns">${columns.join("")}</div></article>`;
}
