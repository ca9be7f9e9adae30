/** @file Rows of training data to tokens and labels. */
import { LowrankError } from "../native/errors.js";
import { ignoredLabel } from "../tensor/labels.js";
import type { ChatTemplateOptions, Message } from "./chat-template.js";
import { assistantSpans, type Span } from "./spans.js";
import { type Encoding, maxTextLength, type Tokenizer } from "./tokenizer.js";

/** A conversation: the assistant's turns are trained. */
export interface MessagesRow {
  readonly messages: readonly Message[];
  readonly tools?: readonly unknown[] | null;
}

/** A text and how it goes on: the completion is trained. */
export interface PromptRow {
  readonly prompt: string;
  readonly completion: string;
}

/** A text that is trained as a whole. */
export interface TextRow {
  readonly text: string;
}

export type TrainingRow = MessagesRow | PromptRow | TextRow;

export interface ExampleOptions extends Pick<ChatTemplateOptions, "templateArgs" | "template" | "now"> {
  /** Keep only the first tokens. */
  readonly maxLength?: number;
}

/** One row, ready for training. */
export interface Example {
  readonly tokens: number[];
  /** Aligned with `tokens`; -100 where a token is not trained. */
  readonly labels: number[];
  /** What was tokenized, whole. An EOS that was appended is not in it. */
  readonly text: string;
  /** What of `text` is trained, whole; UTF-16 units. */
  readonly spans: Span[];
}

