import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { trainingMemory } from "../../lib/cli/memory-estimate.js";
import { mergeCommand } from "../../lib/cli/merge.js";
import { Output } from "../../lib/cli/output.js";
import type { SafetensorsFile } from "../../lib/io/safetensors.js";
import { openWeights } from "../../lib/io/weights.js";
import { Adapter, attach, loadAdapter } from "../../lib/lora/index.js";
import { type CausalLm, generate, loadModel } from "../../lib/models/index.js";
import { memory, resetPeakMemory } from "../../lib/tensor/device.js";
import { train } from "../../lib/train/index.js";
import { adapter, cli, type Event, events, eventsOf, model, of, runHere, trained, workFolder } from "./cli.js";

const work = workFolder();
const root = fileURLToPath(new URL("../fixtures/llm/", import.meta.url));

async function logitsOf(loaded: CausalLm): Promise<Float32Array> {
  using logits = loaded.logits([[320, 269, 68, 265, 261, 262, 302, 82]]);
  return (await logits.data()) as Float32Array;
}

describe("eval", () => {
  const args = ["eval", "--model", model, "--data", work.data];

  test("gives loss and perplexity, of the model and with an adapter", async () => {
    const [plain, [base], [adapted], small] = await Promise.all([
      cli(args),
      events(args).then((all) => of(all, "eval")),
      events([...args, "--adapter", trained]).then((all) => of(all, "eval")),
      events([...args, "--batch-size", "1"]).then((all) => of(all, "eval")),
    ]);
    const { loss, perplexity, tokens, examples } = base as unknown as Record<string, number>;
    expect(plain.code).toBe(0);
    expect(plain.stdout).toMatch(/^loss +\d+\.\d+\nperplexity +\d+(\.\d+)?\ntokens +\d+\nexamples +6\n$/);
    expect(perplexity).toBeCloseTo(Math.exp(loss as number), 6);
    expect(examples).toBe(6);
    expect(tokens).toBeGreaterThan(6);
    expect(adapted?.["loss"]).not.toBeCloseTo(loss as number, 3);
    expect(small[0]?.["loss"]).toBeCloseTo(loss as number, 5);
  });

  test("warns when the adapter was trained with another chat template", async () => {
    const other = work.at("other-template");
    cpSync(trained, other, { recursive: true });
    writeFileSync(join(other, "chat_template.jinja"), "{{ messages[0].content }}");
    const all = await events([...args, "--adapter", other]);
    expect(of(all, "warning")[0]?.["message"]).toContain("another chat template");
  });
});

