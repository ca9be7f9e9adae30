/** @file Finds and loads the native binary of this platform. The only place that names a `.node` file. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { LowrankError } from "./errors.js";
import type { NativeModule } from "./native-module.js";

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL("../../", import.meta.url));

// Literal paths, so that bundlers and packagers see them.
const prebuilds: Readonly<Record<string, () => unknown>> = {
  "linux-x64": () => require("../../prebuilds/linux-x64/lowrank.node"),
  "linux-arm64": () => require("../../prebuilds/linux-arm64/lowrank.node"),
  "darwin-x64": () => require("../../prebuilds/darwin-x64/lowrank.node"),
  "darwin-arm64": () => require("../../prebuilds/darwin-arm64/lowrank.node"),
  "win32-x64": () => require("../../prebuilds/win32-x64/lowrank.node"),
};

/** The version in package.json; the binary must carry the same. */
export const packageVersion: string = (require("../../package.json") as { version: string }).version;

/**
 * Loads the addon: the build of a clone if there is one, else the prebuilt binary.
 * @throws LowrankError NATIVE_BINARY_MISSING with every attempt, NATIVE_VERSION_MISMATCH, NOT_IN_RENDERER.
 */
export function loadNative(): NativeModule {
  if ((process as { type?: string }).type === "renderer") {
    throw new LowrankError(
      "NOT_IN_RENDERER",
      "lowrank cannot run in an Electron renderer. Import it in the main process or, better, in a utility process started with " +
        "utilityProcess.fork(), and send progress to the window through a MessagePort.",
    );
  }
  const platform = `${process.platform}-${process.arch}`;
  const failures: Error[] = [];
  for (const attempt of [loadBuild, prebuilds[platform]]) {
    try {
      const loaded = attempt?.() as NativeModule | undefined;
      if (loaded !== undefined) return checkVersion(loaded);
    } catch (error) {
      if (error instanceof LowrankError) throw error;
      failures.push(error as Error);
    }
  }
  const tried = failures.map((error) => error.message.split("\n")[0]).join("; ") || "there is no prebuilt binary for it";
  throw new LowrankError(
    "NATIVE_BINARY_MISSING",
    `No native binary of lowrank for ${platform} (Node ${process.version}) could be loaded: ${tried}. ` +
      `Possible solutions: (1) reinstall the package on this machine, without copying node_modules from another platform; ` +
      `(2) with an app packager, keep *.node files out of the archive (asarUnpack); (3) on Linux, use a distribution with glibc 2.28 or ` +
      `later; (4) build from a clone of the repository: npm install.`,
    { platform, expected: Object.keys(prebuilds), actual: platform },
    failures[0],
  );
}

function loadBuild(): unknown {
  if (!existsSync(`${root}build/Release`)) return undefined;
  return (require("node-gyp-build") as (directory: string) => unknown)(root);
}

function checkVersion(native: NativeModule): NativeModule {
  const { version } = native.describe();
  if (version === packageVersion) return native;
  throw new LowrankError(
    "NATIVE_VERSION_MISMATCH",
    `The native binary is version ${version}, the package ${packageVersion}. Rebuild (npm run build) or reinstall the package.`,
    { expected: packageVersion, actual: version },
  );
}
