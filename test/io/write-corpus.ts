/** @file Writes the corpus into a folder for the reference reader: `tsx test/io/write-corpus.ts <folder>`; see scripts/make-safetensors-verdicts.py. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { serializeSafetensors } from "../../lib/io/safetensors-write.js";
import { allMutations } from "./mutations.js";
import { safetensorsCases } from "./safetensors-cases.js";
import { writtenFiles } from "./written-files.js";

const folder = process.argv[2];
if (folder === undefined) throw new Error("usage: tsx test/io/write-corpus.ts <folder>");

for (const { id, bytes } of safetensorsCases) await writeFile(join(folder, `${id}.safetensors`), bytes());

const lengthPrefixed = allMutations().flatMap((bytes) => {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return [length, bytes];
});
await writeFile(join(folder, "mutations.bin"), Buffer.concat(lengthPrefixed));

for (const [name, { tensors, metadata }] of Object.entries(writtenFiles)) {
  await writeFile(join(folder, `written-${name}.safetensors`), await serializeSafetensors(tensors, metadata));
}
