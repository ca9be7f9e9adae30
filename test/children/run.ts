/** @file Runs a script of this folder in a process of its own, where a test needs its own environment, memory or end. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

export interface Ended {
  /** The exit code; null when a signal ended the process. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export const pathOf = (script: string): string => fileURLToPath(new URL(script, import.meta.url));

/** A worker that runs a script of this folder with `data` as workerData.data. */
export const startWorker = (script: string, data?: unknown): Worker =>
  new Worker(pathOf("worker.mjs"), { workerData: { script: new URL(script, import.meta.url).href, data } });

export async function runChild(script: string, env: Readonly<Record<string, string>> = {}, args: readonly string[] = []): Promise<Ended> {
  const child = spawn(process.execPath, ["--import", "tsx", "--expose-gc", pathOf(script), ...args], {
    env: { ...process.env, NODE_OPTIONS: "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout, stderr };
}

/** What a script printed as one line of JSON. Fails with its output when it did not end well. */
export async function answerOf<T>(script: string, env: Readonly<Record<string, string>> = {}, args: readonly string[] = []): Promise<T> {
  const { code, signal, stdout, stderr } = await runChild(script, env, args);
  if (code !== 0) throw new Error(`${script} ended with ${signal ?? code}\n${stdout}${stderr}`);
  return JSON.parse(stdout) as T;
}
