/** @file From the text of a Python regular expression to its tree. Follows the grammar of Python 3.11's `re` for text patterns. */
import { LowrankError, quoted } from "../native/errors.js";
import { anyButNewline, type CharClass, type CharSet, charSet, literal } from "./pattern-chars.js";

/** A place in the text that must hold without using up a character. */
export type Assertion = "start" | "end" | "endOrLastNewline" | "wordBoundary" | "notWordBoundary";

/** One construct of a pattern. */
export type PatternNode =
  | { readonly kind: "chars"; readonly set: CharSet }
  | { readonly kind: "assert"; readonly at: Assertion }
  | { readonly kind: "sequence"; readonly items: readonly PatternNode[] }
  | { readonly kind: "choice"; readonly options: readonly PatternNode[] }
  | { readonly kind: "repeat"; readonly body: PatternNode; readonly min: number; readonly max: number };

const maxSourceLength = 4096;
const maxGroupDepth = 100;

const controlEscapes: ReadonlyMap<string, number> = new Map([
  ["a", 7],
  ["f", 12],
  ["n", 10],
  ["r", 13],
  ["t", 9],
  ["v", 11],
  ["\\", 92],
]);
const classEscapes: ReadonlyMap<string, CharClass> = new Map([
  ["d", "digit"],
  ["D", "notDigit"],
  ["w", "word"],
  ["W", "notWord"],
  ["s", "space"],
  ["S", "notSpace"],
]);
const assertionEscapes: ReadonlyMap<string, Assertion> = new Map([
  ["A", "start"],
  ["Z", "end"],
  ["b", "wordBoundary"],
  ["B", "notWordBoundary"],
]);
const hexDigits: ReadonlyMap<string, number> = new Map([
  ["x", 2],
  ["u", 4],
  ["U", 8],
]);

type Escape =
  | { readonly kind: "char"; readonly codePoint: number }
  | { readonly kind: "class"; readonly name: CharClass }
  | { readonly kind: "assert"; readonly at: Assertion };

/**
 * Parses a pattern.
 * @param label names the pattern in messages, for instance the option it was given to
 * @throws LowrankError `PATTERN_SYNTAX` with the position (in characters), `PATTERN_UNSUPPORTED` naming the construct,
 *   `PATTERN_TOO_COMPLEX` when it is longer than 4,096 characters or nests groups more than 100 deep
 */
export function parsePattern(source: string, label: string): PatternNode {
  if (source.length > maxSourceLength) {
    const message = `${label}: the pattern has ${source.length} characters; at most ${maxSourceLength} are allowed. Give a list of module names instead.`;
    throw new LowrankError("PATTERN_TOO_COMPLEX", message, { expected: maxSourceLength, actual: source.length });
  }
  return new Parser(source, label).parse();
}

class Parser {
  private readonly chars: readonly string[];
  private readonly groupNames = new Set<string>();
  private at = 0;

  constructor(
    private readonly source: string,
    private readonly label: string,
  ) {
    this.chars = Array.from(source);
  }

  parse(): PatternNode {
    const node = this.choice(0);
    if (this.peek() === ")") throw this.syntax("unbalanced parenthesis", this.at);
    return node;
  }

  private choice(depth: number): PatternNode {
    const options = [this.sequence(depth)];
    while (this.take("|")) options.push(this.sequence(depth));
    return options.length === 1 ? (options[0] as PatternNode) : { kind: "choice", options };
  }

  private sequence(depth: number): PatternNode {
    const items: PatternNode[] = [];
    for (let char = this.peek(); char !== undefined && char !== "|" && char !== ")"; char = this.peek()) {
      const start = this.at++;
      if (char === "(") {
        const group = this.group(start, depth);
        if (group !== undefined) items.push(group);
      } else if (char === "*") this.repeatLast(items, start, 0, Number.POSITIVE_INFINITY);
      else if (char === "+") this.repeatLast(items, start, 1, Number.POSITIVE_INFINITY);
      else if (char === "?") this.repeatLast(items, start, 0, 1);
      else if (char === "{") this.braces(items, start);
      else items.push(this.atom(char, start));
    }
    return { kind: "sequence", items };
  }

  private atom(char: string, start: number): PatternNode {
    if (char === ".") return { kind: "chars", set: anyButNewline };
    if (char === "^") return { kind: "assert", at: "start" };
    if (char === "$") return { kind: "assert", at: "endOrLastNewline" };
    if (char === "[") return { kind: "chars", set: this.characterSet(start) };
    if (char !== "\\") return { kind: "chars", set: literal(codePointOf(char)) };
    const escape = this.escape(start);
    if (escape.kind === "class") return { kind: "chars", set: charSet([], [escape.name]) };
    return escape.kind === "assert" ? escape : { kind: "chars", set: literal(escape.codePoint) };
  }

