/** @file readExamples against the golden cases, the forms that a healthy file can have, and what a dataset says about itself. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { ignoredLabel, readExamples, renderExample, type TrainingRow } from "../../lib/text/index.js";
import { all, file, lines, tokenizerOf, withData, withTemplates } from "./dataset-kit.js";
import { failureOf } from "./failure.js";
import { type ChatCase, cases, type Style, styles } from "./golden.js";

const codes = { template: "TEMPLATE_RAISED", "no-assistant-turn": "EXAMPLE_NO_ASSISTANT", "no-trained-token": "EXAMPLE_NO_TRAINED_TOKEN" } as const;

const labelsOf = (ids: readonly number[], trained: readonly number[]): number[] => ids.map((id, t) => (trained[t] === 1 ? id : ignoredLabel));

/** Cases that one file can hold: those with the same options. */
function grouped<T>(all: readonly T[], key: (one: T) => unknown): T[][] {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const name = JSON.stringify(key(one)) ?? "";
    groups.set(name, [...(groups.get(name) ?? []), one]);
  }
  return [...groups.values()];
}

const optionsOf = ({ templateArgs, now, maxLength }: Pick<Partial<ChatCase>, "templateArgs" | "now" | "maxLength">) => ({
  ...(templateArgs && { templateArgs }),
  ...(now !== undefined && { now: new Date(now) }),
  ...(maxLength !== undefined && { maxLength }),
});

describe.each(styles)("golden cases of %s", (style: Style) => {
  it("rows of text, and of prompt and completion", async () => {
    const tokenizer = await tokenizerOf(style);
    let seen = 0;
    for (const group of grouped(cases.rows(style), ({ maxLength }) => maxLength)) {
      const rows = group.map(({ ids: _ids, trained: _trained, maxLength: _maxLength, error: _error, ...row }) => row);
      const { maxLength } = group[0] as { maxLength?: number };
      const options = { ...(maxLength !== undefined && { maxLength }), onBadRow: "skip" as const, tokenizer };
      const good = group.filter(({ error }) => error === undefined);
      const bad = group.filter(({ error }) => error !== undefined);
      await withData(lines(...rows, { text: "a row that is good in any case" }), options, async (data) => {
        const expected = good.map(({ ids, trained = [] }) => ({ tokens: ids, labels: labelsOf(ids, trained) }));
        expect((await all(data)).slice(0, -1)).toEqual(expected);
        expect(data.skipped.count).toBe(bad.length);
        expect(data.skipped.reasons.map(({ code }) => code)).toEqual(bad.map(({ error = "no-trained-token" }) => codes[error]));
        expect(data.skipped.reasons.map(({ line }) => line)).toEqual(bad.map((one) => group.indexOf(one) + 1));
        seen += data.length - 1 + data.skipped.count;
      });
    }
    expect(seen).toBe(13);
  });

  const chat = cases.chat(style);
  it.each(Object.keys(chat.templates))("conversations with the template %s", async (name) => {
    const template = chat.templates[name]?.template ?? "";
    const tokenizer = await withTemplates(style, template);
    const mine = chat.cases.filter((one) => one.template === name);
    for (const group of grouped(mine, ({ templateArgs, now, maxLength }) => [templateArgs, now, maxLength])) {
      const good = group.filter(({ error }) => error === undefined);
      const rows = good.map(({ messages, tools }) => ({ id: "x", messages, ...(tools && { tools }) }));
      const options = { ...optionsOf(group[0] as ChatCase), tokenizer };
      if (good.length > 0) {
        await withData(lines(...rows), options, async (data) => {
          const expected = good.map(({ ids = [], trained = [] }) => ({ tokens: ids, labels: labelsOf(ids, trained) }));
          expect(await all(data)).toEqual(expected);
          expect(data.template).toBe(template);
          expect(data.templateHash).toBe(createHash("sha256").update(template).digest("hex"));
        });
      }
      for (const { messages, error } of group.filter(({ error }) => error !== undefined)) {
        const failure = await failureOf(() => withData(`\n${lines({ messages })}`, options, () => undefined));
        expect(failure.code).toBe(codes[error as keyof typeof codes]);
        expect(failure.details).toMatchObject({ line: 2 });
        expect(failure.message).toMatch(/^rows-\d+\.jsonl: line 2: /);
      }
    }
  });
});

