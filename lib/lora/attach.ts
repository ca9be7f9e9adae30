/** @file attach: a new adapter on the layers of a module that its options select. */
import { Linear, type Module } from "../nn/index.js";
import { Adapter } from "./adapter.js";
import { loraScale } from "./lora.js";
import type { LayerPlan } from "./method.js";
import { type AttachOptions, checkAttachOptions, methods } from "./options.js";
import { matchTargets, type TargetModule } from "./targets.js";
import { valuesFor } from "./value-patterns.js";

/**
 * Attaches a new adapter to a module, which computes the same as before until the adapter is trained, and freezes the module's parameters.
 * "lora" needs no values of the module, "sigma" decomposes them (in the background; see `Adapter`).
 * @param options PEFT's, in camelCase. Every entry of `targetModules`, `excludeModules`, … must match a module.
 * @throws LowrankError UNKNOWN_OPTION, BAD_ARGUMENT, TARGET_UNMATCHED (with the nearest names), TARGET_UNSUPPORTED, PATTERN_…, ADAPTER_CONFLICT
 * (another adapter is merged into one of the layers), NOT_INITIALIZED, OUT_OF_MEMORY. Nothing is attached then.
 */
export function attach(module: Module, options: AttachOptions): Adapter {
  const { config, seed, name } = checkAttachOptions(options);
  const method = methods[config.method];
  const modules = module.modules();
  const { matched, ledger } = matchTargets(targetModules(modules), config.targets, ["linear"]);
  const ranks = valuesFor(matched, config.rankPattern, config.rank ?? Number.POSITIVE_INFINITY, "rankPattern");
  const alphas = valuesFor(matched, config.alphaPattern, config.alpha, "alphaPattern");
  const layers = matched.map((path): LayerPlan => {
    const linear = modules.get(path) as Linear;
    const rank = method.rankOf(linear, ranks.get(path) as number);
    const scale = config.method === "lora" ? loraScale(alphas.get(path) as number, rank, config.useRslora) : 1;
    return { path, linear, rank, scale, dropout: config.dropout };
  });
  return new Adapter({ module, name, config, ledger, layers, seed, warnings: [] });
}

/** The modules below the root, as the target matcher wants them. */
export function targetModules(modules: ReadonlyMap<string, Module>): TargetModule[] {
  return [...modules].flatMap(([path, module]) => {
    if (path === "") return [];
    return module instanceof Linear ? { path, kind: "linear", isOutputLayer: module.isOutputLayer } : { path, kind: "other" };
  });
}