  /** `{m}`, `{m,}`, `{,n}`, `{m,n}`; a brace that is none of these stands for itself. */
  private braces(items: PatternNode[], start: number): void {
    const low = this.peek() === "}" ? undefined : this.digits();
    const comma = low !== undefined && this.take(",");
    const high = comma ? this.digits() : low;
    if (low === undefined || (low === "" && !comma) || !this.take("}")) {
      this.at = start + 1;
      items.push({ kind: "chars", set: literal(codePointOf("{")) });
      return;
    }
    const min = Math.min(Number(low), Number.MAX_SAFE_INTEGER);
    const max = high === "" ? Number.POSITIVE_INFINITY : Math.min(Number(high), Number.MAX_SAFE_INTEGER);
    if (max < min) throw this.syntax("the smaller number of a repeat is greater than the larger", start + 1);
    this.repeatLast(items, start, min, max);
  }

  private repeatLast(items: PatternNode[], start: number, min: number, max: number): void {
    const body = items.pop();
    if (body === undefined || body.kind === "assert") throw this.syntax("nothing to repeat", start);
    if (body.kind === "repeat") throw this.syntax("multiple repeat", start);
    if (this.peek() === "+") throw this.unsupported("possessive repeat", start);
    this.take("?"); // lazy or greedy: the same texts match
    items.push({ kind: "repeat", body, min, max });
  }

  /** What follows `(`; `undefined` for a comment. */
  private group(start: number, depth: number): PatternNode | undefined {
    if (this.take("?")) {
      const kind = this.chars[this.at++];
      if (kind === undefined) throw this.syntax("unexpected end of the pattern", this.chars.length);
      if (kind === "#") return this.comment(start);
      if (kind === "P") this.namedGroup(start);
      else if (kind !== ":") throw this.extension(kind, start);
    }
    if (depth >= maxGroupDepth) {
      const message = `${this.label}: pattern ${quoted(this.source)} nests groups more than ${maxGroupDepth} deep. Give a list of module names instead.`;
      throw new LowrankError("PATTERN_TOO_COMPLEX", message, { expected: maxGroupDepth });
    }
    const node = this.choice(depth + 1);
    if (!this.take(")")) throw this.syntax("missing ), unterminated group", start);
    return { kind: "sequence", items: [node] };
  }

  private comment(start: number): undefined {
    const end = this.chars.indexOf(")", this.at);
    if (end < 0) throw this.syntax("missing ), unterminated comment", start);
    this.at = end + 1;
  }

  private namedGroup(start: number): void {
    const next = this.chars[this.at++];
    if (next === undefined) throw this.syntax("unexpected end of the pattern", this.chars.length);
    if (next === "=") throw this.unsupported("back-reference", start);
    if (next !== "<") throw this.syntax(`unknown extension ?P${next}`, start + 1);
    const end = this.chars.indexOf(">", this.at);
    if (end < 0) throw this.syntax("missing >, unterminated group name", this.at);
    const name = this.chars.slice(this.at, end).join("");
    if (!/^[\p{ID_Start}_]\p{ID_Continue}*$/u.test(name)) throw this.syntax(`bad group name ${quoted(name)}`, this.at);
    if (this.groupNames.has(name)) throw this.syntax(`the group name ${quoted(name)} stands twice`, this.at);
    this.groupNames.add(name);
    this.at = end + 1;
  }

  /** The error for `(?` followed by something that is no plain group. */
  private extension(kind: string, start: number): LowrankError {
    if (kind === "=" || kind === "!") return this.unsupported("look-ahead", start);
    if (kind === ">") return this.unsupported("atomic group", start);
    if (kind === "(") return this.unsupported("conditional group", start);
    if ("aiLmsux-".includes(kind)) return this.unsupported("inline flags", start);
    if (kind !== "<") return this.syntax(`unknown extension ?${kind}`, start + 1);
    const next = this.peek();
    if (next === "=" || next === "!") return this.unsupported("look-behind", start);
    return this.syntax("unknown extension ?<; Python writes a named group (?P<name>...)", start + 1);
  }

  private characterSet(start: number): CharSet {
    const negated = this.take("^");
    const first = this.at;
    const pairs: [number, number][] = [];
    const classes: CharClass[] = [];
    while (this.at === first || this.peek() !== "]") {
      const itemStart = this.at;
      const low = this.setItem(start);
      if (this.peek() !== "-" || this.chars[this.at + 1] === "]") {
        if (low.kind === "class") classes.push(low.name);
        else pairs.push([low.codePoint, low.codePoint]);
        continue;
      }
      this.at++;
      const high = this.setItem(start);
      if (low.kind === "class" || high.kind === "class" || high.codePoint < low.codePoint) {
        throw this.syntax(`bad character range ${this.chars.slice(itemStart, this.at).join("")}`, itemStart);
      }
      pairs.push([low.codePoint, high.codePoint]);
    }
    this.at++;
    return charSet(pairs, classes, negated);
  }

