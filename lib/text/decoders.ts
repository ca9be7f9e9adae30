/**
 * @file Decoders of tokenizer.json: tokens to text, byte by byte as the `tokenizers` library does it. (`@huggingface/tokenizers`
 * drops a byte order mark after byte fallback, turns half of a broken run of bytes into text, and looks through all added tokens
 * for every token.)
 */
import { LowrankError } from "../native/errors.js";
import { charToByte } from "./bytes.js";
import type { Component } from "./components.js";

/** One step from the strings of tokens towards text. */
export interface Decoder {
  decode(tokens: readonly string[]): readonly string[];
  /** True while the last of the tokens end inside a character, so that the text so far would show U+FFFD. */
  endsInside(tokens: readonly string[]): boolean;
}

const never = (): boolean => false;

/** The decoder that a component describes. @throws LowrankError TOKENIZER_UNSUPPORTED, TOKENIZER_BAD_COMPONENT */
export function createDecoder(component: Component): Decoder {
  switch (component.type) {
    case "Sequence": {
      const parts = component.list("decoders").map(createDecoder);
      return {
        decode: (tokens) => parts.reduce((at, part) => bounded(part.decode(at), tokens), tokens),
        endsInside: (tokens) => {
          let at = tokens;
          return parts.some((part) => {
            if (part.endsInside(at)) return true;
            at = part.decode(at);
            return false;
          });
        },
      };
    }
    case "ByteLevel":
      return { decode: (tokens) => [utf8.decode(bytesOf(tokens))], endsInside: (tokens) => endsInsideCharacter(bytesOf(tokens.slice(-4))) };
    case "ByteFallback":
      return { decode: decodeBytes, endsInside: (tokens) => runEndsInside(trailingBytes(tokens)) };
    case "Fuse":
      return { decode: (tokens) => [tokens.join("")], endsInside: never };
    case "Replace": {
      const pattern = component.stringPattern("pattern");
      const content = component.text("content");
      if (content.length > 16) throw component.bad("content", "at most 16 characters", content);
      return { decode: (tokens) => tokens.map((token) => token.replaceAll(pattern, () => content)), endsInside: never };
    }
    case "Strip":
      return strip(component);
    case "Metaspace":
      return metaspace(component);
    default:
      throw component.unsupported("decoder", ["Sequence", "ByteLevel", "ByteFallback", "Fuse", "Replace", "Strip", "Metaspace"]);
  }
}

/** Stops decoders that multiply text; real ones make it shorter. */
function bounded(result: readonly string[], tokens: readonly string[]): readonly string[] {
  const total = (strings: readonly string[]): number => strings.reduce((sum, text) => sum + text.length, 0);
  const length = total(result);
  if (length <= 4096 || length <= 20 * total(tokens)) return result;
  const problem = `The decoder of the tokenizer makes ${length} characters of ${tokens.length} tokens.`;
  throw new LowrankError("TOKENIZER_BAD_COMPONENT", `${problem} Download the tokenizer again from where it came.`, { actual: length });
}

// `ignoreBOM` keeps a byte order mark in the text.
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const strictUtf8 = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
const encoder = new TextEncoder();

/** The bytes that the characters of the tokens stand for; a token with another character stands for its own UTF-8. */
function bytesOf(tokens: readonly string[]): Uint8Array {
  const bytes: number[] = [];
  for (const token of tokens) {
    const start = bytes.length;
    for (const char of token) {
      const byte = charToByte.get(char);
      if (byte === undefined) {
        bytes.length = start;
        for (const own of encoder.encode(token)) bytes.push(own);
        break;
      }
      bytes.push(byte);
    }
  }
  return Uint8Array.from(bytes);
}

/** True when more bytes could complete the last character. */
function endsInsideCharacter(bytes: Uint8Array): boolean {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) return false;
    if (byte >= 0xc0) return utf8.decode(bytes.subarray(-back), { stream: true }) === "" && flushed();
  }
  return false;
}

/** Empties the decoder after a streamed call that left something inside. */
function flushed(): true {
  utf8.decode();
  return true;
}

/** The library reads the digits as Rust does: a sign may stand for the first. */
const byteTokenPattern = /^<0x([+0-9A-Fa-f][0-9A-Fa-f])>$/;

function byteOf(token: string): number | undefined {
  const digits = byteTokenPattern.exec(token)?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}

/** Runs of byte tokens become text; a run that is not UTF-8 becomes one U+FFFD per byte. */
function decodeBytes(tokens: readonly string[]): string[] {
  const result: string[] = [];
  let run: number[] = [];
  const flush = (): void => {
    if (run.length > 0) result.push(decodedRun(run) ?? "\ufffd".repeat(run.length));
    run = [];
  };
  for (const token of tokens) {
    const byte = byteOf(token);
    if (byte !== undefined) {
      run.push(byte);
      continue;
    }
    flush();
    result.push(token);
  }
  flush();
  return result;
}

function decodedRun(bytes: readonly number[]): string | undefined {
  try {
    return strictUtf8.decode(Uint8Array.from(bytes));
  } catch {
    return undefined;
  }
}

/** True when more bytes could make text of the run; one that is broken stays so. */
function runEndsInside(run: readonly number[]): boolean {
  const bytes = Uint8Array.from(run);
  if (!endsInsideCharacter(bytes)) return false;
  const lead = bytes.findLastIndex((byte) => byte >= 0xc0);
  return decodedRun(run.slice(0, lead)) !== undefined;
}

function trailingBytes(tokens: readonly string[]): number[] {
  const bytes: number[] = [];
  for (let k = tokens.length - 1; k >= 0; k--) {
    const byte = byteOf(tokens[k] as string);
    if (byte === undefined) break;
    bytes.push(byte);
  }
  return bytes.reverse();
}

/** Takes up to `start` characters `content` from the front of every token, and up to `stop` from its end. */
function strip(component: Component): Decoder {
  const content = component.text("content");
  if (content.length !== 1) throw component.bad("content", "one character", content);
  const start = component.integer("start", 2 ** 20, 0);
  const stop = component.integer("stop", 2 ** 20, 0);
  const cut = (token: string): string => {
    let from = 0;
    while (from < start && token[from] === content) from++;
    let to = token.length;
    while (to > from && token.length - to < stop && token[to - 1] === content) to--;
    return token.slice(from, to);
  };
  return { decode: (tokens) => tokens.map(cut), endsInside: never };
}

/** The replacement becomes a space again; the first token loses it, where a prefix is put in front of texts. */
function metaspace(component: Component): Decoder {
  const replacement = component.text("replacement");
  const legacy = component.flag("add_prefix_space", true) ? "always" : "never";
  const drops = component.choice("prepend_scheme", ["always", "first", "never"], legacy) !== "never";
  if (replacement === "") throw component.bad("replacement", "one character", replacement);
  return {
    decode: (tokens) => tokens.map((token, k) => token.replaceAll(replacement, k === 0 && drops ? "" : " ")),
    endsInside: never,
  };
}
