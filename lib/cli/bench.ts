/** @file lowrank bench: how near the kernels come to what this machine can do. Every answer is compared with float64 before its clock starts. */
import { abortable, type Guard } from "../native/abort.js";
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { profile } from "../tensor/device.js";
import { tensorsIn, tidy } from "../tensor/scope.js";
import { mismatch } from "./bench-exact.js";
import { limits, productRows } from "./bench-products.js";
import type { Limit, Prepared, Row } from "./bench-row.js";
import { transformerRows } from "./bench-transformer.js";
import type { Context } from "./context.js";
import { numberText, percentText } from "./format.js";
import { machine } from "./machine.js";
import { UsageError } from "./usage.js";

export const benchCommand = (context: Context): Promise<void> => bench(context, [...productRows, ...transformerRows]);

/** Measures groups of rows; those of a group take turns. @throws LowrankError WRONG_ANSWER, ABORTED, OUT_OF_MEMORY; UsageError BAD_ARGUMENT */
export async function bench({ args, output, interrupt }: Context, groups: readonly (readonly Row[])[]): Promise<void> {
  const words = args.positionals.map((word) => word.toLowerCase());
  const chosen = groups.map((group) => group.filter(({ key }) => words.every((word) => key.toLowerCase().includes(word))));
  const keys = chosen.flat().map(({ key }) => key);
  if (keys.length === 0) {
    const known = groups.flat().map(({ key }) => key);
    const message = `lowrank bench: no row has all of "${words.join(" ")}" in its name. There are:\n${known.join("\n")}`;
    throw new UsageError("BAD_ARGUMENT", message, { actual: words, expected: known });
  }
  if (args.flag("list")) {
    for (const key of keys) output.event({ type: "row", key });
    return output.result(`${keys.join("\n")}\n`);
  }
  const [found, rounds, column] = [machine(), args.number("rounds") ?? 5, Math.max(...keys.map((key) => key.length))];
  output.event({ type: "machine", ...found });
  output.result(`${found.backend.name}, ${found.threads.count} threads of ${found.cpu}; shares are medians of ${rounds} rounds\n`);
  const guard = abortable(interrupt.signal);
  const rates: Rates = { peak: [], read: [], copy: [] };
  try {
    for (const group of chosen.filter(({ length }) => length > 0)) {
      for (const measured of await measure(group, rounds, guard, rates)) {
        output.event({ type: "row", ...measured });
        output.result(line(measured, column));
      }
    }
  } catch (error) {
    throw guard.explain(error);
  } finally {
    guard.release();
  }
  const reached = Object.entries(rates).flatMap(([limit, all]) => (all.length > 0 ? [[limit as Limit, median(all)] as const] : []));
  output.event({ type: "done", rows: keys.length, rounds, limits: Object.fromEntries(reached) });
  for (const [limit, rate] of reached) output.result(`${limit.padEnd(column)}  ${" ".repeat(12)}${rateText(limit, rate)}\n`);
}

/** FLOPs or bytes a second. */
type Rates = Readonly<Record<Limit, number[]>>;

interface Measured {
  readonly key: string;
  readonly ns: number;
  readonly perSecond: number;
  readonly limit: Limit;
  readonly share: number;
  /** Its time divided by that of what it is compared with. */
  readonly quotient: number | null;
}

async function measure(group: readonly Row[], rounds: number, guard: Guard, rates: Rates): Promise<Measured[]> {
  const prepared: Prepared[] = [];
  try {
    const best = new Map<Limit, () => Promise<number>>();
    for (const { limit } of group) {
      if (best.has(limit)) continue;
      const run = await ready(limits[limit], prepared, guard);
      best.set(limit, async () => (1e9 * limits[limit].work) / Math.min(...(await sample(run, 3, guard))));
    }
    const rows = [];
    for (const row of group) {
      const run = await ready(row, prepared, guard);
      const plain = row.plain && (await ready(row.plain, prepared, guard));
      rows.push({ row, run, plain, times: [] as number[], shares: [] as number[], quotients: [] as number[] });
    }
    for (let round = 0; round < rounds; round++) {
      for (const [limit, rate] of best) rates[limit].push(await rate());
      for (const { row, run, plain, times, shares, quotients } of rows) {
        const ns = await timeOf(run, guard);
        times.push(ns);
        shares.push((1e9 * row.work) / ns / (rates[row.limit].at(-1) as number));
        if (plain !== undefined) quotients.push(ns / (await timeOf(plain, guard)));
      }
    }
    return rows.map(({ row: { key, limit, work }, times, shares, quotients }) => {
      const [ns, share, quotient] = [median(times), median(shares), quotients.length > 0 ? median(quotients) : null];
      return { key, ns, perSecond: (1e9 * work) / ns, limit, share, quotient };
    });
  } finally {
    for (const made of tensorsIn(prepared)) made.dispose();
  }
}

/** Makes the tensors of a row, runs it once, and checks its answers. */
async function ready({ key, prepare }: Row, all: Prepared[], guard: Guard): Promise<() => void> {
  const prepared = engine().as(guard.owner, () => tidy(() => prepare(engine().kernels)));
  all.push(prepared);
  engine().as(guard.owner, prepared.run);
  for (const one of prepared.answers) {
    const wrong = await mismatch(one);
    guard.check();
    if (wrong !== undefined) throw new LowrankError("WRONG_ANSWER", `${key}: ${wrong}`, { op: key });
  }
  return prepared.run;
}

/** Nanoseconds of each command of some runs, on the native thread. */
async function sample(run: () => void, runs: number, guard: Guard): Promise<number[]> {
  const rows = await profile(() => engine().as(guard.owner, () => Array.from({ length: runs }, run)));
  guard.check();
  return rows.map(({ ns }) => ns);
}

/** Of one run, in a sample of about 15 ms. */
async function timeOf(run: () => void, guard: Guard): Promise<number> {
  const [first = 0] = await sample(run, 1, guard);
  const runs = Math.min(1000, Math.ceil(15e6 / Math.max(1, first)));
  return (await sample(run, runs, guard)).reduce((sum, ns) => sum + ns, 0) / runs;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] as number) + (sorted[Math.ceil(middle)] as number)) / 2;
}

const rateText = (limit: Limit, perSecond: number): string =>
  `${numberText(perSecond / 1e9, 3).padStart(6)} ${limit === "peak" ? "GFLOP/s" : "GB/s"}`;

function line({ key, ns, perSecond, limit, share, quotient }: Measured, column: number): string {
  const compared = quotient === null ? "" : `, ${numberText(quotient, 3)} of the plain layer's time`;
  return `${key.padEnd(column)}  ${numberText(ns / 1e6, 3).padStart(7)} ms  ${rateText(limit, perSecond).padEnd(16)}${percentText(share)} of ${limit}${compared}\n`;
}
