/** @file What the example found, as a table for the terminal and as data for the page. */
import { version } from "lowrank";
import type { LabelledImages } from "./digits.js";
import type { ExampleOptions } from "./mnist-options.js";
import type { ReportData } from "./report.js";
import { count, fileSize, percent, seconds } from "./report-text.js";

interface Run {
  /** [epoch, loss] of every step. */
  readonly losses: readonly [number, number][];
  /** [epoch, accuracy on the test images of the trained task]. */
  readonly accuracies: readonly [number, number][];
  readonly seconds: number;
}

export interface MethodResult extends Run {
  readonly method: string;
  readonly task: string;
  /** How many numbers were trained. */
  readonly numbers: number;
  readonly bytes: number;
  readonly before: { readonly old: number; readonly new: number };
  readonly after: { readonly old: number; readonly new: number };
  readonly samples: {
    readonly set: LabelledImages;
    readonly shown: readonly number[];
    readonly before: readonly number[];
    readonly after: readonly number[];
  };
}

export interface Outcome {
  readonly source: string;
  readonly options: ExampleOptions;
  readonly device: string;
  readonly base: Run & { readonly accuracy: number; readonly bytes: number; readonly numbers: number };
  readonly baseHash: string;
  readonly results: readonly MethodResult[];
}

const columns = ["task", "method", "trained numbers", "file", "seconds", "old task before", "after", "new task before", "after"];

/** Why Σ stays behind, in numbers of this network. */
export function sigmaSentence({ results }: Outcome): string {
  const sigma = results.find(({ method }) => method.startsWith("Σ"));
  const lora = results.find(({ method }) => method.startsWith("LoRA"));
  return (
    `Σ trains ${sigma?.numbers} numbers: it can only make the directions that the base already has longer or shorter. ` +
    `The strong task needs other directions, and LoRA's r·(I + O) = ${lora?.numbers} numbers can make them.`
  );
}

/** The comparison, aligned. */
export function printTable(outcome: Outcome): string {
  const { base, baseHash, results } = outcome;
  const rows = results.map((r) => [
    r.task,
    r.method,
    count(r.numbers),
    fileSize(r.bytes),
    seconds(r.seconds),
    percent(r.before.old),
    percent(r.after.old),
    percent(r.before.new),
    percent(r.after.new),
  ]);
  const widths = columns.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] as string).length)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number))).join("  ");
  return [
    `base: ${percent(base.accuracy)} on its test images, ${count(base.numbers)} numbers, ${fileSize(base.bytes)}, ${seconds(base.seconds)}`,
    "",
    line(columns),
    ...rows.map(line),
    "",
    sigmaSentence(outcome),
    `The base's bytes are the same after all of this: SHA-256 ${baseHash}`,
  ].join("\n");
}

/** The page: curves, table, sample digits. */
export function reportOf(outcome: Outcome): ReportData {
  const { base, results, options, source, device, baseHash } = outcome;
  const tasks = [...new Set(results.map(({ task }) => task))];
  const of = (task: string): MethodResult[] => results.filter((result) => result.task === task);
  const strong = of("strong").find(({ method }) => method.startsWith("LoRA"));
  return {
    title: "One base, two tasks, three ways to adapt",
    lead: `A 784-256-10 network, trained and adapted with lowrank on ${source}. ${sigmaSentence(outcome)}`,
    facts: [
      { label: "Base accuracy", value: percent(base.accuracy), note: `${count(base.numbers)} numbers in ${seconds(base.seconds)}` },
      { label: "Strong task with LoRA", value: percent(strong?.after.new), note: `${percent(strong?.before.new)} before` },
      { label: "Adapter file", value: fileSize(strong?.bytes), note: `the base has ${fileSize(base.bytes)}` },
    ],
    charts: [
      { title: "Base training: loss", xLabel: "epoch", yLabel: "loss", scale: "log", series: [{ name: "base", points: base.losses }] },
      {
        title: "Base training: accuracy",
        xLabel: "epoch",
        yLabel: "accuracy",
        format: "percent",
        series: [{ name: "base", points: base.accuracies }],
      },
      ...tasks.flatMap((task) => [
        {
          title: `Task ${task}: loss`,
          xLabel: "epoch",
          yLabel: "loss",
          scale: "log" as const,
          series: of(task).map((r) => ({ name: r.method, points: r.losses })),
        },
        {
          title: `Task ${task}: accuracy`,
          xLabel: "epoch",
          yLabel: "accuracy",
          format: "percent" as const,
          series: of(task).map((r) => ({ name: r.method, points: [[0, r.before.new] as [number, number], ...r.accuracies] })),
        },
      ]),
    ],
    table: tasks.map((task) => ({
      task,
      rows: of(task).map((r) => ({
        method: r.method,
        trainedNumbers: r.numbers,
        fileBytes: r.bytes,
        seconds: r.seconds,
        oldTask: { before: r.before.old, after: r.after.old },
        newTask: { before: r.before.new, after: r.after.new },
      })),
    })),
    samples: results
      .filter(({ method }) => method !== "all weights")
      .map(({ task, method, samples: { set, shown, before, after } }) => ({
        title: `Task ${task}: ${method}`,
        rows: set.rows,
        cols: set.cols,
        items: shown.map((index, i) => ({
          image: set.images.subarray(index * set.rows * set.cols, (index + 1) * set.rows * set.cols),
          label: set.labels[index] as number,
          before: before[i] as number,
          after: after[i] as number,
        })),
      })),
    settings: [
      ["seed", String(options.seed)],
      ["epochs", String(options.epochs)],
      ["dropout", String(options.dropout)],
      ["weight decay", String(options.weightDecay)],
      ["augmentation", options.augment === undefined ? "none" : JSON.stringify(options.augment)],
      ["lowrank", version],
      ["Node", process.version],
      ["device", device],
      ["base SHA-256", baseHash],
    ],
  };
}
