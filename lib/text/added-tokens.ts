/** @file Added tokens: strings that become one token wherever they stand in a text, before anything else looks at it. */
import type { JsonValue } from "../io/json-scanner.js";
import { quoted } from "../native/errors.js";
import { codePointLength } from "./aligned.js";
import { idLimit } from "./bpe.js";
import type { Component } from "./components.js";
import { isWhiteSpace, isWordCharacter } from "./patterns.js";
import type { TokenTable } from "./token-table.js";
import { Trie } from "./trie.js";

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Matches only where no word goes on. */
  readonly singleWord: boolean;
  /** Takes the white space before it, after it. */
  readonly leftStrip: boolean;
  readonly rightStrip: boolean;
  /** Is looked for in the normalized text. */
  readonly normalized: boolean;
  /** Left out by `decode` with `skipSpecialTokens`. */
  readonly special: boolean;
}

const maxAddedTokens = 100_000;
/** All of them are looked for at every character of a text. */
const maxContentLength = 256;

/** The tokens of the list `added_tokens`. @throws LowrankError TOKENIZER_BAD_ADDED_TOKEN, TOKENIZER_TOO_LARGE */
export function readAddedTokens(list: Component, table: TokenTable): AddedTokenList {
  const items = list.raw();
  if (!Array.isArray(items)) throw list.error("TOKENIZER_BAD_ADDED_TOKEN", "added_tokens: expected a list", {});
  const tokens = new AddedTokenList(table);
  items.forEach((item, k) => {
    const component = list.item(item, k);
    tokens.add(component, component.integer("id", idLimit));
  });
  return tokens;
}

/** Added tokens that contradict neither each other nor the vocabulary. */
export class AddedTokenList {
  readonly list: AddedToken[] = [];
  private readonly ids = new Set<number>();
  private units = 0;

  constructor(private readonly table: TokenTable) {}

  /** Is this token on the list? */
  has(content: JsonValue | undefined, id: number): boolean {
    return this.ids.has(id) && this.table.tokens[id] === content;
  }

  /** Adds the token that `component` describes. @throws LowrankError TOKENIZER_BAD_ADDED_TOKEN, TOKENIZER_TOO_LARGE */
  add(component: Component, id: number): void {
    const content = component.text("content");
    this.units += content.length;
    if (this.list.length === maxAddedTokens || !Trie.accepts(this.units))
      throw component.error("TOKENIZER_TOO_LARGE", `${component.place}: the added tokens are more than ${maxAddedTokens}, or too long together`, {});
    if (content === "") throw component.bad("content", "a string that is not empty", content);
    if (content.length > maxContentLength)
      throw component.error("TOKENIZER_TOO_LARGE", `${component.place}: the token has more than ${maxContentLength} characters`, {});
    const otherId = this.table.idOf(content);
    if (otherId !== undefined && otherId !== id) throw component.bad("id", `${otherId}, the id that this token has elsewhere`, id);
    const otherContent = this.table.tokens[id];
    if (otherContent !== undefined && otherContent !== content) throw component.bad("id", `an id that is not that of ${quoted(otherContent)}`, id);
    const special = component.flag("special", false);
    this.table.add(content, id);
    this.ids.add(id);
    this.list.push({
      id,
      content,
      special,
      singleWord: component.flag("single_word", false),
      leftStrip: component.flag("lstrip", false),
      rightStrip: component.flag("rstrip", false),
      normalized: component.flag("normalized", !special),
    });
  }
}

/** A part of a text: an added token, or what is between. */
interface Part {
  readonly token: AddedToken | undefined;
  readonly start: number;
  readonly end: number;
}

/** Finds added tokens: the leftmost, among those the longest, as the `tokenizers` library does. */
export class AddedTokenFinder {
  private readonly trie = new Trie();
  private readonly tokens: AddedToken[] = [];

  /** Pairs of the text to look for and the token that it stands for. */
  constructor(tokens: Iterable<readonly [string, AddedToken]>) {
    for (const [content, token] of tokens) {
      this.trie.set(content, this.tokens.length);
      this.tokens.push(token);
    }
  }

  /** The parts of `text` in order, none empty. */
  split(text: string): Part[] {
    const parts: Part[] = [];
    let done = 0;
    if (this.tokens.length === 0) return text === "" ? [] : [{ token: undefined, start: 0, end: text.length }];
    for (let unit = 0; unit < text.length; ) {
      const found = this.longestAt(text, unit);
      if (found === undefined) {
        unit++;
        continue;
      }
      const { token, end } = found;
      if (token.singleWord && (wordEndsAt(text, unit) || wordStartsAt(text, end))) {
        unit = end;
        continue;
      }
      const start = token.leftStrip ? Math.max(done, spaceBefore(text, unit)) : unit;
      unit = end;
      const stop = token.rightStrip ? spaceAfter(text, end) : end;
      if (done < start) parts.push({ token: undefined, start: done, end: start });
      parts.push({ token, start, end: stop });
      done = stop;
      unit = Math.max(unit, stop);
    }
    if (done < text.length) parts.push({ token: undefined, start: done, end: text.length });
    return parts;
  }

  private longestAt(text: string, start: number): { token: AddedToken; end: number } | undefined {
    let found: { token: AddedToken; end: number } | undefined;
    this.trie.search(text, start, (index, end) => {
      found = { token: this.tokens[index] as AddedToken, end };
    });
    return found;
  }
}

function wordEndsAt(text: string, end: number): boolean {
  if (end === 0) return false;
  const isPair = end >= 2 && codePointLength(text, end - 2) === 2;
  return isWordCharacter(text.slice(end - (isPair ? 2 : 1), end));
}

function wordStartsAt(text: string, start: number): boolean {
  return start < text.length && isWordCharacter(text.slice(start, start + codePointLength(text, start)));
}

/** Start of the white space that ends at `end`; all white space is one UTF-16 unit long. */
function spaceBefore(text: string, end: number): number {
  let start = end;
  while (start > 0 && isWhiteSpace.test(text[start - 1] as string)) start--;
  return start;
}

/** End of the white space that starts at `start`. */
function spaceAfter(text: string, start: number): number {
  let end = start;
  while (end < text.length && isWhiteSpace.test(text[end] as string)) end++;
  return end;
}
