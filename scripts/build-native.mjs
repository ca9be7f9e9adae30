/**
 * @file Builds the native addon with node-gyp on all cores and puts it where the loader looks: `build/Release/lowrank.node`.
 * `--prebuild` makes the stripped release binary of the package instead: `prebuilds/<platform>-<arch>/lowrank.node`.
 * Also the way to build from source on a platform without a prebuild: `npm install node-gyp node-addon-api`, then run this file.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const native = join(root, "native");
const { resolve } = createRequire(import.meta.url);
const nodeGyp = resolve("node-gyp/bin/node-gyp.js");

/** The prefix that holds `include/node` of the running Node: with it, node-gyp downloads nothing. */
function headersPrefix() {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, "include", "node", "node_api.h")) ? prefix : undefined;
}

/** Runs a script with Node. @param {string} script @param {string[]} args @param {Record<string, string>} env */
function run(script, args, env) {
  const nodedir = process.env.npm_config_nodedir ?? headersPrefix();
  const { status, error } = spawnSync(process.execPath, [script, ...args], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...(nodedir === undefined ? {} : { npm_config_nodedir: nodedir }), ...env },
  });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

function build() {
  run(nodeGyp, ["configure", "build", "--directory", native, "--jobs", "max", "--loglevel", "warn"], {});
  const built = join(native, "build", "Release", "lowrank.node");
  // A symbol that no file defines shows only now. Better here than in the place of a build that works.
  run("--print", [`"loads as version " + require(${JSON.stringify(built)}).describe().version`], {});
  const target = join(root, "build", "Release", "lowrank.node");
  mkdirSync(dirname(target), { recursive: true });
  // Renamed into place: writing into a file that a running process has mapped would crash that process.
  copyFileSync(built, `${target}.new`);
  renameSync(`${target}.new`, target);
}

function prebuild() {
  rmSync(join(root, "prebuilds"), { recursive: true, force: true });
  const options = ["--napi", "--strip", "--name", "lowrank", "--cwd", native, "--out", root];
  run(resolve("prebuildify/bin.js"), options, { LOWRANK_RELEASE: "1", PREBUILD_NODE_GYP: nodeGyp, JOBS: "max" });
}

const started = performance.now();
const release = process.argv.includes("--prebuild");
if (release) prebuild();
else build();
console.log(`${release ? "prebuild" : "native build"}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
