/** @file Names and links from untrusted folders: nothing outside the folder that the user named is ever opened. */
import { realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, sep } from "node:path";
import type { ErrorCode } from "../native/error-codes.js";
import { fileError, LowrankError } from "../native/errors.js";
import { ioError, readSmallFile } from "./file.js";

interface LinkOptions {
  readonly allowSymlinks?: boolean;
}

/**
 * The real path of the file `name` of `folder`, links resolved. A link may lead to another file of the folder, or, as in the cache
 * of Hugging Face (`models--x/snapshots/<revision>/<name> -> ../../blobs/<hash>`), to the `blobs` folder beside `snapshots`.
 * Open the result with `followLink: false`. `name` must be a plain name already.
 * @throws LowrankError PATH_SYMLINK_ESCAPE (also for links in a circle), IO_NOT_FOUND, IO_ACCESS, IO_FAILED
 */
export async function resolveInside(folder: string, name: string, options: LinkOptions = {}): Promise<string> {
  const path = join(folder, name);
  const root = await resolveLinks(folder, folder);
  const target = await resolveLinks(path, path);
  const blobs = blobsFolder(root);
  if (options.allowSymlinks === true || isInside(target, root) || (blobs !== undefined && dirname(target) === blobs)) return target;
  const hint = "If you trust the link, pass allowSymlinks, or copy the file into the folder.";
  throw fileError("PATH_SYMLINK_ESCAPE", path, `this is a symbolic link that leads out of its folder. ${hint}`, { hint });
}

/** Reads the small file `name` of `folder`. @throws LowrankError as {@link resolveInside} and {@link readSmallFile} */
export async function readInside(folder: string, name: string, limit?: number, tooLarge?: ErrorCode, options?: LinkOptions): Promise<Uint8Array> {
  return readSmallFile(await resolveInside(folder, name, options), limit, tooLarge, { followLink: false, shownAs: join(folder, name) });
}

/** As {@link readInside}; undefined where the file does not exist. */
export async function readIfInside(...file: Parameters<typeof readInside>): Promise<Uint8Array | undefined> {
  try {
    return await readInside(...file);
  } catch (error) {
    if (error instanceof LowrankError && error.code === "IO_NOT_FOUND") return undefined;
    throw error;
  }
}

async function resolveLinks(path: string, named: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ELOOP") throw ioError(named, "cannot be found", error);
    throw fileError("PATH_SYMLINK_ESCAPE", named, "symbolic links lead in a circle. Replace the link by the file.", {}, error);
  }
}

function isInside(target: string, folder: string): boolean {
  const path = relative(folder, target);
  return path !== "" && path !== ".." && !path.startsWith(`..${sep}`) && !isAbsolute(path);
}

/** For a folder in `…/models--x/snapshots/<revision>`, the folder `…/models--x/blobs`. */
function blobsFolder(folder: string): string | undefined {
  for (let at = folder; dirname(at) !== at; at = dirname(at)) {
    const snapshots = dirname(at);
    const repository = dirname(snapshots);
    if (basename(snapshots) === "snapshots" && basename(repository).startsWith("models--")) return join(repository, "blobs");
  }
  return undefined;
}
