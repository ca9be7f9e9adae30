/**
 * @file Pre-tokenizers of tokenizer.json: text to words, each word with its places. Written here because the places are needed,
 * because `@huggingface/tokenizers` treats every behavior of Split alike and does not split in Metaspace, and because it compiles
 * regular expressions from the file.
 */
import { type Aligned, AlignedBuilder, checkGrowth, codePointLength } from "./aligned.js";
import { byteToChar } from "./bytes.js";
import type { Component } from "./components.js";
import { prepend, replace } from "./normalizers.js";
import { gpt2Pattern, isNumeric, isWhiteSpace, knownPattern } from "./patterns.js";
import { isPunctuation } from "./unicode-versions.js";

/** Appends the words of `piece` to `words`. */
export type PreTokenizer = (piece: Aligned, words: Aligned[]) => void;

const behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
type Behavior = (typeof behaviors)[number];

const prependSchemes = ["always", "first", "never"] as const;

/** Finds the matches in a text, in order, none empty: calls `found(start, end)`. */
type Matcher = (text: string, found: (start: number, end: number) => void) => void;

/** The pre-tokenizer that a component describes. @throws LowrankError TOKENIZER_UNSUPPORTED, TOKENIZER_BAD_COMPONENT */
export function createPreTokenizer(component: Component): PreTokenizer {
  switch (component.type) {
    case "Sequence":
      return sequence(component.list("pretokenizers").map(createPreTokenizer));
    case "ByteLevel":
      return byteLevel(component.flag("add_prefix_space", true), component.flag("use_regex", true));
    case "Metaspace":
      return metaspace(component);
    case "Split":
      return split(splitMatcher(component), component.choice("behavior", behaviors), component.flag("invert", false));
    case "Digits":
      return split(characters(isNumeric), component.flag("individual_digits", false) ? "Isolated" : "Contiguous", false);
    case "Punctuation":
      return split(characters(isPunctuation), component.choice("behavior", behaviors, "Isolated"), false);
    case "WhitespaceSplit":
      return split(characters(isWhiteSpace), "Removed", false);
    default:
      throw component.unsupported("pre-tokenizer", ["Sequence", "ByteLevel", "Metaspace", "Split", "Digits", "Punctuation", "WhitespaceSplit"]);
  }
}

function sequence(parts: readonly PreTokenizer[]): PreTokenizer {
  return (piece, words) => {
    let pieces = [piece];
    for (const part of parts) {
      const next: Aligned[] = [];
      for (const one of pieces) part(one, next);
      checkGrowth(
        next.reduce((sum, { text }) => sum + text.length, 0),
        piece.sourceLength,
      );
      pieces = next;
    }
    for (const word of pieces) words.push(word);
  };
}

/** Splits as GPT-2 does and turns every byte of the UTF-8 text into a printable character. */
function byteLevel(addPrefixSpace: boolean, useRegex: boolean): PreTokenizer {
  const matches = expression(gpt2Pattern());
  return (piece, words) => {
    const spaced = addPrefixSpace && !piece.text.startsWith(" ") ? prepend(piece, " ") : piece;
    if (!useRegex) words.push(asBytes(spaced));
    // The pattern matches every character, so nothing stands between the matches.
    else matches(spaced.text, (start, end) => words.push(asBytes(spaced.slice(start, end))));
  };
}

const printable = /^[!-~]*$/;
const ascii = /^[\0-\x7f]*$/;
const encoder = new TextEncoder();

function asBytes(piece: Aligned): Aligned {
  const { text } = piece;
  if (printable.test(text)) return piece;
  if (ascii.test(text)) {
    let mapped = "";
    for (let unit = 0; unit < text.length; unit++) mapped += byteToChar[text.charCodeAt(unit)];
    return piece.withUnits(mapped);
  }
  const builder = new AlignedBuilder(piece, 3 * text.length);
  for (let unit = 0; unit < text.length; ) {
    const end = unit + codePointLength(text, unit);
    let mapped = "";
    for (const byte of encoder.encode(text.slice(unit, end))) mapped += byteToChar[byte];
    builder.put(mapped, unit, end);
    unit = end;
  }
  return builder.finish();
}

