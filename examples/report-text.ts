/** @file Text and numbers as they may stand in the HTML of the report. */

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const NARROW_SPACE = "\u202f";
const MISSING = "–";

/** Text for an element or a quoted attribute: nothing in it is read as HTML; control characters become `�`. */
export function escapeHtml(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, "\ufffd").replace(/[&<>"']/g, (c) => ESCAPES[c] as string);
}

/** `0.9973` → `99.7 %`; not finite → `–`. */
export function percent(share: number | undefined): string {
  return isKnown(share) ? `${(100 * share).toFixed(1)}${NARROW_SPACE}%` : MISSING;
}

/** `12345` → `12,345`. */
export function count(value: number | undefined): string {
  return isKnown(value) ? value.toLocaleString("en-US", { maximumFractionDigits: 0 }) : MISSING;
}

/** Three significant digits (whole numbers below a million in full), plain or with an exponent: `0.0213`, `1,875`, `1.5e-7`. */
export function short(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return count(value);
  return size >= 1e6 || size < 1e-4 ? Number(value.toPrecision(3)).toExponential() : String(Number(value.toPrecision(3)));
}

export function seconds(value: number | undefined): string {
  return isKnown(value) ? `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)}${NARROW_SPACE}s` : MISSING;
}

/** Decimal units, as file managers show them. */
export function fileSize(bytes: number | undefined): string {
  if (!isKnown(bytes)) return MISSING;
  const units = ["B", "kB", "MB", "GB"];
  const step = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${step === 0 ? bytes : Number((bytes / 1000 ** step).toPrecision(3))}${NARROW_SPACE}${units[step]}`;
}

function isKnown(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value);
}
