/** @file Writes the chats in the other voice: `npx tsx scripts/bundled-model/rows.ts [--out DIR]`. No question of the test rows is trained. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Random } from "../../examples/random.js";
import { streams } from "./corpus.js";
import { pirateRow } from "./voice.js";

const sizes = { "pirate-test.jsonl": 50, "pirate-train.jsonl": 400 } as const;

/** The files by name. */
export function rowFiles(): Map<string, string> {
  const files = new Map<string, string>();
  const held = new Set<string>();
  let draw = 0;
  for (const [name, size] of Object.entries(sizes)) {
    const lines: string[] = [];
    const seen = new Set(held);
    while (lines.length < size) {
      const { question, answer } = pirateRow(new Random(0, streams.voice, draw++));
      if (seen.has(question)) continue;
      if (name === "pirate-test.jsonl") {
        seen.add(question);
        held.add(question);
      }
      const messages = [
        { role: "user", content: question },
        { role: "assistant", content: answer },
      ];
      lines.push(JSON.stringify({ messages }));
    }
    files.set(name, `${lines.join("\n")}\n`);
  }
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { out: { type: "string", default: "examples/data" } } });
  await mkdir(values.out, { recursive: true });
  for (const [name, text] of rowFiles()) await writeFile(join(values.out, name), text);
}
