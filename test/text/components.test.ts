/**
 * @file Every component of docs/text.md against the tokenizers library (Rust): ids and places over nasty texts, and what decoders make of
 * tokens. The cases are made by scripts/make-tokenizer-fixture.py.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Component } from "../../lib/text/components.js";
import { createDecoder } from "../../lib/text/decoders.js";
import { loadTokenizer, type Tokenizer } from "../../lib/text/index.js";

type Json = Record<string, unknown>;
type Expected = readonly [ids: number[], starts: number[], ends: number[]];

interface Fixture {
  readonly versions: { readonly tokenizers: string };
  readonly texts: string[];
  readonly models: Record<"BPE" | "Unigram", Json>;
  readonly cases: { name: string; model: "BPE" | "Unigram"; change: Json; parts: Json; texts: Expected[] }[];
  readonly tokenLists: string[][];
  readonly decoders: { name: string; decoder: Json; texts: (string | null)[] }[];
}

const { versions, texts, models, cases, tokenLists, decoders } = JSON.parse(
  readFileSync(new URL("../fixtures/text/components.json", import.meta.url), "utf8"),
) as Fixture;

const load = (model: Json, parts: Json): Promise<Tokenizer> => loadTokenizer({ "tokenizer.json": JSON.stringify({ ...parts, model }) });

type Place = readonly [start: number, end: number];

/** Tokens that stand for nothing in the text: the library puts them all to the front. */
const placeOf = (start: number, end: number): Place => (start === end ? [0, 0] : [start, end]);

/** In code points, as the library counts, from UTF-16 units. */
function placesOf(starts: readonly number[], ends: readonly number[], text: string): Place[] {
  const count = (unit: number): number => [...text.slice(0, unit)].length;
  return starts.map((start, t) => placeOf(count(start), count(ends[t] as number)));
}

const isInside = ([start, end]: Place, [from, to]: Place = [0, 0]): boolean => from <= start && end <= to;

/** Bytes of unknown characters: the library gives each the place of the whole run. */
const finer = /^Unigram with byte fallback$| with Unigram$/;
/** What Unicode normalization changes: the library often leaves out what was joined or moved. */
const coarser = /NF(K?)[CD]/;

it("the cases were made by the version that docs/text.md names", () => {
  expect(versions.tokenizers).toMatch(/^0\.23\./);
});

describe.each(cases)("$name", ({ name, model, change, parts, texts: expected }) => {
  it.each(texts.map((text, k) => [text, expected[k] as Expected] as const))("%j", async (text, [ids, starts, ends]) => {
    const tokenizer = await load({ ...models[model], ...change }, parts);
    const made = tokenizer.encodeWithOffsets(text);
    expect(made.ids.map((id) => tokenizer.token(id))).toEqual(ids.map((id) => tokenizer.token(id)));
    expect(made.ids).toEqual(ids);
    const ours = placesOf(made.starts, made.ends, text);
    const theirs = starts.map((start, t) => placeOf(start, ends[t] as number));
    if (finer.test(name) && coarser.test(name)) return;
    if (finer.test(name)) ours.forEach((place, t) => expect(isInside(place, theirs[t])).toBe(true));
    else if (coarser.test(name)) theirs.forEach((place, t) => expect(isInside(place, ours[t])).toBe(true));
    else expect(ours).toEqual(theirs);
  });
});

describe.each(decoders)("decoder $name", ({ decoder, texts: expected }) => {
  it.each(tokenLists.map((tokens, k) => [tokens, expected[k] ?? null] as const).filter(([, text]) => text !== null))("%j", (tokens, text) => {
    expect(
      createDecoder(new Component("tokenizer.json", "decoder", decoder as never))
        .decode(tokens)
        .join(""),
    ).toBe(text);
  });
});
