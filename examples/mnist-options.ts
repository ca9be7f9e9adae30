/** @file The command line of the example. */
import { parseArgs } from "node:util";
import { LowrankError } from "lowrank";
import type { AugmentOptions } from "./augment.js";

export interface ExampleOptions {
  /** Folder with the four IDX files; undefined: generated digits. */
  readonly data: string | undefined;
  /** Where the page goes; undefined: no page. */
  readonly html: string | undefined;
  /** Folder for the trained files; undefined: a temporary one, removed at the end. */
  readonly out: string | undefined;
  readonly epochs: number;
  readonly seed: number;
  readonly dropout: number;
  readonly weightDecay: number;
  readonly augment: AugmentOptions | undefined;
}

export const usage = `Trains a 784-256-10 network on digits, then adapts it to two other tasks with LoRA, with Σ and with all weights.

  npm run demo:mnist -- [options]

  --data DIR         the four MNIST files (IDX, plain or .gz); default: generated digits
  --html FILE        write curves, table and sample digits as one page
  --out DIR          keep the trained files there
  --epochs N         of the base training (10)
  --seed N           of weights, order and generated digits (0)
  --dropout P        behind the hidden layer, in the base training (0)
  --weight-decay X   decoupled, in the base training (0)
  --augment          shift by up to 2 pixels, turn by up to 10 degrees, add noise, in the base training
`;

/** @throws LowrankError BAD_ARGUMENT naming the option. */
export function readOptions(args: readonly string[]): ExampleOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      data: { type: "string" },
      html: { type: "string" },
      out: { type: "string" },
      epochs: { type: "string", default: "10" },
      seed: { type: "string", default: "0" },
      dropout: { type: "string", default: "0" },
      "weight-decay": { type: "string", default: "0" },
      augment: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  return {
    data: values.data,
    html: values.html,
    out: values.out,
    epochs: numberOf("epochs", values.epochs, (n) => Number.isSafeInteger(n) && n >= 1),
    seed: numberOf("seed", values.seed, (n) => Number.isSafeInteger(n) && n >= 0),
    dropout: numberOf("dropout", values.dropout, (n) => n >= 0 && n < 1),
    weightDecay: numberOf("weight-decay", values["weight-decay"], (n) => n >= 0),
    augment: values.augment ? { shift: 2, turn: 10, noise: 12 } : undefined,
  };
}

function numberOf(name: string, text: string, fits: (value: number) => boolean): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && fits(value)) return value;
  throw new LowrankError("BAD_ARGUMENT", `--${name}: ${JSON.stringify(text)} is out of range`, { actual: text });
}
