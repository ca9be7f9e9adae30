/**
 * @file The index of a sharded model, `model.safetensors.index.json`: which tensor stands in which file. The file names in it are not
 * trusted: only plain names of safetensors files are accepted, so there is no path to normalise and none to escape by.
 */
import { fileError, type LowrankError, quoted } from "../native/errors.js";
import { checkJson, JsonCursor, type JsonRules, jsonError, withoutByteOrderMark } from "./json-scanner.js";

export interface ShardIndex {
  /** Tensor name → file name, in the order of the index. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** The different file names, in order of first use. */
  readonly shards: readonly string[];
  /** `metadata.total_size`, if the index states a usable one. */
  readonly totalSize: number | undefined;
}

export const indexLimits = { bytes: 32 * 1024 * 1024, shards: 1024, tensors: 1_000_000 } as const;

const safeName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors$/;
const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/;
const deviceName = /^(con|prn|aux|nul|com[0-9]|lpt[0-9])$/i;
const pickleName = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;

const advice = "The index is damaged or not an index of safetensors files; download it again.";

/**
 * Parses and checks an index. `path`: path or name of the file, for errors.
 * @throws LowrankError INDEX_BAD_JSON, ST_DUPLICATE_KEY, PATH_NOT_ALLOWED, WRONG_FILE_TYPE, INDEX_TOO_MANY_SHARDS
 */
export function parseShardIndex(bytes: Uint8Array, path: string): ShardIndex {
  const text = withoutByteOrderMark(bytes);
  const rules: JsonRules = {
    path,
    codes: { syntax: "INDEX_BAD_JSON", duplicate: "ST_DUPLICATE_KEY", depth: "INDEX_BAD_JSON", utf8: "INDEX_BAD_JSON" },
    maxKeys: indexLimits.tensors + 16,
    place: "line",
    advice,
  };
  const cursor = new JsonCursor(checkJson(text, rules));
  const bad = (problem: string, offset = cursor.offset): never => {
    throw jsonError(text, rules, "INDEX_BAD_JSON", offset, problem);
  };
  if (cursor.kind() !== "object") bad(`the index is a JSON ${cursor.kind()}, not an object`);
  let shards: Map<string, string> | undefined;
  let totalSize: number | undefined;
  const weightMap = new Map<string, string>();
  cursor.object((key) => {
    if (key === "metadata" && cursor.kind() === "object") totalSize = readTotalSize(cursor);
    if (key !== "weight_map") return;
    if (cursor.kind() !== "object") bad(`weight_map is a JSON ${cursor.kind()}, not an object`);
    shards = readWeightMap(cursor, weightMap, path, bad);
  });
  if (shards === undefined) return bad("the index has no weight_map", 0);
  return { weightMap, shards: [...shards.keys()], totalSize };
}

function readTotalSize(cursor: JsonCursor): number | undefined {
  let totalSize: number | undefined;
  cursor.object((key) => {
    if (key !== "total_size" || cursor.kind() !== "number") return;
    const size = Number(cursor.number().text);
    if (Number.isSafeInteger(size) && size >= 0) totalSize = size;
  });
  return totalSize;
}

/** Fills `weightMap`; gives the file names, one string object each however often the index repeats it. */
function readWeightMap(
  cursor: JsonCursor,
  weightMap: Map<string, string>,
  path: string,
  bad: (problem: string, offset?: number) => never,
): Map<string, string> {
  const shards = new Map<string, string>();
  cursor.object((tensor, offset) => {
    if (cursor.kind() !== "string") bad(`the file of tensor ${quoted(tensor)} is a JSON ${cursor.kind()}, not a string`, offset);
    const name = cursor.text();
    const known = shards.get(name);
    if (known === undefined) {
      const problem = shardNameError(name, tensor, path);
      if (problem !== undefined) throw problem;
      if (shards.size === indexLimits.shards) throw tooManyShards(path);
      shards.set(name, name);
    }
    weightMap.set(tensor, known ?? name);
  });
  return shards;
}

function tooManyShards(path: string): LowrankError {
  return fileError("INDEX_TOO_MANY_SHARDS", path, `the index names more than ${indexLimits.shards} files. ${advice}`, {
    expected: indexLimits.shards,
    hint: advice,
  });
}

/** The error for a file name that must not be used; undefined for a plain, safe name of a safetensors file. */
function shardNameError(name: string, tensor: string, path: string): LowrankError | undefined {
  const plain = plainName.test(name) && !name.includes("..") && !deviceName.test(name.split(".", 1)[0] as string);
  if (plain && safeName.test(name)) return undefined;
  if (plain && pickleName.test(name)) {
    const hint = "Pickles are never read: use the safetensors version of the model, or convert it with the Python package safetensors.";
    return fileError("WRONG_FILE_TYPE", path, `the index names ${quoted(name)}, a Python pickle. ${hint}`, {
      actual: name.slice(0, 120),
      detected: "pickle",
      hint,
    });
  }
  const hint = "Only plain names of .safetensors files in the same folder are opened.";
  // A name with separators may be an absolute path, and messages hold none.
  const shown = /[/\\]/.test(name) ? "" : `, ${quoted(name)},`;
  const problem = `the file${shown} that the index names for tensor ${quoted(tensor)} is not allowed. ${hint}`;
  return fileError("PATH_NOT_ALLOWED", path, problem, { tensor: tensor.slice(0, 120), actual: name.slice(0, 120), hint });
}
