/** @file Allocates until the budget (LOWRANK_MEMORY_BUDGET) is used up, then goes on. Prints what it saw as JSON. */
import { add, LowrankError, memory, sum, type Tensor, zeros } from "../../lib/index.js";

async function main(): Promise<void> {
  const kept: Tensor[] = [];
  let failure: LowrankError | undefined;
  let before = memory().cpu;
  while (failure === undefined) {
    before = memory().cpu;
    try {
      kept.push(zeros([256, 1024]));
    } catch (error) {
      failure = error as LowrankError;
    }
  }
  const after = memory().cpu;
  const isOurs = failure instanceof LowrankError;
  // An op that needs an output fails the same way, with its inputs intact.
  let opCode = "";
  try {
    add(kept[0] as Tensor, kept[1] as Tensor);
  } catch (error) {
    opCode = (error as LowrankError).code;
  }
  for (const tensor of kept.splice(2)) tensor.dispose();
  const total = await sum(add(kept[0] as Tensor, kept[1] as Tensor)).item();
  console.log(JSON.stringify({ isOurs, failure, before, after, opCode, total, count: kept.length }));
}

main();
