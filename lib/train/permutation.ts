/** @file The order of examples: a keyed permutation, a pure function of (seed, epoch), that needs no memory per example. */

/**
 * A permutation of 0 … n − 1 as a function of the position. A four-round Feistel network on the next even number of bits, walking on while
 * the result is not below n (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
 */
export function permutation(n: number, seed: number, epoch: number): (position: number) => number {
  const half = Math.max(1, Math.ceil(Math.log2(Math.max(2, n)) / 2));
  const mask = 2 ** half - 1;
  const low = seed >>> 0;
  const high = Math.floor(seed / 2 ** 32) >>> 0;
  const keys = Array.from({ length: 4 }, (_, round) => mix(mix(mix(low ^ 0x9e3779b9) ^ high) ^ epoch ^ Math.imul(round + 1, 0x85ebca6b)));
  const encrypt = (x: number): number => {
    let left = Math.floor(x / 2 ** half);
    let right = x % 2 ** half;
    for (const key of keys) [left, right] = [right, (left ^ (mix(right ^ key) & mask)) >>> 0];
    return left * 2 ** half + right;
  };
  return (position) => {
    let x = encrypt(position);
    while (x >= n) x = encrypt(x);
    return x;
  };
}

/** A 32-bit mixer (the finalizer of MurmurHash3). */
function mix(x: number): number {
  let h = x | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
