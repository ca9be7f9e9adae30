/** @file Stop strings: texts that end a generation and are never shown, nor any beginning of them. */
import { LowrankError } from "../native/errors.js";
import type { Tokenizer } from "../text/index.js";

/**
 * Stop strings as texts to look for, and the ids of those that are special tokens: such a token ends the text itself, since it has no text
 * that is shown.
 * @throws LowrankError BAD_ARGUMENT
 */
export function checkStops(stop: unknown, tokenizer: Tokenizer): { readonly texts: readonly string[]; readonly ids: readonly number[] } {
  const texts: unknown = stop === undefined ? [] : typeof stop === "string" ? [stop] : stop;
  const wrong = Array.isArray(texts) ? texts.findIndex((text) => typeof text !== "string" || text === "" || !text.isWellFormed()) : 0;
  if (wrong >= 0) throw new LowrankError("BAD_ARGUMENT", `generate: stop is a text or an array of texts, none of them empty; number ${wrong} is not`);
  const all = texts as string[];
  const ids = all.flatMap((text) => {
    if (!tokenizer.specialTokens.includes(text)) return [];
    return tokenizer.encode(text, { addSpecialTokens: false }).filter((id, _, { length }) => length === 1 && tokenizer.isSpecial(id));
  });
  return { texts: all, ids };
}

/** Lets text through up to the first stop string; holds back what could be the beginning of one. */
export class StopFilter {
  stopped = false;
  #held = "";

  constructor(private readonly stops: readonly string[]) {}

  /** Takes further text; gives what can be shown now. */
  push(text: string): string {
    if (this.stopped) return "";
    const all = this.#held + text;
    const found = this.stops.map((stop) => all.indexOf(stop)).filter((at) => at >= 0);
    this.stopped = found.length > 0;
    const end = this.stopped ? Math.min(...found) : all.length - this.#beginning(all);
    this.#held = this.stopped ? "" : all.slice(end);
    return all.slice(0, end);
  }

  /** There is no more text: gives what was held back. */
  end(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }

  /** Length of the longest end of `text` that is the beginning of a stop string. */
  #beginning(text: string): number {
    const longest = Math.max(0, ...this.stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length);
      if (this.stops.some((stop) => stop.length > length && stop.startsWith(end))) return length;
    }
    return 0;
  }
}
