/**
 * @file What the types cost: type instantiations for 1,000 op calls, the number that `tsc --extendedDiagnostics` reports. It is the same
 * on every machine. Fails when it is more than a tenth above the stored one; `npx tsx bench/types/measure.ts --update` stores it anew.
 */
import { readFileSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { program } from "./calls.js";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));
const store = join(here, "instantiations.json");
const slack = 1.1;

/** Instantiations for a program of so many calls. Throws when it does not compile. */
function instantiations(calls: number): number {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, root);
  const file = join(root, "lib", "generated-calls.ts");
  const host = ts.createCompilerHost({ ...options, noEmit: true });
  const [read, exists] = [host.getSourceFile, host.fileExists];
  host.fileExists = (path) => path === file || exists(path);
  host.getSourceFile = (path, ...rest) =>
    path === file ? ts.createSourceFile(path, program("./index.js", calls), ts.ScriptTarget.ES2022) : read.call(host, path, ...rest);
  const compiled = ts.createProgram([file], { ...options, noEmit: true }, host);
  const errors = ts.getPreEmitDiagnostics(compiled);
  if (errors.length > 0) throw new Error(ts.formatDiagnostics(errors.slice(0, 5), host));
  return compiled.getInstantiationCount();
}

export interface Cost {
  /** Beside those of the library itself. */
  readonly instantiationsPer1000Calls: number;
}

/** The cost now and the stored one. */
export function measure(): { now: Cost; stored: Cost; allowed: number } {
  const now = { instantiationsPer1000Calls: instantiations(1000) - instantiations(0) };
  const stored = JSON.parse(readFileSync(store, "utf8")) as Cost;
  return { now, stored, allowed: Math.floor(stored.instantiationsPer1000Calls * slack) };
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { now, stored, allowed } = measure();
  console.log(`${now.instantiationsPer1000Calls} type instantiations for 1,000 op calls; stored: ${stored.instantiationsPer1000Calls}`);
  if (process.argv.includes("--update")) writeFileSync(store, `${JSON.stringify(now)}\n`);
  else if (now.instantiationsPer1000Calls > allowed) {
    console.error(`More than ${allowed}: the types have become more expensive. Simplify them, or store the new number with --update.`);
    process.exit(1);
  }
}
