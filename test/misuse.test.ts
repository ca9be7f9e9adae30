/** @file Every mistake has an error with a name: what users do wrong with tensors, scopes, gradients and threads. */
import { once } from "node:events";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  add,
  argmax,
  cast,
  concat,
  crossEntropy,
  deviceInfo,
  dropout,
  type ErrorCode,
  gelu,
  LowrankError,
  linear,
  matmul,
  memory,
  mul,
  ones,
  Parameter,
  relu,
  reshape,
  scale,
  slice,
  sum,
  synchronize,
  type Tensor,
  tensor,
  tidy,
  valueAndGrad,
  zeros,
} from "../lib/index.js";
import { engine } from "../lib/native/engine.js";
import { answerOf, startWorker } from "./children/run.js";

/** The LowrankError that `fn` throws, or with which its promise rejects. */
async function errorOf(fn: () => unknown): Promise<LowrankError> {
  try {
    await fn();
  } catch (error) {
    expect(error, String(error)).toBeInstanceOf(LowrankError);
    return error as LowrankError;
  }
  throw new Error("nothing was thrown");
}

/** Checks that `fn` throws at once. */
function thrown(fn: () => unknown, code: ErrorCode, ...texts: (string | RegExp)[]): LowrankError {
  let error: unknown;
  try {
    fn();
  } catch (caught) {
    error = caught;
  }
  expect(error, "nothing was thrown").toBeInstanceOf(LowrankError);
  const { code: found, message } = error as LowrankError;
  expect(found, message).toBe(code);
  for (const text of texts) expect(message).toMatch(text);
  return error as LowrankError;
}

let before = { tensors: 0, bytes: 0 };
const counted = () => {
  const { tensors, bytes } = memory().cpu;
  return { tensors, bytes };
};
/** Made in a test and freed after it. */
const made: { dispose(): void }[] = [];
function keep<T extends { dispose(): void }>(value: T): T {
  made.push(value);
  return value;
}

// The step record of random ops outside of training is made once.
beforeAll(() => tidy(() => void dropout(ones([1]))));
beforeEach(() => {
  before = counted();
});
afterEach(() => {
  for (const one of made.splice(0)) one.dispose();
  expect(counted(), "the mistake left tensors behind").toEqual(before);
});

describe("a disposed tensor", () => {
  it("is DISPOSED in ops, in data() and in tidy", async () => {
    const x = ones([2, 3]);
    x.dispose();
    x.dispose();
    thrown(() => relu(x), "DISPOSED", /\[2, 3\]/);
    thrown(() => tidy(() => slice(x, 0, 0, 1)), "DISPOSED");
    expect((await errorOf(() => x.data())).code).toBe("DISPOSED");
    expect(x.disposed).toBe(true);
  });

  it("takes nothing from its views", async () => {
    const x = tensor([1, 2, 3, 4], [2, 2]);
    const row = keep(slice(x, 0, 1, 2));
    x.dispose();
    expect([...(await row.data())]).toEqual([3, 4]);
  });
});

describe("an asynchronous function in a scope", () => {
  const scopes = { tidy: (fn: () => unknown) => tidy(fn), valueAndGrad: (fn: () => unknown) => valueAndGrad(fn as () => Tensor) };

  it.each(Object.entries(scopes))("is ASYNC_IN_SCOPE in %s", async (name, scope) => {
    let ran = false;
    thrown(
      () =>
        scope(async () => {
          ran = true;
        }),
      "ASYNC_IN_SCOPE",
      name,
    );
    expect(ran, "an async function is refused before it runs").toBe(false);
    thrown(() => scope(() => Promise.resolve(ones([1000]))), "ASYNC_IN_SCOPE", name);
    thrown(() => scope(() => Promise.reject(new Error("unheard"))), "ASYNC_IN_SCOPE", name);
    thrown(() => scope(() => ({ then: () => undefined })), "ASYNC_IN_SCOPE", name);
  });
});

