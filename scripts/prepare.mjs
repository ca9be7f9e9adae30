/** @file `npm install` in a clone builds everything. While npm packs or publishes, `prepack` has already built what the package needs. */
import { spawnSync } from "node:child_process";

if (!["pack", "publish"].includes(process.env.npm_command ?? "")) {
  const { status } = spawnSync("npm", ["run", "build"], { stdio: "inherit", shell: process.platform === "win32" });
  process.exit(status ?? 1);
}
