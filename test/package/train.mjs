import { createRequire } from "node:module";
import * as lowrank from "lowrank";
import { check } from "./check.mjs";

// require() gives the same module instance: no second registry of tensors.
const same = createRequire(import.meta.url)("lowrank").memory === lowrank.memory;
console.log(JSON.stringify({ ok: same && (await check(lowrank)) }));
