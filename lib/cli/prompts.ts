/** @file Prompts whose answers before and after a training are shown side by side. */
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import { createInterface } from "node:readline";
import { ioError } from "../io/file.js";
import { type CausalLm, generate } from "../models/index.js";
import { fileError } from "../native/errors.js";
import type { Message } from "../text/index.js";
import { requireMessages } from "../text/jsonl-row.js";

/** A prompt, and where it is known the answer that the data give. */
export interface Question {
  readonly prompt: string | readonly Message[];
  readonly expected?: string;
}

/** Prompts beyond these are left out: each is answered twice. */
const mostPrompts = 50;
/** Rows of the data that are shown. */
const shownRows = 4;

/**
 * The prompt of a row of data: what comes before its last assistant turn, or its completion.
 * @throws LowrankError DATA_BAD_FIELD, DATA_BAD_ROLE
 */
function questionOf(row: unknown, where: string): Question | undefined {
  if (row === null || typeof row !== "object") return undefined;
  const { messages, prompt, completion } = row as { messages?: unknown; prompt?: unknown; completion?: unknown };
  if (Array.isArray(messages)) {
    requireMessages(where, messages);
    return questionOfMessages(messages as readonly Message[]);
  }
  if (typeof prompt !== "string" || prompt === "") return undefined;
  return { prompt, ...(typeof completion === "string" ? { expected: completion } : {}) };
}

function questionOfMessages(messages: readonly Message[]): Question | undefined {
  const last = messages.findLastIndex(({ role }) => role === "assistant");
  const isAnswered = last >= 0 && last === messages.length - 1;
  const prompt = isAnswered ? messages.slice(0, last) : messages;
  const expected = messages[last]?.content;
  return prompt.length === 0 ? undefined : { prompt, ...(isAnswered && typeof expected === "string" ? { expected } : {}) };
}

/** The first rows of a data file that have a prompt. */
export const questionsOfData = (file: string): Promise<Question[]> =>
  read(file, shownRows, (line) => {
    try {
      return questionOf(parsed(line), "");
    } catch {
      return undefined; // a row that is left out
    }
  });

/**
 * The prompts of a file: rows as in the data (*.jsonl), else a prompt a line, which is a message of the user `asChat`.
 * @throws LowrankError DATA_BAD_FIELD, DATA_BAD_ROLE for a line of *.jsonl that is no such row, DATA_EMPTY, IO_…
 */
export async function questionsOfPrompts(file: string, asChat: boolean, onWarning: (message: string) => void): Promise<Question[]> {
  const questions = await read(file, mostPrompts + 1, (line, number) => {
    if (!file.endsWith(".jsonl")) return { prompt: asChat ? [{ role: "user", content: line }] : line };
    const question = questionOf(parsed(line), `${basename(file)}: line ${number}`);
    if (question !== undefined) return question;
    throw fileError("DATA_BAD_FIELD", file, `line ${number}: a prompt is a row with messages, or with prompt.`, { line: number });
  });
  if (questions.length === 0) throw fileError("DATA_EMPTY", file, "the file has no prompt. Write one a line.");
  if (questions.length > mostPrompts) onWarning(`only the first ${mostPrompts} prompts of ${basename(file)} are answered; each takes two answers.`);
  return questions.slice(0, mostPrompts);
}

async function read(file: string, most: number, questionAt: (line: string, number: number) => Question | undefined): Promise<Question[]> {
  const questions: Question[] = [];
  const stream = createReadStream(file);
  try {
    let number = 0;
    for await (const line of createInterface({ input: stream })) {
      number++;
      const question = line.trim() === "" ? undefined : questionAt(line.trim().replace(/^\ufeff/, ""), number);
      if (question !== undefined) questions.push(question);
      if (questions.length === most) break;
    }
    return questions;
  } catch (error) {
    throw ioError(file, "cannot be read", error);
  } finally {
    stream.destroy();
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** The most likely answer, whole. */
export async function answerTo(model: CausalLm, { prompt }: Question, maxTokens: number, signal: AbortSignal): Promise<string> {
  let answer = "";
  for await (const piece of generate(model, prompt, { temperature: 0, maxTokens, signal, onWarning: () => undefined })) answer += piece;
  return answer;
}

/** A prompt as text: of a conversation each message under its role. */
export function promptText({ prompt }: Question): string {
  if (typeof prompt === "string") return prompt;
  return prompt.map(({ role, content }) => `${role}: ${typeof content === "string" ? content : JSON.stringify(content)}`).join("\n");
}

/** As {@link promptText}, but what a user says alone stands there without the role. */
export function promptAlone(question: Question): string {
  const [only, ...others] = typeof question.prompt === "string" ? [] : question.prompt;
  return others.length === 0 && only?.role === "user" && typeof only.content === "string" ? only.content : promptText(question);
}
