import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { commandHelp } from "../../lib/cli/help.js";
import { commands, kebab } from "../../lib/cli/options.js";
import { UsageError } from "../../lib/cli/usage.js";
import { cli, eventsOf, model, read, workFolder } from "./cli.js";

const work = workFolder();
const command = (name: string) => commands.find((candidate) => candidate.name === name) as (typeof commands)[number];
const basic = ["--model", "m", "--data", "d", "--out", "o"];

async function problemOf(name: string, args: readonly string[]): Promise<{ code: string; message: string }> {
  const error = await read(name, args).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UsageError);
  return error as UsageError;
}

function config(value: unknown): string {
  const file = work.at("config.json");
  writeFileSync(file, typeof value === "string" ? value : JSON.stringify(value));
  return file;
}

describe("arguments", () => {
  test("have the types of the API", async () => {
    const args = await read("train", [
      ...[...basic, "--rank", "4", "--learning-rate=2e-4", "--packing", "--no-shuffle", "--target-modules", "q_proj, v_proj"],
      ...["--schedule", "cosine"],
    ]);
    expect(args.pick(["rank", "learningRate", "packing", "shuffle", "targetModules", "schedule", "alpha"])).toEqual({
      rank: 4,
      learningRate: 2e-4,
      packing: true,
      shuffle: false,
      targetModules: ["q_proj", "v_proj"],
      schedule: "cosine",
    });
    expect((await read("bench", ["linear", "--rounds", "3", "bf16"])).positionals).toEqual(["linear", "bf16"]);
    expect((await read("train", [...basic, "--target-modules", "all-linear"])).pick(["targetModules"])).toEqual({ targetModules: "all-linear" });
    expect((await read("generate", ["--model", "m", "--prompt", "-", "--stop", "a,b", "--stop", "c"])).pick(["stop"])).toEqual({
      stop: ["a,b", "c"],
    });
  });

  test.each([
    ["train", [...basic, "--learningrate", "1"], "UNKNOWN_OPTION", "--learning-rate"],
    ["train", [...basic, "--lr", "1"], "UNKNOWN_OPTION", "Did you mean --learning-rate?"],
    ["train", [...basic, "--learningRate", "1"], "UNKNOWN_OPTION", "there is no option --learningRate. Did you mean --learning-rate?"],
    ["train", [...basic, "--no-rank"], "UNKNOWN_OPTION", "--no-rank"],
    ["train", [...basic, "-r", "4"], "UNKNOWN_OPTION", "-r"],
    ["train", ["--model", "m", "--data", "d"], "BAD_ARGUMENT", "--out is required"],
    ["train", [], "BAD_ARGUMENT", "--model, --data and --out are required"],
    ["train", [...basic, "--rank", "many"], "BAD_ARGUMENT", "--rank is an integer from 1 on"],
    ["train", [...basic, "--rank", "1.5"], "BAD_ARGUMENT", "--rank"],
    ["train", [...basic, "--rank", "0"], "BAD_ARGUMENT", "--rank"],
    ["train", [...basic, "--rank="], "BAD_ARGUMENT", "--rank"],
    ["train", [...basic, "--dropout", "1"], "BAD_ARGUMENT", "below 1"],
    ["train", [...basic, "--learning-rate", "-1"], "BAD_ARGUMENT", "from 0 on"],
    ["train", [...basic, "--schedule", "cosin"], "BAD_ARGUMENT", "Did you mean cosine?"],
    ["train", [...basic, "--rank"], "BAD_ARGUMENT", "--rank needs a value"],
    ["train", [...basic, "--html", "--rank", "4"], "BAD_ARGUMENT", "--html needs a value"],
    ["train", [...basic, "--rank", "4", "--rank", "8"], "BAD_ARGUMENT", "given twice"],
    ["train", [...basic, "--packing=yes"], "BAD_ARGUMENT", "takes no value"],
    ["train", [...basic, "surplus"], "BAD_ARGUMENT", "surplus"],
    ["train", [...basic, "--target-modules", "q_proj,,v_proj"], "BAD_ARGUMENT", "--target-modules"],
    ["inspect", ["a", "b"], "BAD_ARGUMENT", "b"],
    ["bench", ["a", "b", "--rounds", "0"], "BAD_ARGUMENT", "--rounds is an integer from 1 on"],
  ] as const)("%s %j is %s", async (name, args, code, text) => {
    const problem = await problemOf(name, args);
    expect(problem.code).toBe(code);
    expect(problem.message).toContain(text);
  });
});

