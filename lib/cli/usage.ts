/** @file Mistakes on the command line and in --config files: exit code 2. */
import type { ErrorCode } from "../native/error-codes.js";
import { type ErrorDetails, LowrankError, nearest } from "../native/errors.js";

/** The command was called in a wrong way. */
export class UsageError extends LowrankError {
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(code, message, details);
  }
}

/** " Did you mean …?", or nothing. */
export function suggestion(name: string, known: Iterable<string>): string {
  const near = nearest(name, known, 1)[0];
  return near === undefined ? "" : ` Did you mean ${near}?`;
}
