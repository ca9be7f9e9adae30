/**
 * @file A byte-level byte-pair encoding: learnt from texts (Sennrich et al. 2016, arXiv:1508.07909, on bytes as in GPT-2), and written as a
 * tokenizer.json. The result depends on nothing but the texts and the size.
 */

/** The special tokens, ids from 0. */
export const specialTokens = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"] as const;
export const [endOfText, userTurn, assistantTurn, endOfTurn] = [0, 1, 2, 3] as const;

/** How GPT-2 cuts a text into words. */
const wordPattern = /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Every byte as a printable character, as GPT-2 writes tokens. */
const byteCharacters: readonly string[] = (() => {
  const isPrintable = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++));
})();

const spelled = (word: string): string[] => [...Buffer.from(word, "utf8")].map((byte) => byteCharacters[byte] as string);

type Merge = readonly [left: string, right: string];

export class BytePairEncoding {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #cache = new Map<string, readonly number[]>();

  constructor(readonly merges: readonly Merge[]) {
    const tokens = [...specialTokens, ...[...byteCharacters].sort(), ...merges.map(([left, right]) => left + right)];
    this.vocabulary = new Map(tokens.map((token, id) => [token, id]));
    this.#ranks = new Map(merges.map(([left, right], rank) => [`${left} ${right}`, rank]));
  }

  /** Learns merges until there are `size` tokens: always the most frequent pair, among equals the first in the order of code points. */
  static learn(texts: Iterable<string>, size: number): BytePairEncoding {
    const counts = new Map<string, number>();
    for (const text of texts) for (const [word] of text.matchAll(wordPattern)) counts.set(word, (counts.get(word) ?? 0) + 1);
    const words = [...counts].map(([word, count]) => ({ symbols: spelled(word), count }));
    const merges: Merge[] = [];
    const made = new Set<string>();
    while (specialTokens.length + byteCharacters.length + merges.length < size) {
      const best = mostFrequentPair(words, made);
      if (best === undefined) break;
      merges.push(best);
      made.add(best[0] + best[1]);
      for (const word of words) word.symbols = merged(word.symbols, best);
    }
    return new BytePairEncoding(merges);
  }

  get size(): number {
    return this.vocabulary.size;
  }

  /** The ids of a text without special tokens. */
  encode(text: string): number[] {
    return [...text.matchAll(wordPattern)].flatMap(([word]) => this.#encodeWord(word));
  }

  #encodeWord(word: string): readonly number[] {
    const known = this.#cache.get(word);
    if (known !== undefined) return known;
    let symbols = spelled(word);
    for (;;) {
      let best: Merge | undefined;
      let bestRank = Number.POSITIVE_INFINITY;
      for (let i = 0; i + 1 < symbols.length; i++) {
        const pair = [symbols[i], symbols[i + 1]] as const as Merge;
        const rank = this.#ranks.get(pair.join(" ")) ?? Number.POSITIVE_INFINITY;
        if (rank < bestRank) [best, bestRank] = [pair, rank];
      }
      if (best === undefined) break;
      symbols = merged(symbols, best);
    }
    const ids = symbols.map((symbol) => this.vocabulary.get(symbol) as number);
    this.#cache.set(word, ids);
    return ids;
  }

  /** The contents of tokenizer.json, in the format of the `tokenizers` library. */
  toJson(): string {
    const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
    const [first] = specialTokens;
    const json = {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: specialTokens.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: first, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
        pair: [
          { SpecialToken: { id: first, type_id: 0 } },
          { Sequence: { id: "A", type_id: 0 } },
          { SpecialToken: { id: first, type_id: 0 } },
          { Sequence: { id: "B", type_id: 0 } },
        ],
        special_tokens: { [first]: { id: first, ids: [endOfText], tokens: [first] } },
      },
      decoder: byteLevel,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(this.vocabulary),
        merges: this.merges,
      },
    };
    return `${JSON.stringify(json, undefined, 1)}\n`;
  }
}

function mostFrequentPair(
  words: readonly { readonly symbols: readonly string[]; readonly count: number }[],
  made: ReadonlySet<string>,
): Merge | undefined {
  const counts = new Map<string, number>();
  for (const { symbols, count } of words) {
    for (let i = 0; i + 1 < symbols.length; i++) {
      const pair = `${symbols[i]} ${symbols[i + 1]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best: string | undefined;
  let most = 0;
  for (const [pair, count] of counts) {
    if (count < most || (count === most && best !== undefined && pair >= best)) continue;
    // The same token by another way would stand in the vocabulary twice.
    if (made.has(pair.replace(" ", ""))) continue;
    [best, most] = [pair, count];
  }
  return best?.split(" ") as unknown as Merge | undefined;
}

function merged(symbols: readonly string[], [left, right]: Merge): string[] {
  const result: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === left && symbols[i + 1] === right) {
      result.push(left + right);
      i++;
    } else result.push(symbols[i] as string);
  }
  return result;
}

/** Turns as the training rows have them; the answer of the model ends with the token of the end of a turn. */
export const chatTemplate = `{{- bos_token -}}
{%- for message in messages -%}
{%- if message['role'] not in ['user', 'assistant'] -%}
{{- raise_exception('The roles of this model are user and assistant, found ' ~ message['role']) -}}
{%- endif -%}
{{- '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
`;

export const tokenizerConfig = {
  tokenizer_class: "PreTrainedTokenizerFast",
  bos_token: specialTokens[endOfText],
  eos_token: specialTokens[endOfText],
  pad_token: specialTokens[endOfText],
  clean_up_tokenization_spaces: false,
  model_max_length: 512,
};
