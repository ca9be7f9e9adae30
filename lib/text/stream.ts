/** @file Text of tokens as they come, never half a character. */
import type { Tokenizer } from "./tokenizer.js";

export interface TextStreamOptions {
  /** Leave special tokens out; default true. */
  readonly skipSpecialTokens?: boolean;
}

/** Turns generated tokens into text piece by piece; made by {@link createTextStream}. */
export interface TextStream {
  /** Takes the next token; gives the text that can be shown now, "" while a character is not complete. @throws LowrankError BAD_ARGUMENT */
  push(id: number): string;
  /** The rest: characters that were never completed, as U+FFFD. The stream can be used again from the start. */
  end(): string;
}

/**
 * A streaming decoder: the pieces joined are `tokenizer.decode(ids)`. Each push takes constant time. (Where byte tokens follow on
 * characters already shown and turn out not to be UTF-8, `decode` would also replace those characters; the stream keeps them.)
 */
export function createTextStream(tokenizer: Tokenizer, options: TextStreamOptions = {}): TextStream {
  const decoding = { skipSpecialTokens: options.skipSpecialTokens ?? true };
  /** Tokens whose text was shown before: how a token is written may depend on there being one before it, and which. */
  let shown: number[] = [];
  /** Tokens that end inside a character: a few at most. */
  let waiting: number[] = [];

  const take = (): string => {
    const before = tokenizer.decode(shown, decoding);
    const now = tokenizer.decode([...shown, ...waiting], decoding);
    const alone = tokenizer.decode(waiting, decoding);
    const piece = now.startsWith(before) ? now.slice(before.length) : alone;
    // What changed the text of these tokens (a broken run of bytes, the start of the text) may change that of the next ones.
    shown = piece === alone ? waiting : [...shown.slice(0, 1), ...waiting];
    waiting = [];
    return piece;
  };

  return {
    push(id) {
      if (!tokenizer.shows(id, decoding)) return "";
      waiting.push(id);
      return tokenizer.endsInsideCharacter([...shown, ...waiting], decoding) ? "" : take();
    },
    end() {
      const piece = waiting.length === 0 ? "" : take();
      shown = [];
      return piece;
    },
  };
}
