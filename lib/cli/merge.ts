/** @file lowrank merge: a model folder with the adapter in its weights. One weight at a time is in memory. */
import { readdir, realpath } from "node:fs/promises";
import { basename, join } from "node:path";
import { Parameter } from "../autograd/parameter.js";
import { type FolderEntry, writeFolder } from "../io/atomic.js";
import { maxTransfer, openInput } from "../io/file.js";
import { inFolderOf } from "../io/folder.js";
import { resolveInside } from "../io/inside.js";
import { safetensorsEntry, type TensorSource } from "../io/safetensors-write.js";
import { templateFile } from "../io/template-text.js";
import { readTensor, tensorSource } from "../io/tensors.js";
import { indexFileName, openWeights, singleFileName, type WeightPlace, type Weights } from "../io/weights.js";
import type { Adapter } from "../lora/index.js";
import { forgetMerges, mergeBranches } from "../lora/merge.js";
import type { CausalLm } from "../models/index.js";
import { fileError, LowrankError, quoted } from "../native/errors.js";
import type { FloatDType } from "../tensor/dtype.js";
import { sameShape, shapeText } from "../tensor/shape.js";
import { loadTokenizer } from "../text/index.js";
import type { Context } from "./context.js";
import { bytesText, plural } from "./format.js";
import { Meter } from "./output.js";
import { attachStored, holds, hollowModel, openModel, openStored, requireOut } from "./session.js";
import { UsageError } from "./usage.js";

type Layer = Adapter["layers"][number];

export async function mergeCommand(context: Context): Promise<void> {
  const { args, output, interrupt } = context;
  const [folder, out] = [args.required("model"), args.required("out")];
  await requireOther(context);
  await requireOut(out, args.flag("force") ? "anything" : "nothing");
  await using stored = await openStored(context);
  await using weights = await inFolderOf("model", folder, () => openWeights(folder, { signal: interrupt.signal }));
  using model = stored?.stored.method === "sigma" ? await openModel(context) : await hollowModel(folder);
  const adapter = (await attachStored(context, model, stored)) as Adapter;
  try {
    const layers = layersByTensor(model, adapter, weights);
    const meter = new Meter(output.err, "merging");
    const sources = [...weights.tensors].map(([name, place], i): TensorSource => {
      const layer = layers.get(name);
      const tell = (): void => meter.update(i, weights.tensors.size);
      return layer === undefined ? copied(name, place, tell) : merged(name, place, layer, adapter.name, tell);
    });
    const template = await newTemplate(context, adapter);
    const files = (await otherFiles(folder)).filter((name) => template === undefined || name !== templateFile);
    const copies = [...files.map((name) => copiedFile(folder, name)), ...(template === undefined ? [] : [template])];
    const entries = [...copies, safetensorsEntry(singleFileName, sources, { format: "pt" })];
    try {
      // config.json goes last: readers look for it first.
      await writeFolder(out, [...entries, copiedFile(folder, "config.json")], { signal: interrupt.signal });
    } finally {
      meter.end();
    }
    const bytes = [...weights.tensors.values()].reduce((sum, place) => sum + place.bytes, 0);
    output.note(`${plural(layers.size, "weight")} of ${weights.tensors.size} changed; the model (${bytesText(bytes)}) is in ${out}`);
    output.event({
      type: "done",
      folder: out,
      merged: layers.size,
      tensors: weights.tensors.size,
      bytes,
      files: [...entries.map(({ name }) => name), "config.json"],
    });
  } finally {
    adapter.dispose();
  }
}

/** @throws UsageError when the output is one of the folders that are read */
async function requireOther({ args }: Context): Promise<void> {
  const real = (path: string): Promise<string | undefined> => realpath(path).catch(() => undefined);
  const out = await real(args.required("out"));
  for (const name of ["model", "adapter"]) {
    if (out === undefined || out !== (await real(args.required(name)))) continue;
    throw new UsageError("BAD_ARGUMENT", `--out is the folder of --${name}, which is read. Name another one.`);
  }
}

