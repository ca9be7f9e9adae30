/** @file Nothing without a test: kernels and ops, ops and functions, oracles. */
import { describe, expect, it } from "vitest";
import * as functions from "../../lib/functions.js";
import { engine } from "../../lib/native/engine.js";
import { kernelsWithoutOp, registry } from "../../lib/ops/index.js";
import { profile } from "../../lib/tensor/device.js";
import { casesOf } from "./cases.js";
import { checkCase } from "./check.js";
import { plainOps } from "./plain-ops.js";

describe("every op", () => {
  it("has a name of its own and a public function of this name", () => {
    expect(new Set(registry.map(({ name }) => name)).size).toBe(registry.length);
    for (const { name } of registry) expect(functions, name).toHaveProperty(name, expect.any(Function));
  });

  it("has exactly one oracle", () => {
    for (const op of registry)
      expect(
        [op.reference, op.composed].filter((oracle) => oracle !== undefined),
        op.name,
      ).toHaveLength(1);
  });

  it("has a backward where it has gradients, and gradients of inputs that exist", () => {
    for (const op of registry) {
      expect(op.backward !== undefined, op.name).toBe(op.gradients.length > 0);
      const names = op.parsed.inputs.map(({ name }) => name);
      for (const name of op.gradients) expect(names, op.name).toContain(name);
      expect(Object.keys(op.dtypes).sort(), op.name).toEqual([...names].sort());
    }
  });

  it("whose output is made again keeps all of its inputs, and its output is f32", () => {
    const remade = registry.filter(({ remake }) => remake);
    expect(remade.map(({ name }) => name)).toEqual(["rmsNorm", "swiglu"]);
    for (const { parsed, keeps, output } of remade) {
      expect(keeps).toEqual(expect.arrayContaining(parsed.inputs.map(({ name }) => name)));
      expect(output ?? "f32").toBe("f32");
    }
  });

  it("with the rule of FlashAttention has a plain implementation to compare with", () => {
    const flash = registry.filter(({ tolerance }) => tolerance === "flash").map(({ name }) => name);
    expect(Object.keys(plainOps).sort()).toEqual(flash.sort());
  });
});

describe("the generated cases", () => {
  it("are 10,000 or more on the backends that every machine has: the reference, its vectors, and emulated AVX-512 or NEON", () => {
    const cases = registry.reduce((sum, op) => sum + casesOf(op).length, 0);
    expect(3 * cases).toBeGreaterThanOrEqual(10_000);
  });
});

describe("every function", () => {
  it("of lib/functions.ts is an op of the registry", () => {
    const names = registry.map(({ name }) => name);
    for (const name of Object.keys(functions)) expect(names).toContain(name);
  });
});

describe("every kernel", () => {
  it("is run by an op or stands on kernelsWithoutOp, not both", async () => {
    const known = engine().description.kernels.map(({ name }) => name);
    const used = new Set<string>();
    for (const op of registry) {
      // Distinct parameters and forms reach every kernel of an op.
      const cases = casesOf(op)
        .filter(({ large }) => !large)
        .slice(0, 40);
      const rows = await profile(async () => {
        for (const one of cases) expect(await checkCase(one)).toEqual([]);
      });
      for (const { kernel } of rows) used.add(kernel);
    }
    const alone = new Set<string>(kernelsWithoutOp);
    for (const name of alone) expect(known, `${name} stands on kernelsWithoutOp and is no kernel`).toContain(name);
    for (const name of known) expect(used.has(name) || alone.has(name), `${name} is used by no op and does not stand on kernelsWithoutOp`).toBe(true);
  });
});
