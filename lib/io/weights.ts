/** @file The weights of a model folder as one set of tensors, whether they stand in one safetensors file or in many. */
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { fileError, LowrankError, nearest, quoted } from "../native/errors.js";
import { ioError, openInput, throwIfAborted } from "./file.js";
import { readInside, resolveInside } from "./inside.js";
import { type OpenOptions, openSource, type SafetensorsFile, type TensorInfo } from "./safetensors.js";
import { indexLimits, parseShardIndex, type ShardIndex } from "./shard-index.js";

export const singleFileName = "model.safetensors";
export const indexFileName = "model.safetensors.index.json";

export interface WeightOptions extends OpenOptions {
  /** Follow symbolic links that lead out of the folder; default false. Links of the Hugging Face cache always work. */
  readonly allowSymlinks?: boolean;
}

/** Where a tensor stands: the open file and what its header says. */
export interface WeightPlace extends TensorInfo {
  readonly file: SafetensorsFile;
}

/**
 * Opens the weights of a model folder: `model.safetensors` if it exists, else the files that `model.safetensors.index.json` names.
 * Every header is checked, and the index against the headers, before the promise resolves.
 * @throws LowrankError IO_NOT_FOUND (neither file), SHARD_MISSING (all at once), SHARD_TENSOR_MISSING, SHARD_DUPLICATE_TENSOR,
 * PATH_SYMLINK_ESCAPE; as {@link parseShardIndex} and {@link openSafetensors}
 */
export async function openWeights(folder: string, options: WeightOptions = {}): Promise<Weights> {
  if (await exists(join(folder, singleFileName))) {
    const file = await openShard(folder, singleFileName, options);
    return new Weights([file], placesOf([file]), file.warnings);
  }
  if (await exists(join(folder, indexFileName))) return openSharded(folder, options);
  throw fileError(
    "IO_NOT_FOUND",
    folder,
    `the folder has neither ${singleFileName} nor ${indexFileName}. Name the folder of a model in safetensors format.`,
  );
}

/** The open weights of a model folder. Close them, or declare them with `await using`. */
export class Weights {
  constructor(
    readonly files: readonly SafetensorsFile[],
    readonly tensors: ReadonlyMap<string, WeightPlace>,
    readonly warnings: readonly string[],
  ) {}

  /** @throws LowrankError TENSOR_MISSING */
  tensor(name: string): WeightPlace {
    const place = this.tensors.get(name);
    if (place !== undefined) return place;
    const near = this.tensors.size <= 10_000 ? nearest(name, this.tensors.keys(), 1)[0] : undefined;
    const hint = near === undefined ? "" : ` Did you mean ${quoted(near)}?`;
    const files = this.files
      .map(({ name: file }) => file)
      .join(", ")
      .slice(0, 200);
    throw new LowrankError("TENSOR_MISSING", `${files}: there is no tensor ${quoted(name)}.${hint}`, { tensor: name });
  }

  async close(): Promise<void> {
    await Promise.all(this.files.map((file) => file.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function openSharded(folder: string, options: WeightOptions): Promise<Weights> {
  const indexPath = join(folder, indexFileName);
  const index = parseShardIndex(await readInside(folder, indexFileName, indexLimits.bytes, "INDEX_BAD_JSON", options), indexPath);
  await demandShards(folder, indexPath, index);
  const files: SafetensorsFile[] = [];
  try {
    for (const shard of index.shards) {
      throwIfAborted(options.signal, indexPath);
      files.push(await openShard(folder, shard, options));
    }
    return combine(indexPath, index, files);
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
}

async function openShard(folder: string, name: string, options: WeightOptions): Promise<SafetensorsFile> {
  const real = await resolveInside(folder, name, options);
  // The file keeps the name under which the model knows it: that of a blob in a cache is a hash.
  const file = await openInput(real, { followLink: false, shownAs: join(folder, name) });
  return openSource(file, options);
}

async function demandShards(folder: string, indexPath: string, index: ShardIndex): Promise<void> {
  const missing: string[] = [];
  for (const shard of index.shards) if (!(await exists(join(folder, shard)))) missing.push(shard);
  if (missing.length === 0) return;
  const listed = missing.slice(0, 20).join(", ") + (missing.length > 20 ? ` and ${missing.length - 20} more` : "");
  const problem = `${missing.length} of ${index.shards.length} files that the index names do not exist: ${listed}. Download them.`;
  throw fileError("SHARD_MISSING", indexPath, problem, { expected: index.shards.length, missing });
}

/** Checks index and headers against each other; only tensors that the index lists are part of the model. */
function combine(indexPath: string, index: ShardIndex, files: readonly SafetensorsFile[]): Weights {
  const everywhere = placesOf(files);
  const tensors = new Map<string, WeightPlace>();
  let totalSize = 0;
  for (const [name, shard] of index.weightMap) {
    const place = everywhere.get(name);
    if (place?.file.name !== shard) {
      const elsewhere = place === undefined ? "" : ` (it is in ${place.file.name})`;
      const problem = `the index says that tensor ${quoted(name)} is in ${shard}, but it is not there${elsewhere}. Index and files belong to different versions; download both again.`;
      throw fileError("SHARD_TENSOR_MISSING", indexPath, problem, { tensor: name, shard });
    }
    tensors.set(name, place);
    totalSize += place.bytes;
  }
  return new Weights(files, tensors, [
    ...files.flatMap((file) => file.warnings.map((warning) => `${file.name}: ${warning}`)),
    ...warningsOf(index, everywhere, totalSize),
  ]);
}

function warningsOf(index: ShardIndex, everywhere: ReadonlyMap<string, WeightPlace>, totalSize: number): string[] {
  const warnings: string[] = [];
  const unlisted = [...everywhere.keys()].filter((name) => !index.weightMap.has(name));
  if (unlisted.length > 0) {
    warnings.push(`${unlisted.length} tensors of the files are not in the index and are not loaded, for instance ${quoted(unlisted[0] as string)}`);
  }
  if (index.totalSize !== undefined && index.totalSize !== totalSize) {
    warnings.push(`the index states a total_size of ${index.totalSize} bytes, its tensors have ${totalSize}`);
  }
  return warnings;
}

function placesOf(files: readonly SafetensorsFile[]): Map<string, WeightPlace> {
  const places = new Map<string, WeightPlace>();
  for (const file of files) {
    for (const [name, info] of file.tensors) {
      const other = places.get(name);
      if (other !== undefined) {
        const problem = `tensor ${quoted(name)} stands in this file and in ${other.file.name}. Remove the file that does not belong to the model.`;
        throw fileError("SHARD_DUPLICATE_TENSOR", file.path, problem, { tensor: name, other: other.file.name });
      }
      places.set(name, { ...info, file });
    }
  }
  return places;
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw ioError(path, "cannot be examined", error);
  }
}
