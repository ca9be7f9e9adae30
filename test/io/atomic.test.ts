/** @file Atomic writing: every file function is made to fail at every call; the old file must survive and no temporary file may stay. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type FileFunctions, type OutputFile, systemFiles, writeAtomic, writeFolder } from "../../lib/io/atomic.js";
import { LowrankError } from "../../lib/native/errors.js";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-atomic-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const systemError = (code: string): Error => Object.assign(new Error(`${code}: /secret/path`), { code, errno: -1 });

interface Faults {
  /** Called before each call but those that clean up; throws to make it fail. */
  readonly before: (call: string) => void;
  /** At most so many bytes are written at once. */
  readonly writeLimit?: number;
  readonly renamePatienceMs?: number;
}

/** The real file functions with faults. A handle whose `close` fails is closed all the same, as the system does it. */
function faultyFiles({ before, writeLimit, renamePatienceMs }: Faults): FileFunctions {
  return {
    ...systemFiles,
    renamePatienceMs: renamePatienceMs ?? 0,
    async open(path, flags, mode) {
      const what = flags === "r" ? "folder" : "file";
      before(`open ${what}`);
      const handle = await systemFiles.open(path, flags, mode);
      return {
        async write(bytes, offset, length) {
          before("write");
          return handle.write(bytes, offset, Math.min(length, writeLimit ?? length));
        },
        async sync() {
          before(`sync ${what}`);
          await handle.sync();
        },
        async close() {
          await handle.close();
          before(`close ${what}`);
        },
      };
    },
    async rename(from, to) {
      before(`rename to ${basename(to)}`);
      await systemFiles.rename(from, to);
    },
    async mkdir(path) {
      before("mkdir");
      await systemFiles.mkdir(path);
    },
  };
}

/** Names of the calls that a write makes, in order. */
async function callsOf(write: (files: FileFunctions) => Promise<void>): Promise<string[]> {
  const calls: string[] = [];
  await write(faultyFiles({ before: (call) => calls.push(call) }));
  return calls;
}

const twoPieces = async (file: OutputFile): Promise<void> => {
  await file.write(Buffer.from("new "));
  await file.write(Buffer.from("content"));
};

const codes: Record<string, string> = {
  ENOSPC: "IO_NO_SPACE",
  EDQUOT: "IO_NO_SPACE",
  EIO: "IO_FAILED",
  EFBIG: "IO_FAILED",
  EROFS: "IO_ACCESS",
  EACCES: "IO_ACCESS",
};

