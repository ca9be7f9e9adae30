/** @file One self-contained HTML page, without scripts and without anything to download. */
import { escapeHtml } from "./format.js";
import { baseStyle } from "./report-style.js";

/** A number to show in large type, already formatted. */
export interface Fact {
  readonly label: string;
  readonly value: string;
  readonly note?: string;
}

/** A part of the page under a heading. */
export interface Section {
  readonly title: string;
  /** An id of its own on the page. */
  readonly id: string;
  /** Ready HTML; an empty one leaves the section out. */
  readonly html: string;
}

/** Everything on the page, in its order. Empty lists leave their part out. All text may hold any characters. */
export interface PageData {
  readonly title: string;
  readonly lead: string;
  readonly facts: readonly Fact[];
  readonly sections: readonly Section[];
  readonly settings: readonly (readonly [name: string, value: string])[];
  /** Rules beside those that all pages have. */
  readonly style?: string;
}

const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/** The page as text. */
export function renderPage({ title, lead, facts, sections, settings, style = "" }: PageData): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${baseStyle}${style}</style>
</head>
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="lead">${escapeHtml(lead)}</p>
${facts.length === 0 ? "" : `<dl class="facts">${facts.map(renderFact).join("")}</dl>`}
</header>
<main>
${sections.map(renderSection).join("\n")}
</main>
<footer>
${renderSection({ title: "Settings", id: "settings", html: settings.length === 0 ? "" : renderSettings(settings) })}
</footer>
</body>
</html>
`;
}

function renderSection({ title, id, html }: Section): string {
  return html === "" ? "" : `<section aria-labelledby="${id}">\n<h2 id="${id}">${title}</h2>\n${html}\n</section>`;
}

function renderFact({ label, value, note }: Fact): string {
  const more = note === undefined ? "" : `<dd>${escapeHtml(note)}</dd>`;
  return `<div class="card"><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd>${more}</div>`;
}

function renderSettings(settings: PageData["settings"]): string {
  return `<dl class="card">${settings.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`).join("")}</dl>`;
}
