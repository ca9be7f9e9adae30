/** @file Makes a million temporaries in tidy in one synchronous loop; prints memory at one tenth and at the end. */
import { add, memory, ones, synchronize, tidy } from "../../lib/index.js";

const total = 1_000_000;

async function main(): Promise<void> {
  const x = ones([256]);
  const seen: { rss: number; tensors: number; bytes: number; reserved: number }[] = [];
  const look = (): void => {
    // What V8 has not collected yet says nothing about tensors.
    (globalThis as { gc?: () => void }).gc?.();
    const { tensors, bytes, reservedBytes } = memory().cpu;
    seen.push({ rss: process.memoryUsage().rss, tensors, bytes, reserved: reservedBytes });
  };
  for (let made = 0; made < total; made += 2) {
    tidy(() => {
      add(add(x, x), x);
    });
    if (made === total / 10) look();
  }
  look();
  await synchronize();
  look();
  console.log(JSON.stringify(seen));
}

main();
