/**
 * @file Normalizers of tokenizer.json. They are written here because masks need to know which character of the source every
 * normalized character stands for. Alignment follows the `tokenizers` library: what is put in front belongs to the first character,
 * a replacement to the last character that it replaces.
 */
import { type Aligned, AlignedBuilder, mostUnits } from "./aligned.js";
import type { Component } from "./components.js";
import { unknownToNormalizers } from "./unicode-versions.js";

export type Normalizer = (piece: Aligned) => Aligned;

type Form = "NFC" | "NFD" | "NFKC" | "NFKD";

/** The normalizer that a component of tokenizer.json describes. @throws LowrankError TOKENIZER_UNSUPPORTED, TOKENIZER_BAD_COMPONENT */
export function createNormalizer(component: Component): Normalizer {
  switch (component.type) {
    case "Sequence": {
      const parts = component.list("normalizers").map(createNormalizer);
      return (piece) => parts.reduce((at, part) => part(at), piece);
    }
    case "Prepend": {
      const prefix = component.text("prepend");
      return (piece) => prepend(piece, prefix);
    }
    case "Replace": {
      const pattern = component.stringPattern("pattern");
      const content = component.text("content");
      return (piece) => replace(piece, pattern, content);
    }
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD": {
      const form = component.type;
      return (piece) => normalizeUnicode(piece, form);
    }
    default:
      throw component.unsupported("normalizer", ["Sequence", "Prepend", "Replace", "NFC", "NFD", "NFKC", "NFKD"]);
  }
}

/** `prefix` before a text that is not empty. */
export function prepend(piece: Aligned, prefix: string): Aligned {
  const { text } = piece;
  if (text === "" || prefix === "") return piece;
  const builder = new AlignedBuilder(piece, text.length + prefix.length);
  builder.put(prefix, 0, (text.codePointAt(0) as number) > 0xffff ? 2 : 1);
  builder.keep(0, text.length);
  return builder.finish();
}

/** Every occurrence of `pattern` (not empty) becomes `content`. */
export function replace(piece: Aligned, pattern: string, content: string): Aligned {
  const { text } = piece;
  let at = text.indexOf(pattern);
  if (at < 0) return piece;
  if (pattern.length === content.length && pattern.length === 1) return piece.withUnits(text.replaceAll(pattern, () => content));
  const builder = new AlignedBuilder(piece);
  let done = 0;
  for (; at >= 0; at = text.indexOf(pattern, done)) {
    const end = at + pattern.length;
    builder.keep(done, at);
    const isPair = end - 2 >= at && (text.codePointAt(end - 2) as number) > 0xffff;
    builder.put(content, end - (isPair ? 2 : 1), end);
    done = end;
  }
  builder.keep(done, text.length);
  return builder.finish();
}

/** Units that one can become, U+FDFA for instance. */
const maxExpansion = 18;

/** Runs that no Unicode normalization joins with their neighbours, nearly always: a character with its marks, Hangul syllables. */
const unicodeRuns = /[\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff]+|\P{M}\p{M}*|\p{M}+/gu;

/**
 * Unicode normalization. The characters of a run that changes stand for the whole run; if normalizing run by run were to differ
 * from normalizing the whole, all of the text is one run: exact in the text, coarse in the places.
 */
function normalizeUnicode(piece: Aligned, form: Form): Aligned {
  const { text } = piece;
  // What was made longer before might become longer than a string can be; then the runs are counted first.
  const isLong = text.length * maxExpansion > mostUnits(piece.sourceLength);
  const early = isLong ? undefined : normalized(text, form);
  if (early === text) return piece;
  const builder = new AlignedBuilder(piece);
  for (const { 0: run, index } of text.matchAll(unicodeRuns)) {
    const changed = normalized(run, form);
    if (changed === run) builder.keep(index, index + run.length);
    else builder.put(changed, index, index + run.length);
  }
  const joined = builder.finish();
  const whole = early ?? normalized(text, form);
  if (joined.text === whole) return joined;
  const coarse = new AlignedBuilder(piece, whole.length);
  coarse.put(whole, 0, text.length);
  return coarse.finish();
}

function normalized(text: string, form: Form): string {
  if (!unknownToNormalizers.test(text)) return text.normalize(form);
  return text
    .split(unknownToNormalizers)
    .map((part, k) => (k % 2 === 1 ? part : part.normalize(form)))
    .join("");
}
