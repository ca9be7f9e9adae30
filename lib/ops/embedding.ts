import { weightDTypes } from "../tensor/dtype.js";
import { defineOp, fold } from "./op.js";
import { at, fromIndex, lastSize } from "./reference.js";

export const embeddingOp = defineOp({
  name: "embedding",
  signature: "tokens[...], table[V, D] -> y[..., D]",
  formula: "y = the row of the table at each token",
  dtypes: { tokens: ["i32"], table: weightDTypes },
  output: () => "f32",
  gradients: ["table"],
  keeps: ["tokens"],
  packed: ["tokens"],
  defaults: {},
  forward: (k, { y, tokens, table }) => k.embedding_forward(y, fold(tokens, y?.rows ?? 0, 1), table),
  backward: (k, { dtable, dy, tokens }) => k.embedding_backward(dtable, dy, fold(tokens, dy?.rows ?? 0, 1)),
  reference: ({ tokens, table }) => {
    const size = lastSize(table);
    return fromIndex([...tokens.shape, size], (i) => at(table, at(tokens, Math.floor(i / size)) * size + (i % size)));
  },
  tolerance: "reduction",
  values: { tokens: "below V" },
});
