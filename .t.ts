import { loadTokenizer } from "./lib/text/index.js";
import { readFileSync } from "node:fs";
import { knownPattern } from "./lib/text/patterns.js";
const tk = await loadTokenizer("test/fixtures/text/llama3-style");
for (const n of [4e6, 16e6]) for (const c of ["a", " ", "A", "你", "!", "1"]) { const t0 = performance.now(); try { console.log(n, c, tk.encode(c.repeat(n)).length, Math.round(performance.now() - t0)); } catch (e: any) { console.log(n, c, e.name, e.message.slice(0, 100)); } if (performance.now()-t0>60000) break; }