describe("healthy files", () => {
  const rows: TrainingRow[] = [{ text: "The cat sees the garden." }, { prompt: "Colour:", completion: " warm" }, { text: "a\u2028b 🙂" }];
  const json = rows.map((row) => JSON.stringify(row));
  const forms: [name: string, contents: string][] = [
    ["LF", lines(...rows)],
    ["CRLF", `${json.join("\r\n")}\r\n`],
    ["no last line end", json.join("\n")],
    ["byte order mark", `\ufeff${json.join("\n")}`],
    ["byte order mark and blank line", `\ufeff\n${json.join("\n")}`],
    ["blank lines everywhere", `\n \n\t\r\n${json.join("\n\n   \r\n\n")}\n\n\n   `],
    ["blanks around rows", json.map((row) => `  ${row}\t `).join("\n")],
    ["fields of no interest", lines(...rows.map((row) => ({ __id: 1, "": null, ...row, extra: { __proto__: 1 }, big: 1e300 })))],
    ["a field __proto__", json.map((row) => row.replace("{", '{"__proto__":{"text":"no","messages":[]},"constructor":1,')).join("\n")],
  ];
  it.each(forms)("%s", async (_, contents) => {
    const tokenizer = await tokenizerOf();
    const expected = rows.map((row) => renderExample(row, tokenizer)).map(({ tokens, labels }) => ({ tokens, labels }));
    await withData(contents, {}, async (data) => {
      expect(await all(data)).toEqual(expected);
      expect(data.examples).toBe(3);
      expect(data.skipped).toEqual({ count: 0, reasons: [] });
      expect([0, 1, 2].map((i) => data.lengthOf(i))).toEqual(expected.map(({ tokens }) => tokens.length));
    });
    expect(({} as Record<string, unknown>)["text"]).toBeUndefined();
  });

  it("the first form counts: messages, prompt and completion, text", async () => {
    const tokenizer = await withTemplates("gpt2-style", "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}");
    const messages = [{ role: "user", content: "a" }, { role: "assistant", content: "b" }]; // biome-ignore format: one line
    const contents = lines({ text: "t", prompt: "p", completion: "c", messages }, { text: "t", prompt: "p", completion: "c" });
    const tokens = [{ messages }, { prompt: "p", completion: "c" }].map((row) => renderExample(row, tokenizer).tokens);
    expect(await withData(contents, { tokenizer }, async (data) => (await all(data)).map((item) => item.tokens))).toEqual(tokens);
  });

  it("reads back whatever was written", async () => {
    const tokenizer = await withTemplates("llama3-style", "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}\n{% endfor %}");
    const words = fc.oneof(fc.string({ unit: "grapheme" }), fc.string({ unit: "binary" }), fc.constantFrom("", "\n", "\u0000", '"\\', "<|eot_id|>"));
    const turn = fc.record({ role: fc.constantFrom("user", "assistant", "system"), content: words });
    const row = fc.oneof(
      fc.record({ text: words }),
      fc.record({ prompt: words, completion: words }),
      fc.record({ messages: fc.array(turn, { minLength: 1, maxLength: 4 }) }),
    );
    const space = fc.constantFrom("\n", "\r\n", "\n\n", " \n\t\n");
    const property = fc.asyncProperty(fc.array(fc.tuple(row, space), { minLength: 1, maxLength: 12 }), async (written) => {
      const contents = written.map(([one, end]) => JSON.stringify(one) + end).join("");
      const examples = written.flatMap(([one]) => {
        try {
          const { tokens, labels } = renderExample(one, tokenizer, { maxLength: 40 });
          return [{ tokens, labels }];
        } catch {
          return [];
        }
      });
      if (examples.length === 0) return;
      await withData(contents, { tokenizer, maxLength: 40, onBadRow: "skip" }, async (data) => {
        expect(await all(data)).toEqual(examples);
        expect(data.skipped.count).toBe(written.length - examples.length);
      });
    });
    await fc.assert(property, { numRuns: 200 });
  });

  it("concurrent reads are the same as one after the other", async () => {
    const many = Array.from({ length: 300 }, (_, i) => ({ text: `row ${i} ${"x ".repeat(i % 50)}` }));
    await withData(lines(...many), {}, async (data) => {
      const one = await all(data);
      expect(await Promise.all(Array.from({ length: 300 }, (_, i) => data.at(299 - i)))).toEqual(one.toReversed());
    });
  });
});

