/** @file lowrank train. */
import { resolve } from "node:path";
import { writeAtomic } from "../io/atomic.js";
import { targetModules } from "../lora/attach.js";
import { type Adapter, type AttachOptions, attach } from "../lora/index.js";
import type { OpenAdapter } from "../lora/open-adapter.js";
import { checkAttachOptions } from "../lora/options.js";
import { matchTargets } from "../lora/targets.js";
import type { CausalLm } from "../models/index.js";
import { wantsColor } from "../native/env.js";
import { LowrankError } from "../native/errors.js";
import { resetPeakMemory } from "../tensor/device.js";
import type { Dataset } from "../text/index.js";
import { type DoneEvent, type EvalEvent, type EvaluationPlan, showProgress, type Training, type TrainOptions, train } from "../train/index.js";
import type { Context } from "./context.js";
import { measured, watched } from "./evaluate.js";
import { bytesText, numberText, plural } from "./format.js";
import { attachNames, kebab, trainNames } from "./options.js";
import type { Arguments } from "./parse.js";
import { answerTo, promptAlone, promptText, type Question, questionsOfData, questionsOfPrompts } from "./prompts.js";
import { type Answer, type History, memoryText, trainingPage } from "./report-training.js";
import {
  attachStored,
  checkRows,
  checkTemplate,
  describeAdapter,
  hollowModel,
  isChat,
  openData,
  openModel,
  openStored,
  requireFiles,
  requireOut,
  requirePlaceOf,
} from "./session.js";
import { asUsage, UsageError } from "./usage.js";

interface Files {
  readonly data: Dataset;
  readonly evalData: Dataset | undefined;
}

export async function trainCommand(context: Context): Promise<void> {
  const { args } = context;
  await checkBefore(context);
  await using stored = await openStored(context);
  using model = await openModel(context);
  const adapter = await makeAdapter(context, model, stored);
  let evalData: Dataset | undefined;
  try {
    await using data = await openData(context, model, args.required("data"), "data");
    const evalFile = args.text("evalData");
    evalData = evalFile === undefined ? undefined : await openData(context, model, evalFile, "evalData");
    await run(context, model, adapter, { data, evalData });
  } finally {
    await evalData?.close();
    adapter.dispose();
  }
}

/** What can be known before the model is loaded. */
async function checkBefore(context: Context): Promise<void> {
  const { args } = context;
  const [html, needed] = [args.text("html"), ["evalEvery", "patience", "keepBest"].find((name) => args.has(name))];
  if (needed !== undefined && !args.has("evalData"))
    throw new UsageError("BAD_ARGUMENT", `--${kebab(needed)} needs --eval-data: a file of examples that are not trained.`);
  checkRows(context);
  const surplus = args.has("adapter") ? attachNames.find((name) => args.has(name)) : undefined;
  if (surplus !== undefined) throw new UsageError("BAD_ARGUMENT", `--${kebab(surplus)} is for new adapters; that of --adapter is what it is.`);
  const attached = args.has("adapter") ? undefined : asUsage(() => checkAttachOptions(attachOptions(args)));
  await requireOut(args.required("out"), "adapter");
  if (html !== undefined) await requirePlaceOf("html", html);
  await requireFiles(context, ["data", "evalData", "prompts"]);
  if (attached === undefined) return;
  using model = await hollowModel(args.required("model"));
  asUsage(() => matchTargets(targetModules(model.modules()), attached.config.targets, ["linear"]));
}

function attachOptions(args: Arguments): AttachOptions {
  const given = { targetModules: "all-linear", ...args.pick([...attachNames, "seed"]) } as AttachOptions;
  return given.method === "sigma" ? given : { ...given, baseModelName: baseName(args.required("model")), taskType: "CAUSAL_LM" };
}

async function makeAdapter(context: Context, model: CausalLm, stored: OpenAdapter | undefined): Promise<Adapter> {
  const { args } = context;
  const loaded = await attachStored(context, model, stored);
  const made = loaded ?? attach(model, attachOptions(args));
  if (loaded === undefined) describeAdapter(context, made);
  else checkTemplate(context, model, loaded);
  return made;
}