  private setItem(setStart: number): Exclude<Escape, { kind: "assert" }> {
    const start = this.at;
    const char = this.chars[this.at++];
    if (char === undefined) throw this.syntax("unterminated character set", setStart);
    if (char !== "\\") return { kind: "char", codePoint: codePointOf(char) };
    if (this.take("b")) return { kind: "char", codePoint: 8 };
    const next = this.peek();
    if (next !== undefined && isOctal(next)) return { kind: "char", codePoint: this.octal(start, 3) };
    if (next === "8" || next === "9") throw this.syntax(`bad escape \\${next}`, start);
    const escape = this.escape(start);
    if (escape.kind === "assert") throw this.syntax(`bad escape ${this.chars.slice(start, this.at).join("")}`, start);
    return escape;
  }

  /** What follows a backslash outside a set (and, but for `\b` and numbers, inside one too). */
  private escape(start: number): Escape {
    const char = this.chars[this.at++];
    if (char === undefined) throw this.syntax("a backslash ends the pattern", start);
    const control = controlEscapes.get(char);
    if (control !== undefined) return { kind: "char", codePoint: control };
    const name = classEscapes.get(char);
    if (name !== undefined) return { kind: "class", name };
    const at = assertionEscapes.get(char);
    if (at !== undefined) return { kind: "assert", at };
    const length = hexDigits.get(char);
    if (length !== undefined) return { kind: "char", codePoint: this.hexadecimal(start, length) };
    if (char === "N") throw this.unsupported("named character", start);
    if (char >= "0" && char <= "9") return { kind: "char", codePoint: this.number(start) };
    if (/^[a-zA-Z]$/.test(char)) throw this.syntax(`bad escape \\${char}`, start);
    return { kind: "char", codePoint: codePointOf(char) };
  }

  private hexadecimal(start: number, length: number): number {
    const digits = this.chars.slice(this.at, this.at + length).join("");
    const codePoint = /^[0-9a-fA-F]+$/.test(digits) && digits.length === length ? Number.parseInt(digits, 16) : Number.NaN;
    if (!(codePoint <= 0x10ffff)) throw this.syntax(`incomplete or bad escape ${this.chars.slice(start, this.at).join("")}`, start);
    this.at += length;
    return codePoint;
  }

  /** `\0`, `\07`, `\123`: an octal number; any other digits are a reference to a group. */
  private number(start: number): number {
    this.at = start + 1;
    const three = this.chars.slice(this.at, this.at + 3);
    if (three[0] === "0" || (three.length === 3 && three.every(isOctal))) return this.octal(start, 3);
    throw this.unsupported("back-reference", start);
  }

  private octal(start: number, most: number): number {
    let digits = "";
    for (let char = this.peek(); digits.length < most && char !== undefined && isOctal(char); char = this.peek()) {
      digits += char;
      this.at++;
    }
    const codePoint = Number.parseInt(digits, 8);
    if (codePoint > 0o377) throw this.syntax(`octal escape \\${digits} is outside \\0 to \\377`, start);
    return codePoint;
  }

  private digits(): string {
    let digits = "";
    for (let char = this.peek(); char !== undefined && char >= "0" && char <= "9"; char = this.peek()) {
      digits += char;
      this.at++;
    }
    return digits;
  }

  private peek(): string | undefined {
    return this.chars[this.at];
  }

  private take(char: string): boolean {
    if (this.peek() !== char) return false;
    this.at++;
    return true;
  }

  private syntax(rule: string, position: number): LowrankError {
    const message = `${this.label}: pattern ${quoted(this.source)} is not well formed: ${rule} at position ${position}. Correct it, or give a list of module names.`;
    return new LowrankError("PATTERN_SYNTAX", message, { pattern: this.source, position });
  }

  private unsupported(construct: string, position: number): LowrankError {
    const message = `${this.label}: pattern ${quoted(this.source)} has a construct that cannot be matched in linear time: ${construct} at position ${position}. Give a list of module names instead, for instance ["q_proj", "v_proj"].`;
    return new LowrankError("PATTERN_UNSUPPORTED", message, { pattern: this.source, position, construct });
  }
}

function isOctal(char: string): boolean {
  return char.length === 1 && char >= "0" && char <= "7";
}

function codePointOf(char: string): number {
  return char.codePointAt(0) as number;
}
