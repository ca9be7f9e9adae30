/** @file Sets of characters as Python's `re` defines them on text: ranges of code points and the classes `\d`, `\w`, `\s`. */

/** A class of characters by its meaning. The complements are classes of their own, so that a set may hold both. */
export type CharClass = "digit" | "notDigit" | "word" | "notWord" | "space" | "notSpace";

/** What `[...]`, a literal or `.` matches: a code point inside a range or a class, or with `negated` any other. */
export interface CharSet {
  readonly negated: boolean;
  /** `[first, last, first, last, …]`, rising and not overlapping. */
  readonly ranges: readonly number[];
  readonly classes: readonly CharClass[];
}

const isDigit = /^\p{Nd}$/u;
const isWord = /^[\p{L}\p{N}_]$/u;
const spaces = [
  0x09, 0x0d, 0x1c, 0x20, 0x85, 0x85, 0xa0, 0xa0, 0x1680, 0x1680, 0x2000, 0x200a, 0x2028, 0x2029, 0x202f, 0x202f, 0x205f, 0x205f, 0x3000, 0x3000,
];

const classTests: Readonly<Record<CharClass, (codePoint: number) => boolean>> = {
  digit: (codePoint) => isDigit.test(String.fromCodePoint(codePoint)),
  notDigit: (codePoint) => !classTests.digit(codePoint),
  word: (codePoint) => isWord.test(String.fromCodePoint(codePoint)),
  notWord: (codePoint) => !classTests.word(codePoint),
  space: (codePoint) => inRanges(spaces, codePoint),
  notSpace: (codePoint) => !classTests.space(codePoint),
};

/** A set from pairs `[first, last]` in any order, overlapping or not. */
export function charSet(pairs: ReadonlyArray<readonly [number, number]>, classes: readonly CharClass[] = [], negated = false): CharSet {
  const sorted = [...pairs].sort((a, b) => a[0] - b[0]);
  const ranges: number[] = [];
  for (const [first, last] of sorted) {
    const end = ranges.at(-1);
    if (end !== undefined && first <= end + 1) ranges[ranges.length - 1] = Math.max(end, last);
    else ranges.push(first, last);
  }
  return { negated, ranges, classes: [...new Set(classes)] };
}

/** The set of one character. */
export function literal(codePoint: number): CharSet {
  return charSet([[codePoint, codePoint]]);
}

/** What `.` matches: everything but a line feed. */
export const anyButNewline: CharSet = charSet([[0x0a, 0x0a]], [], true);

/** Whether the set holds the code point. */
export function contains(set: CharSet, codePoint: number): boolean {
  return (inRanges(set.ranges, codePoint) || set.classes.some((name) => classTests[name](codePoint))) !== set.negated;
}

/** Whether the code point counts as part of a word for `\w` and `\b`. */
export function isWordChar(codePoint: number | undefined): boolean {
  return codePoint !== undefined && classTests.word(codePoint);
}

function inRanges(ranges: readonly number[], codePoint: number): boolean {
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (codePoint < (ranges[2 * middle] as number)) high = middle;
    else if (codePoint > (ranges[2 * middle + 1] as number)) low = middle + 1;
    else return true;
  }
  return false;
}
