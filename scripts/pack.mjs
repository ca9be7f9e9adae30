/**
 * @file What `npm pack` and `npm publish` run first: dist/ and the prebuild of this platform, both made afresh, and a package.json without the
 * script `prepare`, which is for clones only: npm would show it to users as a script that installs something. With `--restore`, what they run
 * last: the script is put back and the prebuild deleted.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const scripts = dirname(fileURLToPath(import.meta.url));
const manifest = join(dirname(scripts), "package.json");
const head = '  "scripts": {\n';
const prepare = '    "prepare": "node scripts/prepare.mjs",\n';

/** Runs a script with Node. npm reads the name of the tarball from our stdout: scripts write to stderr. @param {string[]} args */
function run([script = "", ...rest]) {
  const { status } = spawnSync(process.execPath, [join(scripts, script), ...rest], { stdio: ["ignore", 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
}

/** Puts `to` in the place of `from` in package.json. @param {string} from @param {string} to */
function replace(from, to) {
  const text = readFileSync(manifest, "utf8");
  if (text.includes(from)) return writeFileSync(manifest, text.replace(from, to));
  console.error("package.json: scripts must begin with prepare; an interrupted npm pack left it out: node scripts/pack.mjs --restore");
  process.exit(1);
}

if (process.argv.includes("--restore")) {
  if (!readFileSync(manifest, "utf8").includes(prepare)) replace(head, head + prepare);
  run(["clean.mjs", "prebuilds"]);
} else {
  run(["build-lib.mjs"]);
  run(["build-native.mjs", "--prebuild"]);
  replace(head + prepare, head);
}