/** The name on the Hugging Face hub of a folder in its cache, else the folder as it was given. */
function baseName(folder: string): string {
  const [, owner, name] = /models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\]/.exec(resolve(folder)) ?? [];
  return owner === undefined ? folder : `${owner}/${name}`;
}

async function run(context: Context, model: CausalLm, adapter: Adapter, files: Files): Promise<void> {
  const { args, output, interrupt } = context;
  const { data, evalData } = files;
  const sample = await data.sample(0, { color: wantsColor(output.err) });
  output.err.write(`${sample}\n\n`);
  output.event({ type: "sample", text: await data.sample(0, { color: false }) });
  await suggestPacking(context, data);
  const history: History = { steps: [], evaluations: [], kept: undefined, memory: undefined, answers: [] };
  const questions = await questionsFor(context, isChat(model, adapter));
  for (const question of questions) history.answers.push({ ...question, before: await answer(context, model, question) });
  if (evalData !== undefined) await evaluateAt(context, adapter, evalData, history, "before the training");
  interrupt.throwIfRequested();

  // Not before the answers: from here on the adapter has the template of the data.
  const training = train(adapter, data as never, optionsOf(context, evalData));
  const steps = await trainAndSave(context, adapter, training, history);
  if (!interrupt.requested && evalData !== undefined) await evaluateSaved(context, adapter, evalData, history, steps);
  if (!interrupt.requested) {
    const answered: Answer[] = [];
    for (const given of history.answers) answered.push({ ...given, after: await answer(context, model, given) });
    history.answers = answered;
    for (const given of answered) tellAnswer(context, given);
  }
  const html = args.text("html");
  if (html === undefined || steps === 0) return;
  const page = trainingPage({ args, model, adapter, files, history });
  await writeAtomic(html, (file) => file.write(new TextEncoder().encode(page)));
  output.note(`page: ${html}`);
  output.event({ type: "page", file: html });
}

function optionsOf({ args, interrupt }: Context, evalData: Dataset | undefined): TrainOptions<never> {
  const { evalEvery: every, patience, keepBest } = args.pick(["evalEvery", "patience", "keepBest"]);
  const given = Object.entries({ every, patience, keepBest }).filter(([, value]) => value !== undefined);
  // Rows for evaluation are read by evaluations only: they change nothing, so that a signal may stop them anywhere.
  const rows = evalData === undefined ? undefined : watched(evalData, () => interrupt.endGentle());
  const evaluate = rows === undefined ? {} : { evaluate: { data: rows, ...Object.fromEntries(given) } as unknown as EvaluationPlan<never> };
  return { ...args.pick(trainNames), ...evaluate, signal: interrupt.signal };
}

/**
 * Trains, and saves what is complete: also when SIGINT or SIGTERM came, or the training failed after some steps.
 * @returns the steps done
 */
async function trainAndSave(context: Context, adapter: Adapter, training: Training<never>, history: History): Promise<number> {
  const { args, output, interrupt } = context;
  let failure: unknown;
  let steps = 0;
  try {
    interrupt.beginGentle(); // a step must be complete
    resetPeakMemory();
    for await (const event of showProgress(training, { stream: output.err })) {
      output.event({ ...event });
      if (event.type === "done" && args.flag("keepBest")) history.kept = history.evaluations.findLast(({ step }) => step === event.best?.step);
      if (event.type === "done") tellMemory(context, history, event);
      if (event.type === "eval") history.evaluations.push(event);
      if (event.type === "step") {
        steps = event.step;
        history.steps.push(event);
      }
      if (interrupt.requested) break;
      interrupt.beginGentle();
    }
  } catch (error) {
    if (!(interrupt.requested && error instanceof LowrankError && error.code === "ABORTED")) failure = error;
  } finally {
    interrupt.endGentle();
  }
  if (steps > 0) await save(context, adapter, steps, history.kept?.step ?? steps, failure === undefined);
  else if (interrupt.requested) output.note("Interrupted before the first step was complete: nothing is saved.");
  if (failure !== undefined) throw failure;
  return steps;
}

