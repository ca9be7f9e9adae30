/** `npx tsx test/lora/write-adapters.ts DIR`: the adapters of written.ts, for scripts/check-with-peft.py. */
import { mkdir } from "node:fs/promises";
import { writeAll } from "./written.js";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("Name a folder.");
await mkdir(folder, { recursive: true });
await writeAll(folder);
