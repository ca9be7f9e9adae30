/** @file Mistakes on the command line and in --config files: exit code 2. */
import type { ErrorCode } from "../native/error-codes.js";
import { type ErrorDetails, LowrankError } from "../native/errors.js";

/** The command was called in a wrong way. */
export class UsageError extends LowrankError {
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(code, message, details);
  }
}