describe("generate", () => {
  const args = ["generate", "--model", model, "--max-tokens", "12", "--temperature", "0"];
  const answer = async (options: { readonly system?: string; readonly raw?: boolean; readonly adapter?: string }): Promise<string> => {
    using loaded = await loadModel(model);
    using on = options.adapter === undefined ? undefined : await loadAdapter(loaded, options.adapter);
    expect(on instanceof Adapter).toBe(options.adapter !== undefined);
    const system = options.system === undefined ? [] : [{ role: "system", content: options.system }];
    let text = "";
    const prompt = options.raw === true ? "The cat" : [...system, { role: "user", content: "The cat" }];
    for await (const piece of generate(loaded, prompt, { temperature: 0, maxTokens: 12 })) text += piece;
    return text;
  };

  test("answers as the API does", async () => {
    const [plain, json, system, raw, adapted, piped] = await Promise.all([
      cli([...args, "--prompt", "The cat"]),
      events([...args, "--prompt", "The cat"]),
      cli([...args, "--prompt", "The cat", "--system", "Be kind."]),
      cli([...args, "--prompt", "The cat", "--raw"]),
      cli([...args, "--prompt", "The cat", "--adapter", trained]),
      cli([...args, "--prompt", "-"], { input: "The cat" }),
    ]);
    const text = await answer({});
    expect([plain.code, plain.stdout]).toEqual([0, `${text}\n`]);
    expect(piped.stdout).toBe(`${text}\n`);
    expect(
      of(json, "text")
        .map((event) => event["text"])
        .join(""),
    ).toBe(text);
    expect(json.at(-1)).toEqual({ type: "done", text });
    expect(system.stdout).toBe(`${await answer({ system: "Be kind." })}\n`);
    expect(raw.stdout).toBe(`${await answer({ raw: true })}\n`);
    expect(adapted.stdout).toBe(`${await answer({ adapter: trained })}\n`);
  });

  test("renders with the template of the adapter when the model has none", async () => {
    const [bare, tuned] = [work.at("no-template"), work.at("own-template")];
    cpSync(model, bare, { recursive: true });
    cpSync(trained, tuned, { recursive: true });
    rmSync(join(bare, "chat_template.jinja"));
    writeFileSync(join(tuned, "chat_template.jinja"), "{{ messages[0].content }} sees");
    const args = ["generate", "--model", bare, "--adapter", tuned, "--max-tokens", "12", "--temperature", "0", "--prompt", "The cat"];
    const { stdout } = await cli(args);
    using loaded = await loadModel(bare);
    using on = await loadAdapter(loaded, tuned);
    let text = "";
    const prompt = [{ role: "user", content: "The cat" }];
    for await (const piece of generate(loaded, prompt, { adapter: on, temperature: 0, maxTokens: 12 })) text += piece;
    expect(stdout).toBe(`${text}\n`);
  });

  test("is the same with the same seed, and ends with 130 when it is interrupted", async () => {
    const sampled = ["generate", "--model", model, "--prompt", "The cat", "--seed", "7", "--temperature", "1", "--max-tokens", "20"];
    let sent = false;
    const [first, second, stopped] = await Promise.all([
      cli(sampled),
      cli(sampled),
      cli(["generate", "--model", model, "--prompt", "The cat", "--max-tokens", "100000", "--temperature", "0", "--json"], {
        onOutput: (child, text) => {
          if (!sent && text.includes('"type":"text"')) sent = child.kill("SIGINT");
        },
      }),
    ]);
    expect(second.stdout).toBe(first.stdout);
    expect(stopped.code).toBe(130);
    expect(eventsOf(stopped.stdout).at(-1)).toEqual({ type: "interrupted" });
  });
});

