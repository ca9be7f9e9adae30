import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { loadAdapter, loadModel } from "../../lib/index.js";
import { adapter as adapterFolder, cli, model as modelFolder } from "../cli/cli.js";

const empty = mkdtempSync(join(tmpdir(), "lowrank-folder-"));
afterAll(() => rmSync(empty, { recursive: true, force: true }));

test.each([
  ["nope", /^nope: there is no such folder/],
  [adapterFolder, /^adapter-init: this folder holds an adapter, not a model/],
  [empty, /^lowrank-folder-\w+: this folder has no config\.json/],
  [join(modelFolder, "config.json"), /^config\.json: this is a file/],
])("loadModel says what %s is", async (folder, message) => {
  await expect(loadModel(folder)).rejects.toMatchObject({ code: "IO_NOT_FOUND", message: expect.stringMatching(message) });
});

test.each([
  ["nope", /^nope: there is no such folder/],
  [modelFolder, /^model: this folder holds a model, not an adapter/],
  [empty, /^lowrank-folder-\w+: this folder has no adapter_config\.json/],
])("loadAdapter says what %s is", async (folder, message) => {
  using model = await loadModel(modelFolder);
  await expect(loadAdapter(model, folder)).rejects.toMatchObject({ code: "IO_NOT_FOUND", message: expect.stringMatching(message) });
});

test("the commands that read headers say it too", async () => {
  const all = await Promise.all([
    cli(["inspect", "--model", "nope"]),
    cli(["merge", "--model", adapterFolder, "--adapter", adapterFolder, "--out", join(empty, "out")]),
    cli(["inspect", "--adapter", modelFolder]),
  ]);
  expect(all.map(({ code }) => code)).toEqual([1, 1, 1]);
  const parts = ["nope: there is no such folder", "adapter-init: this folder holds an adapter", "model: this folder holds a model"];
  all.forEach(({ stderr }, i) => {
    expect(stderr).toContain(parts[i]);
  });
});
