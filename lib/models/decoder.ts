/**
 * @file The decoder of the Llama family (llama, mistral, qwen2, qwen3): pre-norm layers of attention with rotary positions and SwiGLU. Modules
 * and fields have the names of the weight files, so that paths of parameters are names of tensors.
 */
import { currentTape } from "../autograd/apply.js";
import { checkpoint } from "../autograd/checkpoint.js";
import { add, attention, crossEntropy, linearCrossEntropy, reshape, rope, slice, swiglu } from "../functions.js";
import { LowrankError } from "../native/errors.js";
import { Embedding, Linear, Module, RmsNorm, ropeTable } from "../nn/index.js";
import type { FloatDType, QuantizedDType } from "../tensor/dtype.js";
import { checkQuantizable } from "../tensor/quantize.js";
import { outsideScopes, tidy } from "../tensor/scope.js";
import { type Tensor, viewOf } from "../tensor/tensor.js";
import type { Tokenizer } from "../text/index.js";
import { type DecoderBatch, decoderBatch, shiftedLabels } from "./batch.js";
import { type ModelConfig, ropeFrequencies } from "./config.js";
import type { GenerationDefaults } from "./generation-config.js";
import { continuedBatch, type Extend, type KvCache, rotationOf } from "./kv-cache.js";

/** What all layers share in one forward pass. */
interface Pass extends Pick<DecoderBatch, "positions" | "spans"> {
  /** [P, K] */
  readonly table: Tensor;
  /** Puts the keys and values of the layer into a cache, and gives those of all tokens so far. */
  readonly extend?: Extend | undefined;
}

interface Build {
  readonly config: ModelConfig;
  readonly dtype: FloatDType;
  readonly quantize: QuantizedDType | undefined;
}

/** A matrix of a layer. @throws LowrankError BAD_SHAPE when it cannot be quantised as it should */
function layerLinear({ dtype, quantize }: Build, name: string, from: number, to: number, bias: boolean): Linear {
  if (quantize !== undefined) checkQuantizable(`${name}.weight`, [to, from], quantize);
  return new Linear(from, to, { bias, dtype: quantize ?? dtype });
}

class Attention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly o_proj: Linear;
  readonly q_norm: RmsNorm | undefined;
  readonly k_norm: RmsNorm | undefined;

  constructor(
    readonly build: Build,
    readonly window: number | undefined,
  ) {
    super();
    const { hiddenSize, heads, kvHeads, headDim, attentionBias, qkNorm, normEps } = build.config;
    this.q_proj = layerLinear(build, "q_proj", hiddenSize, heads * headDim, attentionBias.q);
    this.k_proj = layerLinear(build, "k_proj", hiddenSize, kvHeads * headDim, attentionBias.k);
    this.v_proj = layerLinear(build, "v_proj", hiddenSize, kvHeads * headDim, attentionBias.v);
    this.o_proj = layerLinear(build, "o_proj", heads * headDim, hiddenSize, attentionBias.o);
    this.q_norm = qkNorm ? new RmsNorm(headDim, { eps: normEps }) : undefined;
    this.k_norm = qkNorm ? new RmsNorm(headDim, { eps: normEps }) : undefined;
  }

  /** x [B, T, D] */
  forward(x: Tensor, pass: Pass): Tensor {
    const { heads, kvHeads, headDim } = this.build.config;
    const [batch, length] = x.shape;
    const split = (y: Tensor, count: number): Tensor => reshape(y, [batch, length, count, headDim]);
    const turn = (y: Tensor, norm: RmsNorm | undefined): Tensor => rope(norm?.forward(y) ?? y, pass.table, pass.positions);
    const q = turn(split(this.q_proj.forward(x), heads), this.q_norm);
    const k = turn(split(this.k_proj.forward(x), kvHeads), this.k_norm);
    const v = split(this.v_proj.forward(x), kvHeads);
    const [keys, values] = pass.extend?.(k, v) ?? [k, v];
    const y = attention(q, keys, values, { spans: pass.spans.get(this.window) as Tensor });
    return this.o_proj.forward(reshape(y, [batch, length, heads * headDim]));
  }
}

class FeedForward extends Module {
  readonly gate_proj: Linear;
  readonly up_proj: Linear;
  readonly down_proj: Linear;

  constructor(build: Build) {
    super();
    const { hiddenSize, intermediateSize, mlpBias: bias } = build.config;
    this.gate_proj = layerLinear(build, "gate_proj", hiddenSize, intermediateSize, bias);
    this.up_proj = layerLinear(build, "up_proj", hiddenSize, intermediateSize, bias);
    this.down_proj = layerLinear(build, "down_proj", intermediateSize, hiddenSize, bias);
  }

