/**
 * @file Reads tokenizer.json (the format of the `tokenizers` library, version 1.0). The vocabulary and the merges, nearly all of the
 * file, are walked without building a tree. Everything that the tokenizer relies on is checked here, so that later code need not.
 */
import { checkJson, JsonCursor, type JsonRules, type JsonValue, jsonError, plainValue, readNode } from "../io/json-scanner.js";
import type { ErrorCode } from "../native/error-codes.js";
import { type LowrankError, quoted } from "../native/errors.js";
import { type AddedTokenList, readAddedTokens } from "./added-tokens.js";
import { idLimit } from "./bpe.js";
import { Component } from "./components.js";
import type { ModelSpec } from "./model.js";
import { TokenTable } from "./token-table.js";
import { Trie } from "./trie.js";

/** tokenizer.json of Gemma 3 has 33 MB. */
export const maxTokenizerBytes = 128 * 1024 * 1024;
const maxTokens = 1_000_000;
const maxMerges = 2_000_000;
/** The longest tokens of published vocabularies have some 128 characters. */
const maxTokenLength = 1024;
/** Unigram segmentation looks for tokens at every character. */
const maxPieceLength = 256;

/** A checked tokenizer.json. */
export interface TokenizerJson {
  readonly table: TokenTable;
  readonly model: ModelSpec;
  readonly addedTokens: AddedTokenList;
  /** Absent where the file has null. */
  readonly normalizer: Component | undefined;
  readonly preTokenizer: Component | undefined;
  readonly postProcessor: Component | undefined;
  readonly decoder: Component | undefined;
}

/** How the JSON of tokenizer files is read. */
export function tokenizerRules(path: string): JsonRules {
  return {
    path,
    codes: {
      syntax: "TOKENIZER_BAD_JSON",
      duplicate: "TOKENIZER_DUPLICATE_KEY",
      depth: "TOKENIZER_NESTING",
      utf8: "TOKENIZER_BAD_JSON",
      longKey: "TOKENIZER_TOO_LARGE",
      manyKeys: "TOKENIZER_TOO_LARGE",
    },
    // The tokens, and the keys around them.
    maxKeys: maxTokens + 1000,
    advice: "Download the file again from where the model came.",
  };
}

/** @throws LowrankError with a code that starts with TOKENIZER_, the file, the byte or the keys of the place, expected and actual */
export function readTokenizerJson(bytes: Uint8Array, path: string): TokenizerJson {
  const reader = new Reader(bytes, path);
  const sections = reader.sections();
  const component = (name: string): Component | undefined => {
    const value = sections.get(name) ?? null;
    return value === null ? undefined : new Component(path, name, value);
  };
  const model = reader.model();
  const { table } = reader;
  return {
    table,
    model,
    addedTokens: readAddedTokens(new Component(path, "added_tokens", sections.get("added_tokens") ?? [], "TOKENIZER_BAD_ADDED_TOKEN"), table),
    normalizer: component("normalizer"),
    preTokenizer: component("pre_tokenizer"),
    postProcessor: component("post_processor"),
    decoder: component("decoder"),
  };
}

/** Offsets of the parts of the model, by key. */
type Places = ReadonlyMap<string, number>;

class Reader {
  readonly table = new TokenTable();
  private readonly cursor: JsonCursor;
  private readonly rules: JsonRules;
  private places: Places = new Map();

  constructor(
    private readonly bytes: Uint8Array,
    private readonly path: string,
  ) {
    this.rules = tokenizerRules(path);
    this.cursor = new JsonCursor(checkJson(bytes, this.rules));
    if (this.cursor.kind() !== "object") throw this.fail("TOKENIZER_BAD_JSON", "the file is not a JSON object");
  }

  /** The values beside the model; the model's parts are only located. */
  sections(): Map<string, JsonValue> {
    const sections = new Map<string, JsonValue>();
    this.cursor.object((key) => {
      if (key === "model") this.places = this.locate();
      else sections.set(key, this.value());
    });
    if (this.places.size === 0) throw this.fail("TOKENIZER_BAD_JSON", 'the file has no object "model"', 0);
    return sections;
  }

  /** The model; its tokens go into the table. */
  model(): ModelSpec {
    const fields = Object.create(null) as { [key: string]: JsonValue };
    for (const [key, offset] of this.places) {
      if (key === "vocab" || key === "merges") continue;
      this.cursor.seek(offset);
      fields[key] = this.value();
    }
    const component = new Component(this.path, "model", fields);
    // Files of old versions have no type; only byte-pair encoding has merges.
    const type = fields["type"] ?? (this.places.has("merges") ? "BPE" : "unknown");
    if (type === "BPE") return this.bpe(component);
    if (type === "Unigram") return this.unigram(component);
    throw component.unsupported("model", ["BPE", "Unigram"], typeof type === "string" ? quoted(type) : "without a type");
  }

  private bpe(component: Component): ModelSpec {
    for (const name of ["continuing_subword_prefix", "end_of_word_suffix"]) {
      if ((component.field(name) ?? "") !== "") throw component.unsupported("model option", ["none of its kind"], name);
    }
    if ((component.field("dropout") ?? 0) !== 0) throw component.unsupported("model option", ["no dropout"], "dropout");
    this.readVocabulary();
    const { vocabulary } = this.table;
    const unknown = component.field("unk_token") ?? undefined;
    const unknownId = typeof unknown === "string" ? vocabulary.get(unknown) : undefined;
    if (unknown !== undefined && unknownId === undefined) throw component.bad("unk_token", "a token of the vocabulary", unknown);
    return {
      type: "BPE",
      merges: this.merges(),
      unknownId,
      byteFallback: component.flag("byte_fallback", false),
      fuseUnknown: component.flag("fuse_unk", false),
      ignoreMerges: component.flag("ignore_merges", false),
    };
  }

