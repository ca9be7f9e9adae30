/** @file generation_config.json, and what loadModel makes of the files beside the weights. */
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { loadModel } from "../../lib/index.js";
import { type GenerationDefaults, parseGenerationConfig } from "../../lib/models/generation-config.js";
import { errorOf, type Json, path } from "./config-kit.js";
import { pathOf } from "./golden-llm.js";

const parse = (file: Json | string): GenerationDefaults =>
  parseGenerationConfig(new TextEncoder().encode(typeof file === "string" ? file : JSON.stringify(file)), path, 300);
const nothing = { temperature: undefined, topK: undefined, topP: undefined, eosTokenIds: [] };

it("takes what bears on the choice of tokens", () => {
  expect(parse({})).toEqual(nothing);
  expect(parse({ do_sample: true, temperature: 0.7, top_k: 20, top_p: 0.8, eos_token_id: [2, 5], repetition_penalty: 1.05 })).toEqual({
    temperature: 0.7,
    topK: 20,
    topP: 0.8,
    eosTokenIds: [2, 5],
  });
  expect(parse({ do_sample: false, temperature: 0.7, top_p: null, temperature_: 3, eos_token_id: 7 })).toEqual({
    ...nothing,
    temperature: 0,
    eosTokenIds: [7],
  });
  expect(parse({ temperature: null, top_k: 0, eos_token_id: null })).toEqual(nothing);
});

it.each([
  { temperature: -1 },
  { temperature: "hot" },
  { top_k: 2.5 },
  { top_k: -1 },
  { top_p: 0 },
  { top_p: 1.5 },
  { do_sample: 1 },
  { eos_token_id: 300 },
  { eos_token_id: ["a"] },
])("refuses %j", (file) => {
  const error = errorOf(() => parse(file));
  expect([error.code, error.details["key"]]).toEqual(["MODEL_CONFIG_RANGE", Object.keys(file)[0]]);
});

it("refuses what is no JSON object", () => {
  for (const text of ["", "[]", "{", '{"top_k": NaN}']) expect(errorOf(() => parse(text)).code).toBe("CONFIG_BAD_JSON");
  expect(errorOf(() => parse('{"top_k": 1, "top_k": 2}')).code).toBe("CONFIG_DUPLICATE_KEY");
});

it("loadModel reads it and the tokenizer where they are", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lowrank-beside-"));
  try {
    await cp(pathOf("llama", "model"), folder, { recursive: true });
    const whole = await loadModel(folder);
    expect(whole.generation.eosTokenIds).toEqual([324]);
    expect(whole.tokenizer.encode("Hello").length).toBeGreaterThan(0);
    whole.dispose();
    await writeFile(join(folder, "generation_config.json"), '{"top_p": 2}');
    await expect(loadModel(folder)).rejects.toMatchObject({ code: "MODEL_CONFIG_RANGE", details: { file: "generation_config.json" } });
    await rm(join(folder, "generation_config.json"));
    await rm(join(folder, "tokenizer.json"));
    const bare = await loadModel(folder);
    expect([bare.hasTokenizer, bare.generation]).toEqual([false, {}]);
    expect(errorOf(() => bare.tokenizer).code).toBe("TOKENIZER_MISSING");
    bare.dispose();
    await writeFile(join(folder, "tokenizer.json"), "{");
    await expect(loadModel(folder)).rejects.toMatchObject({ code: "TOKENIZER_BAD_JSON" });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
