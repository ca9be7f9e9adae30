/** @file Generation: a model speaks token by token, with a cache of keys and values. */
import { withTape } from "../autograd/apply.js";
import { argmax, embedding, reshape } from "../functions.js";
import { crypto } from "../io/crypto.js";
import { abortable } from "../native/abort.js";
import { engine } from "../native/engine.js";
import { checkNames, LowrankError } from "../native/errors.js";
import { outsideScopes, tidy } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import { createTextStream, type Message, type Tokenizer } from "../text/index.js";
import { requireMessages } from "../text/jsonl-row.js";
import { AdapterSwitch, type AttachedAdapter } from "./adapter-switch.js";
import type { CausalLm } from "./decoder.js";
import { KvCache } from "./kv-cache.js";
import { promptTokenizer } from "./prompt.js";
import { requireFinite, type SamplingSettings, sample } from "./sampling.js";
import { checkStops, StopFilter } from "./stop-strings.js";

/** Options of {@link generateTokens}. */
export interface GenerateTokensOptions {
  /** One adapter of the model: only it takes part, enabled or not. `null`: none does. Default: those that are attached and enabled. */
  readonly adapter?: AttachedAdapter | null;
  /** Divides the logits; 0 always takes the most likely token. Default: what the model's generation_config.json says, else 0.7. */
  readonly temperature?: number;
  /** Only this many of the most likely tokens can come. Default: as in generation_config.json, else all. */
  readonly topK?: number;
  /** Only the most likely tokens that together reach this probability can come. Default: as in generation_config.json, else 1: all. */
  readonly topP?: number;
  /** Decides every choice, together with the number of the token; default: another one each time. */
  readonly seed?: number;
  /** Default 512. */
  readonly maxTokens?: number;
  readonly signal?: AbortSignal;
}

/** Options of {@link generate}. */
export interface GenerateOptions extends GenerateTokensOptions {
  /** Any of these texts ends the generation; neither it nor a part of it is given out. */
  readonly stop?: string | readonly string[];
  /** Told sentences about what looks wrong; default: `process.emitWarning`. */
  readonly onWarning?: (message: string) => void;
}

const tokenNames: readonly (keyof GenerateOptions)[] = ["adapter", "temperature", "topK", "topP", "seed", "maxTokens", "signal"];
const textNames: readonly (keyof GenerateOptions)[] = [...tokenNames, "stop", "onWarning"];

const defaultTemperature = 0.7;
const defaultMaxTokens = 512;

interface Plan extends SamplingSettings {
  readonly maxTokens: number;
  readonly adapters: AdapterSwitch;
  readonly signal: AbortSignal | undefined;
  /** These ids end it and are not given out. */
  readonly ends: ReadonlySet<number>;
}

/**
 * Continues a text, or answers a conversation, piece by piece. A text is tokenized as it is, with the special tokens that the tokenizer adds,
 * and the pieces continue it. Messages are rendered by the chat template that the adapter was trained with (where it differs from the
 * model's, `onWarning` hears of it), else by the model's, and the pieces are the reply. A piece never ends inside a character.
 *
 * It ends at an end-of-text token, at a stop string, or after `maxTokens`; leaving the loop ends it too. Nothing is computed before the first
 * piece is asked for; then the memory of the cache is held until the end.
 * @throws LowrankError at once UNKNOWN_OPTION, BAD_ARGUMENT, TOKENIZER_MISSING, DATA_BAD_FIELD and DATA_BAD_ROLE for messages, TEMPLATE_…,
 * TEXT_UNENCODABLE, ADAPTER_STATE, DISPOSED; while it runs ABORTED (the signal's reason is its cause), OUT_OF_MEMORY, GENERATION_NONFINITE;
 * ADAPTER_STATE, DISPOSED when the adapter has changed.
 */
export function generate(model: CausalLm, prompt: string | readonly Message[], options: GenerateOptions = {}): AsyncGenerator<string, void> {
  const plan = checkOptions("generate", model, options, textNames);
  const { tokenizer } = model;
  const { texts, ids: stopIds } = checkStops(options.stop, tokenizer);
  const onWarning = options.onWarning ?? ((message: string) => process.emitWarning(message, "LowrankWarning"));
  if (typeof onWarning !== "function") throw new LowrankError("BAD_ARGUMENT", `generate: onWarning is a function, found ${typeof onWarning}`);
  const ids = promptIds(model, prompt, plan.adapters, onWarning);
  checkIds("generate", ids, model);
  const tokens = decode(model, ids, { ...plan, ends: new Set([...plan.ends, ...stopIds]) });
  return toText(tokens, tokenizer, texts, typeof prompt === "string" ? ids : []);
}

/**
 * As {@link generate}, from token ids to token ids, with no tokenizer. The ids that end a text (those of config.json, generation_config.json and
 * the tokenizer) end it and are not given out.
 * @throws LowrankError as `generate`; INDEX_OUT_OF_RANGE at once for ids that the model does not have
 */
export function generateTokens(model: CausalLm, ids: readonly number[], options: GenerateTokensOptions = {}): AsyncGenerator<number, void> {
  const plan = checkOptions("generateTokens", model, options, tokenNames);
  checkIds("generateTokens", ids, model);
  return decode(model, ids, plan);
}

