/** Adapters that lowrank writes and PEFT reads: scripts/check-with-peft.py loads the folders, test/lora/files.test.ts writes them again. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Adapter, type AttachOptions, attach, tensor } from "../../lib/index.js";
import { loadNet, ramp } from "./net.js";

export const writtenCases: Readonly<Record<string, AttachOptions>> = {
  plain: { rank: 4, alpha: 10, targetModules: ["up", "head"] },
  "all-linear": { rank: 3, alpha: 5, targetModules: "all-linear", dropout: 0.1 },
  patterns: {
    rank: 4,
    alpha: 6,
    useRslora: true,
    targetModules: "(layers\\.\\d\\.)?(up|down|head)",
    excludeModules: ["layers.0.down"],
    // The order decides, and PEFT does not keep it: these must be written in another way.
    rankPattern: { up: 2, "layers.1.up": 5, down: 7 },
    alphaPattern: { "layers.1.up": 12.5, up: 3 },
  },
  layers: { rank: 2, targetModules: ["up", "down"], layersToTransform: [1], layersPattern: "layers" },
  // PEFT's format cannot hold Σ: written by exportAsLora. Singular vectors differ in the last bits from machine to machine, so do the files.
  sigma: { method: "sigma", targetModules: "all-linear" },
  "sigma-top": { method: "sigma", rank: 5, targetModules: ["up", "head"] },
};

/** Attaches a case and gives its parameters plain values. */
export function attachCase(net: Parameters<typeof attach>[0], name: string): Adapter {
  const adapter = attach(net, writtenCases[name] as AttachOptions);
  [...adapter.parameters().values()].forEach((parameter, i) => {
    const values = tensor(
      ramp(
        parameter.shape.reduce((count, size) => count * size, 1),
        7 * i,
      ),
      parameter.shape,
    );
    parameter.assign(values);
    values.dispose();
  });
  return adapter;
}

/** Writes all cases, our outputs for the inputs of base.safetensors, and one adapter in the Σ format, which PEFT must refuse. */
export async function writeAll(folder: string): Promise<void> {
  const { net, x } = await loadNet();
  const outputs: Record<string, number[]> = {};
  for (const name of Object.keys(writtenCases)) {
    const adapter = attachCase(net, name);
    await adapter.exportAsLora(join(folder, name));
    if (name === "sigma") await adapter.save(join(folder, "sigma-own-format"));
    const y = net.forward(x);
    outputs[name] = [...((await y.data()) as Float32Array)];
    y.dispose();
    adapter.dispose();
  }
  net.dispose();
  x.dispose();
  await writeFile(join(folder, "ours.json"), `${JSON.stringify({ outputs }, null, 1)}\n`);
}
