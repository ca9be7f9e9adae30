/** @file lowrank generate. */
import { addAbortSignal } from "node:stream";
import { type GenerateOptions, generate } from "../models/index.js";
import type { Message } from "../text/index.js";
import type { Context } from "./context.js";
import { attachStored, isChat, openModel, openStored } from "./session.js";
import { UsageError } from "./usage.js";

const names = ["temperature", "topK", "topP", "seed", "maxTokens", "stop"];

export async function generateCommand(context: Context): Promise<void> {
  const { args, output, interrupt } = context;
  if (args.flag("raw") && args.has("system")) throw new UsageError("BAD_ARGUMENT", "--system has no meaning with --raw. Leave one of them out.");
  const given = args.required("prompt");
  const text = given === "-" ? await standardInput(interrupt.signal) : given;
  if (text === "") throw new UsageError("BAD_ARGUMENT", "--prompt: standard input is empty.");
  await using stored = await openStored(context);
  using model = await openModel(context);
  const adapter = await attachStored(context, model, stored);
  try {
    const options: GenerateOptions = { ...args.pick(names), signal: interrupt.signal, onWarning: (message) => output.warn(message) };
    let answer = "";
    for await (const piece of generate(model, promptOf(context, text, isChat(model, adapter)), options)) {
      answer += piece;
      output.event({ type: "text", text: piece });
      output.result(piece);
    }
    output.result("\n");
    output.event({ type: "done", text: answer });
  } finally {
    adapter?.dispose();
  }
}

function promptOf({ args }: Context, text: string, asChat: boolean): string | Message[] {
  const system = args.text("system");
  if (args.flag("raw") || (system === undefined && !asChat)) return text;
  return [...(system === undefined ? [] : [{ role: "system", content: system }]), { role: "user", content: text }];
}

async function standardInput(signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of addAbortSignal(signal, process.stdin)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
