/** @file Checks the format of all C++ files, or formats them with `--write`. One pinned clang-format for everybody. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { relative } from "node:path";
import { filesUnder, root } from "./files.mjs";

const { getNativeBinary } = createRequire(import.meta.url)("clang-format");
const write = process.argv.includes("--write");
const binary = getNativeBinary();
const unformatted = [];
for (const path of filesUnder(["native", "test/native", "bench/native"], [".cpp", ".h", ".inl", ".cu"])) {
  const { stdout, status, stderr } = spawnSync(binary, ["--style=file", path], { encoding: "utf8", maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(`clang-format ${path}: ${stderr}`);
  if (stdout === readFileSync(path, "utf8")) continue;
  unformatted.push(relative(root, path));
  if (write) writeFileSync(path, stdout);
}
if (unformatted.length > 0) {
  console.log(`${write ? "formatted" : "not formatted (npm run format)"}:\n  ${unformatted.join("\n  ")}`);
  if (!write) process.exit(1);
}
