/** @file Lints the C++ files with cppcheck. Elsewhere than in CI a machine without cppcheck is told so and passes. */
import { spawnSync } from "node:child_process";
import { filesUnder, root } from "./files.mjs";

const { status, error } = spawnSync(
  "cppcheck",
  [
    ...["--std=c++17", "--language=c++", "--enable=warning,portability", "--inline-suppr", "--suppress=missingIncludeSystem"],
    ...["--quiet", "--error-exitcode=1", "-DLOWRANK_TEST_BACKENDS", "-D__x86_64__", "-I", "native"],
    ...filesUnder(["native"], [".cpp"]),
  ],
  { cwd: root, stdio: "inherit" },
);
const absent = error !== undefined && "code" in error && error.code === "ENOENT";
if (absent) console.warn("cppcheck is not installed: the C++ files are not linted (apt-get install cppcheck, brew install cppcheck)");
if (!absent && error !== undefined) throw error;
process.exit(absent && process.env.CI === undefined ? 0 : (status ?? 1));
