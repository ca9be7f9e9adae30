/** @file The report of `npm run compare`: medians over rounds, the table, what stands below it. */
import { type Answer, median, type Unavailable } from "./answer.js";

/** GFLOP/s of fused multiply-adds on one and on two threads, GB/s of copying and reading: what `lowrank_bench peak --json` writes. */
export interface Peak {
  readonly peak1: number;
  readonly peak2: number;
  readonly copy2: number;
  readonly read2: number;
}

/** The answers of one contender to one question, round by round. */
export interface Measured {
  readonly work: string;
  readonly asked: number;
  readonly answers: readonly Answer[];
}

export interface Result {
  readonly contender: string;
  /** How many it used. */
  readonly threads: number;
  readonly value: number;
  readonly rounds: readonly number[];
  /** The largest error of all rounds, as a share of what is allowed (gemm). */
  readonly errorOfBound?: number;
  /** lowrank's value divided by this one. */
  readonly quotient?: number;
}

export interface Row {
  readonly work: string;
  readonly threads: number;
  readonly unit: string;
  /** lowrank first. */
  readonly results: readonly Result[];
  /** Of lowrank. */
  readonly shareOfPeak?: number;
}

export interface Report {
  readonly cpu: string;
  readonly date: string;
  readonly commit: string;
  readonly rounds: number;
  readonly peak: Peak | null;
  readonly rows: readonly Row[];
  /** Losses of every step, by contender (lora-step). */
  readonly losses: Readonly<Record<string, readonly number[]>>;
  readonly versions: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly unavailable: readonly Unavailable[];
}

export const isPeak = (found: Partial<Peak>): found is Peak =>
  [found.peak1, found.peak2, found.copy2, found.read2].every((value) => Number.isFinite(value) && (value as number) > 0);

export function medianPeak(peaks: readonly Peak[]): Peak | null {
  const of = (name: keyof Peak): number => median(peaks.map((peak) => peak[name]));
  return peaks.length === 0 ? null : { peak1: of("peak1"), peak2: of("peak2"), copy2: of("copy2"), read2: of("read2") };
}

function rowOf(group: readonly Measured[], unit: string, what: string, valueOf: (answer: Answer) => number): Omit<Row, "shareOfPeak"> {
  const { work, asked } = group[0] as Measured;
  const values = group.map(({ answers }) => answers.map(valueOf));
  const own = median(values[0] as number[]);
  const results = group.map(({ answers }, i): Result => {
    const { contender, threads } = answers[0] as Answer;
    const value = median(values[i] as number[]);
    const errors = answers.flatMap(({ errorOfBound }) => errorOfBound ?? []);
    return {
      contender,
      threads,
      value,
      rounds: values[i] as number[],
      ...(errors.length === 0 ? {} : { errorOfBound: Math.max(...errors) }),
      ...(i === 0 ? {} : { quotient: own / value }),
    };
  });
  return { work: `${work}${what}`, threads: asked, unit, results };
}

/** The rows of one question: the speed, and where they tell it, the memory. `group` begins with lowrank. */
export function rowsOf(group: readonly Measured[], peak: Peak | null): Row[] {
  const { asked, answers } = group[0] as Measured;
  const { unit, peakRssBytes } = answers[0] as Answer;
  const gflops = median(answers.map((answer) => answer.gflops ?? Number.NaN));
  const most = asked === 1 ? peak?.peak1 : peak?.peak2;
  const speed: Row = { ...rowOf(group, unit, "", ({ value }) => value), ...(most === undefined ? {} : { shareOfPeak: gflops / most }) };
  if (peakRssBytes === undefined) return [speed];
  return [speed, rowOf(group, "GB", ", memory", (answer) => (answer.peakRssBytes as number) / 1e9)];
}

const absent = "–";

/** A table in Markdown: work, threads, unit, lowrank and each contender, lowrank's share of the peak, and its value divided by each contender's. */
export function table({ rows }: Report): string {
  const contenders = [...new Set(rows.flatMap(({ results }) => results.map(({ contender }) => contender)))].filter((name) => name !== "lowrank");
  const head = ["work", "threads", "unit", "lowrank", ...contenders, "share of peak", ...contenders.map((name) => `× ${name}`)];
  const body = rows.map(({ work, threads, unit, results, shareOfPeak }) => {
    const find = (name: string): Result | undefined => results.find(({ contender }) => contender === name);
    const shown = (name: string): string => {
      const result = find(name);
      if (result === undefined) return absent;
      return `${result.value.toPrecision(3)}${result.threads === threads ? "" : ` (${result.threads} thread)`}`;
    };
    const quotients = contenders.map((name) => find(name)?.quotient?.toFixed(2) ?? absent);
    return [work, String(threads), unit, shown("lowrank"), ...contenders.map(shown), shareOfPeak?.toFixed(3) ?? absent, ...quotients];
  });
  const widths = head.map((title, i) => Math.max(...[head, ...body].map((row) => (row[i] ?? title).length)));
  const line = (cells: readonly string[]): string => `| ${cells.map((cell, i) => cell.padEnd(widths[i] as number)).join(" | ")} |`;
  return [line(head), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...body.map(line)].join("\n");
}

/** What a reader must know beside the table; every contender that is missing, and how to install it. */
export function footnotes({ cpu, commit, date, rounds, peak, unavailable, versions }: Report): string[] {
  const peakLine =
    peak === null
      ? "share of peak: not measured; build the native benchmark with a peak: npm run bench -- peak"
      : `peak: ${peak.peak1.toFixed(1)} GFLOP/s on one thread, ${peak.peak2.toFixed(1)} on two; ${peak.copy2.toFixed(1)} GB/s copied, ${peak.read2.toFixed(1)} GB/s read`;
  const listed = (found: Readonly<Record<string, string>>): string =>
    Object.entries(found)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ");
  return [
    `× is lowrank divided by the contender: above 1 lowrank is faster (of GB, less is better). Medians of ${rounds} rounds in fresh processes.`,
    peakLine,
    `${cpu}, ${date}, commit ${commit}`,
    ...Object.entries(versions).map(([contender, found]) => `${contender}: ${listed(found)}`),
    ...unavailable.map(({ contender, unavailable: why, remedy }) => `${contender} is missing: ${why}. To add it: ${remedy}`),
  ];
}