/** Spaces become `replacement`, one is put in front, and every word begins with one. */
function metaspace(component: Component): PreTokenizer {
  const replacement = component.text("replacement");
  if ([...replacement].length !== 1) throw component.bad("replacement", "one character", replacement);
  const legacy = component.flag("add_prefix_space", true) ? "always" : "never";
  const scheme = component.choice("prepend_scheme", prependSchemes, legacy);
  const cut = split(literal(replacement), "MergedWithNext", false);
  const splits = component.flag("split", true);
  return (piece, words) => {
    let spaced = replace(piece, " ", replacement);
    const isWanted = scheme === "always" || (scheme === "first" && piece.sourceStart(0) === 0);
    if (isWanted && !spaced.text.startsWith(replacement)) spaced = prepend(spaced, replacement);
    if (splits) cut(spaced, words);
    else words.push(spaced);
  };
}

function splitMatcher(component: Component): Matcher {
  const pattern = component.child("pattern");
  if (pattern.field("Regex") === undefined) return literal(component.stringPattern("pattern"));
  const source = pattern.text("Regex");
  const known = knownPattern(source);
  if (known !== undefined) return expression(known);
  const hint = "Regular expressions from files are not run; only those of published models are known.";
  const problem = `${pattern.place}.Regex: this pattern is not one of the known ones`;
  throw pattern.error("TOKENIZER_UNSUPPORTED", problem, { actual: source.slice(0, 1000) }, hint);
}

function expression(pattern: RegExp): Matcher {
  return (text, found) => {
    let at = 0;
    for (;;) {
      pattern.lastIndex = at;
      const match = pattern.exec(text);
      if (match === null) return;
      at = match.index + match[0].length;
      found(match.index, at);
    }
  };
}

function literal(pattern: string): Matcher {
  return (text, found) => {
    for (let at = text.indexOf(pattern); at >= 0; at = text.indexOf(pattern, at + pattern.length)) found(at, at + pattern.length);
  };
}

/** Every character that `test` accepts is a match of its own. */
function characters(test: RegExp): Matcher {
  return (text, found) => {
    for (let unit = 0; unit < text.length; ) {
      const end = unit + codePointLength(text, unit);
      if (test.test(text.slice(unit, end))) found(unit, end);
      unit = end;
    }
  };
}

/** Cuts at the matches; `behavior` says what becomes of a match, `invert` swaps matches and what is between. */
function split(matches: Matcher, behavior: Behavior, invert: boolean): PreTokenizer {
  return (piece, words) => {
    const parts: { start: number; end: number; isMatch: boolean }[] = [];
    let done = 0;
    const push = (start: number, end: number, isMatch: boolean): void => {
      if (start < end) parts.push({ start, end, isMatch: isMatch !== invert });
    };
    matches(piece.text, (start, end) => {
      push(done, start, false);
      push(start, end, true);
      done = end;
    });
    push(done, piece.text.length, false);
    for (const { start, end } of joined(parts, behavior)) words.push(piece.slice(start, end));
  };
}

function joined(parts: readonly { start: number; end: number; isMatch: boolean }[], behavior: Behavior): { start: number; end: number }[] {
  if (behavior === "Removed") return parts.filter(({ isMatch }) => !isMatch);
  if (behavior === "Isolated") return [...parts];
  const result: { start: number; end: number }[] = [];
  let wasMatch: boolean | undefined;
  for (const { start, end, isMatch } of parts) {
    const last = result.at(-1);
    const joins =
      behavior === "Contiguous"
        ? wasMatch === isMatch
        : behavior === "MergedWithPrevious"
          ? isMatch && wasMatch === false
          : wasMatch === true && !isMatch;
    if (last !== undefined && joins) last.end = end;
    else result.push({ start, end });
    wasMatch = isMatch;
  }
  return result;
}