  forward(x: Tensor): Tensor {
    return this.down_proj.forward(swiglu(this.gate_proj.forward(x), this.up_proj.forward(x)));
  }
}

class DecoderLayer extends Module {
  readonly input_layernorm: RmsNorm;
  readonly self_attn: Attention;
  readonly post_attention_layernorm: RmsNorm;
  readonly mlp: FeedForward;

  constructor(build: Build, window: number | undefined) {
    super();
    const { hiddenSize, normEps: eps } = build.config;
    this.input_layernorm = new RmsNorm(hiddenSize, { eps });
    this.self_attn = new Attention(build, window);
    this.post_attention_layernorm = new RmsNorm(hiddenSize, { eps });
    this.mlp = new FeedForward(build);
  }

  forward(x: Tensor, pass: Pass): Tensor {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), pass));
    return add(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }
}

class Decoder extends Module {
  readonly embed_tokens: Embedding;
  readonly layers: readonly DecoderLayer[];
  readonly norm: RmsNorm;

  constructor(build: Build) {
    super();
    const { vocabSize, hiddenSize, windows, normEps } = build.config;
    this.embed_tokens = new Embedding(vocabSize, hiddenSize, { dtype: build.dtype, std: 0.02 });
    this.layers = windows.map((window) => new DecoderLayer(build, window));
    this.norm = new RmsNorm(hiddenSize, { eps: normEps });
  }
}

/** Rows of tokens and, for each token, its label: the token itself where it is trained, −100 where not. */
export interface TokenBatch {
  readonly tokens: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
  /** For rows that hold several texts: where each begins. They do not see each other, and their positions start at 0. */
  readonly starts?: readonly (readonly number[])[];
}

/** What the loss reads: the batch, the labels of what each position predicts, and the angles [P, K]. */
export interface LossInputs extends DecoderBatch {
  readonly labels: Tensor;
  readonly table: Tensor;
}

export interface CausalLmOptions {
  readonly dtype?: FloatDType;
  readonly quantize?: QuantizedDType | undefined;
  readonly tokenizer?: Tokenizer | undefined;
  readonly generation?: GenerationDefaults | undefined;
}

/** Runs `fn` and frees what it made; in valueAndGrad that is left to its end, since checkpointed layers are computed again there. */
const freeing = <T>(fn: () => T): T => (currentTape() === undefined ? tidy(fn) : fn());

/** Tables grow in steps, so that few are made. */
const tableStep = 256;

/** A causal language model of the Llama family. */
export class CausalLm extends Module {
  readonly model: Decoder;
  readonly lm_head: Linear;
  /** Whether layers are computed again in the backward walk instead of kept: less memory for about a third more time. */
  gradientCheckpointing = false;
  /** What `generate` does where its options say nothing. */
  readonly generation: GenerationDefaults;
  readonly #tokenizer: Tokenizer | undefined;
  #disposed = false;
  #table: { readonly rotation: number; readonly positions: number; readonly tensor: Tensor } | undefined;

  /**
   * @param dtype how the matrices are stored; norms and biases are f32. Only f32 weights can be trained themselves.
   * @param quantize how the matrices of the layers are stored instead; `loadModel` gives them values
   * @param tokenizer what `model.tokenizer` gives
   * @param generation from generation_config.json
   */
  constructor(
    readonly config: ModelConfig,
    { dtype = "f32", quantize, tokenizer, generation = {} }: CausalLmOptions = {},
  ) {
    super();
    this.generation = generation;
    this.#tokenizer = tokenizer;
    const { vocabSize, hiddenSize, tieEmbeddings } = config;
    this.model = new Decoder({ config, dtype, quantize });
    this.lm_head = new Linear(hiddenSize, vocabSize, {
      bias: false,
      dtype,
      isOutputLayer: true,
      ...(tieEmbeddings ? { weight: this.model.embed_tokens.weight } : {}),
    });
  }

