/** @file Exact arithmetic on sizes from files: a `number` up to 2^53 - 1, a `bigint` beyond. Nothing rounds, nothing wraps. */

/** A non-negative integer; always a `number` when that is safe, so that `===` compares. */
export type Exact = number | bigint;

const maxBits = 2n ** 64n - 1n;

/**
 * Bytes of a tensor with these dimensions. Undefined when the dimensions other than 0 multiply to 2^64 bits or more (whatever their
 * order, even if another one is 0), or when a dimension of an empty tensor is not a safe integer.
 */
export function byteSize(dims: readonly Exact[], bytesPerElement: number): Exact | undefined {
  let product: Exact = bytesPerElement;
  let empty = false;
  for (const dim of dims) {
    if (dim === 0) {
      empty = true;
      continue;
    }
    product = multiply(product, dim);
    if (BigInt(product) * 8n > maxBits) return undefined;
  }
  if (!empty) return product;
  return dims.every((dim) => typeof dim === "number") ? 0 : undefined;
}

function multiply(a: Exact, b: Exact): Exact {
  if (typeof a === "number" && typeof b === "number" && Number.isSafeInteger(a * b)) return a * b;
  return BigInt(a) * BigInt(b);
}

/** `a - b`, for `a >= b`. */
export function subtract(a: Exact, b: Exact): Exact {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const difference = BigInt(a) - BigInt(b);
  return difference <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(difference) : difference;
}
