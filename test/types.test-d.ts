/**
 * @file What must and must not compile. `npm run types` compiles this file: a line that must compile and does not is an error, and so is
 * a `@ts-expect-error` above a line that does. Nothing here runs.
 */
import {
  add,
  argmax,
  cast,
  concat,
  crossEntropy,
  type Dyn,
  dropout,
  gelu,
  Linear,
  linear,
  loraLinear,
  Module,
  matmul,
  mean,
  mul,
  ones,
  Parameter,
  quantize,
  relu,
  reshape,
  scale,
  silu,
  slice,
  softmax,
  sum,
  type Tensor,
  tensor,
  tidy,
  train,
  transpose,
  valueAndGrad,
  zeros,
} from "../lib/index.js";

/** Whether two types are the same, `any` apart from everything else. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(..._proof: Same<A, B> extends true ? [] : ["the types differ", A, B]): void => undefined;

declare const n: number;
declare const anything: Tensor;
declare const x: Tensor<["B", "T", 768], "f32">;
declare const ids: Tensor<["B", "T"], "i32">;

// --- users' own modules, without a cast -----------------------------------------------------------------------------------------------

export class Mlp extends Module {
  fc1 = new Linear(784, 256);
  fc2 = new Linear(256, 10);
  forward(x: Tensor<["N", 784]>): Tensor<["N", 10]> {
    return this.fc2.forward(relu(this.fc1.forward(x)));
  }
}

export class WrongHidden extends Module {
  fc1 = new Linear(784, 256);
  fc2 = new Linear(255, 10);
  forward(x: Tensor<["N", 784]>): Tensor<["N", 10]> {
    // @ts-expect-error 256 features go into a layer of 255
    return this.fc2.forward(relu(this.fc1.forward(x)));
  }
}

export class WrongOutput extends Module {
  fc1 = new Linear(784, 10);
  forward(x: Tensor<["N", 784]>): Tensor<["N", 9]> {
    // @ts-expect-error the layer gives 10 features
    return this.fc1.forward(x);
  }
}

export class WrongInput extends Module {
  fc1 = new Linear(784, 10);
  forward(x: Tensor<["N", 783]>): Tensor<["N", 10]> {
    // @ts-expect-error the layer takes 784 features
    return this.fc1.forward(x);
  }
}

export function parameters(mlp: Mlp): void {
  same<typeof mlp.fc1.weight.shape, readonly [256, 784]>();
  const loss = valueAndGrad(() => crossEntropy(mlp.forward(zeros([n, 784]).as(["N", 784])), zeros([n], { dtype: "i32" }).as(["N"])));
  same<typeof loss, Tensor<[], "f32">>();
  // @ts-expect-error the weight of a layer is given once
  mlp.fc1.weight = mlp.fc2.weight;
}

export function training(mlp: Mlp): void {
  const x = zeros([n, 784]).as(["N", 784]);
  const y = zeros([n], { dtype: "i32" }).as(["N"]);
  // The same batch type from each kind of data; an array's `at` may give undefined and does not make the batch so.
  train(mlp, [{ x, y }], { loss: (batch) => crossEntropy(mlp.forward(batch.x), batch.y) });
  train(mlp, { length: 2, at: (i) => (i === 0 ? { x, y } : { x, y }) }, { loss: (batch) => crossEntropy(mlp.forward(batch.x), batch.y) });
  train(mlp, { length: 2, at: async () => ({ x, y }) }, { loss: (batch) => crossEntropy(mlp.forward(batch.x), batch.y) });
  train(mlp, new Set([{ x, y }]), { loss: (batch) => crossEntropy(mlp.forward(batch.x), batch.y) });
  // @ts-expect-error the batch has no z
  train(mlp, [{ x, y }], { loss: (batch) => crossEntropy(mlp.forward(batch.z), batch.y) });
}

// --- making tensors -------------------------------------------------------------------------------------------------------------------

export function making(): void {
  const a = zeros([2, 3]);
  same<typeof a, Tensor<[2, 3], "f32">>();
  same<typeof a.shape, readonly [2, 3]>();
  const b = tensor(new Int32Array(4), [n, 2]);
  same<(typeof b)["dtype"], "i32">();
  const c = ones([2], { dtype: "bf16" });
  same<(typeof c)["dtype"], "bf16">();
  // @ts-expect-error no such type
  zeros([2], { dtype: "f64" });
  // @ts-expect-error labels are i32
  crossEntropy(zeros([2, 3]), zeros([2]));
  crossEntropy(zeros([2, 3]), zeros([2], { dtype: "i32" }));
  // @ts-expect-error a shape is an array
  zeros(2);
  // @ts-expect-error elements are numbers
  tensor(["1"], [1]);
}

// --- linear ---------------------------------------------------------------------------------------------------------------------------

export function linears(): void {
  const y = linear(zeros([2, 16, 768]), zeros([3072, 768]));
  same<typeof y, Tensor<[2, 16, 3072], "f32">>();
  const named = linear(x, zeros([3072, 768], { dtype: "bf16" }), zeros([3072]));
  same<typeof named, Tensor<["B", "T", 3072], "f32">>();
  // An unknown size fits every size.
  linear(zeros([n, n, 768]), anything);
  linear(anything, zeros([3072, 768]));
  // @ts-expect-error I is 768 and 512
  linear(zeros([2, 768]), zeros([3072, 512]));
  // @ts-expect-error O of the bias is 3071
  linear(zeros([2, 768]), zeros([3072, 768]), zeros([3071]));
  // @ts-expect-error a bias is f32
  linear(zeros([2, 768]), zeros([3072, 768]), zeros([3072], { dtype: "bf16" }));
  // @ts-expect-error x is f32
  linear(zeros([2, 768], { dtype: "bf16" }), zeros([3072, 768]));
  // @ts-expect-error a weight is not i32
  linear(zeros([2, 768]), zeros([3072, 768], { dtype: "i32" }));
}

export function quantizeds(): void {
  const w = quantize(zeros([3072, 768]), "nf4");
  same<typeof w, Tensor<[3072, 768], "nf4">>();
  linear(zeros([2, 768]), w);
  const wide = cast(w, "f32");
  same<typeof wide, Tensor<[3072, 768], "f32">>();
  // @ts-expect-error only weights are quantised
  add(w, zeros([3072, 768]));
  // @ts-expect-error cast makes floating-point types
  cast(zeros([3072, 768]), "nf4");
  // @ts-expect-error indexes are not quantised
  quantize(zeros([3072, 768], { dtype: "i32" }), "int8");
}

export function loraLinears(): void {
  const [w, a, b] = [zeros([3072, 768], { dtype: "bf16" }), zeros([8, 768]), zeros([3072, 8])];
  const y = loraLinear(x, w, a, b, { scale: 2, middle: zeros([8]) });
  same<typeof y, Tensor<["B", "T", 3072], "f32">>();
  loraLinear(x, w, a, b, { middle: zeros([8, 8]), bias: zeros([3072]), dropout: 0.1, site: "q" });
  // @ts-expect-error a and b swapped
  loraLinear(x, w, b, a);
  // @ts-expect-error R is 8 and 16
  loraLinear(x, w, a, zeros([3072, 16]));
  // @ts-expect-error I is 768 and 512
  loraLinear(x, w, zeros([8, 512]), b);
  // @ts-expect-error O is 3072 and 768
  loraLinear(x, w, a, zeros([768, 8]));
  // @ts-expect-error the adapter is f32
  loraLinear(x, w, zeros([8, 768], { dtype: "bf16" }), b);
  // @ts-expect-error the middle factor has R sizes
  loraLinear(x, w, a, b, { middle: zeros([9]) });
  // @ts-expect-error the bias has O elements
  loraLinear(x, w, a, b, { bias: zeros([768]) });
  // @ts-expect-error no such option
  loraLinear(x, w, a, b, { alpha: 16 });
}

// --- products, elementwise, reductions ------------------------------------------------------------------------------------------------

export function products(): void {
  const q = zeros([n, n, n, n]).as(["B", "H", "T", 64]);
  const scores = matmul(q, zeros([n, n, n, n]).as(["B", "H", 64, "T"]));
  same<typeof scores, Tensor<["B", "H", "T", "T"], "f32">>();
  const back = matmul(scores, transpose(zeros([n, n, n, n]).as(["B", "H", 64, "T"])));
  same<typeof back, Tensor<["B", "H", "T", 64], "f32">>();
  // @ts-expect-error K is 8 and 9
  matmul(zeros([4, 8]), zeros([9, 3]));
  // @ts-expect-error "T" is not "D"
  matmul(zeros([n, n]).as(["T", "D"]), zeros([n, n]).as(["T", "D"]));
  // @ts-expect-error a product needs two axes
  matmul(zeros([4]), zeros([4, 4]));
}

export function elementwise(): void {
  const y = add(mul(scale(x, 2), x), zeros([768]));
  same<typeof y, Tensor<["B", "T", 768], "f32">>();
  same<ReturnType<typeof keepsShape>, Tensor<["B", "T", 768], "f32">>();
  // @ts-expect-error numbers are not tensors
  add(x, 1);
  // @ts-expect-error labels are not numbers to add
  add(x, ids);
  // @ts-expect-error the factor is a number
  scale(x, "2");
  // @ts-expect-error only "none" and "tanh"
  gelu(x, { approximate: "fast" });
}

const keepsShape = () => softmax(silu(dropout(gelu(relu(x), { approximate: "tanh" }), { p: 0.1, site: "a" })));

export function reductions(): void {
  same<ReturnType<typeof total>, Tensor<[], "f32">>();
  sum(x, -1);
  const loss = crossEntropy(x, ids, { reduction: "sum", ignoreIndex: 0 });
  same<typeof loss, Tensor<[], "f32">>();
  const best = argmax(x);
  same<typeof best, Tensor<["B", "T"], "i32">>();
  // @ts-expect-error labels are i32
  crossEntropy(x, x);
  // @ts-expect-error the labels lack an axis
  crossEntropy(x, zeros([n], { dtype: "i32" }).as(["B"]));
  // @ts-expect-error "mean" or "sum"
  crossEntropy(x, ids, { reduction: "none" });
}

const total = () => add(sum(x), mean(x));

// --- shapes that the caller knows -----------------------------------------------------------------------------------------------------

export function shapes(): void {
  const r = reshape(x, [n, 12, 64]);
  same<typeof r, Tensor<[Dyn, 12, 64], "f32">>();
  const named = zeros([n, n, 768]).as(["B", "T", 768]);
  same<typeof named, Tensor<["B", "T", 768], "f32">>();
  concat([x, x], 1);
  slice(ids, 0, 0, 1);
  const half = cast(x, "f16");
  same<typeof half, Tensor<["B", "T", 768], "f16">>();
  // @ts-expect-error "T" does not fit "B"
  add<["B"]>(zeros([n]).as(["T"]), x);
  // @ts-expect-error the rank is 3
  zeros([n, n, 768]).as(["B", 768]);
  // @ts-expect-error i32 is nothing to convert to
  cast(x, "i32");
  // @ts-expect-error sizes are numbers
  reshape(x, ["B", 768]);
  // @ts-expect-error a tensor's shape does not change
  x.shape[0] = 3;
}

export async function reading(): Promise<void> {
  same<Awaited<ReturnType<typeof x.data>>, Float32Array>();
  same<Awaited<ReturnType<typeof ids.data>>, Int32Array>();
  const kept = tidy(() => ({ logits: linear(x, zeros([10, 768])) }));
  same<typeof kept, { logits: Tensor<["B", "T", 10], "f32"> }>();
  const weight = new Parameter(zeros([3, 4]));
  same<typeof weight.value, Tensor<[3, 4], "f32">>();
  // @ts-expect-error a gradient has the shape of its parameter
  weight.grad = zeros([4, 3]);
}
