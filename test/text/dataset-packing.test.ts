/** @file Packing: first-fit in the order of the file, nothing lost, nothing split. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Packing } from "../../lib/text/dataset-packing.js";
import { type DatasetItem, ignoredLabel, renderExample, type Tokenizer } from "../../lib/text/index.js";
import { all, lines, packedLabels, tokenizerOf, withData } from "./dataset-kit.js";

/** The definition, slowly: each row goes into the first pack with room. */
function firstFit(lengths: readonly number[], capacity: number): number[][] {
  const packs: { rows: number[]; room: number }[] = [];
  lengths.forEach((length, row) => {
    const pack = packs.find(({ room }) => room >= length);
    if (pack === undefined) {
      packs.push({ rows: [row], room: capacity - length });
    } else {
      pack.rows.push(row);
      pack.room -= length;
    }
  });
  return packs.map(({ rows }) => rows);
}

function packed(lengths: readonly number[], capacity: number): Packing {
  const packing = new Packing(capacity, lengths.length);
  lengths.forEach((length, row) => packing.add(row, length));
  return packing;
}

const packsOf = (packing: Packing): number[][] => Array.from({ length: packing.length }, (_, pack) => packing.rows(pack));

describe("first-fit", () => {
  it("is the definition", () => {
    const capacity = fc.integer({ min: 2, max: 40 });
    const property = fc.property(
      capacity.chain((most) => fc.tuple(fc.constant(most), fc.array(fc.integer({ min: 1, max: most }), { maxLength: 200 }))),
      ([most, lengths]) => {
        const packing = packed(lengths, most);
        const expected = firstFit(lengths, most);
        expect(packsOf(packing)).toEqual(expected);
        expected.forEach((rows, pack) => expect(packing.tokens(pack)).toBe(rows.reduce((sum, row) => sum + (lengths[row] as number), 0)));
      },
    );
    fc.assert(property, { numRuns: 500 });
  });

  it("stays so when it outgrows its tables, several times", () => {
    const lengths = Array.from({ length: 9000 }, (_, i) => 1 + ((Math.imul(i, 2654435761) >>> 7) % 100));
    const packing = packed(lengths, 101);
    expect(packing.length).toBeGreaterThan(4096);
    expect(packing.rowCount).toBe(9000);
    expect(packsOf(packing)).toEqual(firstFit(lengths, 101));
    expect(packsOf(packed(new Array<number>(5000).fill(101), 101))).toEqual(Array.from({ length: 5000 }, (_, row) => [row]));
    expect(packsOf(packed(new Array<number>(5000).fill(1), 2 ** 31 - 1))).toEqual([Array.from({ length: 5000 }, (_, row) => row)]);
  });
});

/** The examples of a packed row. */
function unpacked({ tokens, labels, starts = [] }: DatasetItem): { tokens: number[]; labels: number[] }[] {
  return starts.map((start, k) => ({ tokens: tokens.slice(start, starts[k + 1]), labels: labels.slice(start, starts[k + 1]) }));
}

const exampleOf = (text: string, tokenizer: Tokenizer, maxLength: number): { tokens: number[]; labels: number[] } => {
  const { tokens, labels } = renderExample({ text }, tokenizer, { maxLength });
  return { tokens, labels: packedLabels(labels) };
};

describe("packed rows", () => {
  it("hold every example once, whole, in order, with the same labels", async () => {
    const tokenizer = await tokenizerOf();
    const texts = fc.array(fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }), { minLength: 1, maxLength: 40 });
    const property = fc.asyncProperty(texts, fc.integer({ min: 4, max: 80 }), async (written, maxLength) => {
      const examples = written.map((text) => exampleOf(text, tokenizer, maxLength));
      const expected = firstFit(
        examples.map(({ tokens }) => tokens.length),
        maxLength,
      ).map((rows) => rows.map((row) => examples[row]));
      await withData(lines(...written.map((text) => ({ text }))), { packing: true, maxLength }, async (data) => {
        const items = await all(data);
        expect(items.map(unpacked)).toEqual(expected);
        expect(data.examples).toBe(written.length);
        items.forEach(({ tokens, labels, starts = [] }, i) => {
          expect(tokens.length).toBeLessThanOrEqual(maxLength);
          expect(labels.length).toBe(tokens.length);
          expect(data.lengthOf(i)).toBe(tokens.length);
          expect(starts[0]).toBe(0);
          expect(starts.every((start) => labels[start] === ignoredLabel)).toBe(true);
        });
      });
    });
    await fc.assert(property, { numRuns: 100 });
  });

  it("are the same each time, and all rows are checked", async () => {
    const rows = Array.from({ length: 3000 }, (_, i) => (i === 2999 ? {} : { text: `row ${i} ${"and on ".repeat(i % 7)}` }));
    const read = () =>
      withData(lines(...rows), { packing: true, maxLength: 128, onBadRow: "skip" }, async (data) => ({ items: await all(data), ...data }));
    const [one, two] = [await read(), await read()];
    expect(one.items).toEqual(two.items);
    expect(one.items.reduce((sum, { starts = [] }) => sum + starts.length, 0)).toBe(2999);
    expect(one.skipped).toMatchObject({ count: 1, reasons: [{ line: 3000 }] });
  });

  it("show all their examples in a sample", async () => {
    await withData(lines({ text: "one two" }, { text: "x ".repeat(100) }, { text: "three four" }), { packing: true, maxLength: 32 }, async (data) => {
      expect(data.length).toBe(2);
      const sample = await data.sample(0, { color: false });
      expect(sample.match(/^row 0, line \d+: /gm)).toEqual(["row 0, line 1: ", "row 0, line 3: "]);
    });
  });
});