  private unigram(component: Component): ModelSpec {
    this.enter("vocab", "array", "TOKENIZER_BAD_VOCAB");
    const scores: number[] = [];
    let units = 0;
    this.cursor.array((id) => {
      if (id === maxTokens) throw this.fail("TOKENIZER_TOO_LARGE", `the vocabulary has more than ${maxTokens} tokens`);
      const offset = this.cursor.offset;
      const pair = this.value();
      const [token, score] = Array.isArray(pair) && pair.length === 2 ? pair : [];
      if (typeof token !== "string" || typeof score !== "number" || !Number.isFinite(score))
        throw this.fail("TOKENIZER_BAD_VOCAB", `model.vocab[${id}]: expected a token and its score`, offset);
      this.checkToken(token, offset, maxPieceLength);
      units += token.length;
      if (!Trie.accepts(units)) throw this.fail("TOKENIZER_TOO_LARGE", "the tokens are too long together", offset);
      if (this.table.vocabulary.has(token))
        throw this.fail("TOKENIZER_BAD_VOCAB", `model.vocab[${id}]: the token ${quoted(token)} stands twice`, offset);
      this.table.set(token, id);
      scores.push(score);
    });
    if (scores.length === 0) throw this.fail("TOKENIZER_BAD_VOCAB", "the vocabulary is empty");
    const unknownId = (component.field("unk_id") ?? null) === null ? undefined : component.integer("unk_id", scores.length);
    const byteFallback = component.flag("byte_fallback", false);
    return { type: "Unigram", scores: Float64Array.from(scores), unknownId, byteFallback };
  }

  private readVocabulary(): void {
    this.enter("vocab", "object", "TOKENIZER_BAD_VOCAB");
    const { vocabulary, tokens } = this.table;
    this.cursor.object((token, offset) => {
      if (vocabulary.size === maxTokens) throw this.fail("TOKENIZER_TOO_LARGE", `the vocabulary has more than ${maxTokens} tokens`, offset);
      const id = this.cursor.kind() === "number" ? this.cursor.number().integer : undefined;
      if (typeof id !== "number" || id < 0 || id >= idLimit)
        throw this.fail("TOKENIZER_BAD_VOCAB", `the id of the token ${quoted(token)} is not an integer from 0 to ${idLimit - 1}`, offset);
      const other = tokens[id];
      if (other !== undefined)
        throw this.fail("TOKENIZER_BAD_VOCAB", `the tokens ${quoted(other)} and ${quoted(token)} both have the id ${id}`, offset);
      this.checkToken(token, offset);
      this.table.set(token, id);
    });
  }

  private merges(): Int32Array {
    const { vocabulary } = this.table;
    this.enter("merges", "array", "TOKENIZER_BAD_MERGE");
    const merges: number[] = [];
    this.cursor.array((index) => {
      if (index === maxMerges) throw this.fail("TOKENIZER_TOO_LARGE", `the model has more than ${maxMerges} merges`);
      const offset = this.cursor.offset;
      const bad = (problem: string): LowrankError => this.fail("TOKENIZER_BAD_MERGE", `model.merges[${index}]: ${problem}`, offset);
      const [left, right, ...more] = this.mergeParts();
      if (left === undefined || right === undefined || more.length > 0) throw bad("expected two tokens");
      if (left === "" || right === "") throw bad("a token to merge is empty");
      for (const token of [left, right, left + right]) {
        const id = vocabulary.get(token);
        if (id === undefined) throw bad(`the token ${quoted(token)} is not in the vocabulary`);
        merges.push(id);
      }
    });
    return Int32Array.from(merges);
  }

  /** The parts of the merge that comes next: `"a b"` or `["a", "b"]`. */
  private mergeParts(): string[] {
    if (this.cursor.kind() === "string") return this.cursor.text().split(" ");
    const parts: string[] = [];
    if (this.cursor.kind() === "array") {
      this.cursor.array((k) => {
        if (k < 3) parts.push(this.cursor.kind() === "string" ? this.cursor.text() : "");
      });
    }
    return parts;
  }

  private checkToken(token: string, offset: number, limit = maxTokenLength): void {
    if (token.length <= limit) return;
    throw this.fail("TOKENIZER_TOO_LARGE", `a token has ${token.length} characters, more than ${limit}`, offset);
  }

  /** Stands before a part of the model. */
  private enter(name: string, kind: "array" | "object", code: ErrorCode): void {
    const place = this.places.get(name);
    if (place === undefined) throw this.fail(code, `the model has no ${kind} "${name}"`, 0);
    this.cursor.seek(place);
    if (this.cursor.kind() !== kind) throw this.fail(code, `model.${name} is not an ${kind}`);
  }

  private locate(): Places {
    const places = new Map<string, number>();
    if (this.cursor.kind() !== "object") throw this.fail("TOKENIZER_BAD_JSON", '"model" is not an object');
    this.cursor.object((key) => {
      places.set(key, this.cursor.offset);
    });
    return places;
  }

  /** Consumes the next value as a tree. */
  private value(): JsonValue {
    return plainValue(readNode(this.cursor));
  }

  private fail(code: ErrorCode, problem: string, offset = this.cursor.offset): LowrankError {
    return jsonError(this.bytes, this.rules, code, offset, problem);
  }
}
