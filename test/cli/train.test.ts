import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bytesText, numberText } from "../../lib/cli/format.js";
import { memoryText } from "../../lib/cli/report-training.js";
import { loadAdapter } from "../../lib/lora/index.js";
import { loadModel } from "../../lib/models/index.js";
import { readExamples } from "../../lib/text/index.js";
import { evaluate, type TrainingMemory } from "../../lib/train/index.js";
import { adapter, cli, type Event, events, eventsOf, model, of, trained, workFolder } from "./cli.js";

const work = workFolder();
const base = ["train", "--model", model, "--data", work.data];
const fast = ["--epochs", "4", "--batch-size", "2", "--learning-rate", "1e-2"];
const last = (all: readonly Event[], type: string): Event => of(all, type).at(-1) as Event;

/** The loss of a saved adapter on a data file. */
async function lossOf(folder: string, file: string): Promise<number> {
  using loaded = await loadModel(model);
  using one = await loadAdapter(loaded, folder);
  await using data = await readExamples(file, loaded);
  return (await evaluate(one, data)).loss;
}

describe("train --json", () => {
  test("tells what happens, and saves what it trained", async () => {
    const out = work.at("json");
    const prompts = work.at("prompts.txt");
    writeFileSync(prompts, "Who is the cat?\n\nWho is the cow?\n");
    const all = await events([...base, ...fast, "--out", out, "--eval-data", work.held, "--prompts", prompts, "--max-tokens", "5"]);
    expect([...new Set(all.map(({ type }) => type))]).toEqual(["model", "adapter", "data", "sample", "eval", "step", "done", "saved", "answer"]);
    expect(of(all, "step").map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(of(all, "eval").map(({ step }) => step)).toEqual([0, 3, 6, 9, 12]);
    expect(of(all, "data").map(({ role, examples }) => [role, examples])).toEqual([
      ["data", 6],
      ["evalData", 2],
    ]);
    expect(last(all, "sample")["text"]).toContain("⟦I am the cat.<|eot_id|>⟧");
    expect(last(all, "eval")["loss"]).toBeLessThan(of(all, "eval")[0]?.["loss"] as number);
    expect(last(all, "saved")).toEqual({ type: "saved", folder: out, steps: 12, complete: true });
    expect(of(all, "answer").map(({ prompt }) => prompt)).toEqual(["Who is the cat?", "Who is the cow?"]);
    expect(readdirSync(out).sort()).toEqual(["adapter_config.json", "adapter_model.safetensors", "chat_template.jinja"]);
    expect(readFileSync(join(out, "chat_template.jinja"))).toEqual(readFileSync(join(model, "chat_template.jinja")));
    expect(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"))).toMatchObject({
      base_model_name_or_path: model,
      task_type: "CAUSAL_LM",
    });
    expect(await lossOf(out, work.held)).toBeCloseTo(last(all, "eval")["loss"] as number, 5);
  });

  test("uses the options of a config file, and the command line before them", async () => {
    const [config, out] = [work.at("config.json"), work.at("from-config")];
    writeFileSync(config, JSON.stringify({ model, data: work.data, out, rank: 2, targetModules: ["q_proj"], maxSteps: 3, batchSize: 3, json: true }));
    const { code, stdout } = await cli(["train", "--config", config, "--max-steps", "2"]);
    expect(code).toBe(0);
    const all = eventsOf(stdout);
    expect(last(all, "adapter")).toMatchObject({ rank: 2, targets: ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"] });
    expect(of(all, "step").map(({ examples }) => examples)).toEqual([3, 3]);
  });

  test("goes on with an adapter, and replaces one", async () => {
    const out = work.at("continued");
    await events([...base, ...fast, "--out", out, "--rank", "4"]);
    const all = await events([...base, ...fast, "--out", out, "--adapter", out]);
    expect(last(all, "adapter")).toMatchObject({ rank: 4, name: "continued" });
    expect(last(all, "step")["loss"]).toBeLessThan(1);
  });

  test("keeps the template that an adapter carries where the data have none", async () => {
    const [bare, tuned, rows, out] = [work.at("bare"), work.at("own-template"), work.at("plain.jsonl"), work.at("still-templated")];
    cpSync(model, bare, { recursive: true });
    rmSync(join(bare, "chat_template.jinja"));
    cpSync(trained, tuned, { recursive: true });
    writeFileSync(join(tuned, "chat_template.jinja"), "{{ messages[0].content }} sees");
    writeFileSync(rows, `${JSON.stringify({ prompt: "The cat ", completion: "sees." })}\n`);
    await events(["train", "--model", bare, "--data", rows, "--adapter", tuned, "--out", out, "--max-steps", "1"]);
    expect(readFileSync(join(out, "chat_template.jinja"), "utf8")).toBe("{{ messages[0].content }} sees");
  });

  test("answers before the training as the adapter was until then", async () => {
    const [tuned, prompts] = [work.at("before-template"), work.at("one-prompt.txt")];
    cpSync(trained, tuned, { recursive: true });
    writeFileSync(join(tuned, "chat_template.jinja"), "{{ messages[0].content }} sees");
    writeFileSync(prompts, "The cat\n");
    const [before, all] = await Promise.all([
      events(["generate", "--model", model, "--adapter", tuned, "--prompt", "The cat", "--temperature", "0", "--max-tokens", "8"]),
      events([...base, "--adapter", tuned, "--out", work.at("after"), "--max-steps", "1", "--prompts", prompts, "--max-tokens", "8"]),
    ]);
    expect(last(all, "answer")["before"]).toBe(last(before, "done")["text"]);
  });

  test("says so when prompts are left out", async () => {
    const [many, few] = [work.at("51-prompts.txt"), work.at("50-prompts.txt")];
    writeFileSync(many, "The cat\n".repeat(51));
    writeFileSync(few, `${"The cat\n".repeat(50)}\n`);
    const args = [...base, "--max-steps", "1", "--max-tokens", "1", "--out"];
    const [left, all] = await Promise.all([events([...args, work.at("51"), "--prompts", many]), events([...args, work.at("50"), "--prompts", few])]);
    expect(of(left, "warning")).toEqual([{ type: "warning", message: expect.stringContaining("only the first 50 prompts of 51-prompts.txt") }]);
    expect([of(left, "answer").length, of(all, "answer").length, of(all, "warning").length]).toEqual([50, 50, 0]);
  });

  test("keeps the best, stops when patience is over, packs, trains singular values", async () => {
    const html = work.at("best.html");
    const evaluated = ["--eval-data", work.held, "--eval-every", "2", "--keep-best", "--patience", "2", "--html", html, "--max-tokens", "1"];
    const [best, packed, sigma] = await Promise.all([
      events([...base, "--out", work.at("best"), "--epochs", "60", "--batch-size", "2", "--learning-rate", "0.3", ...evaluated]),
      events([...base, "--out", work.at("packed"), "--packing", "--max-length", "200", "--max-steps", "2"]),
      events([...base, "--out", work.at("sigma"), "--method", "sigma", "--rank", "8", "--max-steps", "2"]),
    ]);
    const losses = of(best, "eval").filter(({ step }) => (step as number) > 0 && (step as number) % 2 === 0);
    expect(last(best, "done")["steps"]).toBeLessThan(180);
    const lowest = Math.min(...losses.map(({ loss }) => loss as number));
    expect(await lossOf(work.at("best"), work.held)).toBeCloseTo(lowest, 5);
    // The last evaluation, and the page, are those of the values that were kept; the steps after them are on the page's curves only.
    const kept = last(best, "eval") as unknown as { loss: number; step: number; perplexity: number };
    expect(kept.loss).toBe(lowest);
    expect(kept.step).toBeLessThan(last(best, "done")["steps"] as number);
    const page = readFileSync(html, "utf8");
    const memory = last(best, "done")["memory"] as TrainingMemory;
    expect(page).toContain(`<dt>Memory</dt><dd>${bytesText(memory.peakBytes)}</dd><dd>${memoryText(memory)}</dd>`);
    expect(page).toContain(`<dt>Evaluation loss</dt><dd>${numberText(lowest)}</dd>`);
    expect(page).toContain(`<dt>Perplexity</dt><dd>${numberText(kept.perplexity)}</dd>`);
    expect(page).toContain(`the values after step ${kept.step} are kept`);
    expect(of(packed, "data")[0]).toMatchObject({ examples: 6, rows: expect.toSatisfy((rows: number) => rows < 6) });
    expect(last(sigma, "adapter")).toMatchObject({ method: "sigma", rank: 8 });
  });

  test("names the line of a prompt that is no conversation, and shows no row that is left out", async () => {
    const [prompts, rows] = [work.at("slip.jsonl"), work.at("slip-rows.jsonl")];
    writeFileSync(prompts, `${JSON.stringify({ messages: [{ role: "usr", content: "x" }] })}\n`);
    writeFileSync(rows, `${readFileSync(prompts, "utf8")}${readFileSync(work.data, "utf8")}`);
    const args = ["train", "--model", model, "--max-steps", "1", "--max-tokens", "1", "--json"];
    const [named, shown] = await Promise.all([
      cli([...args, "--data", work.data, "--prompts", prompts, "--out", work.at("slip")]),
      cli([...args, "--data", rows, "--on-bad-row", "skip", "--html", work.at("slip.html"), "--out", work.at("slip")]),
    ]);
    expect(last(eventsOf(named.stdout), "error")).toMatchObject({ code: "DATA_BAD_ROLE", message: expect.stringContaining("slip.jsonl: line 1") });
    expect([shown.code, of(eventsOf(shown.stdout), "answer").length]).toEqual([0, 4]);
  });

  test("says what is wrong with a row, and with what cannot be trained", async () => {
    const bad = work.at("bad.jsonl");
    writeFileSync(bad, `${readFileSync(work.data, "utf8")}{"mesages": []}\n`);
    const args = ["train", "--model", model, "--data", bad];
    const [row, targets, skipped] = await Promise.all([
      cli([...args, "--out", work.at("bad"), "--json"]),
      cli([...base, "--out", work.at("bad"), "--json", "--target-modules", "q_prj"]),
      events([...args, "--on-bad-row", "skip", "--max-steps", "1", "--out", work.at("skipped")]),
    ]);
    expect([row.code, targets.code]).toEqual([1, 2]);
    expect(eventsOf(targets.stdout)).toHaveLength(1); // nothing was loaded
    expect(last(eventsOf(row.stdout), "error")).toMatchObject({ code: "DATA_MISSING_FIELD", message: expect.stringContaining("bad.jsonl: line 7") });
    expect(last(eventsOf(targets.stdout), "error")).toMatchObject({
      code: "TARGET_UNMATCHED",
      message: expect.stringMatching(/--target-modules: "q_prj".*q_proj/),
    });
    expect(of(skipped, "data")[0]).toMatchObject({ examples: 6, skipped: 1 });
    expect(existsSync(work.at("bad"))).toBe(false);
  });
});

test("without --json, standard output has results only, and the page is one self-contained file", async () => {
  const [out, html] = [work.at("human"), work.at("page.html")];
  const { code, stdout, stderr } = await cli([...base, ...fast, "--out", out, "--eval-data", work.held, "--html", html, "--max-tokens", "8"]);
  expect(code).toBe(0);
  expect(stdout).toBe("");
  for (const part of [
    "row 0, line 1: ",
    "⟦I am the cat.<|eot_id|>⟧",
    "step 1/12",
    "tokens/s",
    "evaluation after step 12",
    "at its peak: weights ",
    "page: ",
  ])
    expect(stderr).toContain(part);
  expect(stderr.match(/⟦/g)).toHaveLength(1);

  const page = readFileSync(html, "utf8");
  expect(page).toMatch(/^<!doctype html>\n<html lang="en">[\s\S]*<\/html>\n$/);
  expect(page).not.toMatch(/<script|<link|<img|\ssrc=|\shref=|url\(|@import|https?:/i);
  expect(page).toContain("Content-Security-Policy");
  balanced(page);
  const lines = [...page.matchAll(/<path class="line" d="(M[^"]+)" stroke="var\(--series-(\d)\)"/g)].filter(([, path]) => path !== "M1 5H29");
  expect(lines).toHaveLength(5); // loss of training and evaluation, learning rate, norm, speed
  expect(lines[0]?.[1]?.match(/[ML]/g)).toHaveLength(12);
  expect(lines[1]?.[1]?.match(/[ML]/g)).toHaveLength(5);
  expect(page).toContain("Who is the &lt;b&gt;mouse&lt;/b&gt;?");
  for (const name of ["Before", "After", "Data"]) expect(page.match(new RegExp(`<h4>${name}</h4>`, "g"))).toHaveLength(2);
  expect(page).toContain("<dt>--learning-rate</dt><dd>0.01</dd>");
});

/** Every element that opens is closed, in order. */
function balanced(page: string): void {
  const open: string[] = [];
  for (const [tag, slash, name = "", rest = ""] of page.replace(/<style>[\s\S]*?<\/style>/, "").matchAll(/<(\/?)([a-z][a-z0-9]*)([^<>]*)>/g)) {
    if (/^(meta|br|hr)$/.test(name) || rest.endsWith("/")) continue;
    if (slash === "") open.push(name);
    else expect(open.pop(), tag).toBe(name);
  }
  expect(open).toEqual([]);
}

test.each(["stdout", "stderr"] as const)("a training whose %s nobody reads any more goes on to its end and saves", async (name) => {
  const out = work.at(`closed-${name}`);
  const { code } = await cli([...base, "--out", out, "--max-steps", "30", "--batch-size", "1", "--json"], {
    onOutput: (child, text) => {
      if (text.includes('"type":"sample"')) child[name]?.destroy();
    },
  });
  expect(code).toBe(0);
  expect(readdirSync(out)).toContain("adapter_model.safetensors");
});

test("errors name the options of the command line", async () => {
  const [cut, wild] = await Promise.all([
    cli([...base, "--out", work.at("cut"), "--max-length", "2"]),
    cli([...base, "--out", work.at("wild"), "--learning-rate", "1e30", "--max-steps", "20"]),
  ]);
  expect(cut.stderr).toContain("raise --max-length (now 2)");
  expect(wild.stderr).toContain("clip the gradient (--max-grad-norm)");
});

describe("SIGTERM", () => {
  test("stops after the running step and saves what is complete", async () => {
    const out = work.at("terminated");
    let sent = false;
    const { code, stdout } = await cli([...base, "--out", out, "--max-steps", "1000000", "--batch-size", "1", "--json"], {
      onOutput: (child, text) => {
        if (!sent && text.includes('"type":"step"')) sent = child.kill("SIGTERM");
      },
    });
    expect(code).toBe(143);
    const all = eventsOf(stdout);
    const { step } = last(all, "step") as unknown as { step: number };
    expect(last(all, "saved")).toEqual({ type: "saved", folder: out, steps: step, complete: false });
    expect(Number.isFinite(await lossOf(out, work.data))).toBe(true);
  });
});

describe("SIGINT", () => {
  test("stops after the running step and saves what is complete", async () => {
    const out = work.at("interrupted");
    let sent = false;
    const { code, stdout, stderr } = await cli([...base, "--out", out, "--max-steps", "1000000", "--batch-size", "1", "--json"], {
      onOutput: (child, text) => {
        if (!sent && (text.match(/"type":"step"/g)?.length ?? 0) >= 3) sent = child.kill("SIGINT");
      },
    });
    expect(code).toBe(130);
    const all = eventsOf(stdout);
    const { step } = last(all, "step") as unknown as { step: number };
    expect(all.slice(-2)).toEqual([
      { type: "interrupted", step },
      { type: "saved", folder: out, steps: step, complete: false },
    ]);
    expect(stderr).toContain(`Interrupted: the adapter after ${step.toLocaleString("en-US")} steps is in ${out}`);
    expect(Number.isFinite(await lossOf(out, work.data))).toBe(true);
  });

  test("in an evaluation ends it, and saves what was trained until then", async () => {
    const [out, many] = [work.at("interrupted-evaluation"), work.at("many-held.jsonl")];
    writeFileSync(many, readFileSync(work.held, "utf8").repeat(500));
    let sent = false;
    const args = [...base, "--eval-data", many, "--eval-every", "2", "--out", out, "--max-steps", "4", "--json"];
    const { code, stdout } = await cli(args, {
      onOutput: (child, text) => {
        if (!sent && text.includes('"type":"step","step":2')) sent = child.kill("SIGINT");
      },
    });
    expect(code).toBe(130);
    const all = eventsOf(stdout);
    expect(of(all, "eval").map(({ step }) => step)).toEqual([0]);
    expect(last(all, "saved")).toMatchObject({ steps: 2, complete: false });
  });

  test("before the first step ends at once, with nothing saved", async () => {
    const [out, many] = [work.at("early"), work.at("many.jsonl")];
    writeFileSync(many, readFileSync(work.data, "utf8").repeat(3000));
    let sent = false;
    const args = ["train", "--model", model, "--data", work.data, "--eval-data", many, "--out", out, "--json"];
    const { code, stdout } = await cli(args, {
      onOutput: (child, text) => {
        if (!sent && text.includes('"type":"sample"')) sent = child.kill("SIGINT");
      },
    });
    expect(code).toBe(130);
    expect(eventsOf(stdout).at(-1)).toEqual({ type: "interrupted" });
    expect(existsSync(out)).toBe(false);
  });
});

test("refuses to write over what is no adapter", async () => {
  const folder = work.at("photos");
  mkdirSync(folder);
  writeFileSync(join(folder, "cat.jpg"), "");
  const { code, stderr } = await cli([...base, "--out", folder]);
  expect(code).toBe(2);
  expect(stderr).toContain('"photos" is not empty');
  expect(readdirSync(folder)).toEqual(["cat.jpg"]);
  expect(readdirSync(adapter)).toHaveLength(2);
});
