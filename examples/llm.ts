/**
 * @file The example of language models: the bundled model answers questions, learns with LoRA to answer as a pirate, and answers again; with
 * the adapter off it is what it was. The adapter stays, as a PEFT folder. Run it with `npm run demo`.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  attach,
  type CausalLm,
  deviceInfo,
  evaluate,
  type GenerateOptions,
  generate,
  LowrankError,
  loadAdapter,
  loadModel,
  readExamples,
  showProgress,
  train,
} from "lowrank";
import { runExample } from "./run.js";

export interface DemoOptions {
  /** Where the adapter goes. */
  readonly out: string;
  /** Training steps of two packed rows of 512 tokens; default 240. */
  readonly steps?: number;
  /** How many of the test rows are asked; default all 50. */
  readonly questions?: number;
  /** How many answers are shown. */
  readonly shown?: number;
  readonly print?: (line: string) => void;
}

export interface DemoResult {
  readonly lossBefore: number;
  readonly lossAfter: number;
  /** Answers with any marker of the voice, before. */
  readonly voicedBefore: number;
  /** Answers with all markers of the voice, after. */
  readonly voicedAfter: number;
  readonly asked: number;
  /** Whether the answers with the adapter off are those of before, byte for byte; and those of the saved adapter those of the trained one. */
  readonly sameWhenOff: boolean;
  readonly sameWhenLoaded: boolean;
  readonly seconds: number;
}

const fromHere = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const modelFolder = fromHere("../models/bundled");
const trainFile = fromHere("data/pirate-train.jsonl");
const testFile = fromHere("data/pirate-test.jsonl");

/** A name that nobody has: such questions are shown last. The model repeats a word that it never read only roughly. */
const introduction = /^(I am|My name is) /;

/** How a pirate begins and ends. */
const markers = [/^Arr! /, /, (?:matey|me hearty)!$/];

async function questionsOf(file: string): Promise<string[]> {
  const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
  return lines.map((line) => (JSON.parse(line) as { messages: [{ content: string }] }).messages[0].content);
}

async function answer(model: CausalLm, question: string, options: GenerateOptions): Promise<string> {
  let text = "";
  for await (const piece of generate(model, [{ role: "user", content: question }], { maxTokens: 300, ...options })) text += piece;
  return text;
}

async function answers(model: CausalLm, questions: readonly string[], temperature: number): Promise<string[]> {
  const all: string[] = [];
  for (const [seed, question] of questions.entries()) all.push(await answer(model, question, { temperature, seed }));
  return all;
}

const same = (a: readonly string[], b: readonly string[]): boolean => a.length === b.length && a.every((text, i) => text === b[i]);

/** Answers, trains, answers again, saves. */
export async function demo(options: DemoOptions): Promise<DemoResult> {
  const { out, steps = 240, questions: asked = 50, shown = 6, print = console.log } = options;
  const started = performance.now();
  const model = await loadModel(modelFolder);
  const rows = await readExamples(trainFile, model, { packing: true, maxLength: 512 });
  const heldOut = await readExamples(testFile, model);
  try {
    const questions = (await questionsOf(testFile)).slice(0, asked);
    const greedyQuestions = questions.slice(0, 20);
    print(`${rows.examples} rows to learn from, ${heldOut.length} held out\n`);

    const lossBefore = (await evaluate(model, heldOut)).loss;
    const before = await answers(model, questions, 0.7);
    const greedyBefore = await answers(model, greedyQuestions, 0);

    const adapter = attach(model, { rank: 8, alpha: 16, targetModules: "all-linear" });
    const training = train(adapter, rows, {
      learningRate: 3e-3,
      schedule: "cosine",
      warmupSteps: Math.min(5, steps - 1),
      maxGradNorm: 1,
      batchSize: 2,
      maxSteps: steps,
    });
    for await (const _ of showProgress(training, { label: "LoRA" }));
    const lossAfter = (await evaluate(model, heldOut)).loss;
    const after = await answers(model, questions, 0.7);
    const greedyAfter = await answers(model, greedyQuestions, 0);
    const first = [...questions.slice(0, shown).entries()];
    const isLast = ([, question]: readonly [number, string]): number => Number(introduction.test(question));
    print(`\nthe first ${first.length} of ${questions.length} questions; introductions last, since it repeats a new name only roughly`);
    for (const [i, question] of first.sort((a, b) => isLast(a) - isLast(b))) {
      print(`\nasked   ${question}\nbefore  ${before[i]}\nafter   ${after[i]}`);
    }

    await adapter.save(out);
    adapter.disable();
    const sameWhenOff = same(await answers(model, greedyQuestions, 0), greedyBefore);
    adapter.dispose();
    const loaded = await loadAdapter(model, out);
    const sameWhenLoaded = same(await answers(model, greedyQuestions, 0), greedyAfter);
    loaded.dispose();

    return {
      lossBefore,
      lossAfter,
      voicedBefore: before.filter((text) => markers.some((marker) => marker.test(text))).length,
      voicedAfter: after.filter((text) => markers.every((marker) => marker.test(text))).length,
      asked: questions.length,
      sameWhenOff,
      sameWhenLoaded,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await rows.close();
    await heldOut.close();
    model.dispose();
  }
}

const usage = `Teaches the bundled model to speak as a pirate.

  npm run demo -- [options]

  --out DIR     where the adapter goes (tmp/pirate-adapter)
  --steps N     training steps (240)
`;

async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { out: { type: "string", default: "tmp/pirate-adapter" }, steps: { type: "string", default: "240" }, help: { type: "boolean" } },
  });
  if (values.help) return console.log(usage);
  const steps = Number(values.steps);
  if (!Number.isSafeInteger(steps) || steps < 1)
    throw new LowrankError("BAD_ARGUMENT", `--steps: ${JSON.stringify(values.steps)} is no number of steps`, { actual: values.steps });
  const { backend, cpu, threads } = deviceInfo();
  console.log(`the bundled model on ${cpu}, ${backend}, ${threads} thread${threads > 1 ? "s" : ""}`);
  const { lossBefore, lossAfter, voicedBefore, voicedAfter, asked, sameWhenOff, sameWhenLoaded, seconds } = await demo({ out: values.out, steps });
  console.log(`
held-out loss      ${lossBefore.toFixed(3)} → ${lossAfter.toFixed(3)} (${((100 * (lossAfter - lossBefore)) / lossBefore).toFixed(0)} %)
in the new voice   ${voicedBefore} → ${voicedAfter} of ${asked} sampled answers
adapter off        ${sameWhenOff ? "the same answers as before, byte for byte" : "OTHER ANSWERS THAN BEFORE"}
adapter loaded     ${sameWhenLoaded ? "the same answers as the trained one, byte for byte" : "OTHER ANSWERS THAN THE TRAINED ONE"}
adapter saved      ${values.out} (adapter_config.json, adapter_model.safetensors: PEFT's format)
${seconds.toFixed(1)} s`);
  if (!sameWhenOff || !sameWhenLoaded) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await runExample(main, usage);
