/** @file What the page of a training says. */
import { basename, resolve } from "node:path";
import type { Adapter } from "../lora/index.js";
import type { CausalLm } from "../models/index.js";
import { packageVersion } from "../native/load.js";
import { deviceInfo } from "../tensor/device.js";
import type { Dataset } from "../text/index.js";
import type { EvalEvent, StepEvent, TrainingMemory } from "../train/index.js";
import { secondsText } from "../train/progress.js";
import { bytesText, countText, escapeHtml, numberText, plural } from "./format.js";
import { kebab } from "./options.js";
import type { Arguments } from "./parse.js";
import { promptText, type Question } from "./prompts.js";
import { type ChartData, type Point, renderCharts } from "./report-chart.js";
import { type Fact, renderPage } from "./report-page.js";

/** A prompt with its answers; `after` lacks when the training was interrupted. */
export interface Answer extends Question {
  readonly before: string;
  readonly after?: string;
}

/** What a training was like: all that the page shows. */
export interface History {
  readonly steps: StepEvent[];
  readonly evaluations: EvalEvent[];
  /** The evaluation of the values that the training ended with, where those are not simply the last ones. */
  kept: EvalEvent | undefined;
  /** Of a training that was complete. */
  memory: TrainingMemory | undefined;
  answers: Answer[];
}

export interface Trained {
  readonly args: Arguments;
  readonly model: CausalLm;
  readonly adapter: Adapter;
  readonly files: { readonly data: Dataset; readonly evalData: Dataset | undefined };
  readonly history: History;
}

/** The page of a training. */
export function trainingPage({ args, model, adapter, files, history }: Trained): string {
  const name = basename(resolve(args.required("model")));
  const { cpu, backend, threads } = deviceInfo();
  return renderPage({
    title: `${basename(resolve(args.required("out")))}: ${name} trained on ${basename(args.required("data"))}`,
    lead: `An adapter of ${countText(adapter.trainableCount)} numbers on ${plural(adapter.targets.length, "module")} of a ${model.config.modelType} with ${plural(model.config.layers, "layer")}, trained on ${plural(files.data.examples, "example")}.`,
    facts: factsOf(history),
    sections: [
      { title: "Curves", id: "curves", html: renderCharts(chartsOf(history)) },
      { title: "Answers", id: "answers", html: history.answers.map(renderAnswer).join("\n") },
    ],
    style: answerStyle,
    settings: [
      ...args.given().map(([option, value]) => [`--${kebab(option)}`, Array.isArray(value) ? value.join(", ") : String(value)] as const),
      ["chat template (SHA-256)", files.data.templateHash ?? "none"],
      ["lowrank", packageVersion],
      ["machine", `${cpu}, ${backend}, ${plural(threads, "thread")}`],
    ],
  });
}

/** What memory was taken for, at its peak. */
export const memoryText = ({ weightBytes, trainedBytes, activationBytes, otherBytes }: TrainingMemory): string =>
  `weights ${bytesText(weightBytes)}, adapter with optimizer ${bytesText(trainedBytes)}, activations ${bytesText(activationBytes)} as planned, ` +
  `other ${bytesText(otherBytes)}`;

function factsOf({ steps, evaluations, kept, memory }: History): Fact[] {
  const [first, last, before, after] = [steps[0], steps.at(-1), evaluations[0], kept ?? evaluations.at(-1)];
  const sumOf = (value: (step: StepEvent) => number): number => steps.reduce((sum, step) => sum + value(step), 0);
  const seconds = sumOf(({ examples, examplesPerSecond }) => examples / examplesPerSecond);
  const lowest = Math.min(...evaluations.map(({ loss }) => loss).filter(Number.isFinite));
  const ended = kept === undefined || kept.step === last?.step ? "" : `; the values after step ${kept.step} are kept`;
  return [
    { label: "Training loss", value: numberText(last?.loss), note: `${numberText(first?.loss)} at the first step` },
    ...(before === undefined || after === undefined
      ? []
      : [
          { label: "Evaluation loss", value: numberText(after.loss), note: `${numberText(before.loss)} before; lowest ${numberText(lowest)}` },
          { label: "Perplexity", value: numberText(after.perplexity), note: `${numberText(before.perplexity)} before` },
        ]),
    { label: "Steps", value: countText(last?.step ?? 0), note: `${numberText(last?.epoch ?? 0)} epochs${ended}` },
    { label: "Time of the steps", value: secondsText(seconds), note: `${countText(sumOf(({ tokens = 0 }) => tokens) / seconds)} tokens/s` },
    ...(memory === undefined ? [] : [{ label: "Memory", value: bytesText(memory.peakBytes), note: memoryText(memory) }]),
  ];
}

function chartsOf({ steps, evaluations }: History): ChartData[] {
  const points = (value: (step: StepEvent) => number | undefined): Point[] => steps.map((event) => [event.step, value(event) ?? Number.NaN]);
  const chart = (title: string, name: string, value: (step: StepEvent) => number | undefined): ChartData => ({
    title,
    xLabel: "step",
    yLabel: name,
    series: [{ name, points: points(value) }],
  });
  const evaluated = { name: "evaluation", points: evaluations.map(({ step, loss }): Point => [step, loss]) };
  const loss = chart("Loss", "training", (event) => event.loss);
  return [
    { ...loss, yLabel: "loss", series: [...loss.series, ...(evaluations.length === 0 ? [] : [evaluated])] },
    chart("Learning rate", "learning rate", (event) => event.learningRate),
    chart("Norm of the gradient", "norm", (event) => event.gradNorm),
    chart("Speed", "tokens/s", (event) => event.tokensPerSecond),
  ];
}

const answerStyle = `
.answer { padding: 16px 18px; }
.answer + .answer { margin-top: 14px; }
.answer p, .columns p { margin: 2px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.answer h3, .columns h4 { margin: 0; color: var(--soft); font-size: 0.84rem; font-weight: 600; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(280px, 100%), 1fr)); gap: 12px; margin-top: 12px; }
.columns div { padding: 10px 12px; border: 1px solid var(--grid); border-radius: 8px; }
.columns .after { background: var(--tint); }
`;

/** A prompt and its answers side by side. */
function renderAnswer({ before, after, expected, ...question }: Answer): string {
  const answers: (readonly [name: string, text: string])[] = [["Before", before]];
  if (after !== undefined) answers.push(["After", after]);
  if (expected !== undefined) answers.push(["Data", expected]);
  const columns = answers.map(([name, text]) => `<div class="${name.toLowerCase()}"><h4>${name}</h4><p>${escapeHtml(text) || "(nothing)"}</p></div>`);
  return `<article class="card answer"><h3>Prompt</h3><p>${escapeHtml(promptText(question))}</p><div class="columns">${columns.join("")}</div></article>`;
}
