import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const folder = new URL("../../lib/cli/", import.meta.url);

/** File of lib/cli → the files of it that it imports, types too, once it runs or at once. */
const imports = new Map(
  readdirSync(folder).map((name) => {
    const text = readFileSync(new URL(name, folder), "utf8");
    const found = text.matchAll(/^import (?:[^;]*? from )?"\.\/([\w-]+)\.js";|\bimport\("\.\/([\w-]+)\.js"\)/gms);
    return [name, [...found].map(([, atOnce, later]) => `${atOnce ?? later}.ts`)] as const;
  }),
);

function circleFrom(name: string, path: readonly string[] = []): readonly string[] | undefined {
  if (path.includes(name)) return [...path.slice(path.indexOf(name)), name];
  return (imports.get(name) ?? []).map((other) => circleFrom(other, [...path, name])).find((circle) => circle !== undefined);
}

test("no file of lib/cli imports itself in a circle", () => {
  expect(imports.get("run.ts")).toContain("train.ts");
  expect([...imports.keys()].map((name) => circleFrom(name)?.join(" → ")).filter((circle) => circle !== undefined)).toEqual([]);
});
