/** @file --quantize: of each command that loads a model, and what cannot be. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bundledModel } from "../../lib/models/bundled.js";
import { loadModel } from "../../lib/models/index.js";
import { memory } from "../../lib/tensor/device.js";
import { cli, events, model, of, workFolder } from "./cli.js";

const work = workFolder();
const using = ["--model", bundledModel, "--quantize", "nf4"];

describe("--quantize nf4", () => {
  test("trains an adapter, which eval and generate take on the model in any type", async () => {
    const out = work.at("adapter");
    const trained = await events(["train", ...using, "--data", work.data, "--out", out, "--epochs", "4", "--learning-rate", "5e-3"]);
    const losses = of(trained, "step").map(({ loss }) => loss as number);
    expect(losses.at(-1)).toBeLessThan(losses[0] as number);
    expect(existsSync(join(out, "adapter_model.safetensors"))).toBe(true);
    const loaded = await loadModel(bundledModel, { quantize: "nf4" });
    expect(of(trained, "model")[0]).toMatchObject({ quantize: "nf4", bytes: memory().cpu.bytes });
    loaded.dispose();

    const evaluate = ["eval", "--model", bundledModel, "--adapter", out, "--data", work.data];
    const [[plain], [quantized], answer] = await Promise.all([
      events(evaluate).then((all) => of(all, "eval")),
      events([...evaluate, "--quantize", "nf4"]).then((all) => of(all, "eval")),
      cli(["generate", ...using, "--adapter", out, "--prompt", "Who is the cat?", "--max-tokens", "8", "--temperature", "0"]),
    ]);
    expect(quantized?.["loss"]).not.toBe(plain?.["loss"]);
    expect(Math.abs((quantized?.["loss"] as number) - (plain?.["loss"] as number))).toBeLessThan(0.5);
    expect(answer).toMatchObject({ code: 0, stderr: expect.stringContaining("5 layers in nf4") });
    expect(answer.stdout.length).toBeGreaterThan(1);
  });

  test("inspect says how large the model will be, exactly", async () => {
    const [plain, [found], [stored]] = await Promise.all([
      cli(["inspect", bundledModel, "--quantize", "nf4"]),
      events(["inspect", bundledModel, "--quantize", "nf4"]),
      events(["inspect", bundledModel]),
    ]);
    const before = memory().cpu.bytes;
    const loaded = await loadModel(bundledModel, { quantize: "nf4", dtype: "bf16" });
    // Norms are stored as bf16 and held as f32.
    const norms = [...loaded.parameters()].filter(([name]) => name.includes("norm")).reduce((sum, [, { shape }]) => sum + 2 * shape[0], 0);
    expect(found?.["quantized"]).toEqual({ dtype: "nf4", bytes: memory().cpu.bytes - before - norms });
    loaded.dispose();
    expect(stored?.["quantized"]).toBe(null);
    expect(plain.stdout).toMatch(/quantised +.+: the matrices of the layers as nf4/);
  });

  test("is refused by name where it cannot be", async () => {
    const [unknown, narrow] = await Promise.all([
      cli(["generate", "--model", bundledModel, "--quantize", "nf3", "--prompt", "x"]),
      cli(["generate", "--model", model, "--quantize", "nf4", "--prompt", "x"]),
    ]);
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining("nf4, int8") });
    expect(narrow).toMatchObject({ code: 1, stderr: expect.stringContaining("down_proj.weight is [64, 150]") });
  });
});
