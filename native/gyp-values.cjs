/**
 * @file Answers binding.gyp's questions, one word a line: `node gyp-values.cjs sources ARCH`, `version`, `include` or `defines`.
 * LOWRANK_RELEASE=1 leaves out what only developers need (the emulated backend of the tests).
 */
"use strict";
const { readFileSync } = require("node:fs");
const { dirname, join, relative } = require("node:path");

const root = dirname(__dirname);
const release = process.env.LOWRANK_RELEASE === "1";

/** Paths of sources.txt that apply, relative to this folder. */
function sources(arch) {
  const applies = { x64: arch === "x64", arm64: arch === "arm64", test: !release };
  return readFileSync(join(__dirname, "sources.txt"), "utf8")
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim().split(/\s+/))
    .filter(([path, ...conditions]) => path !== "" && conditions.every((condition) => applies[condition]))
    .map(([path]) => relative(__dirname, join(root, path)).replaceAll("\\", "/"));
}

const answers = {
  sources: () => sources(process.argv[3]),
  version: () => [JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version],
  include: () => [require("node-addon-api").include_dir],
  defines: () => (release ? [] : ["LOWRANK_TEST_BACKENDS"]),
};

console.log(answers[process.argv[2]]().join("\n"));
