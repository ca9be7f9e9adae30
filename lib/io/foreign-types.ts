/** @file Recognises files of other types by their first bytes, so that the error can say what was given and what to do with it. */

export interface ForeignType {
  /** Stable name, given as `details.detected`. */
  readonly detected: string;
  /** What the file is, as a noun phrase. */
  readonly what: string;
  readonly remedy: string;
}

const convert = "Convert it with the Python package safetensors (load it there, then safetensors.torch.save_file).";
const downloadAgain = "Download the file again.";

type Known = ForeignType & { readonly matches: (head: Uint8Array, text: string) => boolean };

const zipStart = "PK\u0003\u0004";

const types: readonly Known[] = [
  {
    detected: "pickle",
    what: "a Python pickle; pickles can run code and are never read",
    remedy: convert,
    matches: (head) => head[0] === 0x80 && (head[1] ?? 0) >= 2 && (head[1] ?? 0) <= 5 && (head[2] ?? 0) !== 0,
  },
  {
    detected: "pytorch-zip",
    what: "a ZIP archive, as the .pt and .bin files of PyTorch are",
    remedy: convert,
    matches: (_, text) => text.startsWith(zipStart) || text.startsWith("PK\u0005\u0006"),
  },
  {
    detected: "html",
    what: "an HTML page, probably the answer of a failed download",
    remedy: downloadAgain,
    matches: (_, text) => /^\s*(<!doctype html|<html|<head)/i.test(text),
  },
  {
    detected: "git-lfs-pointer",
    what: "a git-lfs pointer, not the file it stands for",
    remedy: "Run git lfs pull in that folder, or download the file itself.",
    matches: (_, text) => text.startsWith("version https://git-lfs"),
  },
  {
    detected: "gguf",
    what: "a GGUF file",
    remedy: "Use the safetensors files of the model.",
    matches: (_, text) => text.startsWith("GGUF"),
  },
  {
    detected: "gzip",
    what: "gzip-compressed data",
    remedy: "Decompress it first.",
    matches: (head) => head[0] === 0x1f && head[1] === 0x8b,
  },
  {
    detected: "json",
    what: "a JSON text",
    remedy: "Name the .safetensors file, or the folder of the model, instead.",
    matches: (_, text) => /^\s*\{\s*["}]/.test(text) && /^[\t\n\r\x20-\x7e]{8}/.test(text),
  },
];

const binary = (start: string, detected: string, what: string, remedy: string): Known => ({
  detected,
  what,
  remedy,
  matches: (_, text) => text.startsWith(start),
});

/** Types that are given instead of data. */
const dataTypes: readonly Known[] = [
  ...types.filter(({ detected }) => ["gzip", "html", "git-lfs-pointer"].includes(detected)),
  binary(zipStart, "zip", "a ZIP archive", "Unpack it first."),
  binary("\u0028\u00b5\u002f\u00fd", "zstd", "Zstandard-compressed data", "Decompress it first."),
  binary("BZh", "bzip2", "bzip2-compressed data", "Decompress it first."),
  binary("\u00fd7zXZ", "xz", "xz-compressed data", "Decompress it first."),
  binary("PAR1", "parquet", "a Parquet file", "Convert it to JSONL."),
  binary("ARROW1", "arrow", "an Arrow file", "Convert it to JSONL."),
  binary("SQLite format 3", "sqlite", "an SQLite database", "Export it as JSONL."),
];

/** How many bytes of a file {@link foreignType} looks at. */
export const sniffLength = 512;

/** The foreign type that the first bytes of a file show, if they show one; safetensors files give none. */
export function foreignType(head: Uint8Array): ForeignType | undefined {
  return looksLikeSafetensors(head) ? undefined : typeAmong(types, head);
}

/** The foreign type of a file that should hold data as text. */
export function foreignData(head: Uint8Array): ForeignType | undefined {
  return typeAmong(dataTypes, head);
}

function typeAmong(known: readonly Known[], head: Uint8Array): ForeignType | undefined {
  const text = Buffer.from(head.subarray(0, sniffLength)).toString("latin1");
  return known.find((type) => type.matches(head, text));
}

/** A length below 2^32 and then the brace (or a space before it): no other type starts so. */
function looksLikeSafetensors(head: Uint8Array): boolean {
  return head.length > 8 && (head[8] === 0x7b || head[8] === 0x20) && head.subarray(4, 8).every((byte) => byte === 0);
}
