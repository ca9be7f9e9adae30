/** @file Writes the chats in the other voice: `npx tsx scripts/bundled-model/rows.ts [--out DIR]`. No question of the test rows is trained. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Random } from "../../examples/random.js";
import type { Exchange } from "./chats.js";
import { seed, streams } from "./corpus.js";
import { allKinds, openKinds, pirateRow } from "./voice.js";

/** The files by name: 50 rows to ask, 600 to learn from. */
export function rowFiles(): Map<string, string> {
  const held = rows(50, openKinds, streams.heldOutVoice, new Set());
  const trained = rows(600, allKinds, streams.voice, new Set(held.map(({ question }) => question)));
  return new Map([
    ["pirate-test.jsonl", textOf(held)],
    ["pirate-train.jsonl", textOf(trained)],
  ]);
}

/** Rows whose questions are not among `without`. */
function rows(count: number, kinds: typeof allKinds, stream: number, without: ReadonlySet<string>): Exchange[] {
  const found: Exchange[] = [];
  for (let draw = 0; found.length < count; draw++) {
    const row = pirateRow(new Random(seed, stream, draw), kinds);
    if (!without.has(row.question)) found.push(row);
  }
  return found;
}

const textOf = (exchanges: readonly Exchange[]): string =>
  exchanges
    .map(({ question, answer }) => [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ])
    .map((messages) => `${JSON.stringify({ messages })}\n`)
    .join("");

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { out: { type: "string", default: "examples/data" } } });
  await mkdir(values.out, { recursive: true });
  for (const [name, text] of rowFiles()) await writeFile(join(values.out, name), text);
}
