/** @file Errors about files, worded as lowrank words them: the file's name first, its full path only in the details. */
import { basename } from "node:path";
import { type ErrorCode, type ErrorDetails, LowrankError } from "lowrank";

export function fileError(code: ErrorCode, path: string, message: string, details: ErrorDetails = {}, cause?: unknown): LowrankError {
  return new LowrankError(code, `${basename(path)}: ${message}`, { file: basename(path), path, ...details }, cause);
}
