/** @file A language model that says what it is told: after each token the one that a script names. */
import { CausalLm, type CausalLmOptions, parseModelConfig, tensor } from "../../lib/index.js";
import { tiny } from "./config-kit.js";

/**
 * A model whose layers add nothing and whose head has a 1 where the script says: after `script[i]` comes `script[i + 1]`. No token may stand twice
 * in the script.
 */
export function scriptedModel(script: readonly number[], vocabSize: number, options: CausalLmOptions & { readonly eos?: number } = {}): CausalLm {
  if (new Set(script).size !== script.length) throw new Error(`a token stands twice in ${script.join(", ")}`);
  const size = Math.ceil(vocabSize / 4) * 4;
  const file = tiny("llama", { vocab_size: vocabSize, hidden_size: size, num_hidden_layers: 1, eos_token_id: options.eos ?? null });
  const model = new CausalLm(parseModelConfig(new TextEncoder().encode(JSON.stringify(file)), "config.json"), options);
  model.initialize(0);
  const parameters = model.parameters();
  const set = (name: string, at: (row: number, column: number) => boolean): void => {
    const parameter = parameters.get(name) as NonNullable<ReturnType<typeof parameters.get>>;
    const [rows = 0, columns = 0] = parameter.shape;
    const data = Float32Array.from({ length: rows * columns }, (_, i) => (at(Math.floor(i / columns), i % columns) ? 1 : 0));
    const value = tensor(data, [rows, columns]);
    parameter.assign(value);
    value.dispose();
  };
  const next = new Map(script.slice(1).map((id, i) => [script[i] as number, id]));
  set("model.embed_tokens.weight", (row, column) => row === column);
  set("model.layers.0.self_attn.o_proj.weight", () => false);
  set("model.layers.0.mlp.down_proj.weight", () => false);
  set("lm_head.weight", (row, column) => next.get(column) === row);
  return model;
}