/** The adapted layer of each stored weight. @throws LowrankError ADAPTER_CONFLICT for tied weights, TENSOR_SHAPE, DTYPE_UNSUPPORTED */
function layersByTensor(model: CausalLm, adapter: Adapter, weights: Weights): Map<string, Layer> {
  const names = new Map([...model.parameters()].map(([name, parameter]) => [parameter, name]));
  return new Map(
    adapter.layers.map((layer) => {
      const name = `${layer.path}.weight`;
      const stored = names.get(layer.linear.weight) as string;
      const sharers = [...model.modules()].filter(([, module]) => Object.values(module).includes(layer.linear.weight)).map(([path]) => path);
      if (stored !== name || sharers.length > 1) {
        const message = `merge: ${sharers.map(quoted).join(" and ")} share one weight, so merging ${quoted(adapter.name)} into one would change both. Keep the adapter unmerged.`;
        throw new LowrankError("ADAPTER_CONFLICT", message, { modules: sharers });
      }
      const { file, shape } = weights.tensor(name);
      file.tensorOf(name, ["F32", "BF16", "F16"]);
      if (sameShape(shape, layer.linear.weight.shape)) return [name, layer];
      const problem = `tensor ${quoted(name)} is ${shapeText(shape)}; config.json makes it ${shapeText(layer.linear.weight.shape)}. The two files belong to different models`;
      throw fileError("TENSOR_SHAPE", file.path, problem, { tensor: name, expected: layer.linear.weight.shape, actual: shape });
    }),
  );
}

/** The bytes of a tensor as they are, of the file whose header was checked. */
function copied(name: string, { file, dtype, shape }: WeightPlace, tell: () => void): TensorSource {
  const data = (): Promise<Uint8Array> => {
    tell();
    return file.readBytes(name);
  };
  return { name, dtype, shape, data };
}

/** The weight with its branch added, rounded to the dtype in which it is stored. */
function merged(name: string, { file, dtype, shape }: WeightPlace, { branch }: Layer, by: string, tell: () => void): TensorSource {
  const data = async (): Promise<Uint8Array> => {
    tell();
    const weight = new Parameter(shape, dtype.toLowerCase() as FloatDType);
    try {
      weight.rebind(await readTensor(file, name));
      forgetMerges(mergeBranches(by, [{ weight, branch }]));
      return (await tensorSource(name, weight.value).data()) as Uint8Array;
    } finally {
      weight.dispose();
    }
  };
  return { name, dtype, shape, data };
}

/** Weights in any format: they would be those from before. */
const weightFile = /\.(safetensors|bin|pt|pth|ckpt|gguf|h5|msgpack|onnx|onnx_data|tflite)(\.index\.json)?$/i;

/** What lies beside the weights and config.json: the tokenizer, generation_config.json, the licence, … Folders are not copied. */
async function otherFiles(folder: string): Promise<string[]> {
  const found = await readdir(folder);
  const isWanted = (name: string): boolean => name !== "config.json" && name !== indexFileName && !weightFile.test(name) && !name.startsWith(".");
  const names = found.filter(isWanted);
  const areFiles = await Promise.all(names.map((name) => holds(folder, name)));
  return names.filter((_, i) => areFiles[i]);
}

/** The merged model is to be asked as the adapter was trained: with its chat template, where that is another one. */
async function newTemplate({ args, output }: Context, { chatTemplate }: Adapter): Promise<FolderEntry | undefined> {
  if (chatTemplate === undefined || !(await holds(args.required("model"), "tokenizer.json"))) return undefined;
  const { chatTemplates } = await loadTokenizer(args.required("model"));
  if (chatTemplates.get("default")?.text === chatTemplate) return undefined;
  output.warn("the adapter was trained with another chat template than the model has; the merged model gets the adapter's.");
  return { name: templateFile, write: (file) => file.write(new TextEncoder().encode(chatTemplate)) };
}

function copiedFile(folder: string, name: string): FolderEntry {
  return {
    name: basename(name),
    write: async (target) => {
      const file = await openInput(await resolveInside(folder, name), { followLink: false, shownAs: join(folder, name) });
      try {
        for (let done = 0; done < file.size; ) {
          const piece = new Uint8Array(Math.min(maxTransfer, file.size - done));
          await file.readAt(piece, done);
          await target.write(piece);
          done += piece.length;
        }
      } finally {
        await file.close();
      }
    },
  };
}
