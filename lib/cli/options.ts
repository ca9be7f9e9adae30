/**
 * @file Every option of every command, once: the parser, the check of --config files and the help are made from these rows. Names are those
 * of the API; the command line writes them in kebab-case.
 */

/** `modules`: names with commas between them, or all-linear. `texts`: may be given several times. */
export type OptionKind = "text" | "texts" | "modules" | "integer" | "number" | "switch";

export interface OptionSpec {
  /** As in the API and in --config files. */
  readonly name: string;
  readonly kind: OptionKind;
  /** Stands for the value in the help. */
  readonly value?: string;
  readonly help: string;
  /** As the help shows it. */
  readonly default?: string;
  readonly required?: boolean;
  readonly choices?: readonly string[];
  readonly least?: number;
  readonly above?: number;
  readonly below?: number;
  readonly most?: number;
  /** Not in --config files. */
  readonly commandLineOnly?: boolean;
}

export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  /** A value without a name, or several. */
  readonly positional?: { readonly name: string; readonly help: string; readonly many?: true };
  readonly options: readonly OptionSpec[];
  readonly examples: readonly string[];
}

const dir = (name: string, help: string, more: Partial<OptionSpec> = {}): OptionSpec => ({ name, kind: "text", value: "DIR", help, ...more });
const file = (name: string, help: string, more: Partial<OptionSpec> = {}): OptionSpec => ({ name, kind: "text", value: "FILE", help, ...more });
const count = (name: string, least: number, help: string, fallback?: string): OptionSpec => ({
  ...{ name, kind: "integer", value: "N", least, help },
  ...(fallback === undefined ? {} : { default: fallback }),
});
const real = (name: string, help: string, more: Partial<OptionSpec>): OptionSpec => ({ name, kind: "number", value: "X", help, ...more });
const onOff = (name: string, help: string, fallback = "off"): OptionSpec => ({ name, kind: "switch", help, default: fallback });
const choice = (name: string, choices: readonly string[], help: string, fallback?: string): OptionSpec => ({
  ...{ name, kind: "text", value: "NAME", choices, help },
  ...(fallback === undefined ? {} : { default: fallback }),
});

const required = { required: true };
const model = dir("model", "folder of the model: config.json, *.safetensors, tokenizer.json", required);
const adapter = dir("adapter", "folder of an adapter");
const dtype = choice("dtype", ["f32", "bf16", "f16"], "how the weights are held in memory", "as stored");
const quantize = choice("quantize", ["nf4", "int8"], "hold the matrices of the layers in 4 or 8 bits", "no");
const seed = count("seed", 0, "decides initial values, order and dropout", "0");
const batchSize = count("batchSize", 1, "examples in a batch", "8");
const maxLength = count("maxLength", 2, "keep only the first N tokens of an example", "all");
const rank = count("rank", 1, "rank of the adapter", "8");
const targetModules: OptionSpec = {
  name: "targetModules",
  kind: "modules",
  value: "LIST",
  help: "modules to adapt: names with commas between them, or all-linear",
  default: "all-linear",
};
const gradientCheckpointing = onOff("gradientCheckpointing", "compute layers again instead of keeping them: less memory, more time");
const data = file("data", "examples, a JSON object a line: messages, or prompt and completion, or text", required);
const rows: readonly OptionSpec[] = [
  maxLength,
  onOff("packing", "put several examples into one row of at most --max-length tokens"),
  choice("onBadRow", ["error", "skip"], "what happens to rows that cannot be trained", "error"),
];
const common: readonly OptionSpec[] = [
  file("config", "options as a JSON object with the names in camelCase; the command line wins", { commandLineOnly: true }),
  onOff("json", "one JSON event a line on standard output, and nothing else there"),
  { name: "help", kind: "switch", help: "show this", commandLineOnly: true },
];

/** Those that say what a new adapter is. */
export const attachNames = ["method", "rank", "alpha", "dropout", "useRslora", "targetModules", "excludeModules"] as const;
/** Those that `train` takes as they are. */
export const trainNames = [
  ...["optimizer", "learningRate", "schedule", "warmupSteps", "weightDecay", "decayAll", "maxGradNorm", "epochs", "maxSteps"],
  ...["batchSize", "accumulate", "shuffle", "seed", "gradientCheckpointing"],
] as const;
/** Those that `readExamples` takes as they are. */
export const rowNames = ["maxLength", "packing", "onBadRow"] as const;

