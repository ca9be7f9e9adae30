/** @file Deletes build output: everything, or only the folders named as arguments. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { root } from "./files.mjs";

const outputs = ["build", "build-native", "build-address", "build-thread", "build-arm64", "coverage", "dist", "native/build", "prebuilds"];
const named = process.argv.slice(2);
for (const folder of outputs.filter((output) => named.length === 0 || named.includes(output))) {
  rmSync(join(root, folder), { recursive: true, force: true });
}
