/**
 * @file Where the assistant's words stand in a rendered conversation. Nothing is searched for in the text: the conversation is
 * rendered again with a placeholder for each assistant content, and the literal pieces between the placeholders must, together with
 * the contents, give the real rendering again.
 */
import { LowrankError, quoted } from "../native/errors.js";
import type { Message } from "./chat-template.js";

/** Range `[start, end)` of UTF-16 units. */
export type Span = readonly [start: number, end: number];

/** Renders some of the messages of one conversation. */
type Render = (messages: readonly Message[], addGenerationPrompt?: boolean) => string;

/**
 * The span of every assistant turn in `text` = `render(messages)`: from the first character of its content as the template prints it
 * to the end of its end-of-turn marker. The marker is what follows the content when the conversation ends there, through the first
 * of `specialTokens`; where there is none, without the white space at its end.
 * @throws LowrankError TEMPLATE_SPAN with both renderings, DATA_ROW_TOO_LARGE, and what `render` throws
 */
export function assistantSpans(messages: readonly Message[], text: string, render: Render, specialTokens: readonly string[]): Span[] {
  const turns = messages.flatMap(({ role }, k) => (role === "assistant" ? [k] : []));
  const written = turns.filter((k) => isWritten(messages[k] as Message));
  const lastQuestion = messages.findLastIndex(({ role }) => role === "user");
  // Templates that keep the reasoning of the last answer may write it anew.
  const plain = written.filter((k) => k < lastQuestion || !((messages[k] as Message).content as string).includes(endOfThought));
  const spans = new Map<number, Span>();
  const locate = (some: readonly number[]): void => {
    writtenSpans(messages, some, text, render, specialTokens).forEach((span, k) => spans.set(some[k] as number, span));
  };
  try {
    locate(written);
  } catch (error) {
    if (!(error instanceof LowrankError) || error.code !== "TEMPLATE_SPAN" || plain.length === written.length) throw error;
    locate(plain);
  }
  checkWork(text.length * (turns.length - spans.size));
  return turns.map((turn) => spans.get(turn) ?? promptedSpan(messages, turn, text, render));
}

/** Characters that may be rendered for turns that need renderings of their own. */
const maxRendered = 2 ** 28;

function checkWork(characters: number): void {
  if (characters <= maxRendered) return;
  const hint = "Split the conversation into several rows.";
  const problem = `The conversation has too many answers that call tools, or reason, for its length: each must be rendered with all before it. ${hint}`;
  throw new LowrankError("DATA_ROW_TOO_LARGE", problem, { expected: maxRendered, actual: characters, hint });
}

/** A turn that is its content; others call tools, and templates print those calls in forms of their own. */
function isWritten(message: Message): boolean {
  const calls = message["tool_calls"];
  return typeof message.content === "string" && (calls === undefined || calls === null || (Array.isArray(calls) && calls.length === 0));
}

function writtenSpans(
  messages: readonly Message[],
  turns: readonly number[],
  text: string,
  render: Render,
  specialTokens: readonly string[],
): Span[] {
  const last = turns.at(-1);
  if (last === undefined) return [];
  const sentinel = unusedCharacter(text);
  const replaced = new Set(turns);
  const marked = messages.map((message, k) => (replaced.has(k) ? { ...message, content: sentinel } : message));
  const markedText = render(marked);
  const literals = markedText.split(sentinel);
  const starts = literals.length === turns.length + 1 ? placeContents(messages, turns, text, literals) : undefined;
  if (starts === undefined) throw spanError(text, markedText);
  const ending =
    last === messages.length - 1
      ? (literals.at(-1) as string)
      : render(marked.slice(0, last + 1))
          .split(sentinel)
          .at(-1);
  const marker = endOfTurn(ending ?? "", specialTokens);
  return starts.map(({ start, end }, k) => {
    const after = literals[k + 1] as string;
    if (after.startsWith(marker)) return [start, end + marker.length] as const;
    // The template ends this turn otherwise than the last one: only a special token can tell where.
    const own = endOfTurn(after, specialTokens, false);
    if (own === "") throw spanError(text, markedText);
    return [start, end + own.length] as const;
  });
}