const train: CommandSpec = {
  name: "train",
  summary: "train an adapter",
  options: [
    model,
    data,
    dir("out", "where the adapter goes: a new or empty folder, or one with an adapter, which is replaced", required),
    dir("adapter", "go on with this adapter instead of a new one"),
    choice("method", ["lora", "sigma"], "what is trained: low-rank factors, or the singular values of each weight", "lora"),
    { ...rank, help: "rank of the adapter; sigma: so many singular values", default: "8; sigma: all" },
    real("alpha", "the adapter's product is scaled by alpha / rank", { least: 0, default: "8" }),
    real("dropout", "on the input of the adapter's branches, while training", { least: 0, below: 1, default: "0" }),
    onOff("useRslora", "scale by alpha / sqrt(rank)"),
    targetModules,
    { name: "excludeModules", kind: "modules", value: "LIST", help: "modules to leave out" },
    ...rows,
    choice("optimizer", ["adamw", "adam", "sgd"], "what makes steps of gradients", "adamw"),
    real("learningRate", "peak learning rate", { least: 0, default: "0.001" }),
    choice("schedule", ["constant", "linear", "cosine"], "how the learning rate goes on after the warm-up", "constant"),
    count("warmupSteps", 0, "steps in which the learning rate rises from 0", "0"),
    real("weightDecay", "of tensors with two or more dimensions", { least: 0, default: "0.01; adam, sgd: 0" }),
    onOff("decayAll", "weight decay for all tensors"),
    real("maxGradNorm", "clip the norm of the gradient", { least: 0, default: "no clipping" }),
    count("epochs", 1, "how often all examples are seen", "1, unless --max-steps is given"),
    count("maxSteps", 1, "stop after N steps", "by --epochs"),
    batchSize,
    count("accumulate", 1, "batches in a step", "1"),
    onOff("shuffle", "order the examples by (seed, epoch); --no-shuffle: as in the file", "on"),
    seed,
    gradientCheckpointing,
    dtype,
    quantize,
    file("evalData", "examples to evaluate on, before the training, while it runs, and after it"),
    count("evalEvery", 1, "steps from one evaluation to the next", "an epoch"),
    count("patience", 1, "stop after N evaluations in a row without a new lowest loss", "never"),
    onOff("keepBest", "end with the values of the lowest evaluation loss instead of the last ones"),
    file("html", "write curves, answers before and after, and the options as one page"),
    file("prompts", "what to answer before and after: rows as in --data (*.jsonl), else a prompt a line; at most 50", {
      default: "with --html, the first 4 rows of the evaluation data, else of the data",
    }),
    count("maxTokens", 1, "the longest answer", "100"),
    ...common,
  ],
  examples: ["lowrank train --model SmolLM2-135M-Instruct --data support.jsonl --out support-adapter --epochs 3 --learning-rate 2e-4"],
};

const evaluate: CommandSpec = {
  name: "eval",
  summary: "loss and perplexity of a model, or of a model with an adapter, on a data file",
  options: [model, data, adapter, ...rows, batchSize, dtype, quantize, ...common],
  examples: ["lowrank eval --model SmolLM2-135M-Instruct --adapter support-adapter --data held-out.jsonl"],
};

const generate: CommandSpec = {
  name: "generate",
  summary: "answer a prompt",
  options: [
    model,
    adapter,
    { name: "prompt", kind: "text", value: "TEXT", help: "the user's message; - reads standard input", required: true },
    { name: "system", kind: "text", value: "TEXT", help: "a system message before it" },
    onOff("raw", "continue the text itself, without the chat template (as always where model and adapter have none)"),
    real("temperature", "0 always takes the most likely token", { least: 0, default: "as in generation_config.json, else 0.7" }),
    count("topK", 1, "only the N most likely tokens", "as in generation_config.json, else all"),
    real("topP", "only the most likely tokens that together reach this probability", {
      above: 0,
      most: 1,
      default: "as in generation_config.json, else 1",
    }),
    count("seed", 0, "decides every choice", "another one each time"),
    count("maxTokens", 0, "the longest answer", "512"),
    { name: "stop", kind: "texts", value: "TEXT", help: "a text that ends the answer; may be given several times" },
    dtype,
    quantize,
    ...common,
  ],
  examples: ['lowrank generate --model SmolLM2-135M-Instruct --adapter support-adapter --prompt "How do I reset my password?"'],
};

const inspect: CommandSpec = {
  name: "inspect",
  summary: "what a model or an adapter is; without a folder, what this machine offers",
  positional: { name: "FOLDER", help: "of a model or an adapter" },
  options: [
    dir("model", "folder of a model"),
    adapter,
    { ...rank, help: "for the estimate of a training's memory" },
    { ...targetModules, help: "likewise: names with commas between them, or all-linear" },
    { ...batchSize, help: "likewise" },
    count("maxLength", 2, "likewise: tokens in a row", "512"),
    { ...gradientCheckpointing, help: "likewise" },
    { ...quantize, help: "likewise" },
    ...common,
  ],
  examples: ["lowrank inspect", "lowrank inspect SmolLM2-135M-Instruct --max-length 1024", "lowrank inspect support-adapter"],
};

const merge: CommandSpec = {
  name: "merge",
  summary: "put an adapter into the weights: a new model folder that needs no adapter",
  options: [
    model,
    { ...adapter, required: true },
    dir("out", "where the new model goes: a new or an empty folder", required),
    onOff("force", "write into a folder that is not empty"),
    ...common,
  ],
  examples: ["lowrank merge --model SmolLM2-135M-Instruct --adapter support-adapter --out support-model"],
};

const bench: CommandSpec = {
  name: "bench",
  summary: "what the kernels reach on this machine, as shares of its own measured limits",
  positional: { name: "WORD", help: "only rows whose name has all of the words", many: true },
  options: [onOff("list", "name the rows, and measure nothing"), count("rounds", 1, "each row gives its median of so many", "5"), ...common],
  examples: ["lowrank bench", "lowrank bench linear bf16 --rounds 9", "lowrank bench decode --json"],
};

export const commands: readonly CommandSpec[] = [train, evaluate, generate, inspect, merge, bench];

/** `learningRate` → `learning-rate`. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
