import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { requestedThreads, wantsColor } from "../../lib/native/env.js";

const lib = fileURLToPath(new URL("../../lib", import.meta.url));

test("variables of lowrank's own are read in lib/native/env.ts only, and NO_COLOR beside it where rows are coloured", () => {
  const files = readdirSync(lib, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  const read = files.flatMap((name) => {
    const path = name.replaceAll("\\", "/");
    const text = readFileSync(join(lib, name), "utf8");
    return path === "native/env.ts" ? [] : [...text.matchAll(/process\.env(?:\["(\w+)"\])?/g)].map(([, variable]) => [path, variable]);
  });
  expect(read).toEqual([["text/dataset-sample.ts", "NO_COLOR"]]);
});

test.each([
  [undefined, true, true],
  ["", true, true],
  ["1", true, false],
  ["0", true, false],
  [undefined, false, false],
])("with NO_COLOR %j, a stream with isTTY %s gets colours: %s", (value, isTTY, expected) => {
  const before = process.env["NO_COLOR"];
  try {
    if (value === undefined) delete process.env["NO_COLOR"];
    else process.env["NO_COLOR"] = value;
    expect(wantsColor({ isTTY })).toBe(expected);
  } finally {
    if (before === undefined) delete process.env["NO_COLOR"];
    else process.env["NO_COLOR"] = before;
  }
});

test.each([
  ["3", 3],
  ["0", undefined],
  ["many", undefined],
  ["", undefined],
])("LOWRANK_NUM_THREADS=%s asks for %s threads", (value, expected) => {
  const before = process.env["LOWRANK_NUM_THREADS"];
  try {
    process.env["LOWRANK_NUM_THREADS"] = value;
    expect(requestedThreads()).toBe(expected);
  } finally {
    if (before === undefined) delete process.env["LOWRANK_NUM_THREADS"];
    else process.env["LOWRANK_NUM_THREADS"] = before;
  }
});
