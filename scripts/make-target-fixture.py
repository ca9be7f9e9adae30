"""Writes test/fixtures/targets.json: which modules PEFT itself selects for many options, and which pattern key it takes for a path.

Usage: python scripts/make-target-fixture.py          (needs peft and torch; the file was made with PEFT 0.21.2)
"""

import json
import random
from pathlib import Path

import peft
from peft import LoraConfig
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from peft.utils.other import get_pattern_key


def llama(layers: int) -> list[tuple[str, str]]:
    modules = [("", "other"), ("model", "other"), ("model.embed_tokens", "embedding"), ("model.layers", "other")]
    for i in range(layers):
        at = f"model.layers.{i}"
        modules += [(at, "other"), (f"{at}.self_attn", "other")]
        modules += [(f"{at}.self_attn.{name}_proj", "linear") for name in "qkvo"]
        modules += [(f"{at}.mlp", "other")] + [(f"{at}.mlp.{name}_proj", "linear") for name in ("gate", "up", "down")]
    return modules + [("model.norm", "other"), ("lm_head", "linear")]


def gpt2(layers: int) -> list[tuple[str, str]]:
    modules = [("transformer", "other"), ("transformer.wte", "embedding"), ("transformer.h", "other")]
    for i in range(layers):
        at = f"transformer.h.{i}"
        modules += [(at, "other"), (f"{at}.attn", "other"), (f"{at}.attn.c_attn", "conv1d"), (f"{at}.attn.c_proj", "conv1d")]
        modules += [(f"{at}.mlp", "other"), (f"{at}.mlp.c_fc", "conv1d"), (f"{at}.mlp.c_proj", "conv1d")]
    return modules + [("lm_head", "linear")]


def experts() -> list[tuple[str, str]]:
    """Numbers at several places of the path, and a list of layers at the root."""
    modules = [(f"model.layers.{i}.experts.{j}.{name}", "linear") for i in range(3) for j in range(2) for name in ("w1", "w2")]
    return modules + [(f"layers.{i}.w1", "linear") for i in range(3)] + [(f"decoder.block.{i}.w2", "linear") for i in range(2)]


ENTRIES = {
    "llama": ["q_proj", "v_proj", "down_proj", "self_attn.k_proj", "layers.1.mlp.up_proj", "model.layers.0.self_attn.q_proj", "11.self_attn.o_proj", "embed_tokens", "lm_head"],
    "gpt2": ["c_attn", "c_proj", "mlp.c_proj", "transformer.h.1.mlp.c_fc", "attn.c_proj", "wte"],
    "experts": ["w1", "w2", "0.w1", "experts.1.w2", "layers.2.w1", "block.1.w2"],
}
EXPRESSIONS = {
    "llama": [r".*\.(q|v)_proj", r".*layers\.1\.(self_attn\.[ko]|mlp\.gate)_proj", r"model\.layers\.\d\..*_proj", r".*_proj|lm_head", r"(?P<all>.*)\.(?:up|down)_proj$", r"^model.*\d+.*q_proj"],
    "gpt2": [r".*\.c_(attn|fc)", r"transformer\.h\.[01]\.attn\..+"],
    "experts": [r".*w1", r"(model|decoder)\..*\.w2", r".*\.experts\.0\.w[12]"],
}
LAYERS = {"llama": [0, 1, 11], "gpt2": [0, 1], "experts": [0, 1, 2]}
LAYER_PATTERNS = {"llama": ["layers", "model.layers", r"lay\w+"], "gpt2": ["h", "transformer.h"], "experts": ["layers", "block", "experts", ["block", "layers"], "model.layers"]}
KEYS = ["q_proj", "layers.1.self_attn.q_proj", r"layers\.\d+\.mlp\.(gate|up)_proj", ".*", "^model.layers.0.mlp.down_proj", "proj", "model", r".*\.1\..*k_proj", "q_proj|v_proj", "self_attn.q_proj$", r"\d+\.self_attn\.o_proj", ""]


def some(rng: random.Random, items: list, most: int) -> list:
    return rng.sample(items, rng.randint(1, min(most, len(items))))


def random_case(rng: random.Random, name: str) -> dict:
    options: dict = {"target_modules": rng.choice(EXPRESSIONS[name]) if rng.random() < 0.3 else some(rng, ENTRIES[name], 4)}
    if rng.random() < 0.4:
        options["exclude_modules"] = rng.choice(EXPRESSIONS[name]) if rng.random() < 0.3 else some(rng, ENTRIES[name], 2)
    if rng.random() < 0.2:
        options["modules_to_save"] = some(rng, ENTRIES[name], 1)
    if isinstance(options["target_modules"], list) and rng.random() < 0.5:
        options["layers_to_transform"] = rng.choice([rng.choice(LAYERS[name]), some(rng, LAYERS[name], 2)])
        if rng.random() < 0.6:
            options["layers_pattern"] = rng.choice(LAYER_PATTERNS[name])
    return options


def selected(options: dict, paths: list[str]) -> list[str]:
    config = LoraConfig(**options)
    found = {path: check_target_module_exists(config, path) for path in paths}
    return [path for path in paths if found[path] and not isinstance(found[path], _ExcludedModule)]


def main() -> None:
    rng = random.Random(3)
    models = {"llama": llama(12), "gpt2": gpt2(2), "experts": experts()}
    cases, seen = [], set()
    while len(cases) < 600:
        name = rng.choice(list(models))
        options = random_case(rng, name)
        key = json.dumps([name, options])
        if key not in seen:
            seen.add(key)
            cases.append({"model": name, "options": options, "selected": selected(options, [path for path, _ in models[name]])})
    paths = [path for path, kind in models["llama"] if kind == "linear"]
    keys = []
    for _ in range(60):
        chosen = some(rng, KEYS, 4)
        keys.append({"keys": chosen, "first": {path: hit for path in paths[:14] if (hit := get_pattern_key(chosen, path)) in chosen}})
    fixture = {"peft": peft.__version__, "models": models, "cases": cases, "keys": keys}
    target = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "targets.json"
    target.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {rows(v)}" for k, v in fixture.items()) + "\n}\n", encoding="ascii")


def rows(value: object) -> str:
    """JSON with one line for each element of a list."""
    return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]" if isinstance(value, list) else json.dumps(value)


if __name__ == "__main__":
    main()