describe("--config", () => {
  test("the command line wins", async () => {
    const file = config({ model: "m", data: "d", out: "o", rank: 4, alpha: 8, packing: true, targetModules: ["q_proj"] });
    const args = await read("train", ["--config", file, "--rank", "16", "--no-packing"]);
    expect(args.pick(["model", "rank", "alpha", "packing", "targetModules"])).toEqual({
      model: "m",
      rank: 16,
      alpha: 8,
      packing: false,
      targetModules: ["q_proj"],
    });
  });

  test.each([
    [{ rnak: 4 }, "UNKNOWN_OPTION", "Did you mean rank?"],
    [{ epochs: "x" }, "BAD_ARGUMENT", 'a number; found "x"'],
    [{ "learning-rate": 1 }, "UNKNOWN_OPTION", "Did you mean learningRate?"],
    [{ config: "x" }, "UNKNOWN_OPTION", "config"],
    [{ rank: "4" }, "BAD_ARGUMENT", "rank is a number"],
    [{ rank: 0 }, "BAD_ARGUMENT", "rank"],
    [{ packing: 1 }, "BAD_ARGUMENT", "packing is true or false"],
    [{ rank: 12345678901234567890n.toString() }, "BAD_ARGUMENT", "rank"],
    ['{"rank": 123456789012345678901234}', "BAD_ARGUMENT", "rank"],
    ['{"rank": 4, "rank": 8}', "BAD_ARGUMENT", "config.json"],
    ['{"rank": 4,}', "BAD_ARGUMENT", "config.json"],
    [[], "BAD_ARGUMENT", "object"],
    ['{"__proto__": 1}', "UNKNOWN_OPTION", "__proto__"],
  ])("%j is %s", async (value, code, text) => {
    const problem = await problemOf("train", [...basic, "--config", config(value)]);
    expect(problem.code).toBe(code);
    expect(problem.message).toContain(text);
  });

  test("must exist", async () => {
    expect((await problemOf("train", [...basic, "--config", work.at("absent.json")])).code).toBe("IO_NOT_FOUND");
  });
});

describe("help", () => {
  test.each(commands.map(({ name }) => name))("of %s has every option", (name) => {
    const text = commandHelp(command(name));
    for (const option of command(name).options) expect(text).toContain(`--${kebab(option.name)}`);
    expect(
      Math.max(
        ...text
          .split("\n")
          .filter((line) => line.startsWith("  -"))
          .map((line) => line.length),
      ),
    ).toBeLessThanOrEqual(100);
  });
});

