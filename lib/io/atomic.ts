/**
 * @file Writing so that a reader sees the old file or the new one, whole: a temporary file in the same folder, flushed to the disk,
 * renamed over the old one, then the folder flushed. Whatever fails before the rename leaves the old file as it was.
 */
import type { Stats } from "node:fs";
import { lstat, mkdir, open, rename, rm, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileError, type LowrankError } from "../native/errors.js";
import { crypto } from "./crypto.js";
import { attempt, ioError, maxTransfer, throwIfAborted } from "./file.js";

/** The part of a file handle that writing needs. */
export interface WritableHandle {
  write(bytes: Uint8Array, offset: number, length: number): Promise<{ bytesWritten: number }>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** The file functions that writing uses; tests replace them to make each fail in turn. */
export interface FileFunctions {
  open(path: string, flags: string, mode?: number): Promise<WritableHandle>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  mkdir(path: string): Promise<void>;
  removeFolder(path: string): Promise<void>;
  /** How long a rename is tried again while another program holds the target: virus scanners and indexers do so on Windows. */
  readonly renamePatienceMs: number;
}

export const systemFiles: FileFunctions = {
  open: (path, flags, mode) => open(path, flags, mode),
  rename,
  unlink,
  mkdir: async (path) => void (await mkdir(path)),
  removeFolder: (path) => rm(path, { recursive: true, force: true }),
  renamePatienceMs: process.platform === "win32" ? 10_000 : 0,
};

export interface WriteOptions {
  readonly signal?: AbortSignal;
  readonly files?: FileFunctions;
}

/** A file being written, front to back. */
export interface OutputFile {
  /** Appends all of `bytes`. @throws LowrankError IO_NO_SPACE, IO_FAILED, ABORTED */
  write(bytes: Uint8Array): Promise<void>;
}

/**
 * Writes a file through `write`, atomically: until the rename the file of that name, if any, stays as it is, and on any failure the
 * temporary file is removed. An existing file keeps its permissions as far as the umask allows; a symbolic link is replaced by a file.
 * @throws LowrankError IO_NO_SPACE, IO_ACCESS, IO_NOT_FOUND, IO_NOT_REGULAR_FILE, IO_RENAME_BLOCKED, IO_FAILED, ABORTED; what `write` throws
 */
export async function writeAtomic(path: string, write: (file: OutputFile) => Promise<void>, options: WriteOptions = {}): Promise<void> {
  const files = options.files ?? systemFiles;
  const temporary = await writeTemporary(path, write, options);
  try {
    throwIfAborted(options.signal, path);
    await renameOver(temporary, path, files);
  } catch (error) {
    await discard([temporary], files);
    throw error;
  }
  await syncFolder(dirname(path), path, files);
}

/** One file of {@link writeFolder}; `name` is a plain name, not a path. */
export interface FolderEntry {
  readonly name: string;
  readonly write: (file: OutputFile) => Promise<void>;
}

/**
 * Writes several files into one folder. A folder that does not exist appears complete or not at all (parents are made). In one that
 * exists every file is first written and flushed under a temporary name; then they are renamed one by one **in the given order**, so
 * give the file that readers look for last. Other files of the folder stay. Only a crash or a failure between two renames can leave
 * a mixture: each file whole, some of them new.
 * @throws LowrankError as {@link writeAtomic}
 */
export async function writeFolder(folder: string, entries: readonly FolderEntry[], options: WriteOptions = {}): Promise<void> {
  const existing = await examine(folder);
  if (existing === undefined) return writeNewFolder(folder, entries, options);
  if (!existing.isDirectory()) throw fileError("IO_FAILED", folder, "a file of this name exists, a folder is needed. Choose another name.");
  return writeIntoFolder(folder, entries, options);
}

async function writeNewFolder(folder: string, entries: readonly FolderEntry[], options: WriteOptions): Promise<void> {
  const files = options.files ?? systemFiles;
  const parent = dirname(resolve(folder));
  await attempt(folder, "its parent folder cannot be made", () => mkdir(parent, { recursive: true }));
  const temporary = join(parent, temporaryName());
  await attempt(folder, "cannot be made", () => files.mkdir(temporary));
  try {
    for (const { name, write } of entries) await writeNew(join(temporary, name), join(folder, name), 0o666, write, options);
    await syncFolder(temporary, folder, files);
    await renameOver(temporary, folder, files);
  } catch (error) {
    await files.removeFolder(temporary).catch(() => undefined);
    throw error;
  }
  await syncFolder(parent, folder, files);
}

async function writeIntoFolder(folder: string, entries: readonly FolderEntry[], options: WriteOptions): Promise<void> {
  const files = options.files ?? systemFiles;
  const temporaries: string[] = [];
  let renamed = 0;
  try {
    for (const { name, write } of entries) temporaries.push(await writeTemporary(join(folder, name), write, options));
    throwIfAborted(options.signal, folder);
    for (const temporary of temporaries) {
      await renameOver(temporary, join(folder, entries[renamed]?.name as string), files);
      renamed++;
    }
  } catch (error) {
    await discard(temporaries.slice(renamed), files);
    throw error;
  }
  await syncFolder(folder, folder, files);
}

/** Writes and flushes a temporary file beside `path`; gives its path. Nothing is left behind on failure. */
async function writeTemporary(path: string, write: (file: OutputFile) => Promise<void>, options: WriteOptions): Promise<string> {
  const existing = await examine(path);
  if (existing?.isDirectory()) throw fileError("IO_NOT_REGULAR_FILE", path, "a folder of this name exists. Choose another name.");
  const mode = existing?.isFile() ? existing.mode & 0o777 : 0o666;
  const temporary = join(dirname(path), temporaryName());
  await writeNew(temporary, path, mode, write, options);
  return temporary;
}

/** Writes and flushes the new file `temporary`; errors speak of `path`. */
async function writeNew(
  temporary: string,
  path: string,
  mode: number,
  write: (file: OutputFile) => Promise<void>,
  options: WriteOptions,
): Promise<void> {
  const files = options.files ?? systemFiles;
  throwIfAborted(options.signal, path);
  const handle = await attempt(path, "cannot be created", () => files.open(temporary, "wx", mode));
  try {
    try {
      await write({ write: (bytes) => writeAll(handle, bytes, path, options.signal) });
      await attempt(path, "cannot be flushed to the disk", () => handle.sync());
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
    await attempt(path, "cannot be closed", () => handle.close());
  } catch (error) {
    await discard([temporary], files);
    throw error;
  }
}

async function writeAll(handle: WritableHandle, bytes: Uint8Array, path: string, signal: AbortSignal | undefined): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    throwIfAborted(signal, path);
    const length = Math.min(bytes.length - done, maxTransfer);
    const { bytesWritten } = await attempt(path, "cannot be written", () => handle.write(bytes, done, length));
    if (bytesWritten === 0) throw fileError("IO_NO_SPACE", path, "cannot be written: the disk takes no more bytes. Free some space on it.");
    done += bytesWritten;
  }
}

