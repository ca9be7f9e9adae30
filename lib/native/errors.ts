/** @file The one error class. Messages name the op or file, the rule, what was found and the way out. */
import { basename } from "node:path";
import type { ErrorCode } from "./error-codes.js";

/** Facts beside the message, for programs. Absolute paths stand only in `path`. */
export interface ErrorDetails {
  readonly file?: string;
  readonly path?: string;
  readonly offset?: number;
  readonly line?: number;
  readonly tensor?: string;
  readonly expected?: unknown;
  readonly actual?: unknown;
  readonly hint?: string;
  readonly [key: string]: unknown;
}

/**
 * Every failure that lowrank reports. `code` is stable and part of semver (the table is in `docs/errors.md`); `details` holds the
 * facts of the message as fields; `cause` the error underneath, if there is one.
 */
export class LowrankError extends Error {
  override readonly name = "LowrankError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  /** Plain data, safe to send between threads and processes. */
  toJSON(): { name: string; code: ErrorCode; message: string; details: ErrorDetails } {
    return { name: this.name, code: this.code, message: this.message, details: this.details };
  }
}

/** Text from a file as it may stand in a message: JSON-escaped, at most 120 characters. */
export function quoted(text: string): string {
  const escaped = JSON.stringify(text.length > 120 ? `${text.slice(0, 119)}…` : text);
  return escaped.replace(/[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** An error about a file: the message starts with the file's name (never its folder), the full path stands in `details.path`. */
export function fileError(code: ErrorCode, path: string, message: string, details: ErrorDetails = {}, cause?: unknown): LowrankError {
  const file = basename(path);
  return new LowrankError(code, `${file}: ${message}`, { file, path, ...details }, cause);
}

/** The nearest of `names` to `name` by edit distance, best first; only those near enough to be a likely slip. */
export function nearest(name: string, names: Iterable<string>, count = 3): string[] {
  const scored = [...names].map((candidate) => ({ candidate, distance: editDistance(name, candidate) }));
  return scored
    .filter(({ candidate, distance }) => distance <= Math.max(2, Math.ceil(Math.max(name.length, candidate.length) / 3)))
    .sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, count)
    .map(({ candidate }) => candidate);
}

/** `--learning-rate`, `learningRate` → `lr`. */
const initials = (name: string): string => (name.match(/[A-Z]|(?<![A-Za-z])[a-z]/g) ?? []).join("").toLowerCase();

/** ` Did you mean …?` of the name that `name` abbreviates by its initials, else of the nearest; or nothing where no name is near. */
export function suggestion(name: string, known: Iterable<string>): string {
  const names = [...known];
  const short = name.replace(/^-+/, "");
  const near = (short.length > 1 ? names.find((candidate) => initials(candidate) === short) : undefined) ?? nearest(name, names, 1)[0];
  return near === undefined ? "" : ` Did you mean ${near}?`;
}

/** Checks that `options` is an object with no other names than the known ones. `what` calls the function. @throws LowrankError UNKNOWN_OPTION, BAD_ARGUMENT */
export function checkNames(what: string, options: unknown, known: readonly string[]): void {
  if (options === null || typeof options !== "object")
    throw new LowrankError("BAD_ARGUMENT", `${what}: the options are an object, found ${options === null ? "null" : typeof options}`);
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const advice = suggestion(name, known) || ` Known: ${known.join(", ")}.`;
    throw new LowrankError("UNKNOWN_OPTION", `${what}: there is no option ${quoted(name)}.${advice}`, { actual: name, expected: known });
  }
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substituted, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