describe("templates", () => {
  const template = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";
  const messages = [{ role: "user", content: "a" }, { role: "assistant", content: "b" }]; // biome-ignore format: one line

  it("by name, with the hash that the adapter carries", async () => {
    const tokenizer = await withTemplates("gpt2-style", [{ name: "default", template: "no {{ messages }}" }, { name: "mine", template }]); // biome-ignore format: one line
    await withData(lines({ messages }), { tokenizer, template: "mine" }, (data) => {
      expect(data.template).toBe(template);
      expect(data.templateHash).toBe(tokenizer.chatTemplates.get("mine")?.hash);
    });
    const failure = await failureOf(() => withData(lines({ messages }), { tokenizer, template: "other" }, () => undefined));
    expect(failure.code).toBe("TEMPLATE_MISSING");
    expect(failure.message).toBe((await failureOf(() => tokenizer.applyChatTemplate(messages, { template: "other" }))).message);
  });

  it("a tokenizer without templates trains rows of text, and fails on conversations even with skip", async () => {
    await withData(lines({ text: "a b" }), {}, (data) => expect([data.template, data.templateHash]).toEqual([undefined, undefined]));
    const contents = lines({ text: "a b" }, { messages });
    expect((await failureOf(() => withData(contents, { onBadRow: "skip" }, () => undefined))).code).toBe("TEMPLATE_MISSING");
  });

  it("the clock stands still", async () => {
    const clock = `{{ strftime_now("%H:%M:%S") }}${template}`;
    const tokenizer = await withTemplates("gpt2-style", clock);
    vi.useFakeTimers({ toFake: ["Date"], now: 0 });
    try {
      await withData(lines({ messages }), { tokenizer }, async (data) => {
        const first = await data.at(0);
        vi.setSystemTime(1000);
        expect(await data.at(0)).toEqual(first);
        const moved = await withData(lines({ messages }), { tokenizer }, (later) => later.at(0));
        expect(moved).not.toEqual(first);
        expect(await withData(lines({ messages }), { tokenizer, now: new Date(0) }, (later) => later.at(0))).toEqual(first);
      });
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("sample", () => {
  it("shows what is trained, end of turn included", async () => {
    const tokenizer = await withTemplates(
      "llama3-style",
      "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}",
    );
    const [bos, eos] = [tokenizer.bosTokenId, tokenizer.eosTokenId].map((id) => tokenizer.token(id as number));
    const messages = [{ role: "user", content: "Hi" }, { role: "assistant", content: "Yes\u001b[31m\u202e" }]; // biome-ignore format: one line
    const contents = `\n${lines({ messages }, { prompt: "Colour:", completion: " warm" }, { text: "The cat sees the garden." })}`;
    await withData(contents, { tokenizer, maxLength: 5, onBadRow: "skip" }, async (data) => {
      expect(await data.sample(0)).toContain("cut off at the limit of 5 tokens");
    });
    await withData(contents, { tokenizer }, async (data) => {
      const { labels } = await data.at(0);
      const trained = labels.filter((label) => label !== ignoredLabel).length;
      const shown = `${bos}[user]Hi${eos}[assistant]⟦Yes\\u{1b}[31m\\u{202e}${eos}⟧`;
      expect(await data.sample(0, { color: false })).toBe(`row 0, line 2: ${labels.length} tokens, ${trained} trained\n${shown}`);
      expect(await data.sample(undefined, { color: true })).toContain(`\x1b[30;42mYes\\u{1b}[31m\\u{202e}${eos}\x1b[0m`);
      expect(await data.sample(1, { color: false })).toContain(`\n${bos}Colour:⟦ warm${eos}⟧`);
      expect(await data.sample(2, { color: false })).toContain(`\n${bos}⟦The cat sees the garden.${eos}⟧`);
    });
  });

  it("says that the end-of-text token was cut off, or what else was", async () => {
    const whole = renderExample({ text: "The cat sees the garden." }, await tokenizerOf()).tokens.length;
    for (const cut of [0, 1, 2]) {
      await withData(lines({ text: "The cat sees the garden." }), { maxLength: whole - cut }, async (data) => {
        const sample = await data.sample(0, { color: false });
        const limit = `cut off at the limit of ${whole - cut} tokens`;
        expect(sample.includes("cut off")).toBe(cut > 0);
        if (cut > 0) expect(sample.endsWith(`… (${cut} more token${cut === 1 ? "" : "s"} ${limit})`)).toBe(true);
      });
    }
  });

  it("encodes the row once", async () => {
    const tokenizer = await tokenizerOf();
    await withData(lines({ text: "The cat" }), {}, async (data) => {
      const encode = vi.spyOn(tokenizer, "encodeWithOffsets");
      await data.sample(0);
      expect(encode).toHaveBeenCalledTimes(1);
      encode.mockRestore();
    });
  });

  it("does not mark the first token, which nothing predicts", async () => {
    await withData(lines({ text: "The cat" }), {}, async (data) => {
      const tokenizer = await tokenizerOf();
      const [first = 0] = tokenizer.encodeWithOffsets("The cat").ends;
      const eos = tokenizer.token(tokenizer.eosTokenId as number);
      expect(await data.sample(0, { color: false })).toContain(`\n${"The cat".slice(0, first)}⟦${"The cat".slice(first)}${eos}⟧`);
    });
  });
});

describe("use", () => {
  it("refuses wrong options", async () => {
    const model = { tokenizer: await tokenizerOf() };
    const path = file(lines({ text: "a b" }));
    const codeOf = async (options: unknown): Promise<string> => (await failureOf(() => readExamples(path, model, options as object))).code;
    const unknown = await failureOf(() => readExamples(path, model, { maxLenght: 3 } as object));
    expect(unknown.code).toBe("UNKNOWN_OPTION");
    expect(unknown.message).toContain("Did you mean maxLength?");
    for (const wrong of [
      ...[{ maxLength: 0 }, { maxLength: 1 }, { maxLength: 2.5 }, { maxLength: "8" }, { packing: 1 }, { packing: true }, { onBadRow: "ignore" }],
      ...[
        { template: 3 },
        { templateArgs: 3 },
        { templateArgs: null },
        { signal: 3 },
        { signal: null },
        { onProgress: true },
        { now: "today" },
        null,
        3,
      ],
    ]) {
      expect(await codeOf(wrong), JSON.stringify(wrong)).toBe("BAD_ARGUMENT");
    }
    expect((await failureOf(() => readExamples("", model))).code).toBe("BAD_ARGUMENT");
    expect((await failureOf(() => readExamples(path, {} as typeof model))).code).toBe("BAD_ARGUMENT");
  });

  it("refuses rows that do not exist, and use after close", async () => {
    await withData(lines({ text: "a b" }), {}, async (data) => {
      for (const i of [-1, 1, 0.5, Number.NaN, "0" as unknown as number]) {
        expect((await failureOf(() => data.at(i))).code).toBe("BAD_ARGUMENT");
        expect((await failureOf(() => data.sample(i))).code).toBe("BAD_ARGUMENT");
      }
      const under = data.at(0);
      await data.close();
      await data.close();
      await under.catch((error: unknown) => expect(error).toMatchObject({ code: "IO_FAILED" }));
      expect((await failureOf(() => data.at(0))).code).toBe("DISPOSED");
      expect((await failureOf(() => data.sample())).code).toBe("DISPOSED");
      await data[Symbol.asyncDispose]();
    });
  });

  it("ends the reads under way before it closes", async () => {
    const long = { text: "word ".repeat(40_000) };
    for (const options of [{}, { packing: true, maxLength: 200_000 }]) {
      await withData(lines({ text: "a b" }, long, long), options, async (data) => {
        const expected = [await data.at(0), await data.sample(data.length - 1)];
        const under = [data.at(0), data.sample(data.length - 1)];
        let ended = 0;
        for (const read of under) void read.then(() => ended++);
        const closes = [data.close(), data[Symbol.asyncDispose]()];
        expect((await failureOf(() => data.at(0))).code).toBe("DISPOSED");
        await Promise.race(closes);
        expect(ended).toBe(2);
        await Promise.all(closes);
        expect(await Promise.all(under)).toEqual(expected);
      });
    }
  });

  it("reports progress and stops when aborted, in every stage", async () => {
    const contents = lines(...Array.from({ length: 3000 }, (_, i) => ({ text: `row ${i} of many` })));
    const model = { tokenizer: await tokenizerOf() };
    const path = file(contents);
    for (const options of [{}, { packing: true, maxLength: 64 }]) {
      const stages: string[] = [];
      const data = await readExamples(path, model, {
        ...options,
        onProgress: ({ stage, done, total }) => {
          expect(done).toBeLessThanOrEqual(total);
          if (done === total) stages.push(`${stage} ${total}`);
        },
      });
      await data.close();
      expect(stages).toEqual([`index ${Buffer.byteLength(contents)}`, "packing" in options ? "pack 3000" : "check 2000"]);
      for (const at of ["index", "packing" in options ? "pack" : "check"]) {
        const controller = new AbortController();
        const reason = new Error("enough");
        const onProgress = ({ stage }: { stage: string }): void => {
          if (stage === at) controller.abort(reason);
        };
        const failure = await failureOf(() => readExamples(path, model, { ...options, signal: controller.signal, onProgress }));
        expect(failure.code).toBe("ABORTED");
        expect(failure.cause).toBe(reason);
      }
    }
    const aborted = await failureOf(() => readExamples(path, model, { signal: AbortSignal.abort() }));
    expect(aborted.code).toBe("ABORTED");
  });

  it("an error of onProgress comes through", async () => {
    const model = { tokenizer: await tokenizerOf() };
    const onProgress = (): never => {
      throw new RangeError("mine");
    };
    await expect(readExamples(file(lines({ text: "a b" })), model, { onProgress })).rejects.toThrow(RangeError);
  });

  it("lets others run while it works", async () => {
    const model = { tokenizer: await tokenizerOf() };
    const path = file(lines(...Array.from({ length: 4000 }, (_, i) => ({ text: `row ${i} ${"of many words ".repeat(20)}` }))));
    let turns = 0;
    let running = true;
    const turn = (): void => {
      turns++;
      if (running) setImmediate(turn);
    };
    turn();
    const data = await readExamples(path, model, { packing: true, maxLength: 512 });
    const opening = turns;
    await Promise.all(Array.from({ length: data.length }, (_, i) => data.at(i)));
    running = false;
    await data.close();
    expect(opening).toBeGreaterThan(20);
    expect(turns - opening).toBeGreaterThan(20);
  });
});
