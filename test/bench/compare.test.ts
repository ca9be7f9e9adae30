import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { main } from "../../bench/compare.js";
import type { Answer } from "../../bench/contenders/answer.js";
import { allPrograms, type Program } from "../../bench/contenders/programs.js";
import { footnotes, isPeak, type Measured, medianPeak, type Report, rowsOf, table } from "../../bench/contenders/report.js";

const answer = (contender: string, value: number, more: Partial<Answer> = {}): Answer => ({
  contender,
  work: "gemm 512x576x1536",
  threads: 1,
  unit: "GFLOP/s",
  value,
  samples: 9,
  gflops: value,
  versions: { [contender]: "1.2.3" },
  ...more,
});
const peak = { peak1: 100, peak2: 180, copy2: 20, read2: 30 };

describe("the report", () => {
  const asked = (list: readonly Answer[], threads: number): Measured => ({ work: list[0]?.work ?? "", asked: threads, answers: list });
  const products = (threads: number): Measured[] => [
    asked(
      [80, 90, 10].map((value) => answer("lowrank", value, { threads })),
      threads,
    ),
    asked(
      [40, 41, 39].map((value) => answer("other", value, { errorOfBound: value / 100 })),
      threads,
    ),
  ];
  const step = { work: "lora-step", threads: 2, unit: "tokens/s" } as const;
  const steps = [
    asked([answer("lowrank", 200, { ...step, gflops: 120, peakRssBytes: 1.5e9, losses: [10.9, 10.8] })], 2),
    asked([answer("peft", 100, { ...step, peakRssBytes: 3e9, losses: [10.9, 10.8] })], 2),
  ];
  const report: Report = {
    cpu: "Some CPU",
    date: "2026-01-02",
    commit: "abc",
    rounds: 3,
    peak,
    rows: [...rowsOf(products(1), peak), ...rowsOf(products(2), peak), ...rowsOf(steps, peak)],
    losses: {},
    versions: { lowrank: { lowrank: "0.1.0", node: "20" } },
    unavailable: [{ contender: "absent", unavailable: "it is not installed", remedy: "install it" }],
  };

  it("takes medians over rounds, keeps the rounds, and divides", () => {
    expect(rowsOf(products(2), peak)).toEqual([
      {
        work: "gemm 512x576x1536",
        threads: 2,
        unit: "GFLOP/s",
        results: [
          { contender: "lowrank", threads: 2, value: 80, rounds: [80, 90, 10] },
          { contender: "other", threads: 1, value: 40, rounds: [40, 41, 39], errorOfBound: 0.41, quotient: 2 },
        ],
        shareOfPeak: 80 / 180,
      },
    ]);
    expect(rowsOf(products(1), null)[0]).not.toHaveProperty("shareOfPeak");
    expect(medianPeak([peak, { ...peak, peak1: 104 }])).toEqual({ ...peak, peak1: 102 });
    expect(medianPeak([])).toBeNull();
  });

  it("is a table with a share of the peak, a quotient for each contender, and memory where it is told", () => {
    expect(table(report).split("\n")).toEqual([
      "| work              | threads | unit     | lowrank | other           | peft | share of peak | × other | × peft |",
      "|-------------------|---------|----------|---------|-----------------|------|---------------|---------|--------|",
      "| gemm 512x576x1536 | 1       | GFLOP/s  | 80.0    | 40.0            | –    | 0.800         | 2.00    | –      |",
      "| gemm 512x576x1536 | 2       | GFLOP/s  | 80.0    | 40.0 (1 thread) | –    | 0.444         | 2.00    | –      |",
      "| lora-step         | 2       | tokens/s | 200     | –               | 100  | 0.667         | –       | 2.00   |",
      "| lora-step, memory | 2       | GB       | 1.50    | –               | 3.00 | –             | –       | 0.50   |",
    ]);
  });

  it("names the peak, versions, and what is missing", () => {
    const lines = footnotes(report);
    expect(lines).toContain("absent is missing: it is not installed. To add it: install it");
    expect(lines).toContain("lowrank: lowrank 0.1.0, node 20");
    expect(lines).toContain("peak: 100.0 GFLOP/s on one thread, 180.0 on two; 20.0 GB/s copied, 30.0 GB/s read");
    expect(footnotes({ ...report, peak: null })).toContainEqual(expect.stringMatching(/share of peak: not measured; build/));
    expect(isPeak({ peak1: 100, peak2: 0, copy2: 1, read2: 1 })).toBe(false);
    expect(isPeak({ peak1: 100 })).toBe(false);
    expect(isPeak(peak)).toBe(true);
  });
});