describe("writeAtomic", () => {
  const target = (): string => join(folder, "target.bin");

  test("writes, flushes, renames and flushes the folder, in this order", async () => {
    const calls = await callsOf((files) => writeAtomic(target(), twoPieces, { files }));
    expect(calls).toEqual([
      "open file",
      "write",
      "write",
      "sync file",
      "close file",
      "rename to target.bin",
      "open folder",
      "sync folder",
      "close folder",
    ]);
    expect(await readFile(target(), "utf8")).toBe("new content");
    expect(await readdir(folder)).toEqual(["target.bin"]);
  });

  test.each(Object.entries(codes))("%s at any call, once or from there on: the old file or the new one, no other", async (errno, code) => {
    const calls = await callsOf((files) => writeAtomic(target(), twoPieces, { files }));
    const renameAt = calls.findIndex((call) => call.startsWith("rename"));
    for (const persistent of [false, true]) {
      for (let failing = 0; failing < calls.length; failing++) {
        await writeFile(target(), "old content");
        let count = 0;
        const before = (): void => {
          const index = count++;
          if (index === failing || (persistent && index > failing)) throw systemError(errno);
        };
        const outcome = await writeAtomic(target(), twoPieces, { files: faultyFiles({ before }) }).catch((error: unknown) => error);
        const where = `${calls[failing]} (${failing})`;
        const folderCannotBeFlushed = failing > renameAt && errno === "EACCES";
        if (folderCannotBeFlushed) expect(outcome, where).toBe(undefined);
        else expect(outcome, where).toMatchObject({ code, details: { file: "target.bin", errno } });
        if (outcome instanceof LowrankError) expect(outcome.message).not.toContain("/");
        expect(await readFile(target(), "utf8"), where).toBe(failing <= renameAt ? "old content" : "new content");
        expect(await readdir(folder), where).toEqual(["target.bin"]);
      }
    }
  });

  test("short writes are continued", async () => {
    const content = Buffer.from("0123456789".repeat(50));
    await writeAtomic(target(), (file) => file.write(content), { files: faultyFiles({ before: () => undefined, writeLimit: 7 }) });
    expect(await readFile(target())).toEqual(content);
  });

  test("a disk that takes nothing is full, not an endless loop", async () => {
    const files = faultyFiles({ before: () => undefined, writeLimit: 0 });
    await expect(writeAtomic(target(), twoPieces, { files })).rejects.toMatchObject({ code: "IO_NO_SPACE" });
    expect(await readdir(folder)).toEqual([]);
  });

  test("what `write` throws comes through unchanged", async () => {
    await writeFile(target(), "old content");
    const failure = new Error("no data");
    const write = async (file: OutputFile): Promise<void> => {
      await file.write(Buffer.from("half"));
      throw failure;
    };
    await expect(writeAtomic(target(), write)).rejects.toBe(failure);
    expect(await readFile(target(), "utf8")).toBe("old content");
    expect(await readdir(folder)).toEqual(["target.bin"]);
  });

  test("an abort at any moment before the rename leaves the old file", async () => {
    for (let pieces = 0; pieces < 3; pieces++) {
      await writeFile(target(), "old content");
      const controller = new AbortController();
      const write = async (file: OutputFile): Promise<void> => {
        for (let k = 0; k < 2; k++) {
          if (k === pieces) controller.abort();
          await file.write(Buffer.from("x"));
        }
        controller.abort();
      };
      await expect(writeAtomic(target(), write, { signal: controller.signal })).rejects.toMatchObject({ code: "ABORTED" });
      expect(await readFile(target(), "utf8")).toBe("old content");
      expect(await readdir(folder)).toEqual(["target.bin"]);
    }
  });

  test("the target is a folder, or its folder is missing", async () => {
    await mkdir(target());
    await expect(writeAtomic(target(), twoPieces)).rejects.toMatchObject({ code: "IO_NOT_REGULAR_FILE" });
    await expect(writeAtomic(join(folder, "nowhere", "x.bin"), twoPieces)).rejects.toMatchObject({ code: "IO_NOT_FOUND" });
  });

  // Modes and umask are POSIX; Windows has neither, and links only with a privilege.
  test.runIf(process.platform !== "win32")("a new file has the mode of the umask, an old one keeps its own, a link is replaced", async () => {
    const mode = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;
    await writeFile(join(folder, "plain"), "");
    await writeAtomic(target(), twoPieces);
    expect(await mode(target())).toBe(await mode(join(folder, "plain")));
    await chmod(target(), 0o600);
    await writeAtomic(target(), twoPieces);
    expect(await mode(target())).toBe(0o600);
    await symlink("plain", join(folder, "link"));
    await writeAtomic(join(folder, "link"), twoPieces);
    expect(await readFile(join(folder, "plain"), "utf8")).toBe("");
    expect(await readFile(join(folder, "link"), "utf8")).toBe("new content");
  });

  test("many writers of one file: one of the contents, whole", async () => {
    const contents = Array.from({ length: 20 }, (_, k) => Buffer.alloc(50_000, k + 1));
    await Promise.all(contents.map((content) => writeAtomic(target(), (file) => file.write(content))));
    const found = await readFile(target());
    expect(contents.some((content) => content.equals(found))).toBe(true);
    expect(await readdir(folder)).toEqual(["target.bin"]);
  });
});

describe("a rename that another program blocks", () => {
  const blocked = (times: number, code = "EPERM") => {
    let count = 0;
    const before = (call: string): void => {
      if (call.startsWith("rename") && count++ < times) throw systemError(code);
    };
    return { files: faultyFiles({ before, renamePatienceMs: 60 }), count: () => count };
  };

  test.each(["EPERM", "EACCES", "EBUSY"])("%s for a while: tried again until it works", async (code) => {
    const { files, count } = blocked(3, code);
    await writeAtomic(join(folder, "x"), twoPieces, { files });
    expect(count()).toBe(4);
    expect(await readdir(folder)).toEqual(["x"]);
  });

  test("for too long: an error, the old file stays", async () => {
    await writeFile(join(folder, "x"), "old content");
    const { files } = blocked(1000);
    await expect(writeAtomic(join(folder, "x"), twoPieces, { files })).rejects.toMatchObject({ code: "IO_RENAME_BLOCKED" });
    expect(await readFile(join(folder, "x"), "utf8")).toBe("old content");
    expect(await readdir(folder)).toEqual(["x"]);
  });

  test("other errors are not waited for", async () => {
    const { files, count } = blocked(1000, "EIO");
    await expect(writeAtomic(join(folder, "x"), twoPieces, { files })).rejects.toMatchObject({ code: "IO_FAILED" });
    expect(count()).toBe(1);
  });
});

