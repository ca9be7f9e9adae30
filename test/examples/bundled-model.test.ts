/** The bundled model: its files are those that scripts/bundled-model makes, and it does what its page says. */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { type CausalLm, generate, loadModel, loadTokenizer, renderExample, type Tokenizer } from "lowrank";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { demo } from "../../examples/llm.js";
import { Random } from "../../examples/random.js";
import { assistantTurn, chatTemplate, endOfText, endOfTurn, specialTokens, userTurn } from "../../scripts/bundled-model/bpe.js";
import { exchange, storyWish } from "../../scripts/bundled-model/chats.js";
import { bundledEncoding } from "../../scripts/bundled-model/corpus.js";
import { readStory } from "../../scripts/bundled-model/parse.js";
import { rowFiles } from "../../scripts/bundled-model/rows.js";
import { story } from "../../scripts/bundled-model/stories.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = join(root, "models/bundled");

describe("the tokenizer", () => {
  const bpe = bundledEncoding();
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(folder);
  });

  it("is what the generated texts make", async () => {
    expect(await readFile(join(folder, "tokenizer.json"), "utf8")).toBe(bpe.toJson());
    expect(await readFile(join(folder, "chat_template.jinja"), "utf8")).toBe(chatTemplate);
    expect(tokenizer.vocabSize).toBe(768);
    expect(specialTokens.map((_, id) => tokenizer.token(id))).toEqual(specialTokens);
  });

  it("gives the ids of the trainer's own encoder, and the texts back", () => {
    const texts = Array.from({ length: 200 }, (_, i) => (i % 2 ? story(new Random(1, i)) : exchange(new Random(2, i)).answer));
    for (const text of texts) {
      expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(bpe.encode(text));
      expect(tokenizer.decode(bpe.encode(text))).toBe(text);
    }
    const any = fc.string({ unit: "grapheme" }).filter((text) => !specialTokens.some((token) => text.includes(token)));
    fc.assert(
      fc.property(any, (text) => {
        const ids = bpe.encode(text);
        expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(ids);
        expect(tokenizer.decode(ids)).toBe(text);
      }),
    );
  });

  it("renders chats as they were trained, and trains the answers", () => {
    const row = { messages: [{ role: "user", content: "Hi!" } as const, { role: "assistant", content: "Hello!" } as const] };
    const asked = [endOfText, userTurn, ...bpe.encode("Hi!"), endOfTurn, assistantTurn];
    const answered = [...bpe.encode("Hello!"), endOfTurn];
    const { tokens, labels } = renderExample(row, tokenizer);
    expect(tokens).toEqual([...asked, ...answered]);
    expect(labels).toEqual([...asked.map(() => -100), ...answered]);
    const prompt = tokenizer.applyChatTemplate(row.messages.slice(0, 1), { addGenerationPrompt: true });
    expect(tokenizer.encode(prompt, { addSpecialTokens: false })).toEqual(asked);
    expect(() => tokenizer.applyChatTemplate([{ role: "system", content: "Be brief." }])).toThrow(/user and assistant/);
  });
});

describe("the files", () => {
  it("are the ones whose SHA-256 the pages name, and small", async () => {
    const bytes = await readFile(join(folder, "model.safetensors"));
    const hash = createHash("sha256").update(bytes).digest("hex");
    expect(bytes.length).toBeLessThan(8_000_000);
    for (const page of ["models/bundled/README.md", "docs/bundled-model.md"]) expect(await readFile(join(root, page), "utf8")).toContain(hash);
  });

  it("hold the rows that the generator makes; no question of the test rows is trained", async () => {
    for (const [name, text] of rowFiles()) expect(await readFile(join(root, "examples/data", name), "utf8")).toBe(text);
    const questions = (text: string | undefined) =>
      new Set(
        text
          ?.trim()
          .split("\n")
          .map((line) => JSON.parse(line).messages[0].content),
      );
    const [test, train] = ["pirate-test.jsonl", "pirate-train.jsonl"].map((name) => questions(rowFiles().get(name)));
    expect(test?.size).toBeGreaterThan(45);
    expect([...(test ?? [])].filter((question) => train?.has(question))).toEqual([]);
  });
});

describe("the model", () => {
  let model: CausalLm;
  beforeAll(async () => {
    model = await loadModel(folder);
  });
  afterAll(() => model.dispose());

  const say = async (question: string, options: Parameters<typeof generate>[2]): Promise<string> => {
    let text = "";
    for await (const piece of generate(model, [{ role: "user", content: question }], options)) text += piece;
    return text;
  };

  it("has 1 to 4 million parameters, stored in bf16", () => {
    const count = [...model.parameters().values()].reduce((sum, { shape }) => sum + shape.reduce((a: number, b: number) => a * b, 1), 0);
    expect(count).toBe(1_041_792);
    expect(model.model.layers[0]?.mlp.up_proj.weight.dtype).toBe("bf16");
  });

  it.each([
    ["What does a cow say?", "A cow says moo."],
    ["What is the opposite of big?", "The opposite of big is small."],
    ["Mia has a red kite. Tom is in the garden. Who has the kite?", "Mia has the kite."],
  ])("%s", async (question, answer) => {
    expect(await say(question, { temperature: 0 })).toBe(answer);
  });

  it("tells stories that the parser accepts", async () => {
    let accepted = 0;
    for (let i = 0; i < 10; i++) if (readStory(await say(storyWish(new Random(77, i)).question, { temperature: 0.7, seed: i })).accepted) accepted++;
    expect(accepted).toBeGreaterThanOrEqual(8);
  });
});

describe("the demo", () => {
  let out: string;
  beforeAll(async () => {
    out = await mkdtemp(join(tmpdir(), "lowrank-demo-"));
  });
  afterAll(() => rm(out, { recursive: true, force: true }));

  it("runs, lowers the loss, leaves the base as it is and a PEFT folder", async () => {
    const lines: string[] = [];
    const adapter = join(out, "adapter");
    const result = await demo({ out: adapter, steps: 4, questions: 3, shown: 1, print: (line) => lines.push(line) });
    expect(result).toMatchObject({ asked: 3, voicedBefore: 0, sameWhenOff: true, sameWhenLoaded: true });
    expect(result.lossAfter).toBeLessThan(result.lossBefore);
    expect((await readdir(adapter)).sort()).toEqual(expect.arrayContaining(["adapter_config.json", "adapter_model.safetensors"]));
    expect(lines.join("\n")).toContain("before");
  });
});
