/**
 * @file Builds core, kernels and test/native with CMake and Ninja and runs the native tests.
 * `node scripts/native-tests.mjs release|address|thread|arm64 [--filter WORD]…`: plain, under ASan and UBSan, under TSan, or cross-built
 * for 64-bit ARM and run under emulation; each --filter is one run of the tests whose name holds the word.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { recordCounts } from "./counts.mjs";
import { root } from "./files.mjs";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { filter: { type: "string", multiple: true } } });
const [kind = "release"] = positionals;
const toArm64 = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++"];

/** @type {Record<string, { cmake: string[], runner: string[], env: Record<string, string> }>} */
const kinds = {
  release: { cmake: ["-DCMAKE_BUILD_TYPE=Release"], runner: [], env: {} },
  address: {
    cmake: ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DLOWRANK_SANITIZE=address"],
    runner: [],
    env: { ASAN_OPTIONS: "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1", UBSAN_OPTIONS: "print_stacktrace=1" },
  },
  thread: {
    cmake: ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DLOWRANK_SANITIZE=thread"],
    // The shadow memory of TSan needs a fixed layout of the address space.
    runner: process.platform === "linux" ? ["setarch", "-R"] : [],
    env: { TSAN_OPTIONS: "halt_on_error=1:second_deadlock_stack=1" },
  },
  arm64: { cmake: ["-DCMAKE_BUILD_TYPE=Release", ...toArm64], runner: ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"], env: {} },
};
const chosen = kinds[kind];
const folder = `build-${kind === "release" ? "native" : kind}`;
if (chosen === undefined) throw new Error(`"${kind}" is none of ${Object.keys(kinds).join(", ")}`);

/**
 * Runs a program; what it prints is shown at once, and kept.
 * @param {string} command @param {string[]} args @param {Record<string, string>} env
 */
async function run(command, args, env = {}) {
  const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    process.stdout.write(text);
    output += text;
  });
  const [status, signal] = await once(child, "close");
  return { output, passed: status === 0, how: signal ?? `exit status ${status}` };
}

/** @param {string} command @param {string[]} args */
async function must(command, args) {
  const { passed, how } = await run(command, args);
  if (!passed) throw new Error(`${command} ended with ${how}`);
}

const started = performance.now();
await must("cmake", ["-S", ".", "-B", folder, "-G", "Ninja", "-DLOWRANK_WERROR=ON", ...chosen.cmake]);
await must("cmake", ["--build", folder, "--parallel", String(availableParallelism()), "--target", "native_tests"]);
console.log(`native tests (${kind}) built: ${((performance.now() - started) / 1000).toFixed(1)} s`);

const filters = values.filter === undefined ? [[]] : values.filter.map((word) => ["--filter", word]);
let failed = false;
for (const filter of filters) {
  const [program = "", ...args] = [...chosen.runner, join(root, folder, "native_tests"), ...filter];
  const result = await run(program, args, chosen.env);
  const counts = /(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$/.exec(result.output);
  if (counts === null) console.error(`native_tests ended with ${result.how} and without its closing line "N passed, N failed"`);
  const [passed, failures, skipped] = [Number(counts?.[1] ?? 0), Number(counts?.[2] ?? 1), Number(counts?.[3] ?? 0)];
  if (passed + failures === 0) console.error(`no native test matches ${filter.join(" ")}`);
  recordCounts(["native", kind, ...filter.slice(1)].join("-"), { passed, failed: failures, skipped });
  failed ||= !result.passed || counts === null || passed === 0;
}
process.exit(failed ? 1 : 0);
