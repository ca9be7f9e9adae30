/** @file Turns lib/native/error-codes.ts into docs/errors.md. */
import { type ErrorCode, errorCodes } from "../lib/native/error-codes.js";

/**
 * The text of docs/errors.md: one table per topic. A topic is a comment line of its own between the codes of `source`, the text of
 * error-codes.ts.
 */
export function errorsPage(source: string): string {
  const lines: string[] = [];
  for (const line of source.split("\n")) {
    const topic = /^ {2}\/\/ (.+)$/.exec(line)?.[1];
    const code = /^ {2}([A-Z][A-Z0-9_]*):/.exec(line)?.[1];
    if (topic !== undefined) lines.push("", `## ${topic}`, "", "| code | meaning |", "|---|---|");
    if (code !== undefined) lines.push(`| \`${code}\` | ${errorCodes[code as ErrorCode].replaceAll("|", "\\|")} |`);
  }
  const missing = Object.keys(errorCodes).filter((code) => !lines.some((line) => line.startsWith(`| \`${code}\` |`)));
  if (missing.length > 0) throw new Error(`error-codes.ts: each code must begin a line of its own: ${missing.join(", ")}`);
  return [
    "<!-- Generated from lib/native/error-codes.ts by scripts/write-generated.ts. Do not edit. -->",
    "# Error codes",
    "",
    "Every failure that lowrank reports is a `LowrankError`. Its `code` is one of those below and part of semver: a code is never renamed or",
    "given another meaning within a major version. `message` says what was found and what to do, `details` holds the same facts as fields,",
    "`cause` the error underneath, and `toJSON()` gives all of it as plain data for another thread or process.",
    "",
    "```js",
    'import { LowrankError, tensor } from "lowrank";',
    "",
    "try {",
    "  tensor([1, 2, 3], [2, 2]);",
    "} catch (error) {",
    "  if (!(error instanceof LowrankError)) throw error;",
    "  console.error(error.code, error.message, error.details); // BAD_SHAPE …",
    "}",
    "```",
    ...lines,
    "",
  ].join("\n");
}
