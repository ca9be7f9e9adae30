/** @file lowrank eval. */
import type { CausalLm } from "../models/index.js";
import type { Dataset, DatasetItem } from "../text/index.js";
import { type EvaluationResult, evaluate, type IndexedData, type Trainable } from "../train/index.js";
import type { Context } from "./context.js";
import { countText, numberText } from "./format.js";
import { Meter } from "./output.js";
import { attachStored, checkRows, checkTemplate, openData, openModel, openStored, requireFiles } from "./session.js";

export async function evaluateCommand(context: Context): Promise<void> {
  const { args, output } = context;
  checkRows(context);
  await requireFiles(context, ["data"]);
  await using stored = await openStored(context);
  using model = await openModel(context);
  const adapter = await attachStored(context, model, stored);
  try {
    checkTemplate(context, model, adapter);
    await using data = await openData(context, model, args.required("data"), "data");
    const result = await measured(context, adapter ?? model, data);
    output.event({ type: "eval", ...result });
    output.result(`loss        ${numberText(result.loss)}\nperplexity  ${numberText(result.perplexity)}\n`);
    output.result(`tokens      ${countText(result.tokens)}\nexamples    ${countText(result.examples)}\n`);
  } finally {
    adapter?.dispose();
  }
}

/** The rows of a dataset; `onRead` is called before one is read, with how many were before it. */
export function watched(data: Dataset, onRead: (count: number) => void): IndexedData<DatasetItem> {
  let count = 0;
  return {
    length: data.length,
    at: (i) => {
      onRead(count++);
      return data.at(i);
    },
  };
}

/** Evaluates, and shows how far it is. */
export async function measured({ args, output, interrupt }: Context, target: Trainable | CausalLm, data: Dataset): Promise<EvaluationResult> {
  const meter = new Meter(output.err, "evaluating");
  const rows = watched(data, (count) => meter.update(count, data.length));
  try {
    return await evaluate(target, rows, { ...args.pick(["batchSize"]), signal: interrupt.signal });
  } finally {
    meter.end();
  }
}
