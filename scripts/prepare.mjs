/**
 * @file `npm install` in a clone builds what is not there or older than its sources; npm runs this before `npx lowrank` too. While npm packs or
 * publishes, `prepack` has already built what the package needs.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { filesUnder, root } from "./files.mjs";

const addon = join(root, "build", "Release", "lowrank.node");

/** Whether `output` is missing or older than a file of `folder`. @param {string} output @param {string} folder */
function isStale(output, folder) {
  if (!existsSync(output)) return true;
  const { mtimeMs } = statSync(output);
  return filesUnder([folder], [""]).some((file) => statSync(file).mtimeMs > mtimeMs);
}

/** Whether the addon loads and is of the version that package.json names. */
function isOfThisVersion() {
  try {
    return createRequire(import.meta.url)(addon).describe().version === JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version;
  } catch {
    return false;
  }
}

/** @param {string} script */
function build(script) {
  const { status } = spawnSync("npm", ["run", script], { cwd: root, stdio: "inherit", shell: process.platform === "win32" });
  if (status !== 0) process.exit(status ?? 1);
}

if (!["pack", "publish"].includes(process.env.npm_command ?? "")) {
  if (isStale(addon, "native") || !isOfThisVersion()) build("build:native");
  if (isStale(join(root, "dist", "esm", "index.js"), "lib")) build("build:lib");
}
