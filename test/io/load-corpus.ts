/**
 * @file Child process of the corpus test: opens each file named in the arguments and prints one line of JSON per file: the code, the
 * message, the warnings, and by how much the peak of the process's memory has grown.
 */
import { openSafetensors } from "../../lib/io/safetensors.js";
import { LowrankError } from "../../lib/native/errors.js";

const peak = (): number => process.resourceUsage().maxRSS * 1024;
const keysBefore = Object.getOwnPropertyNames(Object.prototype).join();

for (const path of process.argv.slice(2)) {
  const before = peak();
  const outcome = await load(path);
  const polluted = Object.getOwnPropertyNames(Object.prototype).join() !== keysBefore;
  console.log(JSON.stringify({ path, ...outcome, polluted, grown: peak() - before }));
}

async function load(path: string): Promise<object> {
  try {
    const file = await openSafetensors(path);
    for (const name of file.tensors.keys()) await file.readBytes(name);
    await file.close();
    return { code: "ok", message: "", details: {}, warnings: file.warnings.length };
  } catch (error) {
    if (!(error instanceof LowrankError)) return { code: `not a LowrankError: ${String(error)}`, message: "", details: {}, warnings: 0 };
    return { ...error.toJSON(), warnings: 0 };
  }
}