function promptIds(model: CausalLm, prompt: string | readonly Message[], adapters: AdapterSwitch, onWarning: (message: string) => void): number[] {
  const { tokenizer } = model;
  if (typeof prompt === "string") return tokenizer.encode(prompt);
  if (!Array.isArray(prompt))
    throw new LowrankError("BAD_ARGUMENT", `generate: the prompt is a text or an array of messages, found ${typeof prompt}`);
  requireMessages("generate", prompt);
  const text = promptTokenizer(tokenizer, adapters.active(), onWarning).applyChatTemplate(prompt, { addGenerationPrompt: true });
  return tokenizer.encode(text, { addSpecialTokens: false });
}

async function* toText(
  tokens: AsyncGenerator<number, void>,
  tokenizer: Tokenizer,
  stops: readonly string[],
  before: readonly number[],
): AsyncGenerator<string, void> {
  const stream = createTextStream(tokenizer);
  for (const id of before) stream.push(id);
  const filter = new StopFilter(stops);
  for await (const id of tokens) {
    const piece = filter.push(stream.push(id));
    if (piece !== "") yield piece;
    if (filter.stopped) return;
  }
  const rest = filter.push(stream.end()) + filter.end();
  if (rest !== "") yield rest;
}

async function* decode(model: CausalLm, prompt: readonly number[], plan: Plan): AsyncGenerator<number, void> {
  const { signal, maxTokens, ends } = plan;
  const ids = [...prompt];
  const cache = new KvCache(model.config);
  const guard = abortable(signal);
  try {
    for (let step = 0; step < maxTokens; step++) {
      guard.check();
      const id = await engine().as(guard.owner, () => next(model, ids, cache, plan, step));
      if (ends.has(id)) return;
      yield id;
      ids.push(id);
    }
  } catch (error) {
    throw guard.explain(error);
  } finally {
    guard.stop();
    guard.release();
    cache.dispose();
  }
}

/** Submits the forward pass of one step, apart from whatever scope or tape the caller is in, and gives the token. */
function next(model: CausalLm, ids: readonly number[], cache: KvCache, plan: Plan, step: number): Promise<number> {
  return outsideScopes(() =>
    withTape(undefined, () => {
      const logits = plan.adapters.around(() => model.nextLogits(ids, cache));
      try {
        return plan.temperature === 0 ? mostLikely(logits) : logits.data().then((row) => sample(row as Float32Array, plan, step));
      } finally {
        logits.dispose();
      }
    }),
  );
}

/** The first of the largest logits; of all V only it and its index are read. */
async function mostLikely(logits: Tensor): Promise<number> {
  const [index, value] = tidy(() => {
    const found = argmax(logits);
    return [found, embedding(found, reshape(logits, [logits.size, 1]))];
  });
  const read = Promise.all([index.item(), value.item()]);
  index.dispose();
  value.dispose();
  const [id, logit] = await read;
  requireFinite(logit, id);
  return id;
}

function checkOptions(what: string, model: CausalLm, options: GenerateOptions, names: readonly string[]): Plan {
  checkNames(what, options, names);
  const { generation, config } = model;
  const number = (name: keyof GenerateOptions, value: unknown, rule: string, fits: (value: number) => boolean): void => {
    if (value === undefined || (typeof value === "number" && fits(value))) return;
    throw new LowrankError("BAD_ARGUMENT", `${what}: ${name} is ${rule}, found ${String(value)}`, { expected: rule, actual: value });
  };
  const natural = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
  number("temperature", options.temperature, "a number from 0", (value) => Number.isFinite(value) && value >= 0);
  number("topK", options.topK, "a positive integer", (value) => natural(value) && value > 0);
  number("topP", options.topP, "a number above 0, at most 1", (value) => value > 0 && value <= 1);
  number("seed", options.seed, "a natural number", natural);
  number("maxTokens", options.maxTokens, "a natural number", natural);
  const eos = model.hasTokenizer ? model.tokenizer.eosTokenId : undefined;
  return {
    adapters: new AdapterSwitch(model, options.adapter),
    temperature: options.temperature ?? generation.temperature ?? defaultTemperature,
    topK: options.topK ?? generation.topK,
    topP: options.topP ?? generation.topP,
    seed: options.seed ?? crypto().randomInt(2 ** 48 - 1),
    maxTokens: options.maxTokens ?? defaultMaxTokens,
    signal: options.signal,
    ends: new Set([...config.eosTokenIds, ...(generation.eosTokenIds ?? []), ...(eos === undefined ? [] : [eos])]),
  };
}

function checkIds(what: string, ids: readonly number[], { config: { vocabSize } }: CausalLm): void {
  if (!Array.isArray(ids) || ids.length === 0) throw new LowrankError("BAD_ARGUMENT", `${what}: the prompt has no tokens; it needs at least one`);
  const wrong = ids.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
  if (wrong < 0) return;
  const message = `${what}: token ${wrong} of the prompt is ${String(ids[wrong])}; ids go from 0 to ${vocabSize - 1}`;
  throw new LowrankError("INDEX_OUT_OF_RANGE", message, { offset: wrong, actual: ids[wrong], expected: vocabSize });
}