describe("inspect", () => {
  test("without a folder describes the machine and says why", async () => {
    const env = { LOWRANK_BACKEND: "scalar", LOWRANK_NUM_THREADS: "1", LOWRANK_MEMORY_BUDGET: "1000000" };
    const [plain, [found], [asked]] = await Promise.all([cli(["inspect"]), events(["inspect"]), events(["inspect"], { env })]);
    expect(plain.code).toBe(0);
    for (const name of ["cpu", "backend", "threads", "memory budget", "devices"]) expect(plain.stdout).toMatch(new RegExp(`^ {2}${name} `, "m"));
    expect(found).toMatchObject({ type: "machine", version: expect.any(String), backend: { reason: "the best that this machine has" } });
    expect(asked).toMatchObject({
      backend: { name: "scalar", reason: expect.stringContaining("LOWRANK_BACKEND=scalar") },
      threads: { count: 1, reason: "LOWRANK_NUM_THREADS=1" },
      memory: { budgetBytes: 1e6, reason: expect.stringContaining("LOWRANK_MEMORY_BUDGET") },
      devices: expect.arrayContaining([expect.objectContaining({ name: "cpu", available: true })]),
    });
  });

  test("describes a model without loading it", async () => {
    const [plain, [found], [tied], [strict]] = await Promise.all([
      cli(["inspect", model]),
      events(["inspect", model]),
      events(["inspect", "--model", join(root, "llama-tied-bf16/model")]),
      events(["inspect", model], { env: { LOWRANK_MEMORY_BUDGET: "1000" } }),
    ]);
    using loaded = await loadModel(model);
    const total = [...loaded.parameters().values()].reduce((sum, { shape }) => sum + shape.reduce((size, dim) => size * dim, 1), 0);
    expect(found).toMatchObject({
      type: "model",
      config: { modelType: "llama", layers: 2, hiddenSize: 64 },
      parameters: { total, embedding: 326 * 64, head: 326 * 64 },
      stored: { F32: 4 * total },
      tokenizer: { vocabSize: 326, templateHash: loaded.tokenizer.chatTemplates.get("default")?.hash },
      warnings: [],
    });
    expect(tied).toMatchObject({ parameters: { head: 0 }, stored: { BF16: expect.any(Number) } });
    expect(plain.stdout).toContain("124,224");
    // A budget in which nothing fits: only a warning, because nothing is loaded.
    expect((strict as Event & { warnings: string[] }).warnings[0]).toContain("memory budget");
  });

  test("describes an adapter", async () => {
    const [plain, [found]] = await Promise.all([cli(["inspect", adapter]), events(["inspect", adapter])]);
    expect(found).toMatchObject({
      ...{ type: "adapter", method: "lora", rank: 8, alpha: 16, scale: 2, tensors: 28, dtypes: ["F32"], parameters: 17440 },
      ...{ baseModel: "lowrank-golden/llama", templateHash: null, warnings: [] },
    });
    expect((found as Event & { modules: string[] }).modules).toHaveLength(14);
    expect(plain.stdout).toMatch(/rank +8\n/);
  });

  test("says what a folder lacks, and what does not fit", async () => {
    const [empty, broken] = [work.at("empty"), work.at("no-tokenizer")];
    mkdirSync(empty);
    cpSync(model, broken, { recursive: true });
    rmSync(join(broken, "tokenizer.json"));
    const [none, absent, both, [lacking]] = await Promise.all([
      cli(["inspect", empty, "--json"]),
      cli(["inspect", work.at("absent"), "--json"]),
      cli(["inspect", model, "--model", model, "--json"]),
      events(["inspect", broken]),
    ]);
    expect([none, absent, both].map(({ code, stdout }) => [code, eventsOf(stdout)[0]?.["code"]])).toEqual([
      [1, "IO_NOT_FOUND"],
      [1, "IO_NOT_FOUND"],
      [2, "BAD_ARGUMENT"],
    ]);
    expect(lacking).toMatchObject({ tokenizer: null, warnings: [expect.stringContaining("tokenizer.json")] });
  });

  test.each([
    [8, 2, 64, false],
    [4, 4, 128, false],
    [8, 2, 128, true],
  ])("estimates a training's memory: rank %i, %i rows of %i tokens, checkpointing %s", async (rank, rows, length, checkpointing) => {
    using loaded = await loadModel(model);
    using on = attach(loaded, { rank, targetModules: "all-linear" });
    const modules = loaded.modules();
    const shapes = on.targets.map((path): [number, number] => {
      const { outFeatures, inFeatures } = modules.get(path) as unknown as { outFeatures: number; inFeatures: number };
      return [outFeatures, inFeatures];
    });
    const weightBytes = memory().cpu.bytes - 4 * on.trainableCount;
    const tokens = Array.from({ length }, (_, i) => (7 * i) % 320);
    resetPeakMemory();
    await train(
      on,
      Array.from({ length: rows }, () => ({ tokens, labels: tokens })),
      { batchSize: rows, maxSteps: 2, gradientCheckpointing: checkpointing },
    ).finished;
    const { total, trainedNumbers } = trainingMemory(loaded.config, shapes, { rank, rows, length, checkpointing, weightBytes });
    expect(trainedNumbers).toBe(on.trainableCount);
    expect(total / memory().cpu.peakBytes).toBeGreaterThan(0.85);
    expect(total / memory().cpu.peakBytes).toBeLessThan(1.25);
  });
});

