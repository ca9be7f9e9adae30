/**
 * @file Builds a fresh dist/: tsc writes the declarations, esbuild a few files in place of two hundred, which Node would spend most of the start of
 * a short program on. All of them lie two folders below the root, as lib/native/ does: `../../` of a module is the root in both.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build } from "esbuild";
import { root } from "./files.mjs";

/**
 * Takes Node's modules without import statements: these run every getter of a module, and those of node:fs load all streams.
 * (Bundlers look for the import of node:module, behind which the paths of the addon stand.)
 * @type {import("esbuild").Plugin}
 */
const builtins = {
  name: "builtins",
  setup: ({ onLoad }) => onLoad({ filter: /\.ts$/ }, ({ path }) => ({ loader: "ts", contents: withoutImports(readFileSync(path, "utf8")) })),
};

/** @param {string} source */
function withoutImports(source) {
  return source.replace(/^import \{([^}]*)\} from ("node:(?!module").*");$/gm, (_, names, module) => {
    return `const {${names.replace(/\btype \w+,?/g, "").replaceAll(" as ", ": ")}} = process.getBuiltinModule(${module});`;
  });
}

const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
rmSync(join(root, "dist"), { recursive: true, force: true });
const { status } = spawnSync(process.execPath, [tsc, "-p", join(root, "tsconfig.json"), "--emitDeclarationOnly"], { stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);
await build({
  absWorkingDir: root,
  entryPoints: [
    { in: "lib/index.ts", out: "esm/index" },
    { in: "lib/cli/main.ts", out: "cli/main" },
  ],
  chunkNames: "esm/[name]-[hash]",
  outdir: "dist",
  bundle: true,
  splitting: true,
  packages: "external",
  plugins: [builtins],
  platform: "node",
  format: "esm",
  target: "node20.19",
  sourcemap: true,
  sourcesContent: false,
  logLevel: "warning",
});
