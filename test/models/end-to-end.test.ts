/** @file From a JSONL file to an adapter that speaks: readExamples, train, save, loadAdapter, generate. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { attach, evaluate, generate, loadAdapter, loadModel, memory, readExamples, train } from "../../lib/index.js";
import { pathOf } from "./golden-llm.js";

const folder = await mkdtemp(join(tmpdir(), "lowrank-end-to-end-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

async function spoken(text: AsyncIterable<string>): Promise<string> {
  let all = "";
  for await (const piece of text) all += piece;
  return all;
}

it.each([false, true])("learns an answer by heart and says it; packing %s", async (packing) => {
  const before = memory().cpu;
  const answer = "The dog runs to the old house.";
  const rows = ["Where does the dog run?", "What does the dog do?"].map((content) => ({
    messages: [
      { role: "user", content },
      { role: "assistant", content: answer },
    ],
  }));
  const file = join(folder, "chats.jsonl");
  await writeFile(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const model = await loadModel(pathOf("llama", "model"));
  const question = rows[0]?.messages.slice(0, 1) as { role: string; content: string }[];
  const base = await spoken(generate(model, question, { temperature: 0, maxTokens: 20 }));

  const data = await readExamples(file, model, { maxLength: 256, packing });
  const adapter = attach(model, { rank: 8, alpha: 16, targetModules: "all-linear" });
  const first = (await evaluate(adapter, data)).loss;
  const training = train(adapter, data, { batchSize: 2, maxSteps: 60, learningRate: 0.02, maxGradNorm: 1 });
  await training.finished;
  expect((await evaluate(adapter, data)).loss).toBeLessThan(0.05 * first);
  expect(await spoken(generate(model, question, { temperature: 0, maxTokens: 60 }))).toBe(answer);
  // Without it the model says what it said before.
  expect(await spoken(generate(model, question, { adapter: null, temperature: 0, maxTokens: 20 }))).toBe(base);

  const saved = join(folder, `adapter-${packing}`);
  await adapter.save(saved);
  expect(await readFile(join(saved, "chat_template.jinja"), "utf8")).toBe(await readFile(pathOf("llama", "model/chat_template.jinja"), "utf8"));
  adapter.dispose();
  const loaded = await loadAdapter(model, saved);
  expect(await spoken(generate(model, question, { temperature: 0, maxTokens: 60 }))).toBe(answer);
  loaded.dispose();
  model.dispose();
  await data.close();
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});
