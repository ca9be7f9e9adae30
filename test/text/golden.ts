/** @file The golden cases of test/fixtures/text: what transformers and tokenizers compute. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Message, TrainingRow } from "../../lib/text/index.js";

export const styles = ["gpt2-style", "llama3-style", "sentencepiece-style"] as const;
export type Style = (typeof styles)[number];

export interface TokenizeCase {
  readonly text: string;
  readonly ids: number[];
  readonly idsWithSpecial: number[];
  readonly decoded: string;
  readonly decodedSkip: string;
}

export interface StreamCase {
  readonly ids: number[];
  readonly pieces: string[];
  readonly text: string;
}

export interface ChatCase {
  readonly name: string;
  readonly template: string;
  readonly messages: Message[];
  readonly tools?: unknown[];
  readonly templateArgs?: Record<string, unknown>;
  readonly now?: string;
  readonly maxLength?: number;
  readonly text?: string;
  readonly ids?: number[];
  readonly promptText?: string;
  readonly promptIds?: number[];
  readonly spans?: [number, number][];
  readonly trained?: number[];
  readonly error?: "template" | "no-assistant-turn" | "no-trained-token";
  readonly message?: string;
}

export interface ChatCases {
  readonly templates: Record<string, { readonly template: string; readonly endOfTurn: string }>;
  readonly cases: ChatCase[];
}

export type RowCase = TrainingRow & {
  readonly ids: number[];
  readonly maxLength?: number;
  readonly trained?: number[];
  readonly error?: "no-trained-token";
};

export function folder(style: Style): string {
  return fileURLToPath(new URL(`../fixtures/text/${style}`, import.meta.url));
}

export function text(style: Style, name: string): string {
  return readFileSync(`${folder(style)}/${name}`, "utf8");
}

export const cases = {
  tokenize: (style: Style): TokenizeCase[] => JSON.parse(text(style, "tokenize.json")) as TokenizeCase[],
  stream: (style: Style): StreamCase[] => JSON.parse(text(style, "stream.json")) as StreamCase[],
  chat: (style: Style): ChatCases => JSON.parse(text(style, "chat.json")) as ChatCases,
  rows: (style: Style): RowCase[] => JSON.parse(text(style, "rows.json")) as RowCase[],
};
