/** @file Deterministic mutations of the valid seeds, shared by the tests and by the script that records the reference reader's verdicts. */
import { seeds } from "./safetensors-cases.js";

/** A small generator of pseudo-random 32-bit numbers (mulberry32), the same on every machine. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** Every file that differs from a seed in one bit of its length field or header. */
export function* bitFlips(): Generator<Uint8Array> {
  for (const seed of seeds) {
    const headerEnd = 8 + new DataView(seed.buffer, seed.byteOffset).getUint32(0, true);
    for (let bit = 0; bit < 8 * headerEnd; bit++) {
      const copy = Uint8Array.from(seed);
      copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
      yield copy;
    }
  }
}

/** Random pieces of the seeds put together; in half of them the length field is set so that the JSON is reached. */
export function* splices(count = 4000): Generator<Uint8Array> {
  const random = randomNumbers(2024);
  const pick = (): Uint8Array => seeds[random() % seeds.length] as Uint8Array;
  for (let k = 0; k < count; k++) {
    const [a, b] = [pick(), pick()];
    const file = Buffer.concat([a.subarray(0, random() % (a.length + 1)), b.subarray(random() % (b.length + 1))]);
    const jsonLength = file.lastIndexOf(0x7d) + 1 - 8;
    if (k % 2 === 0 && jsonLength > 0) file.writeBigUInt64LE(BigInt(jsonLength), 0);
    yield file;
  }
}

/** Random tokens of headers in place of others, data long enough: these reach the checks of fields, sizes and layout. */
export function* tokenSwaps(count = 4000): Generator<Uint8Array> {
  const random = randomNumbers(77);
  const tokens = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "0",
    "1",
    "2",
    "8",
    "-",
    ".",
    "e",
    "16",
    "20",
    "4",
    '"F32"',
    '"U8"',
    '"dtype"',
    '"t"',
    "null",
    "\\",
    " ",
    "9999999999999999999",
  ];
  for (let k = 0; k < count; k++) {
    const seed = seeds[random() % seeds.length] as Uint8Array;
    const length = new DataView(seed.buffer, seed.byteOffset).getUint32(0, true);
    let header = Buffer.from(seed.subarray(8, 8 + length)).toString("latin1");
    for (let swaps = 1 + (random() % 3); swaps > 0; swaps--) {
      const at = random() % header.length;
      const token = tokens[random() % tokens.length] as string;
      header = header.slice(0, at) + token + header.slice(at + (random() % 3));
    }
    const head = Buffer.alloc(8);
    head.writeBigUInt64LE(BigInt(header.length));
    yield Buffer.concat([head, Buffer.from(header, "latin1"), seed.subarray(8 + length)]);
  }
}

export function allMutations(): Uint8Array[] {
  return [...bitFlips(), ...splices(), ...tokenSwaps()];
}
