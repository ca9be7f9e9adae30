/** @file What turns a word into tokens: byte-pair encoding, or a unigram model. */
import { codePointLength } from "./aligned.js";
import { BpeMerger } from "./bpe.js";
import { UnigramSegmenter } from "./unigram.js";

/** Tokens of one word. `from`, `to`: the UTF-16 units of the word that a token covers. Bytes of one character share its units. */
export interface WordTokens {
  readonly ids: readonly number[];
  readonly from: readonly number[];
  readonly to: readonly number[];
}

export interface WordModel {
  /** @throws Unencodable */
  encode(word: string): WordTokens;
}

interface BpeSpec {
  readonly type: "BPE";
  /** Flat triples: id of the left part, of the right part, of the result; the first has the highest priority. */
  readonly merges: Int32Array;
  readonly unknownId: number | undefined;
  readonly byteFallback: boolean;
  readonly fuseUnknown: boolean;
  /** A word that is a token is not split. */
  readonly ignoreMerges: boolean;
}

interface UnigramSpec {
  readonly type: "Unigram";
  /** Log probability of every token, by id. */
  readonly scores: Float64Array;
  readonly unknownId: number | undefined;
  readonly byteFallback: boolean;
}

export type ModelSpec = BpeSpec | UnigramSpec;

/** Tokens being collected, in order. */
class WordBuilder implements WordTokens {
  readonly ids: number[] = [];
  readonly from: number[] = [];
  readonly to: number[] = [];

  add(id: number, from: number, to: number): void {
    this.ids.push(id);
    this.from.push(from);
    this.to.push(to);
  }

  /** Stretches the last token, if it has this id and ends at `from`. */
  stretch(id: number, from: number, to: number): boolean {
    const last = this.ids.length - 1;
    if (this.ids[last] !== id || this.to[last] !== from) return false;
    this.to[last] = to;
    return true;
  }
}

/** How characters without a token are written: as bytes `<0x41>`, else as the unknown token. */
class UnknownCharacters {
  private readonly byteIds: readonly (number | undefined)[] | undefined;

  constructor(
    vocabulary: ReadonlyMap<string, number>,
    private readonly unknownId: number | undefined,
    private readonly fuse: boolean,
    byteFallback: boolean,
  ) {
    if (byteFallback) this.byteIds = Array.from({ length: 256 }, (_, byte) => vocabulary.get(byteToken(byte)));
  }

  add(tokens: WordBuilder, word: string, from: number, to: number): void {
    const text = word.slice(from, to);
    const ids = this.byteIds === undefined ? [undefined] : [...encoder.encode(text)].map((byte) => this.byteIds?.[byte]);
    if (ids.every((id) => id !== undefined)) {
      for (const id of ids) tokens.add(id, from, to);
      return;
    }
    if (this.unknownId === undefined) throw new Unencodable(text, from);
    if (!(this.fuse && tokens.stretch(this.unknownId, from, to))) tokens.add(this.unknownId, from, to);
  }
}

const encoder = new TextEncoder();

/** The token that stands for a byte in vocabularies with byte fallback. */
function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

/** A character has no token, and there is none for unknown ones. */
export class Unencodable extends Error {
  constructor(
    readonly text: string,
    /** Its first unit in the word. */
    readonly from: number,
  ) {
    super();
  }
}

/** Words whose tokens are remembered, and the longest such word. */
const cachedWords = 16_384;
const cachedLength = 64;

/** Byte-pair encoding (Sennrich et al. 2016) as the `tokenizers` library does it. */
class BpeModel implements WordModel {
  private readonly merger: BpeMerger;
  private readonly unknown: UnknownCharacters;
  private readonly cache = new Map<string, WordTokens>();

  constructor(
    private readonly vocabulary: ReadonlyMap<string, number>,
    private readonly spec: BpeSpec,
  ) {
    this.merger = new BpeMerger(spec.merges);
    this.unknown = new UnknownCharacters(vocabulary, spec.unknownId, spec.fuseUnknown, spec.byteFallback);
  }

  encode(word: string): WordTokens {
    if (word.length > cachedLength) return this.split(word);
    const cached = this.cache.get(word);
    if (cached !== undefined) return cached;
    const tokens = this.split(word);
    if (this.cache.size === cachedWords) this.cache.clear();
    this.cache.set(word, tokens);
    return tokens;
  }

  private split(word: string): WordTokens {
    const whole = this.spec.ignoreMerges ? this.vocabulary.get(word) : undefined;
    if (whole !== undefined) return { ids: [whole], from: [0], to: [word.length] };
    const symbols = new WordBuilder();
    for (let unit = 0; unit < word.length; ) {
      const end = unit + codePointLength(word, unit);
      const id = this.vocabulary.get(word.slice(unit, end));
      if (id !== undefined) symbols.add(id, unit, end);
      else this.unknown.add(symbols, word, unit, end);
      unit = end;
    }
    return this.merger.merge(symbols);
  }
}

/** A unigram model (Kudo 2018) as the `tokenizers` library does it. */
class UnigramModel implements WordModel {
  private readonly segmenter: UnigramSegmenter;
  private readonly unknown: UnknownCharacters;

  constructor(vocabulary: ReadonlyMap<string, number>, spec: UnigramSpec) {
    this.segmenter = new UnigramSegmenter(vocabulary, spec.scores);
    this.unknown = new UnknownCharacters(vocabulary, spec.unknownId, true, spec.byteFallback);
  }

  encode(word: string): WordTokens {
    const tokens = new WordBuilder();
    this.segmenter.segment(word, (id, from, to) => {
      if (id !== undefined) tokens.add(id, from, to);
      else this.unknown.add(tokens, word, from, to);
    });
    return tokens;
  }
}

/** The model of a validated tokenizer.json. */
export function createModel(vocabulary: ReadonlyMap<string, number>, spec: ModelSpec): WordModel {
  return spec.type === "BPE" ? new BpeModel(vocabulary, spec) : new UnigramModel(vocabulary, spec);
}
