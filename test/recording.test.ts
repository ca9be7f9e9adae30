/** @file Recordings: kernels listed once and run again and again, with everything between in one arena. */
import { afterEach, describe, expect, it } from "vitest";
import { add, memory, Parameter, resetPeakMemory, sum, synchronize, type Tensor, tensor, tidy, valueAndGrad } from "../lib/index.js";
import { engine } from "../lib/native/engine.js";
import { empty } from "../lib/tensor/tensor.js";

const before = memory().cpu;
afterEach(() => {
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
});

const vector = (...values: number[]): Tensor => tensor(values, [values.length]) as Tensor;
const set = (x: Tensor, ...values: number[]): void => {
  const source = vector(...values);
  engine().kernels.copy(x, source);
  source.dispose();
};

/** Records y = x + … + x (`times` of them), each sum freed when the next is made. */
function sumOf(x: Tensor, y: Tensor, times: number) {
  return engine().record(() => {
    let total = add(x as never, x as never) as Tensor;
    for (let i = 2; i < times; i++) {
      const next = add(total as never, x as never) as Tensor;
      total.dispose();
      total = next;
    }
    engine().kernels.copy(y, total);
    total.dispose();
  });
}

describe("a recording", () => {
  it("runs nothing while it is made, and all of it each time it is replayed", async () => {
    const [x, y] = [vector(1, 2, 3), vector(0, 0, 0)];
    const recording = sumOf(x, y, 10);
    expect(recording.commands).toBe(10);
    expect([...(await y.data())]).toEqual([0, 0, 0]);
    engine().replay(recording);
    expect([...(await y.data())]).toEqual([10, 20, 30]);
    set(x, 4, 5, 6);
    engine().replay(recording);
    set(x, 7, 8, 9);
    expect([...(await y.data())]).toEqual([40, 50, 60]);
    engine().replay(recording);
    expect([...(await y.data())]).toEqual([70, 80, 90]);
    engine().forgetRecording(recording.id);
    for (const one of [x, y]) one.dispose();
  });

  it("plans its peak: what lives at once, and that is what a replay takes", async () => {
    const n = 100_000;
    const [x, y] = [empty([n], "f32"), empty([n], "f32")];
    engine().kernels.fill(x, 1);
    const recording = sumOf(x, y, 50);
    expect(recording.bytes).toBe(2 * 4 * n);
    await synchronize();
    resetPeakMemory();
    const { bytes } = memory().cpu;
    engine().replay(recording);
    expect(memory().cpu.peakBytes - bytes).toBe(recording.bytes);
    expect((await y.data())[n - 1]).toBe(50);
    engine().forgetRecording(recording.id);
    for (const one of [x, y]) one.dispose();
  });

  it("has room for a larger buffer that comes later", () => {
    const [x, wide, one] = [empty([1600], "f32"), empty([3200], "f32"), vector(1)];
    const recording = engine().record(() => {
      const first = add(x as never, x as never);
      const small = add(one as never, one as never);
      first.dispose();
      const large = add(wide as never, wide as never);
      large.dispose();
      engine().kernels.copy(one, small);
      small.dispose();
    });
    expect(recording.bytes).toBe(4 * 3200 + 64);
    engine().forgetRecording(recording.id);
    for (const tensor of [x, wide, one]) tensor.dispose();
  });

  it.each([
    ["reserved before: exactly", 1],
    ["that grows while they run: at most twice that", 2],
  ])("shares its arena with the others: together they hold as much as the largest, %s", async (_, times) => {
    const sizes = Array.from({ length: 30 }, (_, i) => 100_000 + 10_000 * i);
    const inputs = sizes.map((n) => empty([n], "f32"));
    const results = sizes.map((n) => empty([n], "f32"));
    for (const [i, x] of inputs.entries()) engine().kernels.fill(x, i);
    const recordings = sizes.map((_, i) => sumOf(inputs[i] as Tensor, results[i] as Tensor, 6));
    await synchronize();
    const { reservedBytes } = memory().cpu;
    const largest = Math.max(...recordings.map(({ bytes }) => bytes));
    if (times === 1) engine().reserveArena(largest);
    for (const order of [recordings, [...recordings].reverse()])
      for (const recording of order) {
        engine().replay(recording);
        expect(memory().cpu.reservedBytes - reservedBytes).toBeLessThanOrEqual(largest * times);
      }
    await synchronize();
    expect(memory().cpu.reservedBytes - reservedBytes).toBe(largest);
    for (const [i, y] of results.entries()) expect(new Set(await y.data())).toEqual(new Set([6 * i]));
    for (const { id } of recordings) engine().forgetRecording(id);
    for (const one of [...inputs, ...results]) one.dispose();
  });

  it("is not waited for when the arena must grow, and runs to its end in the smaller one, which then goes", async () => {
    const n = 2_000_000;
    const [x, wide] = [empty([n], "f32"), empty([2 * n], "f32")];
    const [y, z] = [empty([n], "f32", "state"), empty([2 * n], "f32")];
    for (const one of [x, wide]) engine().kernels.fill(one, 1);
    engine().kernels.fill(y, 0);
    const long = engine().record(() => {
      for (let i = 0; i < 300; i++) add(x as never, x as never).dispose();
      engine().kernels.accumulate(y, x);
    });
    const larger = sumOf(wide, z, 3);
    expect(larger.bytes).toBeGreaterThan(long.bytes);
    await synchronize();
    const { reservedBytes } = memory().cpu;
    const owner = engine().createOwner();
    engine().as(owner, () => engine().replay(long));
    engine().replay(larger);
    expect(memory().cpu.reservedBytes - reservedBytes).toBe(long.bytes + larger.bytes);
    // If the first one had been waited for, this would come too late for it.
    engine().abortOwner(owner);
    expect([(await y.data())[n - 1], (await z.data())[0]]).toEqual([0, 3]);
    expect(memory().cpu.reservedBytes - reservedBytes).toBe(larger.bytes);
    engine().replay(long);
    engine().replay(larger);
    expect([(await y.data())[n - 1], (await z.data())[0]]).toEqual([1, 3]);
    for (const { id } of [long, larger]) engine().forgetRecording(id);
    for (const one of [x, y, wide, z]) one.dispose();
  });

  it("is waited for when itself must move", async () => {
    const n = 500_000;
    const [x, wide, z] = [empty([n], "f32"), empty([2 * n], "f32"), empty([2 * n], "f32")];
    const y = empty([n], "f32", "state");
    for (const one of [x, wide]) engine().kernels.fill(one, 1);
    engine().kernels.fill(y, 0);
    const first = engine().record(() => {
      let total = add(x as never, x as never) as Tensor;
      for (let i = 2; i < 200; i++) {
        const next = add(total as never, x as never) as Tensor;
        total.dispose();
        total = next;
      }
      engine().kernels.accumulate(y, total);
      total.dispose();
    });
    const larger = sumOf(wide, z, 3);
    engine().replay(first);
    engine().replay(larger);
    engine().replay(first);
    expect([(await y.data())[n - 1], (await z.data())[0]]).toEqual([400, 3]);
    for (const { id } of [first, larger]) engine().forgetRecording(id);
    for (const one of [x, y, wide, z]) one.dispose();
  });

  it("moves with the arena, which another recording lets grow", async () => {
    const [x, y] = [vector(1, 2), vector(0, 0)];
    const recording = sumOf(x, y, 5);
    const others: Tensor[] = [];
    const larger: number[] = [];
    for (let i = 0; i < 20; i++) {
      engine().replay(recording);
      expect([...(await y.data())]).toEqual([5, 10]);
      set(y, 0, 0);
      const wide = empty([2 ** i], "f32");
      engine().kernels.fill(wide, 1);
      const sum = empty([2 ** i], "f32");
      const next = sumOf(wide, sum, 3);
      engine().replay(next);
      larger.push(next.id);
      // What may lie where the arena was.
      const tensor = empty([recording.bytes / 4], "f32");
      engine().kernels.fill(tensor, i);
      others.push(wide, sum, tensor);
    }
    for (const [i, tensor] of others.entries()) expect(new Set(await tensor.data())).toEqual(new Set([[1, 3, Math.floor(i / 3)][i % 3]]));
    for (const id of [recording.id, ...larger]) engine().forgetRecording(id);
    for (const one of [x, y, ...others]) one.dispose();
  });

  it("keeps the buffers it reads, though their tensors are disposed", async () => {
    const [x, y] = [vector(3, 4), vector(0, 0)];
    const recording = sumOf(x, y, 3);
    x.dispose();
    const others = Array.from({ length: 50 }, () => vector(-1, -1));
    engine().replay(recording);
    expect([...(await y.data())]).toEqual([9, 12]);
    engine().forgetRecording(recording.id);
    for (const one of [y, ...others]) one.dispose();
  });

  it("holds gradients", async () => {
    const w = new Parameter(vector(2, 3));
    const gradient = vector(0, 0);
    const recording = engine().record(() => {
      const loss = valueAndGrad(() => tidy(() => sum(add(w.value as never, w.value as never))));
      engine().kernels.copy(gradient, w.grad as Tensor);
      w.clearGradient();
      loss.dispose();
    });
    for (let i = 0; i < 3; i++) {
      set(gradient, 0, 0);
      engine().replay(recording);
      expect([...(await gradient.data())]).toEqual([2, 2]);
    }
    engine().forgetRecording(recording.id);
    gradient.dispose();
    w.dispose();
  });

  it("refuses functions that read or write elements, and leaves nothing of them", async () => {
    const x = vector(1, 2);
    const { tensors, bytes } = memory().cpu;
    const refused = (fn: () => void) => expect(() => engine().record(fn)).toThrowError(expect.objectContaining({ code: "NOT_RECORDABLE" }));
    refused(() => tidy(() => void tensor([1], [1])));
    let read: Promise<unknown> | undefined;
    const recording = engine().record(() => {
      read = x.data();
    });
    await expect(read).rejects.toMatchObject({ code: "NOT_RECORDABLE" });
    engine().forgetRecording(recording.id);
    expect(() =>
      engine().record(() => {
        tidy(() => add(x as never, x as never));
        throw new Error("mine");
      }),
    ).toThrow("mine");
    expect([...(await x.data())]).toEqual([1, 2]);
    expect(memory().cpu).toMatchObject({ tensors, bytes });
    x.dispose();
  });

  it("frees what was made inside and not disposed, and makes it unusable", () => {
    const x = vector(1, 2);
    let kept: Tensor | undefined;
    const recording = engine().record(() => {
      kept = add(x as never, x as never) as Tensor;
    });
    expect(() => add(kept as never, x as never)).toThrow("a view names a buffer that does not exist");
    kept?.dispose();
    engine().forgetRecording(recording.id);
    x.dispose();
  });

  it("is refused at once, with nothing run, where the budget does not allow its arena", async () => {
    const n = 1_000_000;
    const [x, y] = [empty([n], "f32"), empty([n], "f32")];
    engine().kernels.fill(x, 1);
    engine().kernels.fill(y, 0);
    const recording = sumOf(x, y, 9);
    await synchronize();
    const { budgetBytes, bytes } = memory().cpu;
    engine().setBudget(bytes + recording.bytes / 2);
    try {
      expect(() => engine().replay(recording)).toThrowError(expect.objectContaining({ code: "OUT_OF_MEMORY" }));
    } finally {
      engine().setBudget(budgetBytes);
    }
    expect((await y.data())[0]).toBe(0);
    engine().replay(recording);
    expect((await y.data())[0]).toBe(9);
    engine().forgetRecording(recording.id);
    for (const one of [x, y]) one.dispose();
  });

  it("stops where it is when its owner is aborted, and runs for another", async () => {
    const n = 2_000_000;
    const x = empty([n], "f32");
    const y = empty([n], "f32", "state");
    engine().kernels.fill(x, 1);
    engine().kernels.fill(y, 0);
    const recording = engine().record(() => {
      for (let i = 0; i < 300; i++) add(x as never, x as never).dispose();
      engine().kernels.accumulate(y, x);
    });
    const owner = engine().createOwner();
    // Two in a row: the second one does not wait for the first, or the abort would come too late for it.
    for (let i = 0; i < 2; i++) engine().as(owner, () => engine().replay(recording));
    engine().abortOwner(owner);
    expect((await y.data())[n - 1]).toBe(0);
    engine().replay(recording);
    expect((await y.data())[n - 1]).toBe(1);
    engine().forgetRecording(recording.id);
    for (const one of [x, y]) one.dispose();
  });

  it("tells a failure each time, and nothing of it the next", async () => {
    const table = vector(5, 6, 7, 8);
    const rows = tensor(new Int32Array([1]), [1]);
    const y = empty([1, 1], "f32", "state");
    engine().kernels.fill(y, 0);
    const recording = engine().record(() => {
      const found = empty([1, 1], "f32");
      engine().kernels.embedding_forward(found, rows, { ...table, handle: table.handle, rows: 4, cols: 1, ld: 1 } as never);
      engine().kernels.accumulate(y, found);
      found.dispose();
    });
    const at = (row: number): void => {
      const source = tensor(new Int32Array([row]), [1]);
      engine().kernels.copy(rows, source);
      source.dispose();
    };
    engine().replay(recording);
    expect([...(await y.data())]).toEqual([6]);
    at(9);
    engine().replay(recording);
    await expect(y.data()).rejects.toMatchObject({ code: "INDEX_OUT_OF_RANGE" });
    at(3);
    engine().replay(recording);
    expect([...(await y.data())]).toEqual([14]);
    engine().forgetRecording(recording.id);
    for (const one of [table, rows, y]) one.dispose();
  });
});
