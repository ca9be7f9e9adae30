/**
 * @file The corpus of malformed and odd safetensors files. Each case is made byte by byte; `reference` is the verdict of the reference
 * reader (safetensors 0.8.0), `expect` is ours. `reference-verdicts.json` proves the former for exactly these bytes.
 */

export interface SafetensorsCase {
  readonly id: string;
  readonly note: string;
  readonly bytes: () => Uint8Array;
  readonly reference: "ok" | "error";
  /** An error code, or "ok". */
  readonly expect: string;
  /** Number of warnings of a file that loads. */
  readonly warnings?: number;
  /** Facts that `details` of the error must hold. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** Texts that the message must contain. */
  readonly mentions?: readonly string[];
}

type Text = string | Uint8Array;

const latin1 = (text: Text): Uint8Array => (typeof text === "string" ? Buffer.from(text, "latin1") : text);
const utf8 = (text: string): Uint8Array => Buffer.from(text, "utf8");
const join = (...parts: Text[]): Uint8Array => Buffer.concat(parts.map(latin1));
const zeros = (count: number): Uint8Array => new Uint8Array(count);

/** `n` as an unsigned 64-bit little-endian integer. */
export function u64(n: number | bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(n));
  return bytes;
}

/** A file: length field (that of `header`, unless `n` is given), header, data. */
export function file(header: Text, data: Text = zeros(16), n?: number | bigint): Uint8Array {
  const bytes = latin1(header);
  return join(u64(n ?? bytes.length), bytes, data);
}

