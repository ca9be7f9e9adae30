/** @file What generate promises: adapters, templates, abort, and that nothing stays behind. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  type Adapter,
  attach,
  type CausalLm,
  type GenerateOptions,
  generate,
  generateTokens,
  type LowrankError,
  loadAdapter,
  loadModel,
  memory,
  synchronize,
  valueAndGrad,
} from "../../lib/index.js";
import { AdapterSwitch } from "../../lib/models/adapter-switch.js";
import { engine } from "../../lib/native/engine.js";
import { ChatTemplate } from "../../lib/text/index.js";
import { errorOf } from "./config-kit.js";
import { collect, rejection } from "./generate-kit.js";
import { pathOf } from "./golden-llm.js";
import { scriptedModel } from "./scripted.js";

const idle = memory().cpu;
const held = (): { tensors: number; bytes: number } => {
  const { tensors, bytes } = memory().cpu;
  return { tensors: tensors - idle.tensors, bytes: bytes - idle.bytes };
};
afterEach(() => {
  expect(held()).toEqual({ tensors: 0, bytes: 0 });
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-generate-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("with the golden model", () => {
  let model: CausalLm;
  let atRest: { tensors: number; bytes: number };
  const prompt = (): number[] => model.tokenizer.encode("The cat sees");

  async function open(): Promise<void> {
    model = await loadModel(pathOf("llama", "model"));
    // The table of rotary positions stays with the model.
    await collect(generateTokens(model, prompt(), { maxTokens: 1 }));
    atRest = held();
  }
  afterEach(() => model.dispose());

  it("the seed decides", async () => {
    await open();
    const run = (seed?: number): Promise<number[]> =>
      collect(generateTokens(model, prompt(), { temperature: 1.5, maxTokens: 20, ...(seed === undefined ? {} : { seed }) }));
    expect(await run(5)).toEqual(await run(5));
    expect(await run(5)).not.toEqual(await run(6));
    expect(await run()).not.toEqual(await run());
  });

  it("leaving the loop frees the cache", async () => {
    await open();
    for await (const _ of generateTokens(model, prompt(), { maxTokens: 20 })) {
      expect(held().bytes).toBeGreaterThan(atRest.bytes);
      break;
    }
    expect(held()).toEqual(atRest);
    for await (const _ of generate(model, "The cat", { maxTokens: 20 })) break;
    expect(held()).toEqual(atRest);
  });

  it("abort between two tokens rejects with the signal's reason, and frees everything", async () => {
    await open();
    const controller = new AbortController();
    const seen: number[] = [];
    const run = async (): Promise<void> => {
      for await (const id of generateTokens(model, prompt(), { maxTokens: 1000, signal: controller.signal })) {
        seen.push(id);
        if (seen.length === 3) controller.abort(new Error("enough"));
      }
    };
    const error = await rejection(run());
    expect([error.code, error.cause, seen.length]).toEqual(["ABORTED", new Error("enough"), 3]);
    expect(held()).toEqual(atRest);
    await synchronize();
  });

  it("abort while a token is computed, and before the first", async () => {
    await open();
    const controller = new AbortController();
    const tokens = generate(model, "The cat sees ".repeat(200), { signal: controller.signal });
    const first = tokens.next();
    controller.abort("stop it");
    const error = await rejection(first);
    expect([error.code, error.cause]).toEqual(["ABORTED", "stop it"]);
    expect(await tokens.next()).toEqual({ done: true, value: undefined });
    const late = await rejection(generateTokens(model, prompt(), { signal: AbortSignal.abort("early") }).next());
    expect([late.code, late.cause]).toEqual(["ABORTED", "early"]);
    await synchronize();
    model.dispose();
    expect(held()).toEqual({ tensors: 0, bytes: 0 });
  });

  it("memory that runs out at any allocation is an error, and everything is freed", async () => {
    await open();
    const { budgetBytes } = memory().cpu;
    // Long enough for sizes that the pool has no free blocks of.
    const long = Array.from({ length: 600 }, (_, i) => i % model.config.vocabSize);
    // The table of rotary positions may have grown.
    const tableBytes = 768 * model.config.headDim * 4;
    let failures = 0;
    try {
      for (let extra = 0; ; extra += 65_536) {
        engine().setBudget(engine().memory().bytes + extra);
        try {
          await collect(generateTokens(model, long, { temperature: 0, maxTokens: 3 }));
          break;
        } catch (error) {
          expect((error as LowrankError).code).toBe("OUT_OF_MEMORY");
          failures++;
        }
        expect(held().bytes).toBeLessThanOrEqual(atRest.bytes + tableBytes);
      }
    } finally {
      engine().setBudget(budgetBytes);
    }
    expect(failures).toBeGreaterThan(3);
    expect(await collect(generateTokens(model, prompt(), { temperature: 0, maxTokens: 3 }))).toHaveLength(3);
    await synchronize();
  });

  it("a generator that nobody asks holds nothing", async () => {
    await open();
    generateTokens(model, prompt());
    expect(held()).toEqual(atRest);
  });

  it("works inside of valueAndGrad and leaves its tape alone", async () => {
    await open();
    const adapter = await loadAdapter(model, pathOf("llama", "adapter-init"));
    const tokens = prompt();
    const batch = { tokens: [tokens], labels: [tokens] };
    const alone = valueAndGrad(() => model.loss(batch));
    let first: Promise<IteratorResult<number, void>> | undefined;
    const generation = generateTokens(model, tokens, { temperature: 0 });
    const together = valueAndGrad(() => {
      first = generation.next();
      return model.loss(batch);
    });
    expect(await together.item()).toBe(await alone.item());
    expect((await first)?.value).toBe((await collect(generateTokens(model, tokens, { temperature: 0, maxTokens: 1 })))[0]);
    await generation.return();
    for (const tensor of [alone, together, adapter]) tensor.dispose();
  });

  describe("adapters", () => {
    const greedy = { temperature: 0, maxTokens: 10 };

    it("null is the model without, one is only that one, and all are as they were afterwards", async () => {
      await open();
      const base = await collect(generateTokens(model, prompt(), greedy));
      const first = await loadAdapter(model, pathOf("llama", "adapter-init"), { name: "first" });
      const alone = await collect(generateTokens(model, prompt(), greedy));
      expect(alone).not.toEqual(base);
      const second = await loadAdapter(model, pathOf("llama", "trained"), { name: "second" });
      const both = await collect(generateTokens(model, prompt(), greedy));
      expect(both).not.toEqual(alone);
      first.disable();
      expect(await collect(generateTokens(model, prompt(), { ...greedy, adapter: first }))).toEqual(alone);
      expect([first.enabled, second.enabled]).toEqual([false, true]);
      expect(first.layers.some(({ branch }) => branch.enabled)).toBe(false);
      expect(second.layers.every(({ branch }) => branch.enabled)).toBe(true);
      expect(await collect(generateTokens(model, prompt(), { ...greedy, adapter: null }))).toEqual(base);
      first.enable();
      expect(await collect(generateTokens(model, prompt(), greedy))).toEqual(both);
      second.dispose();
      first.dispose();
    });

    it("are as they were after an error", async () => {
      await open();
      const adapter = attach(model, { rank: 2, targetModules: "all-linear" });
      expect(() =>
        new AdapterSwitch(model, null).around(() => {
          expect(adapter.layers.some(({ branch }) => branch.enabled)).toBe(false);
          throw new Error("no");
        }),
      ).toThrow("no");
      expect(adapter.layers.every(({ branch }) => branch.enabled)).toBe(true);
      adapter.dispose();
    });

    it("that are merged cannot be left out, those of another model not be used", async () => {
      await open();
      const other = await loadModel(pathOf("llama", "model"));
      const adapter = await loadAdapter(model, pathOf("llama", "adapter-init"));
      const alone = await collect(generateTokens(model, prompt(), greedy));
      expect(errorOf(() => generate(other, "x", { adapter })).code).toBe("ADAPTER_STATE");
      adapter.merge();
      expect(errorOf(() => generate(model, "x", { adapter: null })).code).toBe("ADAPTER_STATE");
      expect(await collect(generateTokens(model, prompt(), { ...greedy, adapter }))).toEqual(alone);
      expect(await collect(generateTokens(model, prompt(), greedy))).toEqual(alone);
      adapter.unmerge();
      const generation = generateTokens(model, prompt(), { ...greedy, adapter });
      await generation.next();
      adapter.dispose();
      expect((await rejection(generation.next())).code).toBe("DISPOSED");
      expect(errorOf(() => generate(model, "x", { adapter })).code).toBe("DISPOSED");
      other.dispose();
    });
  });

  describe("chat templates", () => {
    const messages = [{ role: "user", content: "The cat" }];
    const greedy = { temperature: 0, maxTokens: 8 };
    const strange = "{% for message in messages %}{{ message.content }}{% endfor %}!";

    const repliesTo = async (text: string): Promise<string> => {
      const ids = await collect(generateTokens(model, model.tokenizer.encode(text, { addSpecialTokens: false }), greedy));
      return model.tokenizer.decode(ids, { skipSpecialTokens: true });
    };
    const reply = async (options: GenerateOptions): Promise<{ text: string; warnings: string[] }> => {
      const warnings: string[] = [];
      const pieces = await collect(generate(model, messages, { ...greedy, onWarning: (message) => warnings.push(message), ...options }));
      return { text: pieces.join(""), warnings };
    };

    it("the adapter's is used, and a difference is a warning with both hashes", async () => {
      await open();
      const adapter: Adapter = await loadAdapter(model, pathOf("llama", "adapter-init"));
      const own = model.tokenizer.chatTemplates.get("default") as ChatTemplate;
      const rendered = model.tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
      expect(adapter.chatTemplate).toBeUndefined();
      expect(await reply({})).toEqual({ text: await repliesTo(rendered), warnings: [] });
      adapter.chatTemplate = own.text;
      expect(await reply({})).toEqual({ text: await repliesTo(rendered), warnings: [] });
      adapter.chatTemplate = strange;
      const { text, warnings } = await reply({});
      expect(text).toBe(await repliesTo("The cat!"));
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain(own.hash);
      expect(warnings[0]).toContain(new ChatTemplate(strange, "").hash);
      expect((await reply({ adapter })).warnings).toHaveLength(1);
      expect((await reply({ adapter: null })).warnings).toHaveLength(0);
      adapter.disable();
      expect((await reply({})).warnings).toHaveLength(0);
      adapter.dispose();
    });

    it("two adapters with different ones are a warning, and the first one's is used", async () => {
      await open();
      const first = attach(model, { rank: 1, targetModules: "all-linear", name: "first" });
      const second = attach(model, { rank: 1, targetModules: "all-linear", name: "second" });
      first.chatTemplate = strange;
      second.chatTemplate = (model.tokenizer.chatTemplates.get("default") as ChatTemplate).text;
      const { warnings } = await reply({});
      expect(warnings).toHaveLength(2);
      expect(warnings[0]).toMatch(/"first" and "second"/);
      second.chatTemplate = `\ufeff${strange}`;
      expect((await reply({})).warnings).toHaveLength(1);
      first.dispose();
      second.dispose();
    });

    it("travel with the adapter, as a file and in its bytes", async () => {
      await open();
      const adapter = attach(model, { rank: 1, targetModules: "all-linear" });
      const dir = join(folder, "travels");
      await adapter.save(dir);
      expect(await readdir(dir)).not.toContain("chat_template.jinja");
      adapter.chatTemplate = `${strange} \u{1f44b}\n`;
      await adapter.save(dir);
      const bytes = await adapter.toBytes();
      for (const source of [dir, bytes]) {
        const again = await loadAdapter(model, source);
        expect(again.chatTemplate).toBe(adapter.chatTemplate);
        again.dispose();
      }
      await writeFile(join(dir, "chat_template.jinja"), Uint8Array.of(65, 0xff));
      expect((await rejection(loadAdapter(model, dir))).code).toBe("TEMPLATE_SYNTAX");
      await writeFile(join(dir, "chat_template.jinja"), "x".repeat(1_000_001));
      expect((await rejection(loadAdapter(model, dir))).code).toBe("TEMPLATE_TOO_LARGE");
      adapter.chatTemplate = "é".repeat(500_001);
      expect((await rejection(adapter.save(dir))).code).toBe("TEMPLATE_TOO_LARGE");
      expect((await rejection(adapter.toBytes())).code).toBe("TEMPLATE_TOO_LARGE");
      adapter.dispose();
    });
  });

  it("refuses what is wrong, at once", async () => {
    await open();
    const code = (options: object, text: unknown = "x"): string => errorOf(() => generate(model, text as string, options as GenerateOptions)).code;
    expect(errorOf(() => generate(model, "x", { temprature: 1 } as object)).message).toContain("temperature");
    expect(code({ temprature: 1 })).toBe("UNKNOWN_OPTION");
    expect(errorOf(() => generateTokens(model, [1], { stop: ["x"] } as object)).code).toBe("UNKNOWN_OPTION");
    for (const options of [
      ...[-1, Number.NaN, Number.POSITIVE_INFINITY, "1"].map((temperature) => ({ temperature })),
      ...[0, 1.5, -3].map((topK) => ({ topK })),
      ...[0, 1.1, Number.NaN].map((topP) => ({ topP })),
      ...[-1, 0.5, 2 ** 53].map((seed) => ({ seed })),
      ...[-1, 0.5, Number.POSITIVE_INFINITY].map((maxTokens) => ({ maxTokens })),
      ...["", [""], [1], 5, ["\ud800"]].map((stop) => ({ stop })),
      ...["yes", {}].map((adapter) => ({ adapter })),
      { onWarning: "print" },
    ]) {
      expect(code(options), JSON.stringify(options)).toBe("BAD_ARGUMENT");
    }
    expect(code({}, 7)).toBe("BAD_ARGUMENT");
    expect(errorOf(() => generateTokens(model, [])).code).toBe("BAD_ARGUMENT");
    expect(errorOf(() => generateTokens(model, [1, model.config.vocabSize])).code).toBe("INDEX_OUT_OF_RANGE");
  });
});

describe("a model", () => {
  it("without tokenizer.json says so, and still speaks in ids", async () => {
    const model = scriptedModel([3, 5, 9], 16);
    const error = errorOf(() => model.tokenizer);
    expect([error.code, error.details.file, model.hasTokenizer]).toEqual(["TOKENIZER_MISSING", "tokenizer.json", false]);
    expect(error.message).toContain("tokenizer.json");
    expect(errorOf(() => generate(model, "x")).code).toBe("TOKENIZER_MISSING");
    expect(await collect(generateTokens(model, [3], { temperature: 0, maxTokens: 2 }))).toEqual([5, 9]);
    model.dispose();
  });

  it("ends at the ids of its configuration, of generation_config.json and of its tokenizer", async () => {
    const script = [3, 5, 9, 7, 2];
    const run = async (options: Parameters<typeof scriptedModel>[2]): Promise<number[]> => {
      const model = scriptedModel(script, options?.tokenizer?.vocabSize ?? 16, options);
      const ids = await collect(generateTokens(model, [3], { temperature: 0, maxTokens: 4 }));
      model.dispose();
      return ids;
    };
    expect(await run({})).toEqual([5, 9, 7, 2]);
    expect(await run({ eos: 7 })).toEqual([5, 9]);
    expect(await run({ eos: 7, generation: { eosTokenIds: [4, 9] } })).toEqual([5]);
  });

  it("samples as its generation_config.json says, unless told otherwise", async () => {
    const generation = { temperature: 0 };
    const model = scriptedModel([3, 5, 9], 16, { generation });
    expect(await collect(generateTokens(model, [3], { maxTokens: 2 }))).toEqual([5, 9]);
    const tokens = await collect(generateTokens(model, [3], { maxTokens: 200, temperature: 1000, seed: 1 }));
    expect(new Set(tokens).size).toBeGreaterThan(10);
    model.dispose();
  });

  it("whose logits are not finite stops with an error", async () => {
    for (const temperature of [0, 1]) {
      const model = scriptedModel([3, 5, 9], 16);
      const { weight } = model.lm_head;
      const { fill } = await import("../../lib/tensor/create.js");
      fill(weight.target(), Number.NaN);
      expect((await rejection(collect(generateTokens(model, [3], { temperature })))).code).toBe("GENERATION_NONFINITE");
      model.dispose();
    }
  });
});
