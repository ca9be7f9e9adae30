/** @file Chat templates: Jinja as transformers runs it, with bounded work. */
import { crypto } from "../io/crypto.js";
import { maxTemplateBytes } from "../io/template-text.js";
import type { ErrorCode } from "../native/error-codes.js";
import { type ErrorDetails, fileError, LowrankError, quoted } from "../native/errors.js";
import { jinja } from "./jinja.js";
import { strftime } from "./strftime.js";
import { analyze, LimitedInterpreter, type Limits, type Program, TemplateLimit } from "./template-limits.js";

/** Longer runs make the library's scanner slow. */
const maxWhiteSpace = 256;

/** One turn of a conversation. Other fields (`tool_calls`, `name`, …) are passed to the template as they are. */
export interface Message {
  readonly role: string;
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

export interface ChatTemplateOptions {
  /** End with what opens the assistant's reply; default false. */
  readonly addGenerationPrompt?: boolean;
  /** Descriptions of functions (JSON Schema) that the model may call. */
  readonly tools?: readonly unknown[];
  /** Further variables of the template, `enable_thinking` for instance. */
  readonly templateArgs?: Readonly<Record<string, unknown>>;
  /** Name of the template, where the tokenizer has several; default "default", with tools "tool_use" if there is one. */
  readonly template?: string;
  /** The time that `strftime_now` shows, in local time; default the present. */
  readonly now?: Date;
}

/** Templates of a tokenizer by name. */
export type ChatTemplates = ReadonlyMap<string, ChatTemplate>;

/** A message that the template raised itself. */
class TemplateRaised extends Error {}

/** A chat template. It is parsed when first used. */
export class ChatTemplate {
  /** Without a byte order mark. */
  readonly text: string;
  private program: Program | undefined;

  /** `path`: the file that the template came from, for errors. @throws LowrankError TEMPLATE_TOO_LARGE */
  constructor(
    text: string,
    private readonly path: string,
  ) {
    this.text = text.startsWith("\ufeff") ? text.slice(1) : text;
    if (text.length <= maxTemplateBytes) return;
    throw this.error("TEMPLATE_TOO_LARGE", `the chat template has ${text.length} characters, the limit is ${maxTemplateBytes}`, {});
  }

  /** SHA-256 of the template's text (UTF-8), 64 hexadecimal digits. */
  get hash(): string {
    return crypto().createHash("sha256").update(this.text, "utf8").digest("hex");
  }

  /**
   * Renders the template. `variables` is plain data. @throws LowrankError TEMPLATE_SYNTAX, TEMPLATE_UNSUPPORTED, TEMPLATE_LIMIT,
   * TEMPLATE_RAISED (the template's own message is `details.raised`), TEMPLATE_FAILED
   */
  render(variables: Readonly<Record<string, unknown>>, now = new Date()): string {
    this.program ??= this.compile();
    const { program } = this;
    return this.guard("TEMPLATE_FAILED", () => {
      const scope = new (jinja().Environment)();
      const interpreter = new LimitedInterpreter(scope, program, limitsFor(variables));
      const all = { ...globals(interpreter, now), ...variables };
      for (const [name, value] of Object.entries(all)) scope.set(name, value);
      return interpreter.run().value as string;
    });
  }

  private compile(): Program {
    if (longWhiteSpace.test(this.text)) throw this.limit(`has more than ${maxWhiteSpace} white space characters in a row`);
    // Jinja reads every line break of the source as \n.
    const source = this.text.replace(/\r\n?/g, "\n");
    const { parse, tokenize } = jinja();
    return this.guard("TEMPLATE_SYNTAX", () => analyze(parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }))));
  }

  private guard<T>(code: ErrorCode, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof LowrankError) throw error;
      if (error instanceof TemplateRaised) {
        const details = { raised: error.message };
        throw this.error("TEMPLATE_RAISED", `the chat template refuses this conversation: ${quoted(error.message)}`, details, "Change the messages.");
      }
      if (error instanceof TemplateLimit) throw this.limit(error.message);
      if (error instanceof RangeError) throw this.limit("needs too much memory or nests too deeply", error);
      throw this.libraryError(code, error as Error);
    }
  }

  private libraryError(code: ErrorCode, error: Error): LowrankError {
    const statement = /^Unknown statement type: (include|import|from|extends|block|macro|with|autoescape|do|trans|raw)$/.exec(error.message)?.[1];
    if (statement !== undefined)
      return this.error("TEMPLATE_UNSUPPORTED", `the chat template has a statement {% ${statement} %}`, { actual: statement });
    // The parser runs off the end of its list of tokens.
    const reason = error instanceof TypeError && code === "TEMPLATE_SYNTAX" ? "it ends inside a block or an expression" : error.message;
    const failure = code === "TEMPLATE_SYNTAX" ? "the chat template is not well formed" : "the chat template failed";
    return this.error(code, `${failure}: ${quoted(reason)}`, { reason }, "Check the template and the messages.", error);
  }

  private limit(what: string, cause?: unknown): LowrankError {
    return this.error(
      "TEMPLATE_LIMIT",
      `the chat template ${what}`,
      { reason: what },
      "No published template does; get it from where the model came.",
      cause,
    );
  }

  private error(code: ErrorCode, problem: string, details: ErrorDetails, hint = "Use another template.", cause?: unknown): LowrankError {
    return fileError(code, this.path === "" ? "chat template" : this.path, `${problem}. ${hint}`, { ...details, hint }, cause);
  }
}

