import { describe, expect, test } from "vitest";
import { bench } from "../../lib/cli/bench.js";
import { answer, type Matrix, matrix, mismatch, product, products, sumBound } from "../../lib/cli/bench-exact.js";
import { opRow, type Row, random } from "../../lib/cli/bench-row.js";
import type { Context } from "../../lib/cli/context.js";
import { Output } from "../../lib/cli/output.js";
import { geluOp, linearOp } from "../../lib/ops/index.js";
import type { AnyOp } from "../../lib/ops/op.js";
import { tensor } from "../../lib/tensor/create.js";
import { memory } from "../../lib/tensor/device.js";
import { empty } from "../../lib/tensor/tensor.js";
import { cli, eventsOf, of, runHere } from "./cli.js";

/** What `lowrank bench` writes in this process. */
async function written(run: (context: Context) => Promise<void>, args: readonly string[]): Promise<string> {
  let text = "";
  const out = { write: (piece: string) => (text += piece) };
  await runHere(run, ["bench", ...args], new Output(args.includes("--json"), out, { write: () => undefined }));
  return text;
}

const small = (key: string, more: Partial<Row> = {}): Row => ({
  ...opRow({
    ...{ key, limit: "peak", work: 2 * 9 * 17 * 33, op: linearOp, byRow: ["x"], bound: sumBound(33) },
    inputs: () => ({ x: random([9, 33]), w: random([17, 33]) }),
  }),
  ...more,
});

/** A kernel that changes one element of a good answer. */
const wrong: Row = {
  ...{ key: "wrong product", limit: "peak", work: 1 },
  prepare: (k) => {
    const [x, w, y] = [random([9, 33]), random([17, 33]), empty([9, 17], "f32")];
    const last = { handle: y.handle, dtypeCode: y.dtypeCode, offset: 8 * 17 + 16, rows: 1, cols: 1, ld: 17 };
    const run = (): void => {
      k.linear_forward(y, x, w, undefined);
      k.fill(last, 3.25);
    };
    return { run, answers: [answer("y", y, sumBound(33), products("NT", x, w))], held: [x, w] };
  },
};

describe("the comparison with float64", () => {
  const from = (values: readonly number[], rows = 2): Matrix => ({ rows, cols: values.length / rows, values: Float64Array.from(values) });

  test("multiplies", () => {
    const [a, b] = [from([1, 2, 3, 4, 5, 6]), from([1, 0, 2, -1, 3, 1], 3)];
    expect([...product(a, b).values]).toEqual([14, 1, 32, 1]);
    expect([...product(a, from([1, 2, 3, 0, -1, 1]), true).values]).toEqual([14, 1, 32, 1]);
  });

  test("names the element that is wrong, and accepts what is within the bound", async () => {
    using y = tensor(Float32Array.of(1, 2, 3, 4), [2, 2]);
    const expected = (value: number) => async () => matrix(2, 2, (r, c) => (r === 1 && c === 0 ? value : 2 * r + c + 1));
    expect(await mismatch(answer("y", y, 0.01, expected(3.009)))).toBeUndefined();
    expect(await mismatch(answer("y", y, 0.01, expected(3.011)))).toBe("y[1, 0] is 3, expected 3.011 within 0.010");
    expect(await mismatch(answer("y", y, 0.01, expected(Number.NaN)))).toContain("y[1, 0]");
    using broken = tensor(Float32Array.of(1, 2, Number.NaN, 4), [2, 2]);
    expect(await mismatch(answer("y", broken, 0.01, expected(3)))).toContain("y[1, 0] is NaN");
  });
});

describe("lowrank bench", () => {
  test("gives shares of the limits that it measured, and leaves no tensor", async () => {
    const { tensors } = memory().cpu;
    const rows = [[small("a product"), small("a fused product", { plain: small("plain") })], [small("another")]];
    const all = eventsOf(await written((context) => bench(context, rows), ["product", "--rounds", "3", "--json"]));
    expect(all.map(({ type }) => type)).toEqual(["machine", "row", "row", "done"]);
    const [first, second] = of(all, "row");
    expect(first).toEqual({
      ...{ type: "row", key: "a product", limit: "peak", quotient: null },
      ...{ ns: expect.any(Number), perSecond: expect.any(Number), share: expect.any(Number) },
    });
    expect(first?.["perSecond"]).toBeCloseTo((1e9 * 2 * 9 * 17 * 33) / (first?.["ns"] as number), 3);
    expect(second?.["quotient"]).toBeGreaterThan(0);
    expect(all.at(-1)).toEqual({ type: "done", rows: 2, rounds: 3, limits: { peak: expect.any(Number) } });
    expect(memory().cpu.tensors).toBe(tensors);
  });

  test("measures nothing when an answer is wrong", async () => {
    const { tensors } = memory().cpu;
    const run = written((context) => bench(context, [[small("good"), wrong]]), ["--rounds", "1"]);
    await expect(run).rejects.toMatchObject({
      code: "WRONG_ANSWER",
      message: expect.stringMatching(/^wrong product: y\[8, 16\] is 3.25, expected /),
    });
    expect(memory().cpu.tensors).toBe(tensors);
  });

  test("sees a kernel of another function", async () => {
    const identity: AnyOp = { ...geluOp, reference: ({ x }) => x };
    const row = opRow({
      ...{ key: "gelu", limit: "peak", work: 1, op: identity, byRow: ["x"], bound: 1e-6 },
      inputs: () => ({ x: random([9, 100]) }),
    });
    await expect(written((context) => bench(context, [[row]]), [])).rejects.toMatchObject({ code: "WRONG_ANSWER" });
  });

  test("prints a line for each row, and one for each limit", async () => {
    const { code, stdout } = await cli(["bench", "RMSNORM", "8192", "--rounds", "1"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\w+, \d+ threads of .+\nrmsNorm 8192x1536 +[\d.]+ ms +[\d.]+ GB\/s +[\d.]+\u202f% of copy\ncopy +[\d.]+ GB\/s\n$/);
  });

  test("measures real kernels", async () => {
    const { code, stdout } = await cli(["bench", "512x576x576", "--rounds", "1", "--json"]);
    expect(code).toBe(0);
    expect(of(eventsOf(stdout), "row").map(({ key }) => key)).toEqual(
      ["forward f32", "dx f32", "dw f32", "forward bf16", "dx bf16"].map((form) => `linear ${form} 512x576x576`),
    );
  });

  test("says which rows there are when no one has the words", async () => {
    const [plain, json, listed] = await Promise.all([
      cli(["bench", "decode", "attention"]),
      cli(["bench", "nothing", "--json"]),
      cli(["bench", "decode", "--list"]),
    ]);
    expect([plain.code, json.code, listed.code]).toEqual([2, 2, 0]);
    expect(plain.stderr).toMatch(/^BAD_ARGUMENT: .*"decode attention".*\nlinear forward f32 2048x2048x2048\n/);
    expect(eventsOf(json.stdout)).toMatchObject([{ type: "error", code: "BAD_ARGUMENT" }]);
    expect(listed.stdout).toBe(["bf16", "int8", "nf4"].map((dtype) => `decode ${dtype} 1x8192x4096\n`).join(""));
  });

  test("ends with 130 when it is interrupted", async () => {
    let sent = false;
    const { code, stdout } = await cli(["bench", "512x576x1536", "--rounds", "100000", "--json"], {
      onOutput: (child) => {
        if (!sent) sent = child.kill("SIGINT");
      },
    });
    expect(code).toBe(130);
    expect(eventsOf(stdout).map(({ type }) => type)).toEqual(["machine", "interrupted"]);
  });
});
