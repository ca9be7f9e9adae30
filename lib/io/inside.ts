/** @file Names and links from untrusted folders: nothing outside the folder that the user named is ever opened. */
import { realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, sep } from "node:path";
import { fileError } from "../native/errors.js";
import { ioError } from "./file.js";

/**
 * The real path of the file `name` of `folder`, links resolved. A link may lead to another file of the folder, or, as in the cache
 * of Hugging Face (`models--x/snapshots/<revision>/<name> -> ../../blobs/<hash>`), to the `blobs` folder beside `snapshots`.
 * Open the result with `followLink: false`. `name` must be a plain name already.
 * @throws LowrankError PATH_SYMLINK_ESCAPE (also for links in a circle), IO_NOT_FOUND, IO_ACCESS, IO_FAILED
 */
export async function resolveInside(folder: string, name: string, options: { readonly allowSymlinks?: boolean } = {}): Promise<string> {
  const path = join(folder, name);
  const root = await resolveLinks(folder, folder);
  const target = await resolveLinks(path, path);
  const blobs = blobsFolder(root);
  if (options.allowSymlinks === true || isInside(target, root) || (blobs !== undefined && dirname(target) === blobs)) return target;
  const hint = "If you trust the link, pass allowSymlinks, or copy the file into the folder.";
  throw fileError("PATH_SYMLINK_ESCAPE", path, `this is a symbolic link that leads out of its folder. ${hint}`, { hint });
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