describe("npm run compare", () => {
  let folder: string;
  const printed: string[] = [];
  const complaints: string[] = [];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "lowrank-compare-test-"));
    vi.spyOn(console, "log").mockImplementation((text: string) => printed.push(text));
    vi.spyOn(console, "error").mockImplementation((text: string) => complaints.push(text));
  });
  beforeEach(() => {
    printed.length = 0;
    complaints.length = 0;
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await rm(folder, { recursive: true, force: true });
  });

  const words = ["gemm", "1536", "--threads", "1", "--rounds", "2"];
  const says = (contender: string, script: string): Program => ({ contender, kind: "gemm", command: () => [process.execPath, "-e", script] });
  const tells = (told: object): string => `console.log(${JSON.stringify(JSON.stringify(told))})`;
  const lowrank = says("lowrank", tells(answer("lowrank", 80)));
  const child = fileURLToPath(new URL("../children/missing-contender.ts", import.meta.url));
  const missing: Program = { contender: "nobody", kind: "gemm", command: () => [process.execPath, "--import", "tsx", child] };

  it("asks everybody in every round, names who is missing, and writes JSON", async () => {
    const json = join(folder, "report.json");
    const programs = [lowrank, missing, says("other", tells(answer("other", 50)))];
    expect(await main([...words, "--json", json], programs), complaints.join("\n")).toBe(0);
    expect(printed.join()).toMatch(/\| gemm 512x576x1536 \| 1 +\| GFLOP\/s \| 80\.0 +\| 50\.0 +\|/);
    expect(printed.join()).toMatch(
      /nobody is missing: the package a-package-that-nobody-has-installed is not installed\. To add it: npm install --prefix bench\/contenders/,
    );
    const report = JSON.parse(await readFile(json, "utf8")) as Report;
    expect(report).toMatchObject({
      cpu: expect.any(String),
      date: expect.stringMatching(/^\d{4}-\d\d-\d\d$/),
      commit: expect.stringMatching(/^[0-9a-f]{40}/),
      rounds: 2,
      versions: { lowrank: { lowrank: "1.2.3" }, other: { other: "1.2.3" } },
      unavailable: [{ contender: "nobody" }],
    });
    expect(report.rows[0]?.results).toMatchObject([
      { contender: "lowrank", value: 80, rounds: [80, 80] },
      { contender: "other", value: 50, rounds: [50, 50], quotient: 1.6 },
    ]);
    expect(report).toHaveProperty("peak");
  });

  it.each<[what: string, program: Program, complaint: RegExp]>([
    ["a wrong answer", says("other", 'console.error("wrong answer: y[0, 0] is 1"); process.exit(1)'), /other, gemm .*ended with 1\nwrong answer/],
    ["an end by a signal", says("other", 'process.kill(process.pid, "SIGKILL")'), /ended with SIGKILL/],
    ["no line", says("other", ""), /expected one line of JSON/],
    ["more than a line", says("other", `console.log("hello");${tells(answer("other", 1))}`), /expected one line of JSON/],
    ["more threads than asked for", says("other", tells(answer("other", 1, { threads: 2 }))), /computed with 2 threads, asked for were 1/],
    ["no number", says("other", tells({ ...answer("other", 1), value: null })), /its value is null/],
    ["another's work", says("other", tells(answer("other", 1, { work: "lora-step" }))), /answers for another/],
    ["other losses", says("other", tells(answer("other", 1, { losses: [10.9, 10.6] }))), /wrong answer: .*losses of other 10\.9, 10\.6/],
  ])("ends with exit code 1 on %s", async (_, program, complaint) => {
    const own = says("lowrank", tells(answer("lowrank", 80, { losses: [10.9, 10.5] })));
    expect(await main(words, [own, program])).toBe(1);
    expect(complaints.join("\n")).toMatch(complaint);
    expect(printed).toEqual([]);
  });

  it.each([
    [["convolution"], /no work holds the words convolution; the works are gemm 1024x1024x1024/],
    [["gemm", "--rounds", "0"], /--rounds is a whole number from 1; found 0/],
    [["gemm", "--threads", "3"], /--threads is 1, 2 or both; found 3/],
    [["gemm", "--thread", "1"], /--thread/],
  ])("refuses %j", async (argv, complaint) => {
    expect(await main(argv, [lowrank])).toBe(1);
    expect(complaints.join("\n")).toMatch(complaint);
  });

  it("names the way to a Python with PEFT", () => {
    vi.stubEnv("LOWRANK_PYTHON", "");
    const peft = allPrograms.find(({ contender }) => contender === "peft");
    expect(peft?.command()).toMatchObject({ contender: "peft", unavailable: /LOWRANK_PYTHON is not set/ });
    vi.unstubAllEnvs();
  });
});
