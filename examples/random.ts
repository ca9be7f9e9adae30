/** @file A small counter-based generator: draw n of a stream is a pure function of the stream's keys and n. */
import { LowrankError } from "lowrank";

const GOLDEN = 0x9e3779b9;

/** The finalizer of MurmurHash3: a bijection of 32-bit words that mixes every bit into every other. */
function mix(word: number): number {
  let x = word;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** Standard deviation of the sum of four uniform bytes. */
const FOUR_BYTES_DEVIATION = Math.sqrt((4 * (256 * 256 - 1)) / 12);

/** Random numbers for examples: reproducible and fast, not for secrets. */
export class Random {
  readonly #low: number;
  readonly #high: number;
  #count = 0;

  /** A stream of its own for every sequence of keys, each an integer from 0 to 2^53 − 1; else `BAD_ARGUMENT`. */
  constructor(...keys: readonly number[]) {
    let low = mix(keys.length);
    let high = mix(keys.length ^ GOLDEN);
    for (const key of keys) {
      if (!Number.isSafeInteger(key) || key < 0) {
        throw new LowrankError("BAD_ARGUMENT", `random: a key (seed, epoch or index) must be an integer from 0 to 2^53 - 1, not ${String(key)}`, {
          actual: key,
        });
      }
      for (const word of [key % 2 ** 32, Math.floor(key / 2 ** 32)]) {
        low = mix((low ^ word) + GOLDEN);
        high = mix(high ^ mix(word + low));
      }
    }
    this.#low = low;
    this.#high = high;
  }

  /** The next 32 random bits, as an integer from 0 to 2^32 − 1. */
  bits(): number {
    this.#count += 1;
    return mix(mix(Math.imul(this.#count, GOLDEN) + this.#low) ^ this.#high) >>> 0;
  }

  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * (this.bits() / 2 ** 32);
  }

  /** A uniform integer from 0 to n − 1. */
  below(n: number): number {
    return Math.floor((this.bits() / 2 ** 32) * n);
  }

  /** Mean 0, deviation 1, nearly normal (the sum of four uniform bytes): never beyond ±3.46. */
  normal(): number {
    const word = this.bits();
    return ((word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24) - 510) / FOUR_BYTES_DEVIATION;
  }
}
