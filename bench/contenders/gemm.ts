/**
 * @file The work `gemm M N K`: y[M, N] = x[M, K] · w[N, K]ᵀ in f32, as a linear layer computes it. Everybody gets the same numbers, proves seven
 * rows of its answer against float64 before its clock starts and again behind it, and reports the median of single products.
 */
import { parseArgs } from "node:util";
import { type Answer, median } from "./answer.js";

export interface GemmShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** How a library computes the product. */
export interface Product {
  /** Computes y into memory of the library, complete when the promise resolves; frees the y before. */
  multiply(): Promise<void>;
  /** The last y, row-major. */
  result(): Promise<Float32Array>;
}

export interface GemmContender {
  readonly contender: string;
  /** Copies inputs, in any layout the library likes: it is not timed. */
  prepare(shape: GemmShape, x: Float32Array, w: Float32Array, threads: number): Promise<Product>;
  /** How many threads the library takes when so many are asked for. */
  threads(asked: number): number;
  versions(): Record<string, string>;
}

/** Numbers in [−1, 1), multiples of 2⁻²³, from a xorshift generator (Marsaglia 2003). `seed` is not 0. */
export function seededNumbers(length: number, seed: number): Float32Array {
  const numbers = new Float32Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    numbers[i] = (state >>> 8) / 2 ** 23 - 1;
  }
  return numbers;
}

/** w[N, K] as [K, N], for libraries that are faster with it so. */
export function transposed(w: Float32Array, { n, k }: GemmShape): Float32Array {
  const turned = new Float32Array(w.length);
  for (let j = 0; j < n; j++) for (let i = 0; i < k; i++) turned[i * n + j] = w[j * k + i] as number;
  return turned;
}

const unit = 2 ** -24;

/**
 * The largest error of y in seven rows, as a share of 4·√K·2⁻²⁴·(|x||w|ᵀ) + 2⁻²⁴·|y64|.
 * @throws Error where y has another size or an error is larger than that, or no number.
 */
export function proveProduct({ m, n, k }: GemmShape, x: Float32Array, w: Float32Array, y: Float32Array): number {
  if (y.length !== m * n) throw new Error(`wrong answer: ${y.length} numbers for ${m} × ${n}`);
  let worst = 0;
  for (let sample = 0; sample < Math.min(7, m); sample++) {
    const row = m <= 7 ? sample : Math.floor((sample * (m - 1)) / 6);
    for (let column = 0; column < n; column++) {
      let [exact, size] = [0, 0];
      for (let i = 0; i < k; i++) {
        const term = (x[row * k + i] as number) * (w[column * k + i] as number);
        exact += term;
        size += Math.abs(term);
      }
      const found = y[row * n + column] as number;
      const bound = 4 * Math.sqrt(k) * unit * size + unit * Math.abs(exact);
      const share = found === exact ? 0 : Math.abs(found - exact) / bound;
      if (!(share <= 1)) throw new Error(`wrong answer: y[${row}, ${column}] is ${found}, expected ${exact} within ${bound}`);
      worst = Math.max(worst, share);
    }
  }
  return worst;
}

/** Milliseconds of single products: for a second, at least five and at most 200; after two that are not counted. */
async function sample(product: Product): Promise<number[]> {
  const once = async (): Promise<number> => {
    const started = performance.now();
    await product.multiply();
    return performance.now() - started;
  };
  for (let warmUp = 0; warmUp < 2; warmUp++) await once();
  const times: number[] = [];
  for (let total = 0; times.length < 5 || (total < 1000 && times.length < 200); ) {
    const time = await once();
    times.push(time);
    total += time;
  }
  return times;
}

export async function measureGemm(contender: GemmContender, shape: GemmShape, askedThreads: number): Promise<Answer> {
  const { m, n, k } = shape;
  const [x, w] = [seededNumbers(m * k, 1), seededNumbers(n * k, 2)];
  const threads = contender.threads(askedThreads);
  const product = await contender.prepare(shape, x, w, threads);
  await product.multiply();
  const before = proveProduct(shape, x, w, await product.result());
  const times = await sample(product);
  const errorOfBound = Math.max(before, proveProduct(shape, x, w, await product.result()));
  const value = (2 * m * n * k) / median(times) / 1e6;
  return {
    contender: contender.contender,
    work: `gemm ${m}x${n}x${k}`,
    threads,
    unit: "GFLOP/s",
    value,
    samples: times.length,
    gflops: value,
    errorOfBound,
    versions: contender.versions(),
  };
}

async function answerArguments(contender: GemmContender): Promise<Answer> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { threads: { type: "string", default: "1" } } });
  const [work, ...sizes] = positionals;
  const [m = 0, n = 0, k = 0] = sizes.map(Number);
  const counts = [m, n, k, Number(values.threads)];
  if (work !== "gemm" || sizes.length !== 3 || !counts.every((count) => Number.isSafeInteger(count) && count > 0))
    throw new Error(`expected gemm M N K [--threads 1]; found ${process.argv.slice(2).join(" ")}`);
  return measureGemm(contender, { m, n, k }, Number(values.threads));
}

/** The program of a contender: `gemm M N K [--threads 1]`, one line of JSON. */
export async function runGemm(contender: GemmContender): Promise<void> {
  try {
    console.log(JSON.stringify(await answerArguments(contender)));
  } catch (error) {
    // Not left to Node: libraries catch what nobody caught and end with codes of their own.
    console.error((error as Error).stack);
    process.exit(1);
  }
}
