import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { requestedThreads, wantsColor } from "../../lib/native/env.js";
import { cli, eventsOf } from "./cli.js";

const lib = fileURLToPath(new URL("../../lib", import.meta.url));

test("lib/native/env.ts alone reads environment variables", () => {
  const files = readdirSync(lib, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  const read = files.flatMap((name) => {
    const path = name.replaceAll("\\", "/");
    const text = readFileSync(join(lib, name), "utf8");
    return path === "native/env.ts" ? [] : [...text.matchAll(/process\.env(?:\["(\w+)"\])?/g)].map(([, variable]) => [path, variable]);
  });
  expect(read).toEqual([]);
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
  ["", undefined],
])("LOWRANK_NUM_THREADS=%s asks for %s threads", (value, expected) => {
  expect(threadsOf(value)).toBe(expected);
});

// The last ones are numbers for JavaScript, but not for native code, which reads the variable for itself.
test.each(["0", "-1", "1.5", "many", " ", "1e1", "0x4", "4 ", "4.0"])("LOWRANK_NUM_THREADS=%s is refused", (value) => {
  expect(() => threadsOf(value)).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT", details: expect.objectContaining({ actual: value }) }));
});

function threadsOf(value: string): number | undefined {
  const before = process.env["LOWRANK_NUM_THREADS"];
  try {
    process.env["LOWRANK_NUM_THREADS"] = value;
    return requestedThreads();
  } finally {
    if (before === undefined) delete process.env["LOWRANK_NUM_THREADS"];
    else process.env["LOWRANK_NUM_THREADS"] = before;
  }
}

test.each([
  ["LOWRANK_NUM_THREADS", "x", "number of threads"],
  ["LOWRANK_NUM_THREADS", "-1", "number of threads"],
  ["LOWRANK_MEMORY_BUDGET", "4GB", "bytes"],
  ["LOWRANK_MEMORY_BUDGET", "0", "bytes"],
])("the engine does not start with %s=%s", async (name, value, expected) => {
  const { code, stdout } = await cli(["inspect", "--json"], { env: { [name]: value } });
  expect(code).toBe(1);
  const [error] = eventsOf(stdout);
  expect(error).toMatchObject({ type: "error", code: "BAD_ARGUMENT" });
  for (const part of [name, JSON.stringify(value), expected]) expect(error?.["message"]).toContain(part);
});
