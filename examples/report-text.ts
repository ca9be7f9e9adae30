/** @file Numbers as they stand in the report of the example: those of all reports, and two with narrow spaces. */
import { bytesText, countText, escapeHtml, narrowSpace, numberText, percentText } from "../lib/cli/format.js";

export { countText as count, escapeHtml, percentText as percent };

/** Three significant digits (whole numbers below a million in full). */
export const short = (value: number): string => numberText(value, 3);

export const seconds = (value: number | undefined): string =>
  value !== undefined && Number.isFinite(value) ? `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)}${narrowSpace}s` : "–";

/** Decimal units, as file managers show them. */
export const fileSize = (bytes: number | undefined): string => bytesText(bytes, "GB").replace(" ", narrowSpace);