const longWhiteSpace = /\s{257}/;

/** A megabyte and a million steps, and more for long conversations. */
function limitsFor(variables: unknown): Limits {
  const input = inputSize(variables);
  return { steps: 1_000_000 + 4 * input, characters: 1_048_576 + 8 * input, items: 100_000 + input };
}

/** About the number of characters in plain data. */
function inputSize(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (value === null || typeof value !== "object") return 1;
  return Object.entries(value).reduce((sum, [key, item]) => sum + key.length + inputSize(item), 1);
}

/** What every template can use; the names in title case are Python's. */
function globals(interpreter: LimitedInterpreter, now: Date): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range: (...args: unknown[]) => range(interpreter, args),
    strftime_now: (format: unknown) => strftime(now, String(format)),
    raise_exception: (message: unknown) => {
      throw new TemplateRaised(String(message));
    },
  };
}

const maxRange = 100_000;

function range(interpreter: LimitedInterpreter, args: unknown[]): number[] {
  const [first = 0, second, step = 1] = args;
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (![start, stop, step].every(Number.isSafeInteger) || step === 0) throw new Error("range() takes integers, and a step that is not 0");
  const count = Math.max(0, Math.ceil(((stop as number) - (start as number)) / (step as number)));
  if (count > maxRange) throw new TemplateLimit(`asks for a range of more than ${maxRange} numbers`);
  interpreter.charge(count);
  return Array.from({ length: count }, (_, k) => (start as number) + k * (step as number));
}

/** Renders a conversation by one of a tokenizer's templates; `roles` are the special tokens that templates may name. */
export function renderChat(
  templates: ChatTemplates,
  roles: ReadonlyMap<string, string>,
  messages: readonly Message[],
  options: ChatTemplateOptions,
): string {
  checkMessages(messages);
  const template = chooseTemplate(templates, options);
  const { templateArgs = {}, tools = null, addGenerationPrompt = false, now } = options;
  const fixed = { messages, tools, documents: null, add_generation_prompt: addGenerationPrompt };
  for (const name of Object.keys(templateArgs)) {
    if (Object.hasOwn(fixed, name) || name === "namespace")
      throw new LowrankError("BAD_ARGUMENT", `templateArgs may not hold ${quoted(name)}; the name is taken.`, { actual: name });
  }
  return template.render({ ...Object.fromEntries(roles), ...fixed, ...templateArgs }, now);
}

function checkMessages(messages: readonly Message[]): void {
  const isMessage = (value: unknown): boolean => value !== null && typeof value === "object" && typeof (value as Message).role === "string";
  const wrong = Array.isArray(messages) ? messages.findIndex((message) => !isMessage(message)) : 0;
  if (wrong < 0) return;
  throw new LowrankError("BAD_ARGUMENT", `messages[${wrong}] is not a message; expected objects { role, content }.`, {
    expected: "{ role, content }",
  });
}

function chooseTemplate(templates: ChatTemplates, { template, tools }: ChatTemplateOptions): ChatTemplate {
  return requireTemplate(templates, template ?? (tools !== undefined && templates.has("tool_use") ? "tool_use" : "default"));
}

/** @throws LowrankError TEMPLATE_MISSING */
export function requireTemplate(templates: ChatTemplates, name: string): ChatTemplate {
  const found = templates.get(name);
  if (found !== undefined) return found;
  const names = [...templates.keys()].map((known) => quoted(known));
  const known = names.length === 0 ? "it has none" : `it has ${names.join(", ")}`;
  const hint = "Put the right chat_template.jinja beside tokenizer.json, or use prompt and completion, or plain text, in place of messages.";
  throw new LowrankError("TEMPLATE_MISSING", `The tokenizer has no chat template ${quoted(name)}: ${known}. ${hint}`, {
    hint,
    expected: name,
    actual: [...templates.keys()],
  });
}
