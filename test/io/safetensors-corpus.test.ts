/** @file Every malformed file of the corpus gives its exact code, in a process with little memory; sweeps and mutations never escape. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseSafetensors } from "../../lib/io/safetensors.js";
import { dtypeBytes } from "../../lib/io/safetensors-dtype.js";
import { LowrankError } from "../../lib/native/errors.js";
import { allMutations, bitFlips, randomNumbers } from "./mutations.js";
import { sha256, tensorLines, verdicts } from "./reference-verdicts.js";
import { file, safetensorsCases, seeds } from "./safetensors-cases.js";

interface Outcome {
  path: string;
  code: string;
  message: string;
  details: Record<string, unknown>;
  warnings: number;
  polluted: boolean;
  grown: number;
}

const run = promisify(execFile);
const loader = new URL("load-corpus.ts", import.meta.url).pathname;
const large = new Set(["S77", "S80", "S99", "S100", "S101"]);
const outcomes = new Map<string, Outcome>();
const sizes = new Map<string, number>();
let folder = "";

async function loadInChild(ids: string[]): Promise<void> {
  const paths = ids.map((id) => join(folder, `${id}.safetensors`));
  const { stdout } = await run(process.execPath, ["--max-old-space-size=256", "--import", "tsx", loader, ...paths], { maxBuffer: 1e8 });
  for (const line of stdout.trim().split("\n")) {
    const outcome = JSON.parse(line) as Outcome;
    outcomes.set(basename(outcome.path, ".safetensors"), outcome);
  }
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-corpus-"));
  for (const { id, bytes } of safetensorsCases) {
    const content = bytes();
    sizes.set(id, content.length);
    await writeFile(join(folder, `${id}.safetensors`), content);
  }
  const small = safetensorsCases.map(({ id }) => id).filter((id) => !large.has(id));
  await loadInChild(small);
  for (const id of large) await loadInChild([id]);
}, 300_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

describe("the corpus", () => {
  test("has the cases S01 to S102", () => {
    expect(safetensorsCases.map(({ id }) => id)).toEqual(Array.from({ length: 102 }, (_, i) => `S${String(i + 1).padStart(2, "0")}`));
  });

  test.each(safetensorsCases)("$id $note: $expect", ({ id, expect: code, warnings, details, mentions }) => {
    const outcome = outcomes.get(id) as Outcome;
    expect(outcome.code, outcome.message).toBe(code);
    expect(outcome.polluted).toBe(false);
    if (code === "ok") expect(outcome.warnings).toBe(warnings);
    if (code !== "ok") {
      expect(outcome.message.startsWith(`${id}.safetensors: `)).toBe(true);
      expect(outcome.message).not.toContain(folder);
      expect(outcome.message.length).toBeLessThan(1000);
      expect(outcome.details).toMatchObject({ file: `${id}.safetensors`, path: join(folder, `${id}.safetensors`), ...details });
      for (const text of mentions ?? []) expect(outcome.message).toContain(text);
    }
  });

  test.each(safetensorsCases)("$id needs memory for at most twice the file and 64 MB", ({ id }) => {
    expect((outcomes.get(id) as Outcome).grown).toBeLessThan(2 * (sizes.get(id) as number) + 64 * 1024 * 1024);
  });

  test.each(safetensorsCases)("$id: the reference reader says $reference", ({ id, bytes, reference }) => {
    const recorded = verdicts.cases[id];
    expect(recorded?.sha256).toBe(sha256(bytes()));
    expect(recorded?.verdict).toBe(reference);
  });
});

/** The outcome for a file in memory: a code, or "ok" after checking what every loaded file must satisfy. */
function verdict(bytes: Uint8Array): string {
  try {
    const parsed = parseSafetensors(bytes, "mutated.safetensors");
    checkInvariants(bytes, [...parsed.tensors.values()]);
    return "ok";
  } catch (error) {
    if (!(error instanceof LowrankError)) throw error;
    expect(error.message.startsWith("mutated.safetensors: ")).toBe(true);
    return error.code;
  }
}

/** The tensors' ranges are disjoint, in bounds and cover the data; each is as long as shape and dtype say. */
function checkInvariants(
  bytes: Uint8Array,
  tensors: { dtype: keyof typeof dtypeBytes; shape: readonly number[]; bytes: number; offset: number }[],
): void {
  let position = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  for (const { dtype, shape, bytes: size, offset } of tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    expect(offset).toBe(position);
    expect(BigInt(size)).toBe(shape.reduce((product, dim) => product * BigInt(dim), BigInt(dtypeBytes[dtype])));
    position += size;
  }
  expect(position).toBe(bytes.length);
}

describe("sweeps", () => {
  test("the seeds are valid", () => {
    for (const seed of seeds) expect(verdict(seed)).toBe("ok");
  });

  test("every proper prefix of a valid file is an error", () => {
    for (const seed of seeds) {
      for (let length = 0; length < seed.length; length++) expect(verdict(seed.slice(0, length)), `${length} bytes`).not.toBe("ok");
    }
  });

  test("every flipped bit of a header gives a sound file or an error of ours", () => {
    const counts = new Map<string, number>();
    for (const mutated of bitFlips()) {
      const outcome = verdict(mutated);
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    }
    expect(counts.get("ok")).toBeGreaterThan(50);
    expect(counts.size).toBeGreaterThan(12);
  });

  test("random bytes are an error", () => {
    const random = randomNumbers(5);
    for (let k = 0; k < 2000; k++) {
      const header = Uint8Array.from({ length: random() % 40 }, () => random());
      expect(verdict(file(header, ""))).not.toBe("ok");
      expect(verdict(header)).not.toBe("ok");
    }
  });
});

describe("against the reference reader", () => {
  const mutations = allMutations();

  test("the recorded verdicts belong to these mutations", () => {
    const length = (bytes: Uint8Array): Uint8Array => new Uint8Array(Uint32Array.of(bytes.length).buffer);
    expect(mutations.length).toBe(verdicts.mutations.count);
    expect(sha256(...mutations.flatMap((bytes) => [length(bytes), bytes]))).toBe(verdicts.mutations.sha256);
  });

  test("what we accept, it accepts with the same tensors; what only it accepts breaks one of our stated rules", () => {
    const stricter = new Set(["ST_DUPLICATE_KEY", "ST_BAD_NAME", "ST_SHAPE_OVERFLOW", "ST_TOO_MANY_DIMS"]);
    const unexplained: string[] = [];
    for (const [index, bytes] of mutations.entries()) {
      const theirs = verdicts.mutations.accepted[index];
      const ours = verdict(bytes);
      if (ours === "ok" && theirs !== sha256(Buffer.from(tensorLines(bytes).join("\n"))).slice(0, 16))
        unexplained.push(`${index}: only we accept it, or with other tensors`);
      if (ours !== "ok" && theirs !== undefined && !stricter.has(ours))
        unexplained.push(`${index}: ${ours}: ${Buffer.from(bytes).toString("latin1")}`);
    }
    expect(unexplained).toEqual([]);
  });
});
