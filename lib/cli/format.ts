/** @file Numbers and texts for people. */

const missing = "–";
export const narrowSpace = "\u202f";

const isKnown = (value: number | undefined): value is number => value !== undefined && Number.isFinite(value);

/** `12345` → `12,345`. */
export const countText = (value: number | undefined): string =>
  isKnown(value) ? value.toLocaleString("en-US", { maximumFractionDigits: 0 }) : missing;

/** `0.9973` → `99.7 %`. */
export const percentText = (share: number | undefined): string => (isKnown(share) ? `${(100 * share).toFixed(1)}${narrowSpace}%` : missing);

/** Significant digits (whole numbers below a million in full), plain or with an exponent: `2.303`, `1,875`, `0.0002`, `1.5e-7`. */
export function numberText(value: number | undefined, digits = 4): string {
  if (!isKnown(value)) return missing;
  if (value === 0) return "0";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return countText(value);
  const size = Math.abs(value);
  return size >= 1e6 || size < 1e-4 ? Number(value.toPrecision(digits)).toExponential() : String(Number(value.toPrecision(digits)));
}

/** Decimal units, as file managers show them, up to terabytes or the one that is named. */
export function bytesText(bytes: number | undefined, largest: "GB" | "TB" = "TB"): string {
  if (!isKnown(bytes)) return missing;
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = bytes < 1000 ? 0 : Math.min(units.indexOf(largest), Math.floor(Math.log10(bytes) / 3));
  return `${step === 0 ? bytes : Number((bytes / 1000 ** step).toPrecision(3))} ${units[step]}`;
}

/** `1 row`, `2 rows`. */
export const plural = (count: number, noun: string): string => `${countText(count)} ${noun}${count === 1 ? "" : "s"}`;

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Text for an element or a quoted attribute: nothing in it is read as HTML; control characters become `�`. */
export function escapeHtml(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, "\ufffd").replace(/[&<>"']/g, (c) => escapes[c] as string);
}
