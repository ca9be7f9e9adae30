/** @file One line of a JSONL file to a row of training data, checked. Messages name fields, never the text of a row. */
import { findJsonProblem, type JsonProblem, type JsonRules, lineAndColumn } from "../io/json-check.js";
import { type JsonValue, parseJson, plainValue } from "../io/json-scanner.js";
import { LowrankError, nearest, quoted } from "../native/errors.js";
import type { Message } from "./chat-template.js";
import { kindOf } from "./describe.js";
import type { MessagesRow, TrainingRow } from "./example.js";
import { RowError } from "./jsonl-file.js";

const rules: JsonRules = {
  path: "",
  codes: {
    syntax: "DATA_BAD_JSON",
    duplicate: "DATA_DUPLICATE_KEY",
    depth: "DATA_NESTING_TOO_DEEP",
    utf8: "DATA_ENCODING",
    surrogate: "DATA_ENCODING",
  },
  maxDepth: 128,
};

type Fields = Readonly<Record<string, unknown>>;

const correctRow = "Correct the row, or remove it.";

/**
 * The row in the bytes of a line. Other fields than those of its form are left out; of several forms the first counts, in the order
 * `messages`, `prompt` and `completion`, `text`.
 * @throws RowError DATA_BAD_JSON, DATA_ENCODING, DATA_DUPLICATE_KEY, DATA_NESTING_TOO_DEEP, DATA_ROW_NOT_OBJECT, DATA_MISSING_FIELD,
 * DATA_BAD_FIELD, DATA_BAD_ROLE
 */
export function parseRow(bytes: Buffer): TrainingRow {
  const found = findJsonProblem(bytes, rules);
  if (found !== undefined) throw jsonError(bytes, found);
  const text = bytes.toString("utf8");
  const value: unknown = JSON.parse(text);
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    const hint = 'A row is an object: {"messages": …}, {"prompt": …, "completion": …} or {"text": …}.';
    throw new RowError("DATA_ROW_NOT_OBJECT", `the row is ${kindOf(value)}. ${hint}`, { expected: "object", actual: kindOf(value), hint });
  }
  const row = trainingRow(value as Fields);
  if ("messages" in row && /[0-9]{16}/.test(text)) refuseInexact(bytes);
  return row;
}

/** A problem of the scanner with its column, and what people usually did wrong. */
function jsonError(bytes: Buffer, { code, offset, problem }: JsonProblem): RowError {
  const { column } = lineAndColumn(bytes, 0, offset);
  const hint = code === "DATA_BAD_JSON" ? syntaxHint(bytes, offset) : otherHints[code as keyof typeof otherHints];
  return new RowError(code, `${problem}. ${hint}`, { column, offset, hint });
}

const otherHints = {
  DATA_ENCODING: "Save the file as UTF-8; half of a character cannot be trained.",
  DATA_DUPLICATE_KEY: "It is not clear which one is meant; remove one.",
  DATA_NESTING_TOO_DEEP: "No row of training data needs that; check what wrote the file.",
} as const;

function syntaxHint(bytes: Buffer, offset: number): string {
  if (bytes.includes(0)) return "The row holds NUL bytes: the file looks as if its writer was interrupted. Write it again.";
  const rest = bytes.toString("latin1", offset, offset + 10);
  if (rest.startsWith("'")) return "JSON has double quotes only.";
  if (/^-?(NaN|Infinity)|^(None|True|False)\b|^(nan|inf)/.test(rest)) return "JSON has true, false and null, and no NaN or Infinity.";
  if (bytes.subarray(0, offset).includes(0x0d)) return "Do lines end in a lone CR? End them with LF.";
  if (bytes.subarray(offset).every((byte) => byte <= 0x20) || rest.startsWith('"')) {
    return "Is the row cut off, or does the object go on in the next line? JSONL has one object a line; line breaks inside texts are written \\n.";
  }
  return "JSONL has one JSON object a line.";
}

/** Fields that other tools use, and how they are called here. */
const foreignFields: readonly (readonly [fields: readonly string[], advice: string])[] = [
  [["conversations"], "Write messages: [{ role, content }] instead of conversations."],
  [["conversation"], "Write messages: [{ role, content }] instead of conversation."],
  [["instruction", "output"], "Write prompt (the instruction and its input) and completion (the output)."],
  [["instruction", "response"], "Write prompt (the instruction) and completion (the response)."],
  [["prompt", "response"], "Rename response to completion."],
  [["prompt", "output"], "Rename output to completion."],
  [["prompt", "chosen"], "Preference data are not supported; write completion."],
  [["question", "answer"], "Rename question to prompt and answer to completion."],
  [["input", "output"], "Rename input to prompt and output to completion."],
  [["content"], "Rename content to text."],
];

const fieldNames = ["messages", "prompt", "completion", "text"];

function trainingRow(fields: Fields): TrainingRow {
  if (Object.hasOwn(fields, "messages")) return messagesRow(fields);
  if (Object.hasOwn(fields, "prompt") || Object.hasOwn(fields, "completion")) {
    return { prompt: textField(fields, "prompt"), completion: textField(fields, "completion") };
  }
  if (Object.hasOwn(fields, "text")) return { text: textField(fields, "text") };
  throw missing(fields, "it has neither messages, nor prompt and completion, nor text");
}

