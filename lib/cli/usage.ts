/** @file Mistakes on the command line and in --config files: exit code 2. */
import type { ErrorCode } from "../native/error-codes.js";
import { type ErrorDetails, LowrankError } from "../native/errors.js";
import { commands, kebab } from "./options.js";

/** The command was called in a wrong way. */
export class UsageError extends LowrankError {
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(code, message, details);
  }
}

/** Runs what checks options as the API does: what it refuses is wrong usage. */
export function asUsage<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof LowrankError) || error instanceof UsageError) throw error;
    throw new UsageError(error.code, error.message, error.details);
  }
}

const named = new Set(commands.flatMap(({ options }) => options.map(({ name }) => name).filter((name) => /[A-Z]/.test(name))));
const quotedOrCamel = /"(?:[^"\\]|\\.)*"|(?<!-)\b[a-z]+(?:[A-Z][a-z]*)+\b/g;

/** A message of the API as the command line says it: `maxLength` → `--max-length`, but not in quotes nor where it was typed as a flag. */
export const withFlags = (message: string): string =>
  message.startsWith("--config") ? message : message.replace(quotedOrCamel, (found) => (named.has(found) ? `--${kebab(found)}` : found));