const heldByAnother: ReadonlySet<string | undefined> = new Set(["EPERM", "EACCES", "EBUSY"]);

/** Renames; the target is never deleted first. On Windows tries again, with growing pauses, while another program holds the target. */
async function renameOver(from: string, to: string, files: FileFunctions): Promise<void> {
  let waited = 0;
  for (let pause = 10; ; pause = Math.min(2 * pause, 500)) {
    try {
      return await files.rename(from, to);
    } catch (error) {
      const held = files.renamePatienceMs > 0 && heldByAnother.has((error as NodeJS.ErrnoException).code);
      if (!held) throw ioError(to, "the finished file cannot take its name", error);
      if (waited >= files.renamePatienceMs) throw renameBlocked(to, waited, error);
      await sleep(pause);
      waited += pause;
    }
  }
}

function renameBlocked(path: string, waited: number, cause: unknown): LowrankError {
  const problem = `the file could not be replaced within ${waited} ms because another program holds it open. Close that program; the old file is unchanged.`;
  return fileError("IO_RENAME_BLOCKED", path, problem, { waited }, cause);
}

/** On these systems and file systems a folder cannot be opened or flushed; there the rename alone must do. */
const cannotSyncFolders: ReadonlySet<string | undefined> = new Set(["EISDIR", "EPERM", "EACCES", "EINVAL", "ENOTSUP", "ENOSYS"]);

async function syncFolder(folder: string, path: string, files: FileFunctions): Promise<void> {
  try {
    const handle = await files.open(folder, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (cannotSyncFolders.has((error as NodeJS.ErrnoException).code)) return;
    throw ioError(path, "was written, but its folder cannot be flushed to the disk, so a power cut may undo it", error);
  }
}

/** Removes temporary files after a failure. That failure is what the caller must hear of, so one in here is not reported. */
async function discard(temporaries: readonly string[], files: FileFunctions): Promise<void> {
  for (const temporary of temporaries) await files.unlink(temporary).catch(() => undefined);
}

async function examine(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw ioError(path, "cannot be examined", error);
  }
}

/** Recognisable and unguessable; short, because the length of names is limited. */
function temporaryName(): string {
  return `.lowrank-${crypto().randomBytes(8).toString("hex")}.tmp`;
}