/** Where each content stands, if literals and contents give `text`; of several ways the one with the first forms. */
function placeContents(
  messages: readonly Message[],
  turns: readonly number[],
  text: string,
  literals: readonly string[],
): { start: number; end: number }[] | undefined {
  const forms = turns.map((turn) => contentForms((messages[turn] as Message).content as string));
  // starts[k]: where content k begins; tried[k]: how many of its forms were tried there.
  const starts = [(literals[0] as string).length];
  const tried = [0];
  const dead = new Set<number>();
  const key = (k: number, start: number): number => k * 2 ** 32 + start;
  /** Where content k + 1 begins if content k begins here and has the next of its forms that fits. */
  const next = (k: number): number | undefined => {
    const [start, after, all] = [starts[k] as number, literals[k + 1] as string, forms[k] as string[]];
    for (let form = tried[k] as number; form < all.length; form++) {
      const content = all[form] as string;
      const end = start + content.length;
      const then = end + after.length;
      if (dead.has(key(k + 1, then)) || !text.startsWith(content, start) || !text.startsWith(after, end)) continue;
      tried[k] = form + 1;
      return then;
    }
    return undefined;
  };
  if (!text.startsWith(literals[0] as string)) return undefined;
  for (let k = 0; k >= 0; ) {
    const then = k < turns.length ? next(k) : undefined;
    if (then !== undefined) {
      starts[++k] = then;
      tried[k] = 0;
    } else if (k === turns.length && starts[k] === text.length) {
      return turns.map((_, n) => ({ start: starts[n] as number, end: (starts[n + 1] as number) - (literals[n + 1] as string).length }));
    } else {
      dead.add(key(k, starts[k] as number));
      k--;
    }
  }
  return undefined;
}

/** The forms in which templates print a content: as given, trimmed, without its reasoning block. */
function contentForms(content: string): string[] {
  const answer = content.slice(content.lastIndexOf(endOfThought) < 0 ? 0 : content.lastIndexOf(endOfThought) + endOfThought.length);
  return [...new Set([content, content.trim(), answer.replace(/^\n+/, ""), answer.trim()])];
}

const endOfThought = "</think>";

/** What of `after` ends the turn: through the first special token, else (if `orText`) all but the white space at its end. */
function endOfTurn(after: string, specialTokens: readonly string[], orText = true): string {
  let end = Number.POSITIVE_INFINITY;
  for (const token of specialTokens) {
    const at = after.indexOf(token);
    if (at >= 0) end = Math.min(end, at + token.length);
  }
  if (end !== Number.POSITIVE_INFINITY) return after.slice(0, end);
  return orText ? after.trimEnd() : "";
}

/**
 * The span of a turn that the template writes in a form of its own: from the end of what asks for this turn (the prompt for
 * generation) to the end of the conversation up to it, provided that both are beginnings of the whole.
 */
function promptedSpan(messages: readonly Message[], turn: number, text: string, render: Render): Span {
  const prompt = render(messages.slice(0, turn), true);
  if (!text.startsWith(prompt)) throw spanError(text, prompt);
  const through = render(messages.slice(0, turn + 1)).trimEnd();
  if (!text.startsWith(through) || through.length < prompt.length) throw spanError(text, through);
  return [prompt.length, through.length];
}

/** A private-use character that the text does not hold. */
function unusedCharacter(text: string): string {
  for (let code = 0xe000; code < 0xf8ff; code++) {
    const character = String.fromCharCode(code);
    if (!text.includes(character)) return character;
  }
  return "\u{f0000}";
}

export const spanRule =
  "The assistant's contents could not be found in the rendered conversation: the template changes them in a way that is not known";

function spanError(text: string, marked: string): LowrankError {
  const problem = `${spanRule}. Rendered: ${quoted(text)}; otherwise: ${quoted(marked)}.`;
  const hint = "Use another chat template, or rows of prompt and completion.";
  return new LowrankError("TEMPLATE_SPAN", `${problem} ${hint}`, { expected: marked, actual: text, hint });
}
