/** @file Reading files without surprises: regular files only, the size taken once, every read complete or an error. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { getSystemErrorMap } from "node:util";
import type { ErrorCode } from "../native/error-codes.js";
import { fileError, LowrankError } from "../native/errors.js";

/** Node passes lengths to the system as 31-bit numbers; this stays far below and keeps each read abortable. */
export const maxTransfer = 16 * 1024 * 1024;

/** A regular file open for reading. `fd` serves native `pread`; it is valid until `close()`. */
export interface InputFile {
  readonly path: string;
  readonly fd: number;
  /** Bytes, as they were when the file was opened. */
  readonly size: number;
  /** Fills `into` from `offset` on. @throws LowrankError IO_SHORT_READ when the file ends before, IO_FAILED */
  readAt(into: Uint8Array, offset: number): Promise<void>;
  close(): Promise<void>;
}

export interface InputOptions {
  /** Follow a symbolic link; default true. */
  readonly followLink?: boolean;
  /** The path that stands in errors and in `InputFile.path`; default the path itself. */
  readonly shownAs?: string;
}

/**
 * Opens a regular file for reading. Never blocks on a FIFO or device: it is opened non-blocking and refused.
 * @throws LowrankError IO_NOT_FOUND, IO_ACCESS, IO_NOT_REGULAR_FILE, IO_FAILED
 */
export async function openInput(path: string, options: InputOptions = {}): Promise<InputFile> {
  const shown = options.shownAs ?? path;
  // The constants are 0 or absent on Windows. Node itself sets O_CLOEXEC on every file it opens.
  const noFollow = options.followLink === false ? (constants.O_NOFOLLOW ?? 0) : 0;
  const handle = await attempt(shown, "cannot be opened", () => open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | noFollow));
  try {
    const stat = await attempt(shown, "cannot be examined", () => handle.stat());
    if (!stat.isFile()) throw notRegular(shown);
    return new OpenFile(shown, handle, stat.size);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Reads a whole small file. @throws LowrankError `tooLarge` when it has more than `limit` bytes, and as {@link openInput} */
export async function readSmallFile(
  path: string,
  limit = 1_000_000,
  tooLarge: ErrorCode = "CONFIG_TOO_LARGE",
  options: InputOptions = {},
): Promise<Uint8Array> {
  const file = await openInput(path, options);
  try {
    if (file.size > limit) {
      throw fileError(tooLarge, file.path, `the file has ${file.size} bytes, the limit is ${limit}. Check that it is the file you meant.`, {
        expected: limit,
        actual: file.size,
      });
    }
    const bytes = new Uint8Array(file.size);
    await file.readAt(bytes, 0);
    return bytes;
  } finally {
    await file.close();
  }
}

class OpenFile implements InputFile {
  constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    readonly size: number,
  ) {}

  get fd(): number {
    return this.handle.fd;
  }

  async readAt(into: Uint8Array, offset: number): Promise<void> {
    let done = 0;
    while (done < into.length) {
      const length = Math.min(into.length - done, maxTransfer);
      const position = offset + done;
      const { bytesRead } = await attempt(this.path, "cannot be read", () => this.handle.read(into, done, length, position));
      if (bytesRead === 0) throw shortRead(this.path, offset, into.length, done);
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/** The error for a read of `expected` bytes at `offset` that found the end of the file after `actual`. */
export function shortRead(path: string, offset: number, expected: number, actual: number): LowrankError {
  const problem = `expected ${expected} bytes at byte ${offset}, the file ended after ${actual}; it changed while it was read. Try again when nothing writes to it.`;
  return fileError("IO_SHORT_READ", path, problem, { offset, expected, actual });
}

function notRegular(path: string): LowrankError {
  return fileError("IO_NOT_REGULAR_FILE", path, "this is not a regular file (a folder, pipe or device?). Name a file.");
}

const codeByErrno: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ["ENOENT", "IO_NOT_FOUND"],
  ["ENOTDIR", "IO_NOT_FOUND"],
  ["EACCES", "IO_ACCESS"],
  ["EPERM", "IO_ACCESS"],
  ["EROFS", "IO_ACCESS"],
  ["EISDIR", "IO_NOT_REGULAR_FILE"],
  ["ENXIO", "IO_NOT_REGULAR_FILE"],
  ["ENOSPC", "IO_NO_SPACE"],
  ["EDQUOT", "IO_NO_SPACE"],
]);

const adviceByCode: ReadonlyMap<ErrorCode, string> = new Map<ErrorCode, string>([
  ["IO_NOT_FOUND", "Check the path."],
  ["IO_ACCESS", "Check the permissions of the file and of its folder."],
  ["IO_NO_SPACE", "Free some space on that disk, or write to another."],
  ["IO_NOT_REGULAR_FILE", "Name a file."],
]);

/** A system error as a LowrankError about `path`; `failure` is a verb phrase ("cannot be opened"). A LowrankError passes unchanged. */
export function ioError(path: string, failure: string, error: unknown): LowrankError {
  if (error instanceof LowrankError) return error;
  const { code: errno, errno: number } = error as NodeJS.ErrnoException;
  const code = codeByErrno.get(errno ?? "") ?? "IO_FAILED";
  const reason = number === undefined ? undefined : getSystemErrorMap().get(number)?.[1];
  const advice = adviceByCode.get(code);
  const said = [errno, reason].filter((part) => part !== undefined).join(": ");
  return fileError(code, path, `${failure}${said === "" ? "" : ` (${said})`}.${advice === undefined ? "" : ` ${advice}`}`, { errno }, error);
}

/** Runs a system call; its error becomes a LowrankError. */
export async function attempt<T>(path: string, failure: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw ioError(path, failure, error);
  }
}

/** @throws LowrankError ABORTED when the signal has fired */
export function throwIfAborted(signal: AbortSignal | undefined, path: string): void {
  if (signal?.aborted) throw fileError("ABORTED", path, "the operation was aborted.", {}, signal.reason);
}
