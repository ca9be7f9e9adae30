/** @file Writes the generated files; with `--check` it only fails when one of them is not up to date. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { errorsPage } from "./errors-page.js";
import { root } from "./files.mjs";
import { kernelsInterface } from "./kernels-interface.mjs";
import { opsPage } from "./ops-page.js";

const read = (path: string): string => readFileSync(join(root, path), "utf8");

/** `text` as `npm run format` leaves it. */
function formatted(path: string, text: string): string {
  const biome = createRequire(import.meta.url).resolve("@biomejs/biome/bin/biome");
  const { status, stdout, stderr } = spawnSync(process.execPath, [biome, "format", `--stdin-file-path=${path}`], {
    cwd: root,
    input: text,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`${path} cannot be formatted: ${stderr}`);
  return stdout;
}

/** Kernels that the vectorised backends have of their own. */
const overridden = new Set([...read("native/kernels/simd/fill.inl").matchAll(/LOWRANK_\w*ENTRY\w*\((\w+)\)/g)].map(([, name]) => name as string));

const kernels = "lib/native/kernels.ts";
const generated = new Map([
  [kernels, formatted(kernels, kernelsInterface(read("native/kernels/kernels.def")))],
  ["docs/ops.md", opsPage(overridden, read("lib/functions.ts") + read("lib/tensor/spans.ts"))],
  ["docs/errors.md", errorsPage(read("lib/native/error-codes.ts"))],
]);

const check = process.argv.includes("--check");
const stale = [...generated].filter(([path, text]) => !existsSync(join(root, path)) || read(path) !== text);
for (const [path, text] of stale) {
  console.log(check ? `${path} is not up to date: npm run generate` : `wrote ${path}`);
  if (!check) writeFileSync(join(root, path), text);
}
if (check && stale.length > 0) process.exitCode = 1;
