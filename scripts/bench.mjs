/**
 * @file `npm run bench -- [words] [--against openblas,onednn] [--processes 3] [--rounds 9] [--json FILE]`: builds the native benchmark with
 * CMake and runs it in fresh processes, for one group of rows after the other, turn by turn with the libraries that it is to be compared
 * with: what else goes on in the machine while a group is measured, all of them meet. Medians over the processes.
 * Words filter its rows (bench/native/README.md).
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { root } from "./files.mjs";

/** @typedef {{ name: string, shape: string, form: string, dtype: string, threads: number, medianNs: number, limitedBy: string, share: number,
 *   gflops?: number, gigabytesPerSecond?: number, comparedWith?: string, timeQuotient?: number, limit?: number }} Row */
/** @typedef {{ cpu: string, backend: string, version: string, peak1: number, peak2: number, read1: number, read2: number, copy1: number,
 *   copy2: number, rows: Row[] }} Run */

const { values, positionals: words } = parseArgs({
  allowPositionals: true,
  options: {
    against: { type: "string", default: "" },
    processes: { type: "string", default: "1" },
    rounds: { type: "string", default: "9" },
    json: { type: "string" },
  },
});
const contenders = values.against.split(",").filter((name) => name !== "");

for (const name of /** @type {const} */ (["processes", "rounds"])) {
  if (/^[1-9]\d*$/.test(values[name])) continue;
  console.error(`--${name} is a whole number from 1; found ${values[name]}`);
  process.exit(2);
}

/** @param {string} command @param {string[]} args */
function must(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

/** @param {readonly number[]} numbers */
function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = 0, high = 0] = [sorted[sorted.length % 2 === 0 ? middle - 1 : middle], sorted[middle]];
  return (low + high) / 2;
}

/** @param {Row} row */
const keyOf = ({ name, shape, form, dtype, threads }) => [name, shape, form, dtype, `x${threads}`].join(" ");

must("cmake", ["-S", ".", "-B", "build-native", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]);
must("cmake", ["--build", "build-native", "--parallel", String(availableParallelism()), "--target", "lowrank_bench"]);

const program = join(root, "build-native", "lowrank_bench");

/** @param {string} contender */
const backendOf = (contender) => (contender === "" ? [] : ["--backend", contender]);

/** The keys of the groups that a contender has rows of. @param {string} contender */
function groupsOf(contender) {
  const { status, stdout } = spawnSync(program, [...words, "--list", ...backendOf(contender)], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) process.exit(status ?? 1);
  return stdout.split("\n").filter((key) => key !== "");
}

/** The runs of each contender, each with the rows of one group; lowrank's own under "". @type {Map<string, Run[]>} */
const runs = new Map(["", ...contenders].map((name) => [name, []]));
const groups = new Map([...runs.keys()].map((name) => [name, new Set(groupsOf(name))]));
const folder = mkdtempSync(join(tmpdir(), "lowrank-bench-"));
try {
  // Without a group the program still measures the machine.
  const wanted = [...(groups.get("") ?? [])];
  for (const group of wanted.length > 0 ? wanted : [words.join(" ")]) {
    for (let turn = 0; turn < Number(values.processes); turn++) {
      for (const [contender, list] of runs) {
        if (contender !== "" && !groups.get(contender)?.has(group)) continue;
        const file = join(folder, `${contender}.json`);
        must(program, [group, "--rounds", values.rounds, "--json", file, ...backendOf(contender)]);
        list.push(JSON.parse(readFileSync(file, "utf8")));
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}

const own = runs.get("") ?? [];
const machine = Object.fromEntries(
  ["peak1", "peak2", "read1", "read2", "copy1", "copy2"].map((rate) => {
    const all = [...runs.values()].flat();
    return [rate, median(all.map((run) => Number(run[/** @type {keyof Run} */ (rate)])))];
  }),
);

/** A row in each process of a contender. @param {string} contender @param {string} key */
const rowsOf = (contender, key) => (runs.get(contender) ?? []).flatMap(({ rows }) => rows.filter((row) => keyOf(row) === key));

const firsts = new Map(own.flatMap(({ rows }) => rows.map((row) => /** @type {const} */ ([keyOf(row), row]))));
const table = [...firsts].map(([key, first]) => {
  const all = rowsOf("", key);
  const ownTimes = all.map(({ medianNs }) => medianNs);
  // Limits that are measured beside another library's rows do not count: its threads may still spin.
  const limit = machine[`${first.limitedBy}${first.threads}`] ?? 0;
  /** @param {number} ns */
  const shareAt = (ns) => ((first.gflops ?? first.gigabytesPerSecond ?? 0) * first.medianNs) / ns / limit;
  const against = Object.fromEntries(
    contenders.flatMap((contender) => {
      const times = rowsOf(contender, key).map(({ medianNs }) => medianNs);
      const ratios = times.map((time, i) => time / (ownTimes[i] ?? Number.NaN));
      return times.length === 0 ? [] : [[contender, { medianNs: median(times), share: shareAt(median(times)), times: median(ratios) }]];
    }),
  );
  const quotients = all.flatMap(({ timeQuotient }) => (timeQuotient === undefined ? [] : [timeQuotient]));
  return {
    ...{ row: key, medianNs: median(ownTimes), limitedBy: first.limitedBy, share: median(all.map(({ share }) => share)), against },
    ...(first.comparedWith === undefined ? {} : { comparedWith: first.comparedWith, timeQuotient: median(quotients), limit: first.limit }),
  };
});

const versions = Object.fromEntries([...runs].map(([name, [run]]) => [name || "lowrank", name === "" ? run?.backend : run?.version]));
console.log(
  `\n${own[0]?.cpu}: ${Object.entries(machine)
    .map(([name, rate]) => `${name} ${rate.toFixed(1)}`)
    .join(", ")} (GFLOP/s, GB/s)`,
);
for (const { row, medianNs, share, limitedBy, against, timeQuotient, limit } of table) {
  const others = Object.entries(against).map(([name, other]) => `  ${name} ${other.share.toFixed(3)}, ${other.times.toFixed(2)} x`);
  const quotient = timeQuotient === undefined ? "" : `  quotient ${timeQuotient.toFixed(3)}${limit === undefined ? "" : ` of ${limit.toFixed(3)}`}`;
  console.log(`${row.padEnd(52)} ${(medianNs / 1e6).toFixed(3).padStart(10)} ms  ${share.toFixed(3)} of ${limitedBy}${others.join("")}${quotient}`);
}

if (values.json !== undefined) {
  const commit = spawnSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" }).stdout.trim();
  const result = { cpu: own[0]?.cpu, date: new Date().toISOString().slice(0, 10), commit, processes: Number(values.processes), versions, machine };
  writeFileSync(values.json, `${JSON.stringify({ ...result, rows: table }, null, 1)}\n`);
}
