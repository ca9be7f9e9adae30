/** @file Loads the engine and prints the backend, or the error. */
import { deviceInfo, LowrankError, ones, sum } from "../../lib/index.js";

async function main(): Promise<void> {
  try {
    const total = await sum(ones([10])).item();
    console.log(JSON.stringify({ ...deviceInfo(), total }));
  } catch (error) {
    console.log(JSON.stringify(error instanceof LowrankError ? error : { message: String(error) }));
  }
}

main();