function tellMemory({ output }: Context, history: History, { memory }: DoneEvent): void {
  history.memory = memory;
  if (memory !== undefined) output.note(`memory: ${bytesText(memory.peakBytes)} at its peak: ${memoryText(memory)}`);
}

async function save({ args, output, interrupt }: Context, adapter: Adapter, steps: number, kept: number, isComplete: boolean): Promise<void> {
  const out = args.required("out");
  const why = interrupt.requested ? "Interrupted: t" : isComplete ? "T" : "The training failed: t";
  if (interrupt.requested) output.event({ type: "interrupted", step: steps });
  try {
    await adapter.save(out);
  } catch (error) {
    if (isComplete) throw error;
    return; // the failure of the training is what must be heard of
  }
  output.note(`${why}he adapter after ${plural(steps, "step")}${kept === steps ? "" : `, with the values after step ${kept},`} is in ${out}`);
  output.event({ type: "saved", folder: out, steps, complete: isComplete && !interrupt.requested });
}

/** The last evaluation is that of the values that were saved. */
async function evaluateSaved(context: Context, adapter: Adapter, evalData: Dataset, history: History, steps: number): Promise<void> {
  const { evaluations, kept } = history;
  const last = evaluations.at(-1);
  if (last?.step === (kept?.step ?? steps)) return;
  if (kept === undefined) return evaluateAt(context, adapter, evalData, history, "after the training");
  tellEvaluation(context, kept, "of the values that are kept");
}

async function evaluateAt(context: Context, adapter: Adapter, evalData: Dataset, history: History, when: string): Promise<void> {
  const result = await measured(context, adapter, evalData);
  const last = history.steps.at(-1);
  const best = history.evaluations.every(({ loss }) => result.loss < loss);
  const event: EvalEvent = { type: "eval", step: last?.step ?? 0, epoch: last?.epoch ?? 0, ...result, best };
  history.evaluations.push(event);
  tellEvaluation(context, event, when);
}

function tellEvaluation({ output }: Context, event: EvalEvent, when: string): void {
  output.note(`evaluation ${when}: loss ${numberText(event.loss)}, perplexity ${numberText(event.perplexity)}`);
  output.event({ ...event });
}

function questionsFor({ args, output }: Context, asChat: boolean): Promise<Question[]> {
  const prompts = args.text("prompts");
  if (prompts !== undefined) return questionsOfPrompts(prompts, asChat, (message) => output.warn(message));
  return args.has("html") ? questionsOfData(args.text("evalData") ?? args.required("data")) : Promise.resolve([]);
}

const answer = ({ args, interrupt }: Context, model: CausalLm, question: Question): Promise<string> =>
  answerTo(model, question, args.number("maxTokens") ?? 100, interrupt.signal);

function tellAnswer({ args, output }: Context, { before, after = "", expected, ...question }: Answer): void {
  const prompt = promptText(question);
  output.event({ type: "answer", prompt: promptAlone(question), before, after, ...(expected === undefined ? {} : { expected }) });
  if (args.has("prompts")) output.result(`${prompt}\n  before: ${before}\n  after:  ${after}\n`);
}

/** Examples whose lengths are looked at. */
const lookedAt = 512;

/** Says so when batches are mostly padding: packing would train the same tokens in less time. */
async function suggestPacking({ args, output }: Context, data: Dataset): Promise<void> {
  const size = args.number("batchSize") ?? 8;
  if (args.flag("packing") || size === 1) return;
  const lengths = Array.from({ length: Math.min(data.length, lookedAt) }, (_, i) => data.lengthOf(i)).filter((length) => length !== undefined);
  let [padded, used] = [0, 0];
  for (let first = 0; first < lengths.length; first += size) {
    const batch = lengths.slice(first, first + size);
    padded += Math.max(...batch) * batch.length;
    used += batch.reduce((sum, length) => sum + length, 0);
  }
  if (used >= 0.7 * padded) return;
  const share = Math.round(100 * (1 - used / padded));
  output.note(`${share} % of a batch is padding: the examples differ in length. --packing with --max-length puts several into one row.`);
}
