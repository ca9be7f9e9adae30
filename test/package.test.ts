import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root } from "../scripts/files.mjs";

/** npm-cli.js: of the npm that runs this test, else the one beside Node. */
const npm = process.env["npm_execpath"] ?? join(dirname(dirname(realpathSync(process.execPath))), "lib/node_modules/npm/bin/npm-cli.js");
const platform = `${process.platform}-${process.arch}`;
const work = realpathSync(mkdtempSync(join(tmpdir(), "lowrank-package-")));
const user = join(work, "user");

/** Runs Node with nothing but `node` on PATH: no compiler, no Python, no shell tools. */
function bare(args: readonly string[]): string {
  const env = { PATH: join(work, "bin"), HOME: process.env["HOME"] ?? work, npm_config_update_notifier: "false" };
  return execFileSync(process.execPath, args, { cwd: user, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

interface Packed {
  filename: string;
  size: number;
  files: { path: string }[];
}
let packed: Packed;
let paths: string[];

beforeAll(() => {
  const json = execFileSync(process.execPath, [npm, "pack", "--json", "--pack-destination", work], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  packed = (JSON.parse(json.slice(json.indexOf("["))) as Packed[])[0] as Packed;
  paths = packed.files.map(({ path }) => path);
  mkdirSync(join(work, "bin"));
  symlinkSync(process.execPath, join(work, "bin", "node"));
  mkdirSync(user);
  writeFileSync(join(user, "package.json"), '{ "name": "user", "private": true }\n');
  bare([npm, "install", join(work, packed.filename), "--prefer-offline", "--no-audit", "--no-fund"]);
  cpSync(join(root, "test", "package"), user, { recursive: true });
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("the tarball", () => {
  test("holds what a user needs", () => {
    const needed = [
      "LICENSE",
      "README.md",
      "CHANGELOG.md",
      "package.json",
      "dist/esm/index.js",
      "dist/cli/main.js",
      "dist/index.d.ts",
      "lib/index.ts",
      "native/binding.gyp",
    ];
    expect(paths).toEqual(expect.arrayContaining([...needed, `prebuilds/${platform}/lowrank.node`]));
  });

  test("holds nothing else", () => {
    const allowed =
      /^(dist|lib|native|prebuilds|models\/bundled)\/|^docs\/(adr\/)?[\w-]+\.md$|^bench\/results\/[\w-]+\.json$|^scripts\/build-native\.mjs$|^(LICENSE|(README|CHANGELOG|CONTRIBUTING)\.md|package\.json)$/;
    expect(paths.filter((path) => !allowed.test(path))).toEqual([]);
    expect(paths.filter((path) => /(^|\/)(build|test|fixtures|node_modules)\/|\.(o|d|tgz|log)$/.test(path))).toEqual([]);
    expect(paths.filter((path) => path.endsWith(".node"))).toEqual([`prebuilds/${platform}/lowrank.node`]);
  });

  test("runs nothing when it is installed", () => {
    // npm invents `node-gyp rebuild` for a package with a binding.gyp in its root.
    expect(paths).not.toContain("binding.gyp");
    const { scripts } = JSON.parse(readFileSync(join(user, "node_modules/lowrank/package.json"), "utf8")) as { scripts: Record<string, string> };
    expect(Object.keys(scripts)).not.toEqual(expect.arrayContaining([expect.stringMatching(/^(pre|post)?install$|^(pre|post)?prepare$/)]));
    expect(JSON.parse(readFileSync(join(root, "package.json"), "utf8")).scripts).toMatchObject({ prepare: "node scripts/prepare.mjs" });
    const lock = readFileSync(join(user, "node_modules/.package-lock.json"), "utf8");
    expect(lock).not.toContain("hasInstallScript");
    expect(existsSync(join(user, "node_modules/lowrank/build"))).toBe(false);
  });

  test("has source maps that lead to sources in it", () => {
    const maps = paths.filter((path) => path.endsWith(".js.map"));
    expect(maps.length).toBeGreaterThan(0);
    for (const path of maps) {
      const { sources } = JSON.parse(readFileSync(join(user, "node_modules/lowrank", path), "utf8")) as { sources: string[] };
      for (const source of sources) expect(existsSync(join(user, "node_modules/lowrank", dirname(path), source)), `${path} → ${source}`).toBe(true);
    }
  });

  test("has pages whose links lead to files in it", () => {
    const installed = join(user, "node_modules/lowrank");
    const links = paths
      .filter((path) => path.endsWith(".md"))
      .flatMap((path) =>
        [...readFileSync(join(installed, path), "utf8").matchAll(/\]\((?!https?:)([^)#\s]+)/g)].map(([, link = ""]) => ({ path, link })),
      );
    expect(links.length).toBeGreaterThan(17);
    expect(links.filter(({ path, link }) => !existsSync(join(installed, dirname(path), link)))).toEqual([]);
  });

  test("has the bundled model where bundledModel says", () => {
    const text = bare(["--input-type=module", "--eval", 'import { bundledModel } from "lowrank"; console.log(bundledModel)']);
    expect(text.trim()).toBe(join(user, "node_modules/lowrank/models/bundled"));
    expect(readdirSync(text.trim())).toEqual(expect.arrayContaining(["config.json", "model.safetensors", "tokenizer.json"]));
  });

  test("follows the rules of publint", () => {
    const publint = join(root, "node_modules/publint/src/cli.js");
    expect(() =>
      execFileSync(process.execPath, [publint, "run", join(user, "node_modules/lowrank"), "--strict", "--pack", "false"], { stdio: "pipe" }),
    ).not.toThrow();
  });
});

describe("the binary", () => {
  const binary = (): string => join(user, "node_modules/lowrank/prebuilds", platform, "lowrank.node");

  test("needs only the C and C++ run-time libraries", { skip: process.platform !== "linux" }, () => {
    const needed = [...execFileSync("readelf", ["-d", binary()], { encoding: "utf8" }).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name);
    const allowed = /^(libc|libm|libdl|libpthread|libstdc\+\+|libgcc_s|ld-linux-x86-64|ld-linux-aarch64)\.so\.\d+$/;
    expect(needed).not.toEqual([]);
    expect(needed.filter((name) => !allowed.test(name ?? ""))).toEqual([]);
  });

  test("exports nothing but the entry of a Node-API module", { skip: process.platform !== "linux" }, () => {
    const symbols = execFileSync("nm", ["-D", "--defined-only", binary()], { encoding: "utf8" })
      .trim()
      .split("\n")
      .map((line) => line.split(" ").at(-1));
    expect(symbols.filter((name) => !/^(napi_register_module_v1|node_api_module_get_api_version_v1)$/.test(name ?? ""))).toEqual([]);
    expect(symbols).toContain("napi_register_module_v1");
  });

  test("is stripped, and without what only developers need", { skip: process.platform !== "linux" }, () => {
    expect(execFileSync("readelf", ["-S", binary()], { encoding: "utf8" })).not.toContain(".symtab");
    expect(readFileSync(binary()).includes("avx512_emulated")).toBe(false);
  });
});

describe("without a compiler", () => {
  // Each script trains and prints {"ok": true, …}; test/package/ is what a user would write.
  const scripts = readdirSync(join(root, "test", "package")).filter((file) => /^train\.\w+$|^train-in-worker\.\w+$/.test(file));

  test("there are scripts for ESM, CommonJS and a worker", () => {
    expect(scripts.sort()).toEqual(["train-in-worker.mjs", "train.cjs", "train.mjs"]);
  });

  test.each(scripts)("%s runs in an empty folder", (script) => {
    expect(JSON.parse(bare([script]).trim().split("\n").at(-1) ?? "")).toMatchObject({ ok: true });
  });
});
