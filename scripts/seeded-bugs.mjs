/**
 * @file `npm run seeded-bugs [WORD …]`: tests of the tests. Builds a copy of the repository with one known bug at a time
 * (scripts/seeded-bugs.list.mjs; WORDs choose some by name) and runs the tests that should notice; every bug must make one fail. Linux.
 */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { root } from "./files.mjs";
import { bugs } from "./seeded-bugs.list.mjs";

/** @typedef {import("./seeded-bugs.list.mjs").Bug} Bug */

const require = createRequire(import.meta.url);
const copy = join(root, "build", "seeded-bugs");
const objects = join(copy, "objects");
const addon = join(copy, "build", "Release", "lowrank.node");
const vitest = join(dirname(require.resolve("vitest/package.json")), "vitest.mjs");

/** Answers of native/gyp-values.cjs. @param {string[]} question */
function gypValues(...question) {
  const { stdout } = spawnSync(process.execPath, [join(root, "native", "gyp-values.cjs"), ...question], { encoding: "utf8" });
  return stdout.split("\n").filter((line) => line !== "");
}

const headers = join(dirname(dirname(process.execPath)), "include", "node");
const flags = [
  ...["-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-MMD", "-w"],
  ...["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED"].map(
    (name) => `-D${name}`,
  ),
  ...gypValues("defines").map((name) => `-D${name}`),
  `-DLOWRANK_VERSION="${gypValues("version")[0]}"`,
  ...[join(copy, "native"), ...gypValues("include"), headers].map((folder) => `-I${folder}`),
];

/** @typedef {{ source: string, object: string }} Unit */
/** @type {Unit[]} */
const units = gypValues("sources", process.arch).map((source) => ({
  source: join(copy, "native", source),
  object: join(objects, `${source.replaceAll("/", "-")}.o`),
}));

/** @param {string} command @param {string[]} args */
function must(command, args) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"] });
    child.on("close", (status) => (status === 0 ? done(undefined) : fail(new Error(`${command} ended with ${status}`))));
  });
}

/** Compiles these files, on all cores. @param {readonly Unit[]} changed */
async function compile(changed) {
  const waiting = [...changed];
  const compileNext = async () => {
    for (let unit = waiting.pop(); unit !== undefined; unit = waiting.pop()) await must("g++", [...flags, "-c", unit.source, "-o", unit.object]);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, compileNext));
}

/** Links the addon, with these objects in place of those of the same source. @param {readonly Unit[]} changed */
async function link(changed) {
  const used = units.map((unit) => changed.find(({ source }) => source === unit.source) ?? unit);
  await must("g++", ["-shared", "-pthread", "-o", addon, ...used.map(({ object }) => object)]);
}

/** The files that include `file`; of the instruction sets only the one that is tested. @param {string} file @param {string} backend */
function dependents(file, backend) {
  const path = resolve(copy, file);
  return units.filter(({ source, object }) => {
    const folder = /kernels\/(avx\w+)\//.exec(source)?.[1];
    if (folder !== undefined && folder !== backend) return false;
    const rule = readFileSync(object.replace(/\.o$/, ".d"), "utf8").replaceAll("\\\n", " ");
    return rule.split(/\s+/).some((name) => name !== "" && resolve(copy, name) === path);
  });
}

/** Runs tests in the copy. @param {readonly string[]} tests @param {string} backend @returns {{ passed: boolean, caughtBy: string }} */
function runTests(tests, backend) {
  const report = join(copy, "report.json");
  rmSync(report, { force: true });
  const args = [vitest, "run", "--project", "main", "--bail", "1", "--reporter=json", `--outputFile=${report}`, ...tests];
  const { status } = spawnSync(process.execPath, args, { cwd: copy, stdio: "ignore", env: { ...process.env, LOWRANK_BACKEND: backend } });
  if (!existsSync(report)) return { passed: false, caughtBy: `no report, exit status ${status}` };
  const { testResults } = JSON.parse(readFileSync(report, "utf8"));
  /** @type {{ status: string, fullName: string }[]} */
  const results = testResults.flatMap((/** @type {{ assertionResults: object[] }} */ file) => file.assertionResults);
  const failed = results.find((test) => test.status === "failed");
  const ran = results.filter((test) => test.status === "passed").length;
  if (failed !== undefined) return { passed: false, caughtBy: failed.fullName };
  return { passed: status === 0 && ran > 0, caughtBy: ran === 0 ? "no test ran" : "the process of the tests died" };
}

/** Changes one place of a file of the copy. @param {Bug} bug @returns {() => void} what puts the file back */
function plant({ name, file, find, replace }) {
  const path = join(copy, file);
  const before = readFileSync(path, "utf8");
  const places = before.split(find).length - 1;
  if (places !== 1) throw new Error(`${name}: the text to replace stands ${places} times in ${file}; update scripts/seeded-bugs.list.mjs`);
  writeFileSync(
    path,
    before.replace(find, () => replace),
  );
  return () => writeFileSync(path, before);
}

async function prepare() {
  rmSync(copy, { recursive: true, force: true });
  for (const folder of [objects, dirname(addon)]) mkdirSync(folder, { recursive: true });
  const skipped = /[\\/](native[\\/]build|node_modules)([\\/]|$)/;
  for (const name of [
    "lib",
    "test",
    "native",
    "models",
    "examples",
    "scripts",
    "package.json",
    "vitest.config.ts",
    "tsconfig.json",
    "tsconfig.test.json",
  ]) {
    cpSync(join(root, name), join(copy, name), { recursive: true, filter: (path) => !skipped.test(path) });
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  await compile(units);
  await link([]);
}

const words = process.argv.slice(2);
const chosen = bugs.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
console.log("building the copy without a bug");
await prepare();
/** @type {Map<string, boolean>} */
const healthy = new Map();
let survivors = 0;
for (const bug of chosen) {
  const { name, file, tests, backend = "scalar" } = bug;
  const key = `${backend} ${tests.join(" ")}`;
  if (!healthy.has(key)) {
    const { passed, caughtBy } = runTests(tests, backend);
    if (!passed) throw new Error(`${key}: fails without any bug (${caughtBy})`);
    healthy.set(key, true);
  }
  const putBack = plant(bug);
  const changed = file.startsWith("native/") ? dependents(file, backend).map(({ source, object }) => ({ source, object: `${object}.bug` })) : [];
  await compile(changed);
  if (changed.length > 0) await link(changed);
  const { passed, caughtBy } = runTests(tests, backend);
  putBack();
  if (changed.length > 0) await link([]);
  if (passed) survivors++;
  console.log(`${passed ? "SURVIVED" : "caught  "}  ${name.padEnd(62)} ${passed ? `${tests.join(" ")} on ${backend}` : `by ${caughtBy}`}`);
}
console.log(`${chosen.length - survivors} of ${chosen.length} bugs caught`);
process.exit(survivors === 0 ? 0 : 1);
