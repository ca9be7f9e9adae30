/** @file The tokenizer of a model: text to token ids and back, and where each token stands in the text. */
import { LowrankError, quoted } from "../native/errors.js";
import { AddedTokenFinder } from "./added-tokens.js";
import { Aligned } from "./aligned.js";
import { type ChatTemplateOptions, type ChatTemplates, type Message, renderChat } from "./chat-template.js";
import { createDecoder, type Decoder } from "./decoders.js";
import { createModel, Unencodable, type WordModel, type WordTokens } from "./model.js";
import { createNormalizer, type Normalizer } from "./normalizers.js";
import { readPostProcessor, type Surroundings } from "./post-processor.js";
import { createPreTokenizer, type PreTokenizer } from "./pre-tokenizers.js";
import type { TokenizerConfig } from "./tokenizer-config.js";
import type { TokenizerJson } from "./tokenizer-json.js";

/** UTF-16 units of one text. Regular expressions of JavaScript run out of their stack in runs of some 4 million. */
export const maxTextLength = 2 ** 21;

/** Token ids with the range of UTF-16 units `[starts[t], ends[t])` that each covers in the text. */
export interface Encoding {
  readonly ids: number[];
  /** Tokens of one character share its range; added special tokens have an empty one. Both lists never fall. */
  readonly starts: number[];
  readonly ends: number[];
}

export interface EncodeOptions {
  /** Add what the post-processor adds, BOS for instance; default true. */
  readonly addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out; default false. */
  readonly skipSpecialTokens?: boolean;
}

/**
 * A tokenizer of the Hugging Face format, made by {@link loadTokenizer}. It gives the ids of the `tokenizers` library (Rust), for
 * byte-pair encoding and unigram models. Immutable, but for a cache of words.
 */
export class Tokenizer {
  /** One more than the largest id; an embedding needs at least as many rows. */
  readonly vocabSize: number;
  /** Ids of the roles in tokenizer_config.json or special_tokens_map.json; undefined when no token has the role. */
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly padTokenId: number | undefined;
  readonly unkTokenId: number | undefined;
  /** The chat templates, by name; the usual one is "default". */
  readonly chatTemplates: ChatTemplates;
  /** Texts of the special tokens: those that `decode` leaves out with `skipSpecialTokens`. */
  readonly specialTokens: readonly string[];

  private readonly tokens: readonly (string | undefined)[];
  private readonly specialIds = new Set<number>();
  private readonly rawTokens: AddedTokenFinder;
  private readonly normalizedTokens: AddedTokenFinder;
  private readonly normalize: Normalizer | undefined;
  private readonly preTokenize: PreTokenizer | undefined;
  private readonly model: WordModel;
  private readonly surroundings: Surroundings;
  private readonly decoder: Decoder | undefined;
  private readonly roles: ReadonlyMap<string, string>;

  /** Use {@link loadTokenizer}. @throws LowrankError with a code that starts with TOKENIZER_ */
  constructor(json: TokenizerJson, config: TokenizerConfig) {
    this.normalize = json.normalizer && createNormalizer(json.normalizer);
    this.preTokenize = json.preTokenizer && createPreTokenizer(json.preTokenizer);
    this.decoder = json.decoder && createDecoder(json.decoder);
    this.model = createModel(json.table.vocabulary, json.model);

    const { table } = json;
    const added = json.addedTokens.list;
    const special = added.filter(({ special }) => special);
    for (const { id } of special) this.specialIds.add(id);
    this.specialTokens = special.map(({ content }) => content);
    this.tokens = table.tokens;
    this.vocabSize = table.tokens.length;

    const raw = added.filter(({ normalized }) => !normalized);
    const normalized = added.filter((token) => token.normalized);
    this.rawTokens = new AddedTokenFinder(raw.map((token) => [token.content, token]));
    this.normalizedTokens = new AddedTokenFinder(normalized.map((token) => [this.normalized(token.content).text, token]));
    this.surroundings = json.postProcessor
      ? readPostProcessor(json.postProcessor, (id) => table.tokens[id] !== undefined)
      : { before: [], after: [] };

    this.roles = config.roles;
    this.bosTokenId = config.roleId("bos_token", table);
    this.eosTokenId = config.roleId("eos_token", table);
    this.padTokenId = config.roleId("pad_token", table);
    this.unkTokenId = config.roleId("unk_token", table);
    this.chatTemplates = config.chatTemplates;
  }

  /**
   * Token ids of a text. Half a surrogate pair counts as U+FFFD. Time grows with the length of the text, n log n at worst.
   * @throws LowrankError TEXT_UNENCODABLE when a character has no token, BAD_ARGUMENT for more than 2^21 UTF-16 units
   */
  encode(text: string, options: EncodeOptions = {}): number[] {
    const ids: number[] = [];
    this.run(text, options, (id) => ids.push(id));
    return ids;
  }

  /** As {@link encode}, with the place of every token in the text. */
  encodeWithOffsets(text: string, options: EncodeOptions = {}): Encoding {
    const encoding: Encoding = { ids: [], starts: [], ends: [] };
    this.run(text, options, (id, start, end) => {
      encoding.ids.push(id);
      encoding.starts.push(start());
      encoding.ends.push(end());
    });
    return encoding;
  }

