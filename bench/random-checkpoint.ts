/** @file Writes a model folder with random bf16 weights, a piece at a time: the model is never in memory. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CausalLm, parseModelConfig } from "lowrank";
import { writeSafetensors } from "../lib/io/safetensors-write.js";

/** So many different numbers, a prime: rows of no width repeat. */
const bankSize = 8_388_617;

/** Numbers of a normal distribution as bf16, the same for the same seed (mulberry32, Box and Muller). */
function normals(std: number, seed: number): Uint16Array {
  let state = seed;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const wide = new Float32Array(bankSize);
  for (let i = 0; i < bankSize; i += 2) {
    const [radius, angle] = [std * Math.sqrt(-2 * Math.log(1 - uniform())), 2 * Math.PI * uniform()];
    wide[i] = radius * Math.cos(angle);
    wide[i + 1] = radius * Math.sin(angle);
  }
  // Truncated: random numbers need no rounding.
  return new Uint16Array(new Uint32Array(wide.buffer).map((bits) => bits >>> 16));
}

/** `elements` numbers of the bank, which begins anew where it ends. */
function* pieces(bank: Uint16Array, first: number, elements: number): Generator<Uint8Array> {
  for (let done = 0; done < elements; ) {
    const from = (first + done) % bankSize;
    const piece = bank.subarray(from, Math.min(bankSize, from + elements - done));
    yield new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
    done += piece.length;
  }
}

/** Shards of up to so many bytes. */
const shardBytes = 2e9;

/** Matrices have the standard deviation 1/√I, embedding and head half of that, so that logits are small; norms are 1. Gives the bytes of all tensors. */
export async function writeRandomCheckpoint(folder: string, configText: string, seed = 1): Promise<number> {
  const model = new CausalLm(parseModelConfig(new TextEncoder().encode(configText), "config.json"), { dtype: "bf16" });
  const banks = new Map<number, Uint16Array>();
  const shards: { name: string; shape: readonly number[]; first: number }[][] = [[]];
  let [total, inShard] = [0, 0];
  for (const [name, { shape }] of model.parameters()) {
    const bytes = 2 * shape.reduce((product, size) => product * size, 1);
    if (inShard > 0 && inShard + bytes > shardBytes) {
      shards.push([]);
      inShard = 0;
    }
    shards.at(-1)?.push({ name, shape, first: (total * 31) % bankSize });
    total += bytes;
    inShard += bytes;
  }
  const bankOf = (name: string, [, columns]: readonly number[]): Uint16Array => {
    const std = columns === undefined ? 0 : (/embed_tokens|lm_head/.test(name) ? 0.5 : 1) / Math.sqrt(columns);
    const bank = banks.get(std) ?? (columns === undefined ? new Uint16Array(bankSize).fill(0x3f80) : normals(std, seed));
    banks.set(std, bank);
    return bank;
  };
  await mkdir(folder, { recursive: true });
  const weightMap: Record<string, string> = {};
  const number = (n: number): string => String(n).padStart(5, "0");
  for (const [i, tensors] of shards.entries()) {
    const file = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    for (const { name } of tensors) weightMap[name] = file;
    const sources = tensors.map(({ name, shape, first }) => ({
      name,
      dtype: "BF16" as const,
      shape,
      data: async function* () {
        yield* pieces(
          bankOf(name, shape),
          first,
          shape.reduce((product, size) => product * size, 1),
        );
      },
    }));
    await writeSafetensors(join(folder, file), sources);
  }
  await writeFile(join(folder, "config.json"), configText);
  // Last: a folder that has it is complete.
  await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }));
  return total;
}
