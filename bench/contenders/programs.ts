/** @file The works of `npm run compare`, the programs that do them, and how one is run: in a fresh process that prints one line. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { root } from "../../scripts/files.mjs";
import { type Answer, type Unavailable, unavailableStatus } from "./answer.js";

export interface Work {
  readonly kind: "gemm" | "lora-step";
  readonly name: string;
  readonly args: readonly string[];
}

const gemm = (...sizes: readonly number[]): Work => ({ kind: "gemm", name: `gemm ${sizes.join("x")}`, args: ["gemm", ...sizes.map(String)] });

/** M, N, K of the products. The last one is a projection of SmolLM2-135M over 512 tokens. */
export const works: readonly Work[] = [
  gemm(1024, 1024, 1024),
  gemm(2048, 2048, 2048),
  gemm(512, 576, 1536),
  { kind: "lora-step", name: "lora-step", args: [] },
];

export interface Program {
  readonly contender: string;
  readonly kind: Work["kind"];
  /** The command: a file and its arguments; or why there is none. */
  command(): readonly [file: string, ...args: string[]] | Unavailable;
}

const node = (contender: string, kind: Work["kind"], script: string, ...args: readonly string[]): Program => ({
  contender,
  kind,
  command: () => [process.execPath, "--import", "tsx", join(root, "bench", script), ...args],
});

/** lowrank first: the others are compared with it. */
export const allPrograms: readonly Program[] = [
  node("lowrank", "gemm", "gemm.ts"),
  node("onnxruntime-node", "gemm", "contenders/onnxruntime.ts"),
  node("tfjs-wasm", "gemm", "contenders/tfjs-wasm.ts"),
  node("jax-js", "gemm", "contenders/jax-js.ts"),
  node("lowrank", "lora-step", "lora-step.ts", "--json", "--dtype", "f32"),
  {
    contender: "peft",
    kind: "lora-step",
    command: () => {
      const python = process.env["LOWRANK_PYTHON"];
      if (python) return [python, join(root, "bench/contenders/peft_step.py")];
      const remedy = "pip install -r bench/contenders/requirements.txt in a virtual environment, and LOWRANK_PYTHON=its python";
      return { contender: "peft", unavailable: "LOWRANK_PYTHON is not set", remedy };
    },
  },
];

interface Ended {
  /** The exit code, or the signal or the system's error that ended it. */
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

function run(file: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(file, args, { cwd: root, env: { ...process.env, ...env }, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : (error.code ?? error.signal ?? error.message);
      resolve({ status, stdout, stderr });
    });
  });
}

/** What is wrong with an answer, or undefined. */
function complaint(answer: Partial<Answer>, program: Program, work: Work, threads: number): string | undefined {
  if (answer.contender !== program.contender || answer.work !== work.name) return "it answers for another contender or work";
  if (!Number.isInteger(answer.threads) || (answer.threads as number) < 1 || (answer.threads as number) > threads)
    return `it computed with ${answer.threads} threads, asked for were ${threads}`;
  if (!Number.isFinite(answer.value) || (answer.value as number) <= 0) return `its value is ${answer.value}`;
  return undefined;
}

/**
 * Runs a program in a fresh process. `args` come after those of the work.
 * @throws Error when it fails (a wrong answer is a failure), or prints anything but one fitting line.
 */
export async function runProgram(program: Program, work: Work, threads: number, args: readonly string[]): Promise<Answer | Unavailable> {
  const command = program.command();
  if ("unavailable" in command) return command;
  const [file, ...own] = command;
  const all = [...own, ...work.args, "--threads", String(threads), ...args];
  const { status, stdout, stderr } = await run(file, all, { LOWRANK_NUM_THREADS: String(threads) });
  const fail = (what: string): never => {
    throw new Error(`${program.contender}, ${work.name}, ${threads} threads: ${what}\n${stderr.trim().slice(-2000)}`);
  };
  if (status !== 0 && status !== unavailableStatus) return fail(`${file} ended with ${status}`);
  const lines = stdout.trim().split("\n");
  if (lines.length !== 1 || !lines[0]?.startsWith("{")) return fail(`expected one line of JSON on stdout, found ${JSON.stringify(stdout)}`);
  const line = JSON.parse(lines[0]) as Answer | Unavailable;
  if (status === unavailableStatus) return line as Unavailable;
  const wrong = complaint(line as Answer, program, work, threads);
  return wrong === undefined ? (line as Answer) : fail(wrong);
}