  /**
   * The text of token ids, with no clean-up of spaces. Ids that belong to no token (models often have more rows than the tokenizer
   * has tokens) stand for nothing. @throws LowrankError BAD_ARGUMENT when an id is not a non-negative integer
   */
  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const tokens = this.tokensOf(ids, options);
    return this.decoder === undefined ? tokens.join(" ") : this.decoder.decode(tokens).join("");
  }

  /** The string of a token as it stands in the vocabulary; undefined when no token has this id. */
  token(id: number): string | undefined {
    return this.tokens[id];
  }

  /** True for the tokens that `decode` leaves out with `skipSpecialTokens`. */
  isSpecial(id: number): boolean {
    return this.specialIds.has(id);
  }

  /** True for a token that exists and that `decode` does not leave out. @throws LowrankError BAD_ARGUMENT as {@link decode} */
  shows(id: number, { skipSpecialTokens = false }: DecodeOptions = {}): boolean {
    if (!Number.isSafeInteger(id) || id < 0)
      throw new LowrankError("BAD_ARGUMENT", `decode: ${String(id)} is not a token id; expected integers from 0.`, { actual: id });
    return this.tokens[id] !== undefined && !(skipSpecialTokens && this.specialIds.has(id));
  }

  /** True while the text of these tokens ends inside a character. */
  endsInsideCharacter(ids: readonly number[], options: DecodeOptions = {}): boolean {
    return this.decoder?.endsInside(this.tokensOf(ids, options)) ?? false;
  }

  /**
   * Renders a conversation by the chat template. Encode the result with `addSpecialTokens: false`: the template writes BOS itself.
   * @throws LowrankError TEMPLATE_MISSING, TEMPLATE_SYNTAX, TEMPLATE_RAISED, TEMPLATE_FAILED, TEMPLATE_LIMIT, BAD_ARGUMENT
   */
  applyChatTemplate(messages: readonly Message[], options: ChatTemplateOptions = {}): string {
    return renderChat(this.chatTemplates, this.roles, messages, options);
  }

  private tokensOf(ids: readonly number[], options: DecodeOptions): string[] {
    return ids.filter((id) => this.shows(id, options)).map((id) => this.tokens[id] as string);
  }

  /** @throws LowrankError BAD_ARGUMENT */
  private checked(text: string): string {
    if (typeof text === "string" && text.length <= maxTextLength) return text.toWellFormed();
    throw new LowrankError("BAD_ARGUMENT", `encode takes a text of at most ${maxTextLength} characters. Split it.`, { expected: maxTextLength });
  }

  /** Calls `found` for every token in order; the places are computed when asked for. */
  private run(text: string, options: EncodeOptions, found: (id: number, start: () => number, end: () => number) => void): void {
    const source = this.checked(text);
    const added = (options.addSpecialTokens ?? true) ? this.surroundings : undefined;
    for (const id of added?.before ?? []) found(id, zero, zero);
    for (const { token, start, end } of this.rawTokens.split(source)) {
      if (token === undefined) this.runSection(source, start, end, found);
      else
        found(
          token.id,
          () => start,
          () => end,
        );
    }
    const length = (): number => source.length;
    for (const id of added?.after ?? []) found(id, length, length);
  }

  private runSection(source: string, from: number, to: number, found: (id: number, start: () => number, end: () => number) => void): void {
    const section = Aligned.ofSource(source, from, to);
    const piece = this.normalize === undefined ? section : this.normalize(section);
    for (const { token, start, end } of this.normalizedTokens.split(piece.text)) {
      if (token !== undefined) {
        found(
          token.id,
          () => piece.sourceStart(start),
          () => piece.sourceEnd(end),
        );
        continue;
      }
      for (const word of this.words(piece.slice(start, end))) {
        const { ids, from, to } = this.tokensOfWord(word, source);
        for (let k = 0; k < ids.length; k++) {
          found(
            ids[k] as number,
            () => word.sourceStart(from[k] as number),
            () => word.sourceEnd(to[k] as number),
          );
        }
      }
    }
  }

  private tokensOfWord(word: Aligned, source: string): WordTokens {
    try {
      return this.model.encode(word.text);
    } catch (error) {
      throw error instanceof Unencodable ? unencodable(error.text, source, word.sourceStart(error.from)) : error;
    }
  }

  private words(piece: Aligned): Aligned[] {
    if (this.preTokenize === undefined) return [piece];
    const words: Aligned[] = [];
    this.preTokenize(piece, words);
    return words;
  }

  private normalized(content: string): Aligned {
    const piece = Aligned.ofSource(content, 0, content.length);
    return this.normalize === undefined ? piece : this.normalize(piece);
  }
}

const zero = (): number => 0;

function unencodable(character: string, source: string, unit: number): LowrankError {
  const place = [...source.slice(0, unit)].length + 1;
  const problem = `The text holds ${quoted(character)} (character ${place}), for which the tokenizer has no token, nor one for unknown characters.`;
  return new LowrankError("TEXT_UNENCODABLE", `${problem} Remove it from the text.`, { actual: character, character: place });
}
