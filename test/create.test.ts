import { expect, test } from "vitest";
import { ones, tensor, zeros } from "../lib/index.js";

test.each([
  ["i32", "BAD_ARGUMENT"],
  [5, "BAD_ARGUMENT"],
  [null, "BAD_ARGUMENT"],
  [{ dtyp: "i32" }, "UNKNOWN_OPTION"],
])("tensor, zeros and ones refuse %j as their options", (options, code) => {
  const refused = expect.objectContaining({ code });
  expect(() => tensor([1], [1], options as never)).toThrow(refused);
  expect(() => zeros([1], options as never)).toThrow(refused);
  expect(() => ones([1], options as never)).toThrow(refused);
});

test("a dtype that is written as the options is named in the advice", () => {
  expect(() => tensor([1], [1], "i32" as never)).toThrow('Write { dtype: "i32" }');
});
