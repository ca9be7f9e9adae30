/**
 * @file `npm test`: every test on the best backend, and the tests of the kernels on every other backend of this machine.
 * `node scripts/test.mjs package` runs the test of the packed tarball instead. Further arguments go to vitest.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { recordCounts } from "./counts.mjs";
import { root } from "./files.mjs";

const require = createRequire(import.meta.url);

/** The backends of this machine that LOWRANK_BACKEND can name, without the one that runs by itself. */
function otherBackends() {
  const { backends, bestBackend } = require("../build/Release/lowrank.node").describe();
  return backends.filter((/** @type {string} */ name) => name !== bestBackend);
}

const [only, ...rest] = process.argv.slice(2);
const packageOnly = only === "package";
const backends = packageOnly ? [] : otherBackends();
const projects = packageOnly ? ["package"] : ["main", ...backends];
const forVitest = packageOnly ? rest : process.argv.slice(2);
const report = join(root, "build", `vitest-${packageOnly ? "package" : "main"}.json`);
mkdirSync(dirname(report), { recursive: true });

const { status } = spawnSync(
  process.execPath,
  [
    join(dirname(require.resolve("vitest/package.json")), "vitest.mjs"),
    ...["run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
    ...projects.flatMap((project) => ["--project", project]),
    ...forVitest,
  ],
  { cwd: root, stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, LOWRANK_TEST_BACKENDS: backends.join(",") } },
);
const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = JSON.parse(readFileSync(report, "utf8"));
recordCounts(packageOnly ? "package" : "vitest", { passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests + numTodoTests });
console.log(`${projects.join(", ")}: ${numPassedTests} passed, ${numFailedTests} failed, ${numPendingTests + numTodoTests} skipped`);
process.exit(status ?? 1);
