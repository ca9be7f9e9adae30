/** @file What `npm pack` and `npm publish` run first: dist/ and the prebuild of this platform, both made afresh. */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const scripts = dirname(fileURLToPath(import.meta.url));
for (const args of [["build-lib.mjs"], ["build-native.mjs", "--prebuild"]]) {
  const [script = "", ...rest] = args;
  // npm reads the name of the tarball from our stdout: the builds write to stderr.
  const { status } = spawnSync(process.execPath, [join(scripts, script), ...rest], { stdio: ["ignore", 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
}
