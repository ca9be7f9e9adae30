/** @file Runs the program in a process of its own, on the fixture of a llama and a few rows of data. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import type { Context } from "../../lib/cli/context.js";
import { Interrupt } from "../../lib/cli/interrupt.js";
import { commands } from "../../lib/cli/options.js";
import type { Output } from "../../lib/cli/output.js";
import { type Arguments, checkGiven, readGiven } from "../../lib/cli/parse.js";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
export const main = path("../../lib/cli/main.ts");
export const model = path("../fixtures/llm/llama/model");
export const adapter = path("../fixtures/llm/llama/adapter-init");
export const trained = path("../fixtures/llm/llama/trained");

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** An event of --json. */
export interface Event {
  readonly type: string;
  readonly [key: string]: unknown;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Called with the process and everything that it has written to standard output so far, whenever it writes. */
  readonly onOutput?: (child: ChildProcess, stdout: string) => void;
}

export async function cli(args: readonly string[], { env = {}, input, onOutput }: RunOptions = {}): Promise<Ended> {
  const child = spawn(process.execPath, ["--import", "tsx", main, ...args], { env: { ...process.env, NODE_OPTIONS: "", ...env } });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    onOutput?.(child, stdout);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  child.stdin.end(input ?? "");
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout, stderr };
}

/** What a command makes of its arguments. */
export async function read(name: string, args: readonly string[]): Promise<Arguments> {
  const command = commands.find((candidate) => candidate.name === name) as (typeof commands)[number];
  return checkGiven(await readGiven(command, args)) as Arguments;
}

/** Runs a command in this process. */
export async function runHere(run: (context: Context) => Promise<void>, [name = "", ...rest]: readonly string[], output: Output): Promise<void> {
  const interrupt = new Interrupt();
  try {
    await run({ args: await read(name, rest), output, interrupt });
  } finally {
    interrupt.release();
  }
}

/** The events of a run that must end well. */
export async function events(args: readonly string[], options?: RunOptions): Promise<Event[]> {
  const { code, stdout, stderr } = await cli([...args, "--json"], options);
  if (code !== 0) throw new Error(`lowrank ${args.join(" ")} ended with ${code}\n${stdout}${stderr}`);
  return eventsOf(stdout);
}

/** Every line is one object with a type; anything else fails. */
export const eventsOf = (stdout: string): Event[] =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => {
      const event = JSON.parse(line) as Event;
      if (typeof event.type !== "string") throw new Error(`no event: ${line}`);
      return event;
    });

export const of = (all: readonly Event[], type: string): Event[] => all.filter((event) => event.type === type);

/** A folder for one test file, with rows to train. */
export function workFolder(): { readonly at: (name: string) => string; readonly data: string; readonly held: string } {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-cli-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string): string => join(folder, name);
  const row = (question: string, answer: string): object => ({
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ],
  });
  const lines = (rows: readonly object[]): string => rows.map((one) => `${JSON.stringify(one)}\n`).join("");
  const animals = ["cat", "dog", "bird", "fish", "cow"];
  const [data, held] = [at("rows.jsonl"), at("held.jsonl")];
  writeFileSync(
    data,
    lines([...animals.map((animal) => row(`Who is the ${animal}?`, `I am the ${animal}.`)), { prompt: "The cat ", completion: "sees." }]),
  );
  writeFileSync(held, lines([row("Who is the <b>mouse</b>?", "I am the mouse."), row("Who is the ant?", "I am the ant.")]));
  return { at, data, held };
}
