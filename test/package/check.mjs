/** @file What every environment of a user must be able to do with the installed package: train, adapt, save, load, leave nothing behind. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Learns y = 3a − 2b, then an adapter learns y = −a. @param {typeof import("lowrank")} lowrank @returns {Promise<boolean>} */
export async function check({ attach, evaluate, Linear, loadAdapter, mean, memory, Module, mul, add, scale, sgd, tensor, tidy, train }) {
  const rows = Array.from({ length: 32 }, (_, i) => [Math.sin(i), Math.cos(3 * i)]);
  const x = rows.flat();
  /** @param {(a: number, b: number) => number} f */
  const task = (f) => ({
    length: 8,
    at: () => ({
      x: tensor(x, [32, 2]),
      y: tensor(
        rows.map(([a = 0, b = 0]) => f(a, b)),
        [32, 1],
      ),
    }),
  });
  const base = task((a, b) => 3 * a - 2 * b);
  const other = task((a) => -a);

  class Net extends Module {
    layer = new Linear(2, 1);
  }
  const model = new Net().initialize(0);
  /** @param {Net} net */
  const lossOf = (net) => (/** @type {{ x: any, y: any }} */ batch) =>
    tidy(() => {
      const error = add(net.layer.forward(batch.x), scale(batch.y, -1));
      return mean(mul(error, error));
    });
  const loss = lossOf(model);
  await train(model, base, { loss, optimizer: sgd({ learningRate: 0.2 }), epochs: 10 }).finished;
  const learned = (await evaluate(model, base, { loss })).loss;

  const adapter = attach(model, { rank: 2, alpha: 2, targetModules: "all-linear" });
  await train(adapter, other, { loss, optimizer: sgd({ learningRate: 0.05 }), epochs: 20 }).finished;
  const adapted = (await evaluate(model, other, { loss })).loss;

  const folder = await mkdtemp(join(tmpdir(), "lowrank-user-"));
  adapter.disable();
  await model.save(join(folder, "model.safetensors"));
  await adapter.save(join(folder, "adapter"));
  const copy = await new Net().load(join(folder, "model.safetensors"));
  const second = await loadAdapter(copy, join(folder, "adapter"));
  const loaded = (await evaluate(copy, other, { loss: lossOf(copy) })).loss;
  await rm(folder, { recursive: true });
  for (const used of [second, copy, adapter, model]) used.dispose();

  const left = memory().cpu.tensors;
  const ok = learned < 1e-3 && adapted < 1e-3 && loaded === adapted && left === 0;
  if (!ok) console.log(JSON.stringify({ learned, adapted, loaded, left }));
  return ok;
}
