/**
 * @file Lets the bundled model tell stories and answer questions, and has the parser of the grammar judge them.
 * `npx tsx scripts/bundled-model/sample.ts [--model DIR] [--count 100] [--show 2]`.
 */
import { parseArgs } from "node:util";
import { type CausalLm, type GenerateOptions, generate, loadModel } from "lowrank";
import { Random } from "../../examples/random.js";
import { fact, situation, storyWish } from "./chats.js";
import { streams } from "./corpus.js";
import { readStory } from "./parse.js";

async function textOf(model: CausalLm, prompt: Parameters<typeof generate>[1], options: GenerateOptions): Promise<string> {
  let text = "";
  for await (const piece of generate(model, prompt, { maxTokens: 300, ...options })) text += piece;
  return text;
}

const asked = (question: string) => [{ role: "user", content: question }];

/** Stories that were asked for, and of them those that the parser accepts and that are about what was asked for. */
async function askedStories(model: CausalLm, count: number, show: number): Promise<number> {
  let accepted = 0;
  for (let i = 0; i < count; i++) {
    const { question, wish } = storyWish(new Random(0, streams.samples, i));
    const text = await textOf(model, asked(question), { temperature: 0.7, seed: i });
    const reading = readStory(text);
    const granted = reading.accepted && Object.entries(wish).every(([role, wanted]) => reading[role as keyof typeof wish] === wanted);
    if (granted) accepted++;
    if (i < show || !granted) console.log(`${granted ? "yes" : "NO "} ${question}\n    ${text}`);
    if (!granted) console.log(`    ${reading.accepted ? "another story than asked for" : `at ${reading.offset}: ${reading.reason}`}`);
  }
  return accepted;
}

/** Stories that begin with nothing. */
async function freeStories(model: CausalLm, count: number): Promise<number> {
  let accepted = 0;
  for (let i = 0; i < count; i++) if (readStory(await textOf(model, "", { temperature: 0.7, seed: i })).accepted) accepted++;
  return accepted;
}

async function rightAnswers(model: CausalLm, count: number, exchangeOf: typeof fact): Promise<number> {
  let right = 0;
  for (let i = 0; i < count; i++) {
    const { question, answer } = exchangeOf(new Random(1, streams.samples, i));
    if ((await textOf(model, asked(question), { temperature: 0 })) === answer) right++;
  }
  return right;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      model: { type: "string", default: "models/bundled" },
      count: { type: "string", default: "100" },
      show: { type: "string", default: "2" },
    },
  });
  const [count, show] = [Number(values.count), Number(values.show)];
  const model = await loadModel(values.model);
  try {
    console.log(`asked for at temperature 0.7: ${await askedStories(model, count, show)} of ${count} accepted, and about what was asked for`);
    console.log(`from nothing at temperature 0.7: ${await freeStories(model, count)} of ${count} accepted`);
    console.log(`questions about a situation at temperature 0: ${await rightAnswers(model, count, situation)} of ${count} right`);
    console.log(`questions about facts at temperature 0: ${await rightAnswers(model, count, fact)} of ${count} right`);
  } finally {
    model.dispose();
  }
}

await main();