  /** @throws LowrankError TOKENIZER_MISSING when the model's folder has no tokenizer.json */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer !== undefined) return this.#tokenizer;
    const hint = "Put the file beside config.json and load the model again; generateTokens and loss take token ids, without a tokenizer.";
    throw new LowrankError("TOKENIZER_MISSING", `tokenizer.json: the model has no tokenizer, because its folder has no such file. ${hint}`, {
      file: "tokenizer.json",
      hint,
    });
  }

  /** Whether there is a `tokenizer`. */
  get hasTokenizer(): boolean {
    return this.#tokenizer !== undefined;
  }

  /**
   * The logits of every position.
   * @param tokens rows of token ids; shorter ones are padded on the right, and what stands there means nothing.
   * @returns [B, T, V], f32
   */
  logits(tokens: readonly (readonly number[])[]): Tensor {
    return freeing(() => {
      const batch = decoderBatch("logits", tokens, this.config);
      return this.lm_head.forward(this.#hidden(batch, this.#ropeTable(batch.length)));
    });
  }

  /**
   * The mean cross-entropy of the labels that count; 0 when none does. Labels are aligned with the tokens as in Hugging Face's models: −100 is
   * ignored, the shift by one happens here.
   * @returns a scalar
   */
  loss(batch: TokenBatch): Tensor<[], "f32"> {
    return freeing(() => this.lossOf(this.lossInputs(batch)));
  }

  /** What `lossOf` reads of a batch. The tensors belong to the scope of the caller. @internal */
  lossInputs({ tokens, labels, starts }: TokenBatch): LossInputs {
    const batch = decoderBatch("loss", tokens, this.config, starts);
    return { ...batch, labels: shiftedLabels("loss", tokens, labels, batch.length, starts), table: this.#ropeTable(batch.length) };
  }

  /** The loss, from tensors alone: what it submits depends on their shapes and not on their elements. @internal */
  lossOf({ labels, table, ...batch }: LossInputs): Tensor<[], "f32"> {
    const hidden = this.#hidden(batch, table);
    // An adapter on the head needs its logits.
    if (this.lm_head.branches.some(({ enabled }) => enabled)) return crossEntropy(this.lm_head.forward(hidden), labels);
    return linearCrossEntropy(hidden, this.lm_head.weight.value, labels);
  }

  /**
   * The logits [V] of the token that follows `ids`. `cache` holds keys and values of the first `cache.length` of them, and then of all: only
   * the others are computed. Where the rotary frequencies change with the length (`rotationOf`), all are computed anew.
   * @internal
   */
  nextLogits(ids: readonly number[], cache: KvCache): Tensor {
    const rotation = rotationOf(this.config, ids.length);
    if (rotation !== cache.rotation) cache.clear();
    cache.rotation = rotation;
    const added = ids.slice(cache.length);
    cache.reserve(added.length);
    const logits = tidy(() => {
      const hidden = this.#hidden(continuedBatch(added, cache.length, this.config), this.#ropeTable(ids.length), cache);
      const last = slice(reshape(hidden, [added.length, this.config.hiddenSize]), 0, added.length - 1);
      return reshape(this.lm_head.forward(last), [this.config.vocabSize]);
    });
    cache.advance(added.length);
    return logits;
  }

  override dispose(): void {
    super.dispose();
    this.#table?.tensor.dispose();
    this.#table = undefined;
    this.#disposed = true;
  }

  /** [B, T, D], behind the last norm. */
  #hidden({ tokens, positions, spans }: DecoderBatch, table: Tensor, cache?: KvCache): Tensor {
    const pass: Pass = { positions, spans, table };
    let x: Tensor = this.model.embed_tokens.forward(tokens);
    this.model.layers.forEach((layer, i) => {
      const run = (input: Tensor): Tensor => layer.forward(input, cache === undefined ? pass : { ...pass, extend: cache.extend(i) });
      const before = x;
      x = this.gradientCheckpointing && cache === undefined ? checkpoint(run, before) : tidy(() => run(before));
      before.dispose();
    });
    return this.model.norm.forward(x);
  }

  #ropeTable(length: number): Tensor {
    if (this.#disposed) throw new LowrankError("DISPOSED", "The language model was disposed before this use. Load it again, or dispose it later.");
    const rotation = rotationOf(this.config, length);
    if (this.#table === undefined || this.#table.rotation !== rotation || this.#table.positions < length) {
      const { inverse, attentionFactor } = ropeFrequencies(this.config, length);
      const positions = Math.ceil(length / tableStep) * tableStep;
      this.#table?.tensor.dispose();
      this.#table = { rotation, positions, tensor: outsideScopes(() => ropeTable(inverse, positions, attentionFactor)) };
    }
    // A handle of its own: a later call may replace the table before this one's layers are computed again.
    const { tensor } = this.#table;
    return viewOf(tensor, tensor.shape, tensor);
  }
}
