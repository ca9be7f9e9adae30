export { Adapter } from "./adapter.js";
export type { SaveOptions } from "./adapter-files.js";
export { attach } from "./attach.js";
export { type LoadAdapterOptions, loadAdapter } from "./load-adapter.js";
export type { MethodName } from "./method.js";
export type { AdapterConfig, AttachOptions } from "./options.js";
export type { LedgerEntry } from "./targets.js";
