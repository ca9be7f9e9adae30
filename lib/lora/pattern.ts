/**
 * @file Regular expressions with the meaning of Python's `re.fullmatch`, matched in time proportional to pattern × text. All states
 * that the pattern can be in are advanced together, one character at a time (Thompson 1968), so no pattern can make it slow.
 */
import { LowrankError, quoted } from "../native/errors.js";
import { type CharSet, contains, isWordChar } from "./pattern-chars.js";
import { type Assertion, type PatternNode, parsePattern } from "./pattern-parser.js";

/** A compiled pattern. */
export interface Pattern {
  readonly source: string;
  /** The number of states: the most work that one character of a text can cost. */
  readonly states: number;
  /**
   * Whether the pattern matches the whole text.
   * @throws LowrankError `PATTERN_TOO_COMPLEX` when the budget is used up
   */
  fullMatch(text: string, budget?: StepBudget): boolean;
}

/** Counts visits of states, so that many matches together cannot take long either. */
export class StepBudget {
  steps = 0;
  /** @param limit more steps than this are an error; the default is about a second's work */
  constructor(readonly limit = 20_000_000) {}
}

const maxStates = 20_000;
const dot = 0x2e;
const lineFeed = 0x0a;

/**
 * Compiles a pattern. Supported: literals, escapes, `.`, sets, groups (also named and comments), `|`, `* + ? {m} {m,} {,n} {m,n}` and their lazy
 * forms, `^ $ \A \Z \b \B`. Not supported: back-references, look-around, inline flags, possessive repeats, atomic and conditional groups.
 * @param source the text of the pattern, as Python 3.11 would take it
 * @param label names the pattern in messages
 * @throws LowrankError `PATTERN_SYNTAX`, `PATTERN_UNSUPPORTED` or `PATTERN_TOO_COMPLEX`
 */
export function compilePattern(source: string, label = "pattern"): Pattern {
  return new Program(source, parsePattern(source, label), label);
}

/**
 * Compiles a pattern that may match the whole path of a module or what follows one of its dots: PEFT's rule for the keys of
 * `rank_pattern` and `alpha_pattern`, `(.*\.)?(key)$`.
 * @throws LowrankError as {@link compilePattern}
 */
export function compileSuffixPattern(source: string, label = "pattern"): Pattern {
  return new Program(source, parsePattern(source, label), label, true);
}

type Instruction =
  | { readonly op: "chars"; readonly set: CharSet }
  | { readonly op: "assert"; readonly at: Assertion }
  | { readonly op: "fork"; second: number }
  | { readonly op: "jump"; to: number }
  | { readonly op: "match" };

class Program implements Pattern {
  private readonly code: Instruction[] = [];

  constructor(
    readonly source: string,
    node: PatternNode,
    private readonly label: string,
    private readonly mayStartAfterDot = false,
  ) {
    const size = sizeOf(node) + 1;
    if (size > maxStates) throw this.tooComplex(`would need ${size > 1e15 ? "more than 1e15" : size} states; at most ${maxStates} are allowed`);
    this.emit(node);
    this.code.push({ op: "match" });
  }

  get states(): number {
    return this.code.length;
  }

  fullMatch(text: string, budget = new StepBudget()): boolean {
    const chars = codePoints(text);
    const seen = new Int32Array(this.code.length).fill(-1);
    let entries = [0];
    let mayStart = this.mayStartAfterDot;
    for (let position = 0; position < chars.length && (mayStart || entries.length > 0); position++) {
      const next: number[] = [];
      for (const index of this.reach(entries, chars, position, seen, budget)) {
        const instruction = this.code[index] as Instruction;
        if (instruction.op === "chars" && contains(instruction.set, chars[position] as number)) next.push(index + 1);
      }
      mayStart &&= chars[position] !== lineFeed;
      if (mayStart && chars[position] === dot) next.push(0);
      entries = next;
    }
    return this.reach(entries, chars, chars.length, seen, budget).some((index) => this.code[index]?.op === "match");
  }

