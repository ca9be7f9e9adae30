"""Writes test/fixtures/config/transformers.json: what transformers makes of many config.json files, and its rotary frequencies.

    python3 -m venv /tmp/peft && /tmp/peft/bin/pip install torch transformers
    /tmp/peft/bin/python scripts/make-config-fixture.py

A file is read by AutoConfig and its model is built on the meta device, so biases, norms and head sizes are those of real modules. The
frequencies are computed by transformers' own functions with every float32 widened to float64, and compared with its float32 modules.
"""
import dataclasses
import json
import platform
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, modeling_rope_utils
from transformers.models.llama import modeling_llama

OUT = Path(__file__).parent.parent / "test/fixtures/config/transformers.json"
FAMILIES = ["llama", "mistral", "qwen2", "qwen3"]

LLAMA3 = {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}
TINY = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}

# The shapes of published models, and the keys that their files carry.
FILES = {
    "SmolLM2-135M-Instruct": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
        "is_llama_config": True, "max_position_embeddings": 8192, "mlp_bias": False, "model_type": "llama", "num_attention_heads": 9,
        "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}}, "transformers_version": "4.42.3",
        "use_cache": True, "vocab_size": 49152,
    },
    "Llama-3.2-1B-Instruct": {
        "_name_or_path": "somewhere", "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
        "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": LLAMA3, "rope_theta": 500000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0.dev0", "unsloth_fixed": True, "use_cache": True, "vocab_size": 128256,
    },
    "TinyLlama-1.1B-Chat": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5632, "max_position_embeddings": 2048, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.35.0", "use_cache": True, "vocab_size": 32000,
    },
    "llama-7b": {
        "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 11008, "initializer_range": 0.02, "max_sequence_length": 2048, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 32, "pad_token_id": 0, "rms_norm_eps": 1e-06, "torch_dtype": "float16",
        "transformers_version": "4.28.0.dev0", "use_cache": True, "vocab_size": 32000,
    },
    "Mistral-7B-v0.1": {
        "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
        "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.34.0.dev0",
        "use_cache": True, "vocab_size": 32000,
    },
    "Mistral-7B-Instruct-v0.3": {
        "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768,
        "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.42.0.dev0", "use_cache": True, "vocab_size": 32768,
    },
    "Ministral-8B-Instruct-2410": {
        "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 128,
        "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 12288,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "sliding_attention"] * 9,
        "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 36,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 100000000.0, "sliding_window": 32768, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "transformers_version": "4.46.0.dev0", "use_cache": True, "vocab_size": 131072,
    },
    "Qwen2.5-0.5B": {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
        "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02, "intermediate_size": 4864, "max_position_embeddings": 32768,
        "max_window_layers": 24, "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1", "use_cache": True, "use_mrope": False, "use_sliding_window": False, "vocab_size": 151936,
    },
    "Qwen2.5-7B-Instruct with yarn": {
        "architectures": ["Qwen2ForCausalLM"], "bos_token_id": 151643, "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 3584,
        "intermediate_size": 18944, "max_position_embeddings": 32768, "max_window_layers": 28, "model_type": "qwen2",
        "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}, "sliding_window": 131072,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "use_sliding_window": False, "vocab_size": 152064,
    },
    "Qwen3-0.6B": {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
        "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
        "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": None,
        "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False, "vocab_size": 151936,
    },
    "Phi-3-mini as mistral": {
        "architectures": ["MistralForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1, "embd_pdrop": 0.0,
        "eos_token_id": 32000, "hidden_act": "silu", "hidden_size": 3072, "initializer_range": 0.02, "intermediate_size": 8192,
        "max_position_embeddings": 4096, "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 32, "original_max_position_embeddings": 4096, "pad_token_id": 32009, "resid_pdrop": 0.0,
        "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0, "sliding_window": 2048, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "transformers_version": "4.40.0", "unsloth_version": "2024.9", "use_cache": True, "vocab_size": 32064,
    },
    # Rules, one by one.
    "llama with all biases": {"model_type": "llama", **TINY, "attention_bias": True, "mlp_bias": True},
    "llama with head_dim": {"model_type": "llama", **TINY, "head_dim": 24},
    "llama with null kv heads and null head_dim": {"model_type": "llama", **TINY, "num_key_value_heads": None, "head_dim": None},
    "llama without special tokens": {"model_type": "llama", **TINY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None},
    "llama, new layout": {"model_type": "llama", **TINY, "dtype": "float16", "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}},
    "llama, both layouts": {"model_type": "llama", **TINY, "rope_theta": 5e5, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    "llama, base at the top": {"model_type": "llama", **TINY, "rope_theta": 5e5, "rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    "llama, empty rope_scaling": {"model_type": "llama", **TINY, "rope_scaling": {}},
    "llama, original length at the top": {"model_type": "llama", **TINY, "original_max_position_embeddings": 512,
                                          "rope_scaling": {k: v for k, v in LLAMA3.items() if k != "original_max_position_embeddings"}},
    "llama, no original length": {"model_type": "llama", **TINY, "max_position_embeddings": 4096,
                                  "rope_scaling": {k: v for k, v in LLAMA3.items() if k != "original_max_position_embeddings"}},
    "yarn without factor": {"model_type": "llama", **TINY, "max_position_embeddings": 4096,
                            "rope_scaling": {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 512}},
    "mistral without a word on windows": {"model_type": "mistral", **TINY},
    "mistral with window 7": {"model_type": "mistral", **TINY, "sliding_window": 7},
    "mistral with layer_types": {"model_type": "mistral", **TINY, "head_dim": 16, "sliding_window": 7,
                                 "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]},
    "mistral with null layer_types": {"model_type": "mistral", **TINY, "head_dim": 16, "layer_types": None},
    "qwen2 with windows": {"model_type": "qwen2", **TINY, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 3},
    "qwen2 with the default window": {"model_type": "qwen2", **TINY, "use_sliding_window": True, "max_window_layers": 0},
    "qwen2 with windows and nothing about layers": {"model_type": "qwen2", **TINY, "num_hidden_layers": 31, "use_sliding_window": True},
    "qwen3 with windows and nothing about layers": {"model_type": "qwen3", **TINY, "num_hidden_layers": 31, "use_sliding_window": True},
    "qwen2 with windows that are off": {"model_type": "qwen2", **TINY, "sliding_window": 9, "max_window_layers": 1},
    "qwen2 with head_dim": {"model_type": "qwen2", **TINY, "head_dim": 24},
    "qwen2 with layer_types": {"model_type": "qwen2", **TINY, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0,
                               "layer_types": ["full_attention", "sliding_attention", "attention", "sliding_attention"]},
    "qwen3 without head_dim": {"model_type": "qwen3", **TINY},
    "qwen3 with biases and windows": {"model_type": "qwen3", **TINY, "attention_bias": True, "use_sliding_window": True,
                                      "sliding_window": 5, "max_window_layers": 2, "eos_token_id": [3, 4]},
}

SIZES = {"head_dim": 64, "max_position_embeddings": 4096}
LONG = {"short_factor": [1.0 + i / 31 for i in range(32)], "long_factor": [1.5 + i * i / 9 for i in range(32)]}
# (rope_parameters, other sizes, sequence lengths)
ROPES = [
    ({"rope_type": "default", "rope_theta": 10000.0}, {}, [None]),
    ({"rope_type": "default", "rope_theta": 500000.0}, {"head_dim": 128}, [None, 9000]),
    ({"rope_type": "default", "rope_theta": 1000000.0}, {"head_dim": 2}, [None]),
    ({"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, {}, [None, 9000]),
    ({"rope_type": "linear", "rope_theta": 25000.0, "factor": 1.5}, {"head_dim": 10}, [None]),
    ({"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}, {}, [None, 1, 4096, 4097, 20000]),
    ({"rope_type": "dynamic", "rope_theta": 500000.0, "factor": 8.0}, {"head_dim": 4, "max_position_embeddings": 100}, [None, 101, 1000]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 1024}, {}, [None, 9000]),
    ({"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0}, {"head_dim": 128, "max_position_embeddings": 32768}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 1.0, "original_max_position_embeddings": 4096}, {}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": None, "original_max_position_embeddings": 512}, {}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": None, "original_max_position_embeddings": 8192}, {}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "original_max_position_embeddings": 256, "beta_fast": 8.0, "beta_slow": 2.0}, {}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "original_max_position_embeddings": 256, "truncate": False}, {}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "original_max_position_embeddings": 256, "attention_factor": 0.75}, {}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.707, "mscale_all_dim": 1.25}, {}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.707}, {}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.707, "mscale_all_dim": 0}, {}, [None]),
    # Both ends of the ramp at 0, at the last dimension, and beyond it.
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4}, {}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10.0, "factor": 4.0, "original_max_position_embeddings": 4096}, {"head_dim": 8}, [None]),
    ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512, "beta_fast": 3, "beta_slow": 3, "truncate": False}, {}, [None]),
    ({"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 1024, **LONG}, {}, [None, 1024, 1025, 4096]),
    ({"rope_type": "longrope", "rope_theta": 10000.0, "factor": 32.0, "original_max_position_embeddings": 4096, **LONG}, {}, [None, 5000]),
    ({"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 8192, **LONG}, {}, [None, 9000]),
    ({"rope_type": "longrope", "rope_theta": 500000.0, "factor": 1.0, "original_max_position_embeddings": 4096, **LONG}, {}, [None]),
    ({"rope_type": "longrope", "rope_theta": 10000.0, "attention_factor": 1.25, "original_max_position_embeddings": 512, **LONG}, {}, [None, 600]),
    ({"rope_theta": 500000.0, **LLAMA3}, {"max_position_embeddings": 131072}, [None, 9000]),
    ({"rope_theta": 500000.0, **LLAMA3, "factor": 8.0}, {"head_dim": 128, "max_position_embeddings": 131072}, [None]),
    ({"rope_theta": 10000.0, **LLAMA3, "factor": 8.0, "low_freq_factor": 0.5, "high_freq_factor": 9, "original_max_position_embeddings": 64}, {"head_dim": 16}, [None]),
]


def read(file: dict):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(file))
        return AutoConfig.from_pretrained(folder)


def facts(file: dict) -> dict:
    """What the model of a file is, in the words of lowrank's ModelConfig."""
    config = read(file)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    first = model.model.layers[0]
    attention, mlp = first.self_attn, first.mlp
    has = lambda name: getattr(attention, name).bias is not None
    head_dim = attention.head_dim
    window = getattr(config, "sliding_window", None) if config.model_type != "llama" else None
    types = getattr(config, "layer_types", None)
    windows = [window if types is None or types[i] == "sliding_attention" else None for i in range(len(model.model.layers))]
    if config.model_type != "mistral":  # there all layers read the one number of the config
        assert windows == [getattr(layer.self_attn, "sliding_window", None) for layer in model.model.layers]
    eos = config.eos_token_id
    return {
        "vocabSize": model.model.embed_tokens.num_embeddings,
        "hiddenSize": model.model.embed_tokens.embedding_dim,
        "intermediateSize": mlp.gate_proj.out_features,
        "layers": len(model.model.layers),
        "heads": attention.q_proj.out_features // head_dim,
        "kvHeads": attention.k_proj.out_features // head_dim,
        "headDim": head_dim,
        "normEps": model.model.norm.variance_epsilon,
        "maxPositions": config.max_position_embeddings,
        "tieEmbeddings": config.tie_word_embeddings,
        "attentionBias": {"q": has("q_proj"), "k": has("k_proj"), "v": has("v_proj"), "o": has("o_proj")},
        "mlpBias": mlp.gate_proj.bias is not None,
        "qkNorm": hasattr(attention, "q_norm"),
        "windows": windows,
        "bosTokenId": config.bos_token_id,
        "eosTokenIds": eos if isinstance(eos, list) else [] if eos is None else [eos],
        "padTokenId": config.pad_token_id,
        "storedDtype": None if config.dtype is None else str(config.dtype).removeprefix("torch."),
        "rope_parameters": {key: value for key, value in config.rope_parameters.items() if key != "type"},
    }


class Wide:
    """torch, with float64 where the code asks for float32."""

    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def frequencies(config, tokens, wide: bool):
    kind = config.rope_parameters["rope_type"]
    modules, narrow = [modeling_rope_utils, modeling_llama], torch.Tensor.float
    if wide:
        torch.Tensor.float = torch.Tensor.double
        for module in modules:
            module.torch = Wide()
    try:
        if kind == "default":
            return modeling_llama.LlamaRotaryEmbedding.compute_default_rope_parameters(config)
        return modeling_rope_utils.ROPE_INIT_FUNCTIONS[kind](config, None, seq_len=tokens)
    finally:
        torch.Tensor.float = narrow
        for module in modules:
            module.torch = torch


def rope_case(parameters: dict, sizes: dict, tokens) -> dict:
    sizes = {**SIZES, **sizes}
    file = {"model_type": "llama", **sizes, "rope_parameters": parameters}
    config = read(file)
    inverse, factor = frequencies(config, tokens, wide=True)
    assert inverse.dtype == torch.float64
    module = modeling_llama.LlamaRotaryEmbedding(config)
    if tokens is not None:
        module(torch.zeros(1), torch.arange(tokens)[None])
    torch.testing.assert_close(module.inv_freq.double(), inverse, rtol=1e-6, atol=0)
    assert abs(module.attention_scaling - factor) < 1e-12
    return {"file": file, "tokens": tokens, "inverse": inverse.tolist(), "attentionFactor": factor}


def known_keys(family: str) -> list[str]:
    """The fields of the configuration class, and what its base class takes from a file beside them."""
    config = read({"model_type": family})
    popped = ["torch_dtype", "num_labels", "rope_scaling", "rope_theta", "partial_rotary_factor", "name_or_path", "_commit_hash",
              "output_attentions", "attn_implementation", "experts_implementation", "per_layer_config", "original_max_position_embeddings"]
    keys = {field.name for field in dataclasses.fields(config)} | set(popped) | set(config.to_dict())
    return sorted(keys | set(GenerationConfig._get_default_generation_params()))


def main() -> None:
    transformers.logging.set_verbosity_error()
    fixture = {
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__},
        "keys": {family: known_keys(family) for family in FAMILIES},
        "defaults": {family: facts({"model_type": family}) for family in FAMILIES},
        "files": {name: {"file": file, "facts": facts(file)} for name, file in FILES.items()},
        "ropes": [rope_case(parameters, sizes, tokens) for parameters, sizes, lengths in ROPES for tokens in lengths],
    }
    lines = ",\n".join(f'"{key}": {json.dumps(value)}' for key, value in fixture.items() if key not in ("files", "ropes"))
    files = ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in fixture["files"].items())
    ropes = ",\n".join(json.dumps(case) for case in fixture["ropes"])
    OUT.write_text(f'{{\n{lines},\n"files": {{\n{files}\n}},\n"ropes": [\n{ropes}\n]\n}}\n')
    print(f"{len(fixture['files'])} files, {len(fixture['ropes'])} frequencies")


if __name__ == "__main__":
    main()