describe("the program", () => {
  test("prints its help and its version", async () => {
    const [help, version, ofTrain] = await Promise.all([cli(["--help"]), cli(["--version"]), cli(["train", "--help"])]);
    expect([help.code, version.code, ofTrain.code]).toEqual([0, 0, 0]);
    for (const { name } of commands) expect(help.stdout).toContain(name);
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(ofTrain.stdout).toContain("--learning-rate X");
  });

  test("ends with 2 on wrong usage", async () => {
    const [none, command_, option] = await Promise.all([cli([]), cli(["trian"]), cli(["train", "--epocs", "3", "--json"])]);
    expect([none.code, command_.code, option.code]).toEqual([2, 2, 2]);
    expect(command_.stdout).toBe("");
    expect(command_.stderr).toContain("Did you mean train?");
    expect(eventsOf(option.stdout)).toEqual([{ type: "error", code: "UNKNOWN_OPTION", message: expect.stringContaining("--epochs") }]);
  });

  test("ends with 1 when it fails, with code, message and what to do", async () => {
    const args = ["eval", "--model", work.at("absent"), "--data", work.data];
    const [plain, json] = await Promise.all([cli(args), cli([...args, "--json"])]);
    expect([plain.code, json.code]).toEqual([1, 1]);
    expect(plain.stdout).toBe("");
    expect(plain.stderr).toMatch(/^IO_NOT_FOUND: absent: there is no such folder\. Check the path\.\n$/);
    expect(eventsOf(json.stdout)).toEqual([
      { type: "error", code: "IO_NOT_FOUND", message: expect.stringContaining("absent: there is no such folder") },
    ]);
  });

  test("tells errors as JSON where the config file says so", async () => {
    const absent = { model: work.at("absent"), data: work.data };
    const file = (name: string, value: object): string => {
      writeFileSync(work.at(name), JSON.stringify(value));
      return work.at(name);
    };
    const good = file("json.json", { ...absent, json: true });
    const cases = [
      [["eval", "--config", good], 1, "IO_NOT_FOUND"],
      [["eval", `--config=${good}`, "--rnak", "4"], 2, "UNKNOWN_OPTION"],
      [["eval", "--config", file("wrong.json", { ...absent, batchSiez: 4, json: true })], 2, "UNKNOWN_OPTION"],
      [["eval", "--config", file("lacking.json", { json: true })], 2, "BAD_ARGUMENT"],
    ] as const;
    const all = await Promise.all(cases.map(([args]) => cli(args)));
    expect(all.map(({ code, stdout }) => [code, eventsOf(stdout)[0]?.["code"]])).toEqual(cases.map(([, code, error]) => [code, error]));
    const plain = await cli(["eval", "--config", good, "--no-json"]);
    expect([plain.code, plain.stdout]).toEqual([1, ""]);
  });

  test("finds mistakes before it loads anything", async () => {
    const args = (more: readonly string[]): string[] => ["train", "--model", model, "--data", work.data, "--out", work.at("never"), ...more];
    const cases = [
      ["--eval-every", "5"],
      ["--packing"],
      ["--adapter", "a", "--rank", "4"],
      ["--html", work.at("no/such/page.html")],
      ["--html", work.at(".")],
      ["--method", "sigma", "--alpha", "4"],
      ["--method", "sigma", "--use-rslora"],
      ["--rank", "1025"],
      ["--out", model],
    ] as const;
    const all = await Promise.all(
      cases.map((more) => cli(more[0] === "--out" ? ["train", "--model", model, "--data", work.data, ...more] : args(more))),
    );
    expect(all.map(({ code, stderr }) => [code, stderr.split(":")[0]])).toEqual(cases.map(() => [2, "BAD_ARGUMENT"]));
  });

  test("finds mistakes of the other commands before it loads anything", async () => {
    const cases = [
      ["eval", "--model", model, "--data", work.data, "--packing"],
      ["generate", "--model", model, "--prompt", "a", "--stop", ""],
      ["generate", "--model", model, "--prompt", "-"],
    ];
    const all = await Promise.all(cases.map((args) => cli(args)));
    expect(all.map(({ code, stderr }) => [code, stderr.split(":")[0]])).toEqual(cases.map(() => [2, "BAD_ARGUMENT"]));
  });

  test("looks for files and reads an adapter before it loads the model", async () => {
    const [absent, broken] = [work.at("absent.jsonl"), work.at("broken-adapter")];
    mkdirSync(broken);
    writeFileSync(join(broken, "adapter_config.json"), "{");
    const train = ["train", "--model", model, "--out", work.at("never"), "--data"];
    const cases = [
      [["eval", "--model", model, "--data", absent], "IO_NOT_FOUND"],
      [[...train, absent], "IO_NOT_FOUND"],
      [[...train, work.at(".")], "IO_NOT_REGULAR_FILE"],
      [[...train, work.data, "--eval-data", absent], "IO_NOT_FOUND"],
      [[...train, work.data, "--prompts", absent], "IO_NOT_FOUND"],
      [["generate", "--model", model, "--prompt", "a", "--adapter", broken], "ADAPTER_BAD_JSON"],
      [["eval", "--model", model, "--data", work.data, "--adapter", broken], "ADAPTER_BAD_JSON"],
      [["merge", "--model", model, "--out", work.at("never"), "--adapter", broken], "ADAPTER_BAD_JSON"],
      [["inspect", broken], "ADAPTER_BAD_JSON"],
      [[...train, work.data, "--adapter", broken], "ADAPTER_BAD_JSON"],
    ] as const;
    const all = await Promise.all(cases.map(([args]) => cli([...args, "--json"])));
    expect(all.map(({ stdout }) => eventsOf(stdout).map(({ type, code }) => [type, code]))).toEqual(cases.map(([, code]) => [["error", code]]));
    expect(all.map(({ code }) => code)).toEqual(cases.map(() => 1));
  });
});