  /** The states that wait for a character, or accept, among all that can be reached from `entries` without using one up. Each is visited once. */
  private reach(entries: readonly number[], chars: readonly number[], position: number, seen: Int32Array, budget: StepBudget): number[] {
    const waiting: number[] = [];
    const open = [...entries];
    for (let index = open.pop(); index !== undefined; index = open.pop()) {
      if (seen[index] === position) continue;
      seen[index] = position;
      budget.steps++;
      const instruction = this.code[index] as Instruction;
      if (instruction.op === "fork") open.push(instruction.second, index + 1);
      else if (instruction.op === "jump") open.push(instruction.to);
      else if (instruction.op !== "assert") waiting.push(index);
      else if (holds(instruction.at, chars, position)) open.push(index + 1);
    }
    if (budget.steps > budget.limit) throw this.tooComplex(`needs more than ${budget.limit} steps on these module names`);
    return waiting;
  }

  private emit(node: PatternNode): void {
    if (node.kind === "chars") this.code.push({ op: "chars", set: node.set });
    else if (node.kind === "assert") this.code.push({ op: "assert", at: node.at });
    else if (node.kind === "sequence") for (const item of node.items) this.emit(item);
    else if (node.kind === "choice") this.emitChoice(node.options);
    else this.emitRepeat(node.body, node.min, node.max);
  }

  private emitChoice(options: readonly PatternNode[]): void {
    const jumps: { op: "jump"; to: number }[] = [];
    for (const [position, option] of options.entries()) {
      if (position === options.length - 1) {
        this.emit(option);
        break;
      }
      const fork = this.pushFork();
      this.emit(option);
      const jump = { op: "jump" as const, to: 0 };
      jumps.push(jump);
      this.code.push(jump);
      fork.second = this.code.length;
    }
    for (const jump of jumps) jump.to = this.code.length;
  }

  private emitRepeat(body: PatternNode, min: number, max: number): void {
    for (let copy = 0; copy < min; copy++) this.emit(body);
    if (max === Number.POSITIVE_INFINITY) {
      const start = this.code.length;
      const fork = this.pushFork();
      this.emit(body);
      this.code.push({ op: "jump", to: start });
      fork.second = this.code.length;
      return;
    }
    const forks: { second: number }[] = [];
    for (let copy = min; copy < max; copy++) {
      forks.push(this.pushFork());
      this.emit(body);
    }
    for (const fork of forks) fork.second = this.code.length;
  }

  /** A fork goes on at the next instruction and at `second`, which the caller fills in. */
  private pushFork(): { second: number } {
    const fork = { op: "fork" as const, second: 0 };
    this.code.push(fork);
    return fork;
  }

  private tooComplex(finding: string): LowrankError {
    const message = `${this.label}: pattern ${quoted(this.source)} ${finding}. Write a simpler pattern, or give a list of module names.`;
    return new LowrankError("PATTERN_TOO_COMPLEX", message, { pattern: this.source });
  }
}

/** At least the number of instructions that the node will need, and at least 1, so that repeating an empty group counts too. */
function sizeOf(node: PatternNode): number {
  if (node.kind === "chars" || node.kind === "assert") return 1;
  if (node.kind === "sequence") return Math.max(1, sum(node.items));
  if (node.kind === "choice") return sum(node.options) + 2 * (node.options.length - 1);
  const body = sizeOf(node.body);
  return node.max === Number.POSITIVE_INFINITY ? (node.min + 1) * body + 2 : node.max * body + (node.max - node.min);
}

function codePoints(text: string): number[] {
  const points: number[] = [];
  for (let at = 0; at < text.length; at += (points.at(-1) as number) > 0xffff ? 2 : 1) points.push(text.codePointAt(at) as number);
  return points;
}

function sum(nodes: readonly PatternNode[]): number {
  return nodes.reduce((total, node) => total + sizeOf(node), 0);
}

function holds(at: Assertion, chars: readonly number[], position: number): boolean {
  if (at === "start") return position === 0;
  if (at === "end") return position === chars.length;
  if (at === "endOrLastNewline") return position === chars.length || (position === chars.length - 1 && chars[position] === lineFeed);
  if (chars.length === 0) return false;
  return (isWordChar(chars[position - 1]) !== isWordChar(chars[position])) === (at === "wordBoundary");
}
