/**
 * @file `npm run compare -- [words] [--rounds 3] [--threads 1|2|both] [--json FILE]`: lowrank beside other libraries. Words filter the works. Every
 * contender runs in fresh processes, all of them in turn, round by round. See bench/contenders/README.md.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { root } from "../scripts/files.mjs";
import type { Answer, Unavailable } from "./contenders/answer.js";
import { lossTolerance } from "./contenders/lora-step.js";
import { allPrograms, type Program, runProgram, type Work, works } from "./contenders/programs.js";
import { footnotes, isPeak, type Measured, medianPeak, type Peak, type Report, rowsOf, table } from "./contenders/report.js";

interface Options {
  readonly works: readonly Work[];
  readonly rounds: number;
  readonly threads: readonly number[];
  readonly json: string | undefined;
}

function optionsOf(argv: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { rounds: { type: "string", default: "3" }, threads: { type: "string", default: "both" }, json: { type: "string" } },
  });
  const wanted = works.filter(({ name }) => positionals.every((word) => name.includes(word)));
  if (wanted.length === 0)
    throw new Error(`no work holds the words ${positionals.join(" ")}; the works are ${works.map(({ name }) => name).join(", ")}`);
  const rounds = Number(values.rounds);
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new Error(`--rounds is a whole number from 1; found ${values.rounds}`);
  const threads = { "1": [1], "2": [2], both: [1, 2] }[values.threads];
  if (threads === undefined) throw new Error(`--threads is 1, 2 or both; found ${values.threads}`);
  return { works: wanted, rounds, threads, json: values.json };
}

/** One question to all contenders of a kind. */
interface Question {
  readonly work: Work;
  readonly threads: number;
  /** By contender, lowrank first: the first round keeps to the order of the programs. */
  readonly answers: Map<string, Answer[]>;
}

/** @throws Error where two libraries that made the same steps tell different losses. */
function compareLosses({ work, answers }: Question): void {
  const own = answers.get("lowrank")?.at(-1)?.losses;
  for (const [contender, list] of answers) {
    const losses = list.at(-1)?.losses;
    if (own === undefined || losses === undefined) continue;
    const same = losses.length === own.length && losses.every((loss, i) => Math.abs(loss - (own[i] as number)) <= lossTolerance);
    if (!same) throw new Error(`wrong answer: ${work.name}: losses of ${contender} ${losses.join(", ")}; of lowrank ${own.join(", ")}`);
  }
}

async function ask(question: Question, programs: readonly Program[], missing: Map<string, Unavailable>, folder: string): Promise<void> {
  const { work, threads, answers } = question;
  const args = work.kind === "lora-step" ? ["--model", folder] : [];
  for (const program of programs) {
    if (program.kind !== work.kind || missing.has(program.contender)) continue;
    const answer = await runProgram(program, work, threads, args);
    if ("unavailable" in answer) {
      missing.set(program.contender, answer);
      continue;
    }
    answers.set(program.contender, [...(answers.get(program.contender) ?? []), answer]);
    console.error(`${work.name}, ${threads} threads, ${program.contender}: ${answer.value.toPrecision(4)} ${answer.unit}`);
  }
  compareLosses(question);
}

/** The machine's own peak, by the native benchmark; undefined where it is not built or does not measure one. */
async function measurePeak(folder: string): Promise<Peak | undefined> {
  const bench = join(root, "build-native", "lowrank_bench");
  if (!existsSync(bench)) return undefined;
  const file = join(folder, "peak.json");
  execFileSync(bench, ["peak", "--json", file], { stdio: ["ignore", "ignore", "inherit"] });
  const found = JSON.parse(await readFile(file, "utf8")) as Partial<Peak>;
  return isPeak(found) ? { peak1: found.peak1, peak2: found.peak2, copy2: found.copy2, read2: found.read2 } : undefined;
}

function commitOf(): string {
  const git = (...args: readonly string[]): string => execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
  return `${git("rev-parse", "HEAD")}${git("status", "--porcelain") === "" ? "" : ", with changes"}`;
}

function reportOf(questions: readonly Question[], rounds: number, peak: Peak | null, unavailable: readonly Unavailable[]): Report {
  const groups = questions.map(({ work, threads, answers }) =>
    [...answers.values()].map((list): Measured => ({ work: work.name, asked: threads, answers: list })),
  );
  const last = questions.flatMap(({ answers }) => [...answers].map(([contender, list]) => [contender, list.at(-1) as Answer] as const));
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown processor",
    date: new Date().toISOString().slice(0, 10),
    commit: commitOf(),
    rounds,
    peak,
    rows: groups.flatMap((group) => rowsOf(group, peak)),
    losses: Object.fromEntries(last.flatMap(([contender, { losses }]) => (losses === undefined ? [] : [[contender, losses]]))),
    versions: Object.fromEntries(last.map(([contender, { versions }]) => [contender, versions])),
    unavailable,
  };
}

async function compare(options: Options, programs: readonly Program[], folder: string): Promise<Report> {
  const model = join(folder, "model");
  if (options.works.some(({ kind }) => kind === "lora-step")) {
    const program = ["--import", "tsx", join(root, "bench/lora-step.ts"), "--write", model, "--dtype", "f32"];
    execFileSync(process.execPath, program, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  }
  const questions = options.works.flatMap((work) => options.threads.map((threads): Question => ({ work, threads, answers: new Map() })));
  const missing = new Map<string, Unavailable>();
  const peaks: Peak[] = [];
  for (let round = 0; round < options.rounds; round++) {
    console.error(`round ${round + 1} of ${options.rounds}`);
    const peak = await measurePeak(folder);
    if (peak !== undefined) peaks.push(peak);
    for (const question of questions) await ask(question, round % 2 === 0 ? programs : [...programs].reverse(), missing, model);
  }
  return reportOf(questions, options.rounds, medianPeak(peaks), [...missing.values()]);
}

/** Prints the table and gives the exit code: 1 where an answer was wrong or a program failed. */
export async function main(argv: readonly string[], programs: readonly Program[] = allPrograms): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "lowrank-compare-"));
  try {
    const options = optionsOf(argv);
    const report = await compare(options, programs, folder);
    if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`);
    console.log([table(report), "", ...footnotes(report)].join("\n"));
    return 0;
  } catch (error) {
    console.error((error as Error).message);
    return 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  // The first interrupt ends the program that runs, and so this one, which then removes its folder.
  process.once("SIGINT", () => {});
  process.exitCode = await main(process.argv.slice(2));
}