describe("writeFolder", () => {
  const names = ["adapter_model.safetensors", "adapter_config.json"];
  const entries = (content: string) => names.map((name) => ({ name, write: (file: OutputFile) => file.write(Buffer.from(`${content} ${name}`)) }));
  const target = (): string => join(folder, "adapter");

  async function contents(): Promise<string[]> {
    return Promise.all(names.map((name) => readFile(join(target(), name), "utf8")));
  }

  test("a new folder is flushed, then appears under its name, parents are made", async () => {
    const calls = await callsOf((files) => writeFolder(target(), entries("new"), { files }));
    const oneFile = ["open file", "write", "sync file", "close file"];
    const flushFolder = ["open folder", "sync folder", "close folder"];
    expect(calls).toEqual(["mkdir", ...oneFile, ...oneFile, ...flushFolder, "rename to adapter", ...flushFolder]);
    expect(await contents()).toEqual(names.map((name) => `new ${name}`));
    expect(await readdir(folder)).toEqual(["adapter"]);
    await writeFolder(join(folder, "a", "b"), entries("deep"));
    expect((await readdir(join(folder, "a", "b"))).sort()).toEqual([...names].sort());
  });

  test("in an existing folder all is written before anything is renamed, in the given order; other files stay", async () => {
    await mkdir(target());
    await writeFile(join(target(), "README.md"), "mine");
    const calls = await callsOf((files) => writeFolder(target(), entries("new"), { files }));
    expect(calls.filter((call) => /write|sync|rename/.test(call))).toEqual([
      ...["write", "sync file", "write", "sync file"],
      ...["rename to adapter_model.safetensors", "rename to adapter_config.json", "sync folder"],
    ]);
    expect(await contents()).toEqual(names.map((name) => `new ${name}`));
    expect((await readdir(target())).sort()).toEqual(["README.md", ...names].sort());
  });

  test("a failure at any call of a new folder leaves no folder, or the complete one", async () => {
    const calls = await callsOf((files) => writeFolder(target(), entries("new"), { files }));
    const renameAt = calls.findIndex((call) => call.startsWith("rename"));
    for (let failing = 0; failing < calls.length; failing++) {
      await rm(target(), { recursive: true, force: true });
      await failAt(failing);
      expect(await readdir(folder), calls[failing]).toEqual(failing <= renameAt ? [] : ["adapter"]);
      if (failing > renameAt) expect(await contents()).toEqual(names.map((name) => `new ${name}`));
    }
  });

  test("a failure at any call before the first rename leaves the existing folder as it was; later each file is whole", async () => {
    await writeFolder(target(), entries("old"));
    const calls = await callsOf((files) => writeFolder(target(), entries("new"), { files }));
    const renames = calls.flatMap((call, index) => (call.startsWith("rename") ? [index] : []));
    for (let failing = 0; failing < calls.length; failing++) {
      await writeFolder(target(), entries("old"));
      await failAt(failing);
      const done = renames.filter((index) => index < failing).length;
      expect(await contents(), calls[failing]).toEqual(names.map((name, k) => `${k < done ? "new" : "old"} ${name}`));
      expect((await readdir(target())).sort()).toEqual([...names].sort());
    }
  });

  async function failAt(failing: number): Promise<void> {
    let count = 0;
    const before = (): void => {
      if (count++ === failing) throw systemError("ENOSPC");
    };
    await expect(writeFolder(target(), entries("new"), { files: faultyFiles({ before }) })).rejects.toMatchObject({ code: "IO_NO_SPACE" });
  }

  test("a file in the place of the folder is not touched", async () => {
    await writeFile(target(), "a file");
    await expect(writeFolder(target(), entries("new"))).rejects.toMatchObject({ code: "IO_FAILED" });
    expect(await readFile(target(), "utf8")).toBe("a file");
    expect(await readdir(folder)).toEqual(["adapter"]);
  });
});
