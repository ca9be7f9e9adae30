/**
 * @file `npm run bench`: builds the native benchmark with CMake and runs it. Words filter its rows, `--json FILE` keeps the numbers.
 */
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { root } from "./files.mjs";

/** @param {string} command @param {string[]} args */
function must(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

must("cmake", ["-S", ".", "-B", "build-native", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]);
must("cmake", ["--build", "build-native", "--parallel", String(availableParallelism()), "--target", "lowrank_bench"]);
must(join(root, "build-native", "lowrank_bench"), process.argv.slice(2));