function textField(fields: Fields, name: string): string {
  if (!Object.hasOwn(fields, name)) throw missing(fields, `it has no ${name}`);
  const value = fields[name];
  if (typeof value === "string") return value;
  const hint = isMessageList(value) ? "Put all turns into one list: messages." : "Write a string.";
  throw badField(name, "a string", value, hint);
}

const isMessageList = (value: unknown): boolean =>
  Array.isArray(value) && value.length > 0 && typeof (value[0] as Fields | null)?.["role"] === "string";

function missing(fields: Fields, problem: string): RowError {
  const keys = Object.keys(fields);
  const foreign = foreignFields.find(([names]) => names.every((name) => keys.includes(name)))?.[1];
  const slips = keys.flatMap((key) => {
    const meant = nearest(key, fieldNames, 1)[0];
    return meant === undefined || fieldNames.includes(key) ? [] : [`Is ${quoted(key)} the same as ${quoted(meant)}?`];
  });
  const hint = foreign ?? slips[0] ?? "Rows have messages, or prompt and completion, or text.";
  const shown = keys.slice(0, 8).map(quoted).join(", ") + (keys.length > 8 ? ", …" : "");
  const found = keys.length === 0 ? "the row is empty" : `the row has ${shown}`;
  return new RowError("DATA_MISSING_FIELD", `${found}; ${problem}. ${hint}`, { expected: fieldNames, actual: keys, hint });
}

function messagesRow(fields: Fields): MessagesRow {
  const { messages } = fields;
  checkMessages(messages);
  const tools = Object.hasOwn(fields, "tools") ? fields["tools"] : undefined;
  if (tools === undefined || tools === null) return { messages };
  if (!Array.isArray(tools))
    throw badField("tools", "a list", tools, typeof tools === "string" ? "Write the list itself, not its JSON text." : undefined);
  return { messages, tools };
}

/** `advice` is for slips that no better one is known for. */
function checkMessages(messages: unknown, advice = correctRow): asserts messages is readonly Message[] {
  if (!Array.isArray(messages) || messages.length === 0) throw badField("messages", "a list of at least one message", messages, advice);
  messages.forEach((message, k) => checkMessage(message, `messages[${k}]`, advice));
}

/**
 * Checks a conversation that is no row of a file as if it were one. `what` begins the message.
 * @throws LowrankError DATA_BAD_FIELD, DATA_BAD_ROLE
 */
export function requireMessages(what: string, messages: unknown): void {
  try {
    checkMessages(messages, "Correct the messages.");
  } catch (error) {
    if (!(error instanceof RowError)) throw error;
    throw new LowrankError(error.code, `${what}: ${error.problem}`, error.details);
  }
}

const roles = ["system", "developer", "user", "assistant", "tool", "function", "ipython"];
const otherNames = new Map([
  ...["human", "customer"].map((name) => [name, "user"] as const),
  ...["gpt", "bot", "ai", "chatbot", "model"].map((name) => [name, "assistant"] as const),
]);

function checkMessage(message: unknown, place: string, advice: string): void {
  if (message === null || typeof message !== "object" || Array.isArray(message))
    throw badField(place, "an object with role and content", message, advice);
  const fields = message as Fields;
  const role = Object.hasOwn(fields, "role") ? fields["role"] : undefined;
  if (typeof role !== "string") {
    const hint = Object.hasOwn(fields, "from") ? "Write role and content instead of from and value." : advice;
    throw badField(`${place}.role`, "a string", role, hint);
  }
  checkRole(`${place}.role`, role);
  const content = Object.hasOwn(fields, "content") ? fields["content"] : undefined;
  if (typeof content === "string" || Array.isArray(content)) return;
  const calls = (message as Message)["tool_calls"];
  if ((content === undefined || content === null) && Array.isArray(calls) && calls.length > 0) return;
  throw badField(`${place}.content`, "a string", content, advice);
}

/** Roles that nobody knows are the template's business; what is nearly a known one is a slip that would leave a turn untrained. */
function checkRole(place: string, role: string): void {
  if (roles.includes(role)) return;
  const meant = otherNames.get(role.toLowerCase()) ?? nearest(role.toLowerCase(), roles, 1)[0];
  if (meant === undefined) return;
  const hint = `Write ${quoted(meant)}.`;
  throw new RowError("DATA_BAD_ROLE", `${place} is ${quoted(role)}, which is no known role. ${hint}`, { expected: roles, actual: role, hint });
}

/** Numbers of which the digits would change. */
function refuseInexact(bytes: Buffer): void {
  const row = plainValue(parseJson(bytes, rules)) as Record<string, JsonValue>;
  const has = (value: JsonValue | undefined): boolean =>
    typeof value === "bigint" || (value !== null && typeof value === "object" && Object.values(value).some(has));
  const name = ["messages", "tools"].find((field) => has(row[field]));
  if (name !== undefined) throw badField(name, "integers of at most 2^53", undefined, "Write larger ones as strings.", "a larger one");
}

function badField(name: string, expected: string, value: unknown, hint = correctRow, actual = kindOf(value)): RowError {
  return new RowError("DATA_BAD_FIELD", `${name} must be ${expected}, found ${actual}. ${hint}`, { field: name, expected, actual, hint });
}