describe("a tensor of another thread", () => {
  it("is WRONG_ENVIRONMENT in a worker", async () => {
    const x = keep(ones([2]));
    const worker = startWorker("foreign-tensor.ts", x);
    const [answer] = (await once(worker, "message")) as [{ code: string; message: string; details: object }];
    await once(worker, "exit");
    expect(answer.code, JSON.stringify(answer)).toBe("WRONG_ENVIRONMENT");
    expect(answer.message).toContain("a clone of a tensor");
  });

  it("is WRONG_ENVIRONMENT as a clone in its own thread, too", () => {
    const x = keep(ones([2]));
    thrown(() => add(x, structuredClone(x)), "WRONG_ENVIRONMENT", "add: b", "a clone of a tensor");
  });

  it("one of another copy of lowrank is BAD_ARGUMENT, and named", () => {
    const x = keep(ones([2]));
    thrown(() => add(x, { ...x, dispose: () => undefined } as unknown as Tensor), "BAD_ARGUMENT", "another copy of lowrank");
  });

  it("what is no tensor is BAD_ARGUMENT", () => {
    const x = keep(ones([2]));
    for (const wrong of [{ brand: "another" }, undefined, null, 3, [1, 2], new Float32Array(2)]) {
      thrown(() => add(x, wrong as unknown as Tensor), "BAD_ARGUMENT", "add: b");
    }
  });
});

describe("gradients", () => {
  const parameter = (values: number[]): Parameter => keep(new Parameter(tensor(values, [values.length])));

  it("add up over calls until they are cleared", async () => {
    const w = parameter([1, 2]);
    for (let i = 0; i < 3; i++) keep(valueAndGrad(() => sum(mul(w.value, w.value))));
    expect([...(await (w.grad as Tensor).data())]).toEqual([6, 12]);
    w.clearGradient();
    expect(w.grad).toBeUndefined();
  });

  it("of one tensor used twice add up", async () => {
    const w = parameter([3]);
    keep(valueAndGrad(() => sum(add(scale(w.value, 2), mul(w.value, w.value)))));
    expect([...(await (w.grad as Tensor).data())]).toEqual([8]);
    w.clearGradient();
    const between = (): Tensor => {
      const h = scale(w.value, 2); // made by an op: its gradients meet on the tape, not in the parameter
      return sum(add(scale(h, 5), mul(h, h)));
    };
    keep(valueAndGrad(between));
    expect([...(await (w.grad as Tensor).data())]).toEqual([2 * (5 + 2 * 6)]);
  });

  it("of what changed before backward are MODIFIED_BEFORE_BACKWARD", () => {
    const w = parameter([1, 2]);
    const other = keep(ones([2]));
    const error = thrown(
      () =>
        valueAndGrad(() => {
          const y = mul(w.value, w.value);
          w.assign(other);
          return sum(y);
        }),
      "MODIFIED_BEFORE_BACKWARD",
      /^mul: /,
    );
    expect(error.details["op"]).toBe("mul");
    // The walk had reached `late` and not `w`: neither keeps half a sum.
    const late = parameter([5, 7]);
    keep(valueAndGrad(() => sum(mul(late.value, w.value))));
    const half = (): Tensor => {
      const y = mul(w.value, w.value);
      w.assign(other);
      return sum(mul(y, late.value));
    };
    thrown(() => valueAndGrad(half), "MODIFIED_BEFORE_BACKWARD");
    expect([late.grad, w.grad]).toEqual([undefined, undefined]);
    // A change that no gradient needs to know is allowed.
    keep(
      valueAndGrad(() => {
        const y = sum(scale(w.value, 2));
        w.assign(other);
        return y;
      }),
    );
  });

  it("need a scalar", () => {
    const w = parameter([1, 2]);
    thrown(() => valueAndGrad(() => scale(w.value, 2)), "NOT_SCALAR", /\[2\]/);
    thrown(() => valueAndGrad((() => 3) as unknown as () => Tensor), "NOT_SCALAR", "3");
    thrown(() => valueAndGrad((() => undefined) as unknown as () => Tensor), "NOT_SCALAR");
  });

  it("need a trainable parameter", () => {
    const w = parameter([1, 2]);
    const x = keep(ones([2]));
    thrown(() => valueAndGrad(() => sum(mul(x, x))), "NO_GRADIENT");
    w.trainable = false;
    thrown(() => valueAndGrad(() => sum(mul(w.value, x))), "NO_GRADIENT");
    w.trainable = true;
    thrown(() => valueAndGrad(() => sum(mul(w.value, x)), { parameters: [] }), "NO_GRADIENT");
    expect(w.grad).toBeUndefined();
  });

  it("are of first order: valueAndGrad is not nested", () => {
    const w = parameter([1, 2]);
    const inner = () => sum(mul(w.value, w.value));
    thrown(() => valueAndGrad(() => valueAndGrad(inner)), "BAD_ARGUMENT", "valueAndGrad");
    expect(w.grad).toBeUndefined();
    // The failure left no scope and no tape behind.
    keep(valueAndGrad(inner));
  });

  it("survive an exception of the function", () => {
    const w = parameter([1, 2]);
    expect(() =>
      valueAndGrad(() => {
        mul(w.value, w.value);
        throw new RangeError("the user's own");
      }),
    ).toThrow(RangeError);
    expect(w.grad).toBeUndefined();
  });
});