const entry = (name: string, dtype: string, shape: string, offsets: string): string =>
  `"${name}":{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
const tensor = (shape: string, offsets: string, dtype = "F32"): string => `{${entry("t", dtype, shape, offsets)}}`;
const named = (name: string): string => `{${entry(name, "F32", "[2,2]", "[0,16]")}}`;

const valid = tensor("[2,2]", "[0,16]");
const metadata = (value: string): string => `{"__metadata__":${value},${valid.slice(1)}`;
const bigEndianLength = (n: number): Uint8Array => Uint8Array.from(u64(n)).reverse();

const cases: SafetensorsCase[] = [];

function add(
  id: string,
  note: string,
  bytes: () => Uint8Array,
  reference: "ok" | "error",
  expect: string,
  more: Pick<SafetensorsCase, "warnings" | "details" | "mentions"> = {},
): void {
  cases.push({ id, note, bytes, reference, expect, ...more });
}

const err = (id: string, note: string, bytes: () => Uint8Array, expect: string, more = {}): void => add(id, note, bytes, "error", expect, more);
const ok = (id: string, note: string, bytes: () => Uint8Array, more = {}): void => add(id, note, bytes, "ok", "ok", { warnings: 0, ...more });
/** The reference reader accepts it, we do not. */
const stricter = (id: string, note: string, bytes: () => Uint8Array, expect: string, more = {}): void => add(id, note, bytes, "ok", expect, more);

// Length field
err("S01", "empty file", () => zeros(0), "ST_HEADER_TOO_SMALL", { details: { actual: 0 } });
err("S02", "seven bytes", () => zeros(7), "ST_HEADER_TOO_SMALL", { details: { actual: 7 } });
err("S03", "length 0", () => u64(0), "ST_HEADER_BAD_JSON");
err("S04", "length 0 before data", () => join(u64(0), zeros(16)), "ST_HEADER_BAD_JSON");
err("S05", "header one byte past the end", () => file(valid, zeros(16), valid.length + 17), "ST_HEADER_PAST_EOF", {
  details: { expected: 82, actual: 81 },
  mentions: ["82 bytes", "81"],
});
err("S06", "length just over the limit", () => join(u64(100_000_001), "{}"), "ST_HEADER_TOO_LARGE");
err("S07", "length 2^63 - 1", () => join(u64(2n ** 63n - 1n), "{}"), "ST_HEADER_TOO_LARGE", { mentions: ["9223372036854775807"] });
err("S08", "length 2^64 - 1", () => join(u64(2n ** 64n - 1n), "{}"), "ST_HEADER_TOO_LARGE");
err("S09", "length + 8 wraps to 0", () => join(u64(2n ** 64n - 8n), "{}"), "ST_HEADER_TOO_LARGE");
err("S10", "big-endian length", () => join(bigEndianLength(valid.length), valid, zeros(16)), "ST_HEADER_TOO_LARGE", { mentions: ["big-endian"] });
err("S11", "length one short", () => file(valid, zeros(16), valid.length - 1), "ST_HEADER_BAD_JSON", { details: { offset: 8 + valid.length - 1 } });
err("S12", "length four too long, eats data", () => file(valid, zeros(16), valid.length + 4), "ST_HEADER_BAD_JSON", {
  details: { offset: 8 + valid.length },
});

// Text and JSON structure
err("S13", "byte FF in a name", () => file(named("\xff")), "ST_HEADER_NOT_UTF8", { details: { offset: 10 } });
err("S14", "encoded surrogate in a name", () => file(named("\xed\xa0\x80")), "ST_HEADER_NOT_UTF8", { details: { offset: 10 } });
err("S15", "array", () => file("[]"), "ST_HEADER_NOT_OBJECT");
err("S16", "string", () => file('"x"'), "ST_HEADER_NOT_OBJECT");
err("S17", "null", () => file("null"), "ST_HEADER_NOT_OBJECT");
err("S18", "text after the object", () => file("{}x"), "ST_HEADER_BAD_JSON", { details: { offset: 10 } });
ok("S19", "two spaces first", () => file(`  ${valid}`));
err("S20", "four NUL bytes at the end", () => file(`${valid}\0\0\0\0`), "ST_HEADER_NUL_PADDING", { details: { offset: 8 + valid.length } });
ok("S21", "four spaces at the end", () => file(`${valid}    `));
ok("S22", "other white space at the end", () => file(`${valid}\t\n\r `));
err("S23", "byte order mark", () => file(`\xef\xbb\xbf${valid}`), "ST_HEADER_BAD_JSON", { details: { offset: 8 } });

// Keys that stand twice
const twice = (a: string, b: string, data: number) => () => file(`{${a},${b}}`, zeros(data));
stricter("S24", "name twice, same bytes", twice(entry("w", "U8", "[4]", "[0,4]"), entry("w", "F32", "[1]", "[0,4]"), 4), "ST_DUPLICATE_KEY");
err("S25", "name twice, other bytes", twice(entry("w", "F32", "[1]", "[0,4]"), entry("w", "F32", "[1]", "[4,8]"), 8), "ST_DUPLICATE_KEY");
err("S26", "__metadata__ twice", () => file(`{"__metadata__":{},"__metadata__":{},${valid.slice(1)}`), "ST_DUPLICATE_KEY");
stricter("S27", "key twice in __metadata__", () => file(metadata('{"a":"1","a":"2"}')), "ST_DUPLICATE_KEY", { mentions: ['"a"'] });
err("S28", "dtype twice", () => file(valid.replace('"shape"', '"dtype":"F32","shape"')), "ST_DUPLICATE_KEY", { mentions: ['"dtype"'] });

// __metadata__
err("S29", "metadata value is a number", () => file(metadata('{"a":1}')), "ST_BAD_METADATA");
err("S30", "metadata value is an object", () => file(metadata('{"a":{"b":"c"}}')), "ST_BAD_METADATA");
err("S31", "metadata is an array", () => file(metadata("[]")), "ST_BAD_METADATA");
ok("S32", "metadata is null", () => file(metadata("null")));
ok("S33", "metadata only", () => file('{"__metadata__":{"format":"pt"}}', ""));

// Fields
err("S34", "no dtype", () => file('{"t":{"shape":[2,2],"data_offsets":[0,16]}}'), "ST_MISSING_FIELD", { details: { expected: "dtype" } });
err("S35", "no shape", () => file('{"t":{"dtype":"F32","data_offsets":[0,16]}}'), "ST_MISSING_FIELD", { details: { expected: "shape" } });
err("S36", "no data_offsets", () => file('{"t":{"dtype":"F32","shape":[2,2]}}'), "ST_MISSING_FIELD", { details: { expected: "data_offsets" } });
ok("S37", "extra field", () => file(valid.replace('"dtype"', '"x":1,"dtype"')), { warnings: 1 });
err("S38", "unknown dtype", () => file(tensor("[2,2]", "[0,16]", "F33")), "ST_BAD_DTYPE", { mentions: ["BF16", "F64"] });
err("S39", "dtype in lower case", () => file(tensor("[2,2]", "[0,16]", "f32")), "ST_BAD_DTYPE", { mentions: ["mean F32"] });
err("S40", "dtype is a number", () => file(valid.replace('"F32"', "3")), "ST_BAD_DTYPE");

// Shapes
err("S41", "negative sizes, positive product", () => file(tensor("[-2,-2]", "[0,16]")), "ST_BAD_SHAPE");
err("S42", "size 2.0", () => file(tensor("[2.0,2]", "[0,16]")), "ST_BAD_SHAPE");
err("S43", "size 2e0", () => file(tensor("[2e0,2]", "[0,16]")), "ST_BAD_SHAPE");
err("S44", "size is a string", () => file(tensor('["2",2]', "[0,16]")), "ST_BAD_SHAPE");
err("S45", "shape is a number", () => file(tensor("4", "[0,16]")), "ST_BAD_SHAPE");
err("S46", "size 2^64 - 2", () => file(tensor("[2,18446744073709551614]", "[0,16]")), "ST_SHAPE_OVERFLOW");
err("S47", "size 2^63 - 1", () => file(tensor("[2,9223372036854775807]", "[0,16]")), "ST_SHAPE_OVERFLOW");
err("S48", "size 2^64", () => file(tensor("[18446744073709551616]", "[0,16]")), "ST_SHAPE_OVERFLOW", { mentions: ["18446744073709551616"] });
err("S49", "product wraps to 0", () => file(tensor("[4294967296,4294967296]", "[0,0]"), ""), "ST_SHAPE_OVERFLOW");
stricter("S50", "overflow hidden by a 0", () => file(tensor("[0,9223372036854775808,4]", "[0,0]"), ""), "ST_SHAPE_OVERFLOW");
const ones = (count: number): string => `[${Array(count).fill(1).join(",")}]`;
stricter("S51", "65 dimensions", () => file(tensor(ones(65), "[0,4]"), zeros(4)), "ST_TOO_MANY_DIMS");
stricter("S52", "100,000 dimensions", () => file(tensor(ones(100_000), "[0,4]"), zeros(4)), "ST_TOO_MANY_DIMS");

// Offsets
err("S53", "falling offsets", () => file(tensor("[2,2]", "[16,0]")), "ST_BAD_OFFSETS");
err("S54", "one offset", () => file(tensor("[2,2]", "[16]")), "ST_BAD_OFFSETS");
err("S55", "three offsets", () => file(tensor("[2,2]", "[0,16,32]")), "ST_BAD_OFFSETS");
err("S56", "negative offset", () => file(tensor("[2,2]", "[-16,0]")), "ST_BAD_OFFSETS");
err("S57", "offset 16.0", () => file(tensor("[2,2]", "[0,16.0]")), "ST_BAD_OFFSETS");
err("S58", "starts past the data", () => file(tensor("[2,2]", "[16,32]")), "ST_OFFSET_GAP", { details: { expected: 0, actual: 16 } });
err("S59", "first begins at 4", () => file(tensor("[2,2]", "[4,20]"), zeros(20)), "ST_OFFSET_GAP", { details: { expected: 0, actual: 4 } });
const two =
  (a: string, b: string, data: number, shapeA = "[1]", shapeB = "[1]") =>
  () =>
    file(`{${entry("k_proj", "F32", shapeA, a)},${entry("v_proj", "F32", shapeB, b)}}`, zeros(data));
err("S60", "gap between tensors", two("[0,4]", "[8,12]", 12), "ST_OFFSET_GAP", { mentions: ["k_proj", "v_proj"] });
err("S61", "overlap", two("[0,8]", "[4,12]", 12, "[2]", "[2]"), "ST_OFFSET_OVERLAP", { mentions: ["k_proj", "v_proj"] });
err("S62", "two tensors, same bytes", two("[0,8]", "[0,8]", 8, "[2]", "[2]"), "ST_OFFSET_OVERLAP", { mentions: ["k_proj", "v_proj"] });
err("S63", "shape larger than offsets", () => file(tensor("[1000,1000]", "[0,16]")), "ST_SIZE_MISMATCH", {
  details: { expected: 4_000_000, actual: 16 },
});
err("S64", "shape smaller than offsets", () => file(tensor("[1]", "[0,16]")), "ST_SIZE_MISMATCH", { details: { expected: 4, actual: 16 } });
err("S65", "one byte short", () => file(valid, zeros(15)), "ST_TRUNCATED_DATA", { mentions: ["incomplete"], details: { expected: 16, actual: 15 } });
err("S66", "one byte more", () => file(valid, zeros(17)), "ST_TRAILING_DATA", { mentions: ["1 byte", "allowTrailingBytes"] });
err("S67", "end record of a ZIP appended", () => file(valid, join(zeros(16), "PK\x05\x06", zeros(18))), "ST_TRAILING_DATA");
err("S68", "header only", () => file(valid, ""), "ST_TRUNCATED_DATA");
ok("S69", "scalar", () => file(tensor("[]", "[0,4]"), zeros(4)));
ok("S70", "empty tensor", () => file(tensor("[0]", "[0,0]"), ""));
ok("S71", "empty tensor before another", two("[0,0]", "[0,4]", 4, "[0]"));
err("S72", "empty tensor inside another", two("[4,4]", "[0,8]", 8, "[0]", "[2]"), "ST_BAD_OFFSETS");

// Names
stricter("S73", "empty name", () => file(named("")), "ST_BAD_NAME");
stricter("S74", "NUL in a name", () => file(named("w\\u0000x")), "ST_BAD_NAME");
ok("S75", "name __proto__", () => file(named("__proto__")));
ok("S76", "name ../../x", () => file(named("../../x")));
stricter("S77", "name of 1,000,000 bytes", () => file(named("n".repeat(1_000_000))), "ST_BAD_NAME");
err("S78", "lone surrogate as an escape", () => file(named("\\ud800")), "ST_HEADER_BAD_JSON");

// Hostile or sloppy JSON
err("S79", "200 nested arrays", () => file(`{"t":${"[".repeat(200)}${"]".repeat(200)}}`), "ST_NESTING_TOO_DEEP");
err("S80", "100,000 nested arrays", () => file("[".repeat(100_000) + "]".repeat(100_000)), "ST_NESTING_TOO_DEEP");
err("S81", "trailing comma", () => file(`${valid.slice(0, -1)},}`), "ST_HEADER_BAD_JSON");
err("S82", "single quotes", () => file(valid.replaceAll('"', "'")), "ST_HEADER_BAD_JSON");
err("S83", "comment", () => file(`/*x*/${valid}`), "ST_HEADER_BAD_JSON");
err("S84", "NaN", () => file(metadata('{"a":NaN}')), "ST_HEADER_BAD_JSON");
err("S85", "sizes beyond 2^53", () => file(tensor("[9007199254740993]", "[0,9007199254740993]", "U8")), "ST_TRUNCATED_DATA", {
  mentions: ["9007199254740993"],
});
err("S86", "leading zero", () => file(tensor("[2,2]", "[0,016]")), "ST_HEADER_BAD_JSON");
err("S87", "plus sign", () => file(tensor("[2,2]", "[0,+16]")), "ST_HEADER_BAD_JSON");
err("S88", "F4", () => file(tensor("[3]", "[0,2]", "F4"), zeros(2)), "ST_BAD_DTYPE");
ok("S89", "BOOL holding 2", () => file(tensor("[2]", "[0,2]", "BOOL"), Uint8Array.of(2, 0)));
ok("S90", "C64", () => file(tensor("[2]", "[0,16]", "C64")));
err("S91", "offset -0", () => file(tensor("[2,2]", "[-0,16]")), "ST_BAD_OFFSETS");

// Files of other types
const foreign = (id: string, detected: string, bytes: () => Uint8Array, mention: string): void =>
  err(id, detected, bytes, "WRONG_FILE_TYPE", { details: { detected }, mentions: [mention] });
foreign("S92", "pickle", () => join(Uint8Array.of(0x80, 2, 0x7d, 0x71, 0, 0x58, 1, 0, 0, 0), "aq\x01K\x01s."), "safetensors");
foreign("S93", "pytorch-zip", () => join("PK\x03\x04", Uint8Array.of(0, 0), zeros(24), "archive/data.pkl", zeros(40)), "Convert it with");
foreign("S94", "html", () => utf8(`<!DOCTYPE html><html><head><title>404</title></head><body>${"Not found ".repeat(20)}</body></html>`), "Download");
foreign(
  "S95",
  "git-lfs-pointer",
  () => utf8(`version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 269060552\n`),
  "git lfs pull",
);
foreign("S96", "gguf", () => join("GGUF", Uint8Array.of(3, 0, 0, 0), u64(1), u64(1), zeros(40)), "GGUF");
foreign("S97", "gzip", () => join(Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3), zeros(60)), "Decompress");

// Odd but right, and large
ok("S98", "header length not a multiple of 8", () => file(`${valid}  `));
stricter("S99", "200,001 tensors", () => file(manyTensors(200_001), zeros(200_001)), "ST_TOO_MANY_TENSORS");
err(
  "S100",
  "10,000 tensors on the same bytes",
  () => file(`{${Array.from({ length: 10_000 }, (_, i) => entry(`t${i}`, "F32", "[2,2]", "[0,16]")).join()}}`),
  "ST_OFFSET_OVERLAP",
);
err("S101", "99,999,999 spaces", () => file(Buffer.alloc(99_999_999, " "), ""), "ST_HEADER_BAD_JSON");
ok("S102", "NaN and infinity as data", () => file(valid, new Uint8Array(Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY, 0).buffer)));

/** Header of `count` tensors of one byte each. */
export function manyTensors(count: number): string {
  return `{${Array.from({ length: count }, (_, i) => entry(`t${i}`, "U8", "[1]", `[${i},${i + 1}]`)).join()}}`;
}

export const safetensorsCases: readonly SafetensorsCase[] = cases;

/** Valid files for the sweeps: every byte of their data belongs to a tensor, so every proper prefix is invalid. */
export const seeds: readonly Uint8Array[] = [
  file(valid),
  file(
    `{"__metadata__":{"format":"pt","n":"\\u00e9"},${entry("a", "BF16", "[2,3]", "[8,20]")},${entry("b", "I64", "[]", "[0,8]")},${entry("c", "U8", "[0,9]", "[20,20]")}} `,
    Uint8Array.from({ length: 20 }, (_, i) => i),
  ),
  file(
    utf8(
      `{"é\\ud83d\\ude00/x": {"shape" : [ 1 , 3 ], "x": [1.5e3, {"y": null}], "data_offsets" : [0, 3], "dtype" : "BOOL"},"z":{"dtype":"F16","shape":[1],"data_offsets":[3,5]}}   `,
    ),
    Uint8Array.of(1, 0, 1, 0, 60),
  ),
];
