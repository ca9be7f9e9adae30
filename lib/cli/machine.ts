/** @file What this machine offers, and why lowrank uses what it uses. Mirrors native/core/thread_count.cpp and cpu_features.cpp, to explain them. */
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { requestedBackend, requestedBudget, requestedThreads } from "../native/env.js";
import { packageVersion } from "../native/load.js";
import { deviceInfo, memory } from "../tensor/device.js";
import { bytesText, plural } from "./format.js";

export interface Machine {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly cpu: string;
  readonly backend: {
    readonly name: string;
    readonly reason: string;
    readonly available: readonly string[];
    readonly unavailable: readonly Unavailable[];
  };
  readonly threads: { readonly count: number; readonly reason: string; readonly logicalProcessors: number };
  readonly memory: { readonly budgetBytes: number; readonly reason: string; readonly totalBytes: number; readonly limitBytes: number | null };
  readonly devices: readonly { readonly name: string; readonly available: boolean; readonly reason: string }[];
}

interface Unavailable {
  readonly name: string;
  readonly reason: string;
}

/** Instruction sets of x86-64 that have kernels, the best last, and the flags that each needs. */
const instructionSets: readonly (readonly [name: string, flags: readonly string[]])[] = [
  ["avx2", ["avx", "avx2", "fma", "f16c"]],
  ["avx512", ["avx2", "fma", "f16c", "avx512f", "avx512dq", "avx512bw", "avx512vl"]],
];

/** @throws LowrankError NATIVE_BINARY_MISSING, BACKEND_UNKNOWN, … */
export function machine(): Machine {
  const { backend, backends, cpu, threads } = deviceInfo();
  const { budgetBytes } = memory().cpu;
  const limit = process.constrainedMemory?.() ?? 0;
  const total = totalmem();
  return {
    version: packageVersion,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    cpu,
    backend: { name: backend, reason: backendReason(backend), available: backends, unavailable: unavailable(backends) },
    threads: { count: threads, reason: threadReason(threads), logicalProcessors: cpus().length },
    memory: {
      budgetBytes,
      reason: budgetReason(total, limit),
      totalBytes: total,
      limitBytes: limit > 0 && limit < total ? limit : null,
    },
    devices: [
      { name: "cpu", available: true, reason: "always" },
      { name: "cuda", available: false, reason: `version ${packageVersion} has no CUDA kernels` },
    ],
  };
}

/** For people. */
export function machineRows(found: Machine): [name: string, value: string][] {
  const { backend, threads, memory: held, devices } = found;
  return [
    ["version", `${found.version}, Node ${found.node}, ${found.platform}`],
    ["cpu", found.cpu],
    ["backend", `${backend.name}: ${backend.reason}\navailable: ${backend.available.join(", ")}`],
    ...backend.unavailable.map(({ name, reason }): [string, string] => ["", `not available: ${name} (${reason})`]),
    ["threads", `${threads.count}: ${threads.reason}`],
    ["memory budget", `${bytesText(held.budgetBytes)}: ${held.reason}`],
    ...devices.map(({ name, available, reason }, i): [string, string] => [
      i === 0 ? "devices" : "",
      available ? name : `not available: ${name} (${reason})`,
    ]),
  ];
}

const backendReason = (backend: string): string =>
  requestedBackend() === undefined ? "the best that this machine has" : `asked for by LOWRANK_BACKEND=${backend}`;

function unavailable(backends: readonly string[]): Unavailable[] {
  if (process.arch !== "x64") return [{ name: "faster kernels", reason: `there are none for ${process.arch} yet; the portable ones run` }];
  const flags = processorFlags();
  return instructionSets
    .filter(([name]) => !backends.includes(name))
    .map(([name, needed]) => {
      const lacking = needed.filter((flag) => flags !== undefined && !flags.has(flag));
      return { name, reason: lacking.length > 0 ? `the processor lacks ${lacking.join(", ")}` : "the processor or the operating system lacks it" };
    });
}

function processorFlags(): ReadonlySet<string> | undefined {
  const line = /^flags\s*:(.*)$/m.exec(textOf("/proc/cpuinfo"))?.[1];
  return line === undefined ? undefined : new Set(line.trim().split(/\s+/));
}

function budgetReason(total: number, limit: number): string {
  const requested = requestedBudget();
  if (requested !== undefined) return `LOWRANK_MEMORY_BUDGET=${requested}`;
  return limit > 0 && limit < total
    ? `80 % of the ${bytesText(limit)} that the control group allows (the machine has ${bytesText(total)})`
    : `80 % of the machine's ${bytesText(total)}`;
}

function threadReason(threads: number): string {
  const requested = requestedThreads();
  if (requested !== undefined) return `LOWRANK_NUM_THREADS=${requested}`;
  const logical = cpus().length;
  const allowed = availableParallelism();
  const cores = physicalCores();
  const quota = quotaLimit();
  const parts = [
    `${plural(logical, "logical processor")}`,
    ...(allowed < logical ? [`${allowed} of them in the affinity mask or the quota`] : []),
    ...(cores === undefined ? [] : [`${plural(cores, "physical core")} among those allowed`]),
    ...(quota === undefined ? [] : [`the control group's quota is ${quota} of them`]),
  ];
  const decisive =
    quota !== undefined && quota === threads && (cores === undefined || quota < cores) ? "the control group's quota" : "the physical cores";
  return `${decisive} (${parts.join("; ")})`;
}

/** Distinct (package, core) pairs among the processors that this process may use; Linux. */
function physicalCores(): number | undefined {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(textOf("/proc/self/status"))?.[1];
  if (list === undefined) return undefined;
  const processors = list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  const cores = processors.map((cpu) => {
    const folder = `/sys/devices/system/cpu/cpu${cpu}/topology`;
    const core = textOf(`${folder}/core_id`).trim();
    return core === "" ? `cpu ${cpu}` : `${textOf(`${folder}/physical_package_id`).trim()}/${core}`;
  });
  return new Set(cores).size;
}

/** The smallest quota from this process's control group up to the root, in whole processors; undefined: no limit. */
function quotaLimit(): number | undefined {
  const groups = textOf("/proc/self/cgroup").trim().split("\n");
  const limits = groups.flatMap((line) => {
    const [, controllers = "", group = ""] = /^[^:]*:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === "") return upwards(group, (at) => quotaOf(...firstTwo(textOf(`/sys/fs/cgroup${at}/cpu.max`))));
    if (!controllers.split(",").includes("cpu")) return [];
    const v1 = (at: string, name: string): number => Number.parseFloat(textOf(`/sys/fs/cgroup/cpu${at}/cpu.cfs_${name}_us`));
    return upwards(group, (at) => quotaOf(v1(at, "quota"), v1(at, "period")));
  });
  return limits.length === 0 ? undefined : Math.min(...limits);
}

function upwards(group: string, limitAt: (group: string) => number | undefined): number[] {
  const limits: (number | undefined)[] = [];
  for (let at = group === "/" ? "" : group; ; at = at.slice(0, at.lastIndexOf("/"))) {
    limits.push(limitAt(at));
    if (at === "" || !at.includes("/")) break;
  }
  return limits.filter((limit) => limit !== undefined);
}

const firstTwo = (text: string): [number, number] => {
  const [quota, period] = text.trim().split(/\s+/).map(Number);
  return [quota ?? Number.NaN, period ?? Number.NaN];
};

const quotaOf = (quota: number, period: number): number | undefined =>
  quota > 0 && period > 0 ? Math.max(1, Math.floor(quota / period)) : undefined;

/** A file of the system, which may not exist. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