describe("wrong arguments of ops", () => {
  it("an axis that does not exist is BAD_AXIS, with op, axis and sizes", () => {
    const x = keep(ones([2, 3]));
    thrown(() => sum(x, 3), "BAD_AXIS", /^sum: axis 3 /, /\[2, 3\]/, /-2 to 1/);
    thrown(() => slice(x, -3, 0, 1), "BAD_AXIS", /^slice: axis -3 /);
    thrown(() => concat([x, x], 2), "BAD_AXIS", /^concat: axis 2 /);
    thrown(() => sum(x, 0.5), "BAD_AXIS", /0\.5/);
    thrown(() => sum(keep(ones([])), 0), "BAD_AXIS", /scalar/);
  });

  it("sizes that do not fit are BAD_SHAPE and name the size", () => {
    thrown(() => linear(keep(ones([2, 3])), keep(ones([5, 4])) as Tensor), "BAD_SHAPE", /^linear: I is 3 in x but 4 in w/, /\[5, 4\]/);
    thrown(() => reshape(keep(ones([2, 3])), [4]), "BAD_SHAPE", /6 elements/);
    thrown(() => reshape(keep(ones([2, 3])), [-1, 0]), "BAD_SHAPE");
    thrown(() => argmax(keep(ones([2, 0]))), "BAD_SHAPE", /empty/);
    thrown(() => tensor([1, 2, 3], [2]), "BAD_SHAPE", /2 elements.* 3/);
    thrown(() => zeros([-1]), "BAD_SHAPE");
    thrown(() => zeros([2 ** 30, 2 ** 30]), "BAD_SHAPE");
    thrown(() => zeros("x" as unknown as number[]), "BAD_ARGUMENT");
  });

  it("values out of range are BAD_ARGUMENT", () => {
    const x = keep(ones([2, 3]));
    for (const p of [-0.1, 1.1, Number.NaN, "0.5"]) thrown(() => dropout(x, { p: p as number }), "BAD_ARGUMENT", "dropout");
    for (const factor of [Number.NaN, Number.POSITIVE_INFINITY, undefined]) thrown(() => scale(x, factor as number), "BAD_ARGUMENT", "scale");
    thrown(() => gelu(x, { approximate: "fast" as "tanh" }), "BAD_ARGUMENT", "gelu", "fast");
    thrown(() => slice(x, 1, 2, 5), "BAD_ARGUMENT", "2 … 5", /\[2, 3\]/);
    thrown(() => slice(x, 1, -1), "BAD_ARGUMENT");
    thrown(() => concat([]), "BAD_ARGUMENT");
    thrown(() => crossEntropy(x, keep(tensor(Int32Array.of(0, 1), [2])), { reduction: "none" as "sum" }), "BAD_ARGUMENT", "none");
    thrown(() => tensor([1.5], [1], { dtype: "i32" }), "BAD_ARGUMENT", "element 0");
  });

  it("dtypes that do not fit are BAD_DTYPE", () => {
    const labels = keep(tensor(Int32Array.of(0, 1), [2]));
    thrown(() => relu(labels as unknown as Tensor), "BAD_DTYPE", /i32/, /f32/);
    thrown(() => cast(labels, "i32" as "f32"), "BAD_DTYPE");
    thrown(() => tensor(new Float32Array(1), [1], { dtype: "i32" }), "BAD_DTYPE", "Float32Array");
    thrown(() => zeros([1], { dtype: "f64" as "f32" }), "BAD_DTYPE", "f64");
  });
});

