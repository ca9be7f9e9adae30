/** @file The style sheet that all report pages have: one for light, dark and paper. */

export const baseStyle = `
:root { color-scheme: light dark; --page: #f5f6f8; --card: #fff; --ink: #1b2230; --soft: #566074; --edge: #dde1e8; --grid: #e8ebf0; --good: #0a7350; --bad: #b4232c; --tint: #e6edfd;
  --series-0: #2458d3; --series-1: #c2560a; --series-2: #0a7f58; --series-3: #b3196a; --series-4: #7440cf; --series-5: #0b7285; --series-6: #8a5a12; --series-7: #4b5a70; }
@media (prefers-color-scheme: dark) {
  :root { --page: #11151c; --card: #1a202a; --ink: #e8ecf3; --soft: #a1acbd; --edge: #2d3643; --grid: #29313d; --good: #5fd0a2; --bad: #ff8e8e; --tint: #233250;
    --series-0: #82a8ff; --series-1: #f6a55c; --series-2: #55cfa0; --series-3: #f583bd; --series-4: #bb9bfa; --series-5: #5bcfe2; --series-6: #d9b06c; --series-7: #a9b5c7; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 44px; }
h1 { margin: 0 0 8px; font-size: 2.1rem; line-height: 1.2; letter-spacing: -0.02em; text-wrap: balance; overflow-wrap: anywhere; }
h2 { margin: 44px 0 14px; font-size: 1.3rem; letter-spacing: -0.01em; }
.lead { max-width: 74ch; margin: 0; color: var(--soft); font-size: 1.06rem; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; }
.note { margin: 6px 0 0; color: var(--soft); font-size: 0.84rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin: 28px 0 0; }
.facts div { display: flex; flex-direction: column; padding: 16px 18px; }
.facts dt { color: var(--soft); font-size: 0.88rem; }
.facts dd { margin: 0; font-size: 1.75rem; font-weight: 650; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.facts dd + dd { color: var(--soft); font-size: 0.84rem; font-weight: 400; letter-spacing: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 18px; }
.chart { margin: 0; padding: 16px 18px; }
.chart figcaption { margin-bottom: 6px; font-weight: 600; }
.chart > svg { display: block; width: 100%; height: auto; }
.axes text { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.axes .axis-name { font-size: 12.5px; }
.grid, .axis, .line { fill: none; }
.grid { stroke: var(--grid); }
.axis { stroke: var(--soft); }
.line { stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0 0; padding: 0; list-style: none; font-size: 0.88rem; }
.legend li { display: flex; align-items: center; gap: 7px; }
.legend b { font-variant-numeric: tabular-nums; }
footer { margin-top: 48px; padding-bottom: 44px; }
footer dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0; padding: 18px; font-size: 0.88rem; }
footer dt { color: var(--soft); }
footer dd { margin: 0; overflow-wrap: anywhere; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 560px) { main, header, footer { padding: 0 14px; } header { padding-top: 24px; } h1 { font-size: 1.6rem; } footer dl { grid-template-columns: 1fr; } }
@media print { body { background: none; } .card { break-inside: avoid; } }
`;
