/** @file The seeded bugs still have their places: a list that code has moved away from would prove nothing (scripts/seeded-bugs.mjs plants them). */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { root } from "../scripts/files.mjs";
import { bugs } from "../scripts/seeded-bugs.list.mjs";

it.each(bugs.map((bug) => [bug.name, bug] as const))("%s", (_, { file, find, replace, tests }) => {
  expect(readFileSync(join(root, file), "utf8").split(find).length - 1, `places of the text to replace in ${file}`).toBe(1);
  expect(replace).not.toBe(find);
  expect(existsSync(join(root, tests[0] as string)), tests[0]).toBe(true);
});

it("have names of their own", () => {
  expect(new Set(bugs.map(({ name }) => name)).size).toBe(bugs.length);
});