describe("a label outside of its range", () => {
  const logits = () => keep(zeros([4, 3]));
  const labels = (...values: number[]) => keep(tensor(Int32Array.from(values), [4]));

  it("rejects with INDEX_OUT_OF_RANGE: op, label, position and range", async () => {
    const loss = keep(crossEntropy(logits(), labels(0, 1, 3, 2)));
    const error = await errorOf(() => loss.data());
    expect(error.code).toBe("INDEX_OUT_OF_RANGE");
    expect(error.message).toMatch(/cross_?entropy/i);
    expect(error.message).toMatch(/index 3 at position 2 .*0 … 2/);
    expect(error.details).toMatchObject({ actual: 3, offset: 2 });
    await synchronize();
  });

  it.each([-1, -100, 3, 2 ** 31 - 1])("label %d, when it is not ignored", async (label) => {
    const loss = keep(crossEntropy(logits(), labels(0, label, 0, 0), { ignoreIndex: -7 }));
    expect((await errorOf(() => loss.data())).code).toBe("INDEX_OUT_OF_RANGE");
  });

  it("reaches all that depends on it, and nothing else", async () => {
    const x = logits();
    const loss = keep(crossEntropy(x, labels(0, 9, 0, 0)));
    const dependent = keep(scale(loss, 2));
    const second = keep(add(dependent, keep(ones([]))));
    const apart = keep(sum(x));
    for (const one of [loss, dependent, second]) expect((await errorOf(() => one.data())).code).toBe("INDEX_OUT_OF_RANGE");
    expect(await apart.item()).toBe(0);
    // The memory of what failed can be used again.
    for (const one of [loss, dependent, second]) one.dispose();
    expect([...(await keep(add(keep(ones([])), keep(ones([])))).data())]).toEqual([2]);
  });

  it("reaches the gradients", async () => {
    const w = keep(new Parameter(zeros([4, 3])));
    const loss = keep(valueAndGrad(() => crossEntropy(w.value, labels(0, 9, 0, 0))));
    expect((await errorOf(() => loss.data())).code).toBe("INDEX_OUT_OF_RANGE");
    expect((await errorOf(() => (w.grad as Tensor).data())).code).toBe("INDEX_OUT_OF_RANGE");
    expect((await w.value.data()).length).toBe(12);
  });

  it("that nobody awaits rejects the next read of anything, or synchronize(), once", async () => {
    for (const next of [() => synchronize(), () => keep(ones([1])).data()]) {
      keep(crossEntropy(logits(), labels(0, 9, 0, 0)));
      expect((await errorOf(next)).code).toBe("INDEX_OUT_OF_RANGE");
      await synchronize();
    }
  });
});

describe("memory", () => {
  it("over budget is OUT_OF_MEMORY at once, with nothing half done, and the process goes on", async () => {
    const budget = 64 * 2 ** 20;
    const { isOurs, failure, before, after, opCode, total } = await answerOf<{
      isOurs: boolean;
      failure: { code: string; message: string; details: Record<string, number> };
      before: object;
      after: object;
      opCode: string;
      total: number;
    }>("out-of-memory.ts", { LOWRANK_MEMORY_BUDGET: String(budget) });
    expect(isOurs).toBe(true);
    expect(failure.code).toBe("OUT_OF_MEMORY");
    expect(failure.message).toMatch(/1048576 bytes do not fit.*budget of 67108864.*LOWRANK_MEMORY_BUDGET/s);
    expect(failure.details).toMatchObject({ requestedBytes: 2 ** 20, budgetBytes: budget });
    expect(after).toEqual(before);
    expect(opCode).toBe("OUT_OF_MEMORY");
    expect(total).toBe(0);
  });

  it("of an op whose output fits but whose scratch memory does not, is given back", async () => {
    const [a, b] = [keep(ones([300, 300])), keep(ones([300, 300]))];
    const { budgetBytes } = memory().cpu;
    const kept = counted();
    // Some budget lies between what the output needs and what the kernel needs beside it.
    const { processBytes } = engine().memory();
    let refused = 0;
    try {
      for (let extra = 0; extra < 4 * 2 ** 20; extra += 2 ** 16) {
        engine().setBudget(processBytes + extra);
        try {
          matmul(a, b).dispose();
          break;
        } catch (error) {
          expect((error as LowrankError).code).toBe("OUT_OF_MEMORY");
          expect(counted(), `budget of ${extra} more bytes`).toEqual(kept);
          refused++;
        }
      }
    } finally {
      engine().setBudget(budgetBytes);
    }
    expect(refused).toBeGreaterThan(0);
    expect(await keep(sum(keep(matmul(a, b)))).item()).toBe(300 ** 3);
  });
});

describe("LOWRANK_BACKEND", () => {
  it("that does not exist is BACKEND_UNKNOWN and lists those that do", async () => {
    const { code, message } = await answerOf<{ code: string; message: string }>("load.ts", { LOWRANK_BACKEND: "sse9" });
    expect(code).toBe("BACKEND_UNKNOWN");
    for (const name of ["sse9", ...deviceInfo().backends]) expect(message).toContain(name);
  });

  it.each(deviceInfo().backends)("%s is used when asked for", async (backend) => {
    expect(await answerOf("load.ts", { LOWRANK_BACKEND: backend })).toMatchObject({ backend, total: 10 });
  });
});