describe("merge", () => {
  test.each(["llama", "llama-v4-f16", "qwen3"])("of a %s makes a folder that gives the merged logits", async (name) => {
    const [base, tuned, out] = [join(root, name, "model"), join(root, name, "trained"), work.at(`merged-${name}`)];
    const all = await events(["merge", "--model", base, "--adapter", tuned, "--out", out]);
    expect(all.at(-1)).toMatchObject({ type: "done", folder: out });
    expect(readdirSync(out).sort()).toEqual(readdirSync(base).sort());
    for (const file of readdirSync(base).filter((file) => !file.endsWith(".safetensors")))
      expect(readFileSync(join(out, file)), file).toEqual(readFileSync(join(base, file)));
    using expected = await loadModel(base);
    using on = await loadAdapter(expected, tuned);
    on.merge();
    using found = await loadModel(out);
    expect([...found.parameters()].map(([path, { dtype }]) => [path, dtype])).toEqual(
      [...expected.parameters()].map(([path, { dtype }]) => [path, dtype]),
    );
    expect(await logitsOf(found)).toEqual(await logitsOf(expected));
  });

  test("writes the singular values of a sigma adapter into the weights", async () => {
    const [tuned, out] = [work.at("sigma"), work.at("merged-sigma")];
    await events(["train", "--model", model, "--data", work.data, "--out", tuned, "--method", "sigma", "--max-steps", "3", "--learning-rate", "0.1"]);
    await events(["merge", "--model", model, "--adapter", tuned, "--out", out]);
    using expected = await loadModel(model);
    using on = await loadAdapter(expected, tuned);
    on.merge();
    using found = await loadModel(out);
    expect(await logitsOf(found)).toEqual(await logitsOf(expected));
  });

  test("gives the merged model the chat template of the adapter", async () => {
    const [tuned, out] = [work.at("with-template"), work.at("merged-template")];
    cpSync(trained, tuned, { recursive: true });
    writeFileSync(join(tuned, "chat_template.jinja"), "{{ messages[0].content }}");
    const all = await events(["merge", "--model", model, "--adapter", tuned, "--out", out]);
    expect(of(all, "warning")[0]?.["message"]).toContain("chat template");
    expect(readFileSync(join(out, "chat_template.jinja"), "utf8")).toBe("{{ messages[0].content }}");
  });

  test("reads the weights whose headers it checked, whatever lies under their name by then", async () => {
    const [base, out, other] = [work.at("exchanged"), work.at("merged-exchanged"), work.at("other.safetensors")];
    cpSync(model, base, { recursive: true });
    const file = join(base, "model.safetensors");
    const bytes = readFileSync(file);
    writeFileSync(other, bytes.fill(0, 8 + Number(bytes.readBigUInt64LE(0))));
    const exchange = (text: string): void => {
      if (text.startsWith("adapter: ")) renameSync(other, file);
    };
    const silent = { write: () => undefined };
    await runHere(mergeCommand, ["merge", "--model", base, "--adapter", trained, "--out", out], new Output(false, silent, { write: exchange }));
    expect(existsSync(other)).toBe(false);
    await using merged = await openWeights(out);
    await using original = await openWeights(model);
    const name = "model.embed_tokens.weight";
    const read = ({ file }: { readonly file: SafetensorsFile }): Promise<Uint8Array> => file.readBytes(name);
    expect(Buffer.compare(await read(merged.tensor(name)), await read(original.tensor(name)))).toBe(0);
  });

  test("writes into an empty folder, into another one only with --force, and never into what it reads", async () => {
    const [full, empty] = [work.at("full"), work.at("empty-out")];
    mkdirSync(empty);
    mkdirSync(full);
    writeFileSync(join(full, "notes.txt"), "mine");
    const args = ["merge", "--model", model, "--adapter", trained, "--out"];
    const [into, refused, forced, self] = await Promise.all([
      cli([...args, empty]),
      cli([...args, full]),
      cli([...args, full, "--force"]),
      cli([...args, model, "--force"]),
    ]);
    expect([into.code, refused.code, forced.code, self.code]).toEqual([0, 2, 0, 2]);
    expect(refused.stderr).toContain("--force");
    expect(readFileSync(join(full, "notes.txt"), "utf8")).toBe("mine");
    expect(self.stderr).toContain("which is read");
  });

  test("fails on an adapter of another model, and leaves nothing behind", async () => {
    const out = work.at("never");
    const { code, stdout } = await cli(["merge", "--model", model, "--adapter", join(root, "qwen3/trained"), "--out", out, "--json"]);
    expect(code).toBe(1);
    expect(eventsOf(stdout).at(-1)?.["code"]).toMatch(/^ADAPTER_/);
    expect(readdirSync(work.at("."))).not.toContain("never");
  });
});
