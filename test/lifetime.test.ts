/** @file Who owns memory, and that nothing outlives or ends what it should not: scopes, finalizers, workers, the end of the process. */
import { once } from "node:events";
import { setImmediate, setTimeout } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import {
  add,
  deviceInfo,
  linear,
  matmul,
  memory,
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
import { outsideScopes, track } from "../lib/tensor/scope.js";
import { answerOf, runChild, startWorker } from "./children/run.js";

const megabyte = 2 ** 20;
const tensors = (): number => memory().cpu.tensors;

describe("the budget", () => {
  it("lets free blocks go where a kernel needs scratch memory", async () => {
    const n = 512;
    const [x, w] = [ones([n, n]), ones([n, n])];
    // Free blocks of many sizes, one of which fits the result; none fits the scratch memory.
    for (const block of Array.from({ length: 40 }, (_, i) => zeros([1000 * (i + 1)]))) block.dispose();
    zeros([n, n]).dispose();
    await synchronize();
    const { budgetBytes, reservedBytes } = memory().cpu;
    engine().setBudget(reservedBytes + 1000);
    try {
      const y = linear(x, w);
      expect((await y.data())[0]).toBe(n);
      y.dispose();
    } finally {
      engine().setBudget(budgetBytes);
    }
    for (const one of [x, w]) one.dispose();
  });
});

describe("tidy", () => {
  it("keeps what it returns: tensors in arrays, objects and maps, at any depth", async () => {
    const before = tensors();
    const result = tidy(() => {
      const x = ones([2]);
      relu(x);
      return { one: add(x, x), list: [scale(x, 3), [scale(x, 4)]], map: new Map([["five", { deep: scale(x, 5) }]]), number: 6 };
    });
    expect(tensors()).toBe(before + 4);
    const deep = result.map.get("five")?.deep as Tensor;
    const kept = [result.one, result.list[0], (result.list[1] as Tensor[])[0], deep] as Tensor[];
    expect(await Promise.all(kept.map(async (x) => [...(await x.data())]))).toEqual([
      [2, 2],
      [3, 3],
      [4, 4],
      [5, 5],
    ]);
    for (const x of kept) x.dispose();
    expect(tensors()).toBe(before);
  });

  it("inside of tidy hands its result to the outer scope", () => {
    const before = tensors();
    const outer = tidy(() => {
      const inner = tidy(() => scale(ones([3]), 2));
      expect(tensors()).toBe(before + 1);
      tidy(() => scale(inner, 2));
      expect(tensors()).toBe(before + 2);
      return scale(inner, 3);
    });
    expect(tensors()).toBe(before + 1);
    outer.dispose();
    expect(tensors()).toBe(before);
  });

  it("frees everything when the function throws", () => {
    const before = tensors();
    expect(() =>
      tidy(() => {
        scale(ones([3]), 2);
        throw new RangeError("the user's own");
      }),
    ).toThrow(RangeError);
    expect(tensors()).toBe(before);
    const after = ones([1]);
    expect(tensors()).toBe(before + 1);
    after.dispose();
  });

  it("frees what a scope inside leaves when it is interrupted, as by the end of the stack", () => {
    const before = tensors();
    let interruptions = 1;
    const interruptsOnce = {
      dispose: () => {
        if (interruptions-- > 0) throw new RangeError("the stack ends here");
      },
      freeWhenDropped: () => undefined,
    };
    expect(() =>
      tidy(() => {
        tidy(() => {
          track(interruptsOnce);
          zeros([4]);
        });
      }),
    ).toThrow(RangeError);
    expect(tensors()).toBe(before);
  });

  it("leaves alone what was made outside, and what was disposed inside", () => {
    const before = tensors();
    const x = ones([3]);
    tidy(() => {
      scale(x, 2).dispose();
      return x;
    });
    expect(x.disposed).toBe(false);
    x.dispose();
    expect(tensors()).toBe(before);
  });

  it("does not free parameters made inside", async () => {
    const parameter = tidy(() => new Parameter(ones([2])));
    expect([...(await parameter.value.data())]).toEqual([1, 1]);
    parameter.dispose();
  });
});

describe("a buffer", () => {
  it("lives as long as one of its views", async () => {
    const before = memory().cpu;
    const x = tensor([1, 2, 3, 4, 5, 6], [3, 2]);
    const [column, rows] = [slice(x, 1, 1, 2), slice(x, 0, 1)];
    expect(memory().cpu.bytes - before.bytes).toBe(24);
    for (const one of [x, x, column]) one.dispose();
    expect(memory().cpu.bytes - before.bytes).toBe(24);
    expect([...(await rows.data())]).toEqual([3, 4, 5, 6]);
    rows.dispose();
    rows[Symbol.dispose]();
    expect(memory().cpu).toMatchObject({ tensors: before.tensors, bytes: before.bytes });
  });

  it("that valueAndGrad kept for the gradient is freed with it", () => {
    const before = tensors();
    const w = new Parameter(ones([4, 4]));
    const loss = valueAndGrad(() => sum(matmul(relu(w.value), w.value)));
    expect(tensors()).toBe(before + 3);
    for (const one of [loss, w]) one.dispose();
    expect(tensors()).toBe(before);
  });

  it("can be handed to a later command while an earlier one has not run", async () => {
    const results: Tensor[] = [];
    for (let i = 0; i < 200; i++) {
      results.push(tidy(() => sum(scale(scale(ones([1000]), i), 2))));
    }
    expect(await Promise.all(results.map((x) => x.item()))).toEqual(Array.from({ length: 200 }, (_, i) => 2000 * i));
    for (const x of results) x.dispose();
  });

  it.each<[string, () => Tensor]>([
    ["made outside of scopes", () => zeros([1000])],
    ["that scopes returned", () => tidy(() => tidy(() => zeros([1000])))],
    ["that is a view", () => tidy(() => slice(zeros([2, 500]), 0, 1, 2))],
  ])("of a dropped tensor %s is freed once the event loop turns", async (_, make) => {
    const before = tensors();
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < 100; i++) make();
      await setImmediate();
    }
    for (let round = 0; round < 100 && tensors() > before; round++) {
      globalThis.gc?.();
      await setTimeout(1);
    }
    expect(globalThis.gc).toBeDefined();
    expect(tensors()).toBe(before);
  });

  it.each<[string, () => Tensor]>([
    ["made outside of scopes", () => viewOfDisposed(ones([4]))],
    ["that a scope returned", () => viewOfDisposed(tidy(() => ones([4])))],
    ["that a scope returns though it is disposed", () => tidy(disposedAndItsView)[1]],
  ])("of a tensor %s is not freed with it while a view lives", async (_, make) => {
    const views = Array.from({ length: 50 }, make);
    for (let round = 0; round < 20; round++) {
      globalThis.gc?.();
      await setTimeout(1);
    }
    for (const view of views) {
      expect([...(await view.data())]).toEqual([1, 1, 1, 1]);
      view.dispose();
    }
  });

  function viewOfDisposed(base: Tensor): Tensor {
    const view = reshape(base, [2, 2]);
    base.dispose();
    return view;
  }

  function disposedAndItsView(): [Tensor, Tensor] {
    const base = ones([4]);
    const view = reshape(base, [2, 2]);
    outsideScopes(() => base.dispose());
    return [base, view];
  }
});

