/** @file Runs one command: arguments in, exit code out. */
import { LowrankError, quoted, suggestion } from "../native/errors.js";
import { packageVersion } from "../native/load.js";
import type { Context } from "./context.js";
import { commandHelp, programHelp } from "./help.js";
import { Interrupt } from "./interrupt.js";
import { type CommandSpec, commands } from "./options.js";
import { Output, StandardStream } from "./output.js";
import { checkGiven, readGiven } from "./parse.js";
import { UsageError, withFlags } from "./usage.js";

/** Loaded when needed: `--help` loads no engine. */
const implementations: Readonly<Record<string, () => Promise<(context: Context) => Promise<void>>>> = {
  train: async () => (await import("./train.js")).trainCommand,
  eval: async () => (await import("./evaluate.js")).evaluateCommand,
  generate: async () => (await import("./generate.js")).generateCommand,
  inspect: async () => (await import("./inspect.js")).inspectCommand,
  merge: async () => (await import("./merge.js")).mergeCommand,
  bench: async () => (await import("./bench.js")).benchCommand,
};

/** Their work is in files: they go on when nobody reads what they say. */
const writing: readonly string[] = ["train", "merge"];

/**
 * Runs the command line.
 * @param args behind the program's name
 * @returns 0 done, 1 failed, 2 wrong usage, 130 or 143 interrupted
 */
export async function runCli(args: readonly string[]): Promise<number> {
  const [out, err] = [new StandardStream(process.stdout), new StandardStream(process.stderr)];
  // `lowrank … | head` closes the pipe: nobody is left to answer.
  if (!writing.includes(args.find((arg) => arg !== "--json") ?? "")) process.stdout.on("error", () => process.exit(out.isBroken ? 1 : 0));
  const output = new Output(args.includes("--json"), out, err);
  const interrupt = new Interrupt();
  try {
    await dispatch(args, output, interrupt);
    return interrupt.code ?? (out.isBroken ? 1 : 0);
  } catch (error) {
    if (interrupt.code !== undefined && isStop(error, interrupt)) {
      output.note("Interrupted.");
      output.event({ type: "interrupted" });
      return interrupt.code;
    }
    report(error, output);
    return error instanceof UsageError ? 2 : 1;
  } finally {
    interrupt.release();
  }
}

async function dispatch(args: readonly string[], output: Output, interrupt: Interrupt): Promise<void> {
  const [name, ...rest] = args[0] === "--json" ? [...args.slice(1), "--json"] : args;
  if (name === undefined) throw new UsageError("BAD_ARGUMENT", `Which command? One of ${commandNames.join(", ")}; lowrank --help says more.`);
  if (name === "--version") return say(output, "version", `${packageVersion}\n`);
  if (name === "--help" || name === "-h") return say(output, "help", programHelp(packageVersion));
  const command = commands.find((candidate) => candidate.name === name);
  if (command === undefined) throw unknownCommand(name);
  const given = await readGiven(command, rest);
  output.json = given.json;
  const parsed = checkGiven(given);
  if (parsed === "help") return say(output, "help", commandHelp(command));
  const run = await (implementations[name] as NonNullable<(typeof implementations)[string]>)();
  await run({ args: parsed, output, interrupt });
}

const commandNames = commands.map(({ name }: CommandSpec) => name);

function unknownCommand(name: string): UsageError {
  const what = name.startsWith("-") ? `there is no option ${name} before the command` : `there is no command ${quoted(name)}`;
  return new UsageError("UNKNOWN_OPTION", `lowrank: ${what}.${suggestion(name, commandNames) || ` Commands: ${commandNames.join(", ")}.`}`, {
    actual: name,
    expected: commandNames,
  });
}

function say(output: Output, type: "help" | "version", text: string): void {
  output.result(text);
  output.event({ type, text: text.trimEnd() });
}

/** What an interrupted command throws. */
const isStop = (error: unknown, { signal }: Interrupt): boolean =>
  error === signal.reason || (error instanceof LowrankError ? error.code === "ABORTED" : error instanceof Error && error.name === "AbortError");

function report(error: unknown, output: Output): void {
  if (error instanceof LowrankError) {
    const { code, details } = error;
    const message = withFlags(error.message);
    const hint = details.hint === undefined ? undefined : withFlags(details.hint);
    output.note(`${code}: ${message}${hint === undefined || message.includes(hint) ? "" : `\n${hint}`}`);
    output.event({ type: "error", code, message, ...(hint === undefined ? {} : { hint }) });
    return;
  }
  const unexpected = error instanceof Error ? error : new Error(String(error));
  output.note(`This is a bug in lowrank:\n${unexpected.stack ?? unexpected.message}`);
  output.event({ type: "error", code: null, message: unexpected.message });
}
