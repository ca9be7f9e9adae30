/** @file The source files of the repository, for the scripts that look at all of them. */
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of package.json. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const notOurs = new Set(["node_modules", "build", "dist", "fixtures", "results", "api"]);

/**
 * Absolute paths, sorted, of the files below `folders` (relative to the root; those that do not exist are left out) that end in one
 * of `endings`.
 * @param {readonly string[]} folders @param {readonly string[]} endings @returns {string[]}
 */
export function filesUnder(folders, endings) {
  /** @param {string} folder @returns {string[]} */
  const walk = (folder) =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      if (entry.isDirectory()) return notOurs.has(entry.name) ? [] : walk(join(folder, entry.name));
      return endings.some((ending) => entry.name.endsWith(ending)) ? [join(folder, entry.name)] : [];
    });
  const existing = folders.map((folder) => join(root, folder)).filter((folder) => existsSync(folder));
  return [...new Set(existing.flatMap(walk))].sort();
}