describe("a million temporaries", () => {
  it("in one synchronous loop leave memory as it was", async () => {
    type Seen = { rss: number; tensors: number; bytes: number; reserved: number };
    const [early, late, end] = await answerOf<[Seen, Seen, Seen]>("temporaries.ts");
    expect(late).toMatchObject({ tensors: early.tensors, bytes: early.bytes });
    expect(end).toMatchObject({ tensors: 1, bytes: 1024 });
    expect(Math.abs(late.reserved - early.reserved)).toBeLessThanOrEqual(megabyte);
    // V8 frees what weak references left behind only when the loop has ended; a million temporaries that stayed would be a gigabyte.
    expect((late.rss - early.rss) / megabyte).toBeLessThanOrEqual(64);
    expect((end.rss - early.rss) / megabyte).toBeLessThanOrEqual(16);
  });
});

describe("workers", () => {
  async function valuesOf(rounds: number, size: number): Promise<number[]> {
    const worker = startWorker("compute.ts", { rounds, size });
    const values: number[] = [];
    worker.on("message", ({ value }: { value?: number }) => {
      if (value !== undefined) values.push(value);
    });
    const [code] = await once(worker, "exit");
    expect(code).toBe(0);
    return values;
  }

  it("several at once compute what one computes", async () => {
    const [alone] = await valuesOf(1, 130);
    expect(Number.isFinite(alone)).toBe(true);
    const together = await Promise.all(Array.from({ length: 4 }, () => valuesOf(20, 130)));
    for (const values of together) expect(values).toEqual(new Array(20).fill(alone));
  });

  it("terminated while their commands run, 50 times, leave the process whole", async () => {
    const x = ones([64, 64]);
    for (let i = 0; i < 50; i++) {
      const worker = startWorker("compute.ts", { rounds: 1e9, size: 400 });
      await once(worker, "message");
      const ended = once(worker, "exit");
      await worker.terminate();
      await ended;
      const y = sum(matmul(x, x));
      expect(await y.item()).toBe(64 ** 3);
      y.dispose();
    }
    x.dispose();
  });

  it("eight that load the engine at once all get it", async () => {
    const answers = await answerOf<{ code: number; values: number[] }[]>("many-loads.ts");
    expect(answers).toHaveLength(8);
    for (const { code, values } of answers) {
      expect(code).toBe(0);
      expect(values).toHaveLength(1);
      expect(values).toEqual(answers[0]?.values);
    }
  });
});

describe("the end of the process", () => {
  it.each([
    ["exit", 7],
    ["throw", 1],
    ["worker", 7],
  ])("by %s while commands run has code %d and no signal", async (way, expected) => {
    for (let i = 0; i < 3; i++) {
      const { code, signal, stderr } = await runChild("exit-while-running.ts", {}, [way]);
      expect({ code, signal }, stderr).toEqual({ code: expected, signal: null });
    }
  });
});

describe("the event loop", () => {
  it("turns while a large product is computed", async () => {
    await synchronize();
    const x = ones([1600, 1600]);
    const order: string[] = [];
    const y = tidy(() => sum(matmul(matmul(x, x), x)));
    const read = y.item().then(() => order.push("result"));
    for (let i = 0; i < 3; i++) {
      await setImmediate();
      order.push("turn");
    }
    await read;
    expect(order, deviceInfo().backend).toEqual(["turn", "turn", "turn", "result"]);
    for (const one of [x, y]) one.dispose();
  });
});
