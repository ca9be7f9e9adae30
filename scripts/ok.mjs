/** @file `npm run ok`: every check a change must pass, in the order of the shortest wait; the first that fails ends it. */
import { spawnSync } from "node:child_process";

const steps = ["check:format", "lint", "lines", "types", "build:native", "build:lib", "check:generated", "test:native", "test", "demo", "demo:mnist"];

const times = [];
for (const step of steps) {
  console.log(`\n── ${step}`);
  const started = performance.now();
  const { status } = spawnSync("npm", ["run", "--silent", step], { stdio: "inherit", shell: process.platform === "win32" });
  times.push(`${step} ${((performance.now() - started) / 1000).toFixed(1)} s`);
  if (status !== 0) {
    console.error(`\n${step} failed. Run it alone with "npm run ${step}".`);
    process.exit(1);
  }
}
console.log(`\nok: ${times.join(", ")}`);
