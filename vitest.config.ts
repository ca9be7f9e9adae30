/**
 * @file `npx vitest` runs every test on the best backend. `npm test` (scripts/test.mjs) names the machine's other backends in
 * LOWRANK_TEST_BACKENDS: each becomes a project that repeats the tests whose answer depends on the kernels.
 */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const dependsOnKernels = ["test/ops*.test.ts", "test/ops/**/*.test.ts", "test/**/*.backends.test.ts"];
const package_ = "test/package.test.ts";
const otherBackends = (process.env["LOWRANK_TEST_BACKENDS"] ?? "").split(",").filter((name) => name !== "");

/** The file that takes minutes begins first, or one processor would wait for it at the end. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification): boolean => moduleId.endsWith("/test/ops.test.ts");
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

export default defineConfig({
  resolve: { alias: [{ find: /^lowrank$/, replacement: fileURLToPath(new URL("lib/index.ts", import.meta.url)) }] },
  test: {
    // A fork per file: an addon that crashes fails one file, not the run.
    pool: "forks",
    // One for each processor (by default one fewer): most of the time goes into oracles, which are JavaScript on one thread.
    maxWorkers: availableParallelism(),
    sequence: { sequencer: LongestFirst },
    // Ten minutes mean "it hangs"; no test asserts its own speed.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    execArgv: ["--expose-gc"],
    projects: [
      { extends: true, test: { name: "main", include: ["test/**/*.test.ts"], exclude: [package_, "test/fixtures/**"] } },
      { extends: true, test: { name: "package", include: [package_] } },
      ...otherBackends.map((backend) => ({
        extends: true as const,
        test: { name: backend, include: dependsOnKernels, env: { LOWRANK_BACKEND: backend } },
      })),
    ],
  },
});