/** An example with what was there before it was cut. */
export interface PlacedExample extends Example {
  /** Places of all tokens in `text`, as in {@link Encoding}; an EOS that was appended stands at its end. */
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

export { ignoredLabel };

/**
 * Tokens and labels of a row. A token is trained when it lies between the first and the last token that share a character with one
 * span. `messages`: by the chat template; the spans are the assistant's turns with their end of turn; nothing is added by the
 * post-processor. `prompt` + `completion` and `text`: one string with special tokens; EOS is appended unless it is there, and trained;
 * BOS is not.
 * @throws LowrankError EXAMPLE_BAD_ROW, EXAMPLE_NO_ASSISTANT, EXAMPLE_NO_TRAINED_TOKEN (none is left that has a token before it),
 * DATA_ROW_TOO_LARGE, BAD_ARGUMENT, TEMPLATE_SPAN and as {@link Tokenizer.applyChatTemplate}
 */
export function renderExample(row: TrainingRow, tokenizer: Tokenizer, options: ExampleOptions = {}): Example {
  const { tokens, labels, text, spans } = placeExample(row, tokenizer, options);
  return { tokens, labels, text, spans };
}

/** As {@link renderExample}, with the places of the tokens. */
export function placeExample(row: TrainingRow, tokenizer: Tokenizer, options: ExampleOptions): PlacedExample {
  const { maxLength = Number.POSITIVE_INFINITY } = options;
  if (!(maxLength > 0)) throw new LowrankError("BAD_ARGUMENT", `maxLength must be at least 1, is ${maxLength}.`, { expected: 1, actual: maxLength });
  const { encoding, trained, text, spans } = renderWhole(row, tokenizer, options);
  const { ids: tokens, starts, ends } = encoding;
  const labels = tokens.map((token, t) => (trained[t] ? token : ignoredLabel)).slice(0, maxLength);
  if (labels.every((label, t) => t === 0 || label === ignoredLabel)) throw noTrainedToken(tokens.length, maxLength, trained);
  return { tokens: tokens.slice(0, maxLength), labels, text, spans, starts, ends };
}

interface Whole {
  readonly encoding: Encoding;
  readonly trained: boolean[];
  readonly text: string;
  readonly spans: Span[];
}

function renderWhole(row: TrainingRow, tokenizer: Tokenizer, options: ExampleOptions): Whole {
  if (row === null || typeof row !== "object") throw badRow("the row is not an object", row);
  if ("messages" in row) return renderMessages(row, tokenizer, options);
  if ("prompt" in row || "completion" in row) {
    const { prompt, completion } = row as Partial<PromptRow>;
    if (typeof prompt !== "string" || typeof completion !== "string") throw badRow("prompt and completion must both be texts", row);
    return renderPlain(prompt + completion, prompt.length, tokenizer);
  }
  if ("text" in row && typeof row.text === "string") return renderPlain(row.text, 0, tokenizer);
  throw badRow("the row has neither messages, nor prompt and completion, nor text", row);
}

function renderMessages(row: MessagesRow, tokenizer: Tokenizer, options: ExampleOptions): Whole {
  const { messages, tools } = row;
  if (!Array.isArray(messages)) throw badRow("messages must be a list", row);
  const { templateArgs, template, now = new Date() } = options;
  const given = { ...(tools ? { tools } : {}), ...(templateArgs ? { templateArgs } : {}), ...(template ? { template } : {}), now };
  const render = (some: readonly Message[], addGenerationPrompt = false): string =>
    tokenizer.applyChatTemplate(some, { ...given, addGenerationPrompt });
  const text = checkedText(render(messages));
  if (!messages.some(({ role }: Message) => role === "assistant")) {
    const hint = "Add the answer that the model shall learn, or remove the row.";
    throw new LowrankError("EXAMPLE_NO_ASSISTANT", `The conversation has no assistant turn. ${hint}`, { actual: messages.length, hint });
  }
  const spans = assistantSpans(messages, text, render, tokenizer.specialTokens);
  const encoding = tokenizer.encodeWithOffsets(text, { addSpecialTokens: false });
  return { encoding, trained: trainedTokens(encoding, spans), text, spans };
}

function renderPlain(text: string, start: number, tokenizer: Tokenizer): Whole {
  const { eosTokenId, bosTokenId } = tokenizer;
  if (eosTokenId === undefined) {
    const hint = "Name an eos_token in tokenizer_config.json.";
    throw new LowrankError("TOKENIZER_BAD_CONFIG", `The tokenizer has no end-of-text token, which rows of text need. ${hint}`, { hint });
  }
  const encoding = tokenizer.encodeWithOffsets(checkedText(text));
  const spans: Span[] = start < text.length ? [[start, text.length]] : [];
  const trained = trainedTokens(encoding, spans);
  if (encoding.ids[0] === bosTokenId && trained.length > 0) trained[0] = false;
  if (encoding.ids.at(-1) !== eosTokenId) {
    encoding.ids.push(eosTokenId);
    encoding.starts.push(text.length);
    encoding.ends.push(text.length);
  }
  trained[encoding.ids.length - 1] = true;
  return { encoding, trained, text, spans };
}

/** @throws LowrankError DATA_ROW_TOO_LARGE */
function checkedText(text: string): string {
  if (text.length <= maxTextLength) return text;
  const hint = "Split it into several rows.";
  const problem = `The text of the row, as it is tokenized, has more than ${maxTextLength} characters. ${hint}`;
  throw new LowrankError("DATA_ROW_TOO_LARGE", problem, { expected: maxTextLength, actual: text.length, hint });
}

/** For every token whether it lies between the first and the last that share a character with one span. Spans and tokens rise. */
function trainedTokens({ ids, starts, ends }: Encoding, spans: readonly Span[]): boolean[] {
  const trained = new Array<boolean>(ids.length).fill(false);
  let t = 0;
  for (const [from, to] of spans) {
    const start = (k: number): number => starts[k] as number;
    const shares = (k: number): boolean => start(k) < to && (ends[k] as number) > from && start(k) < (ends[k] as number);
    while (t < ids.length && !shares(t) && start(t) < to) t++;
    const first = t;
    let last = t - 1;
    for (let k = t; k < ids.length && start(k) < to; k++) if (shares(k)) last = k;
    if (last < first) continue;
    trained.fill(true, first, last + 1);
    // The last token of this span may also hold the start of the next one.
    t = last;
  }
  return trained;
}

function noTrainedToken(length: number, maxLength: number, trained: readonly boolean[]): LowrankError {
  const isCut = length > maxLength && trained.some((is, t) => is && t >= maxLength);
  const hint = isCut
    ? `All of them are cut off; raise maxLength (now ${maxLength}) to ${length}, or shorten the row.`
    : "Add the text to learn, or remove the row.";
  return new LowrankError("EXAMPLE_NO_TRAINED_TOKEN", `The row has no token to train that follows another one. ${hint}`, {
    expected: length,
    actual: Math.min(length, maxLength),
    hint,
  });
}

function badRow(problem: string, row: unknown): LowrankError {
  const keys = row !== null && typeof row === "object" ? Object.keys(row) : [];
  const hint = "Rows have messages, or prompt and completion, or text.";
  return new LowrankError("EXAMPLE_BAD_ROW", `${problem}. ${hint}`, { actual: keys, hint });
}
