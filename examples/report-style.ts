/** @file What the report of the example has beside the style sheet of all reports: tables and sample digits. */

export const style = `
h3 { margin: 0 0 4px; font-size: 1.02rem; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 0.94rem; font-variant-numeric: tabular-nums; }
caption { padding: 14px 18px 4px; text-align: left; color: var(--soft); font-size: 0.88rem; }
th, td { padding: 9px 14px; text-align: right; white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { padding-left: 18px; }
th:last-child, td:last-child { padding-right: 18px; }
thead th { color: var(--soft); font-size: 0.84rem; font-weight: 600; vertical-align: bottom; }
thead tr:first-child th[colspan] { padding-bottom: 0; text-align: center; }
th[scope="row"], th[scope="rowgroup"], thead th.name { text-align: left; }
th[scope="row"] { font-weight: 500; }
th[scope="rowgroup"] { background: var(--page); color: var(--soft); font-size: 0.84rem; border-top: 1px solid var(--edge); }
tbody tr + tr > * { border-top: 1px solid var(--grid); }
.split { border-left: 1px solid var(--grid); }
.best { background: var(--tint); font-weight: 650; }
.change { display: block; color: var(--soft); font-size: 0.8rem; font-weight: 400; }
.up { color: var(--good); }
.down { color: var(--bad); }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 10px; margin: 12px 0 0; padding: 0; list-style: none; }
.samples li { padding: 10px; border: 1px solid var(--edge); border-radius: 10px; font-size: 0.84rem; font-variant-numeric: tabular-nums; }
.samples img { display: block; width: 100%; max-width: 112px; height: auto; margin: 0 auto 8px; border-radius: 5px; image-rendering: pixelated; }
.samples dl { display: grid; grid-template-columns: 1fr auto; gap: 1px 6px; margin: 0; }
.samples dt { color: var(--soft); overflow: hidden; text-overflow: ellipsis; }
.samples dd { margin: 0; font-weight: 600; text-align: right; }
.group { padding: 18px; }
.group + .group { margin-top: 18px; }
@media print { .samples li { break-inside: avoid; } }
`;
