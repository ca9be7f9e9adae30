"""Writes test/fixtures/peft: adapters that PEFT made for a small network, and what PEFT computes with them.

    python -m venv /tmp/peft && /tmp/peft/bin/pip install torch peft
    /tmp/peft/bin/python scripts/make-peft-fixtures.py

One folder per case as PEFT saves it, base.safetensors (weights and inputs), expected.json: the outputs computed in float64 from the
stored values, and the versions. scripts/check-with-peft.py is the other direction.
"""
import json
import shutil
from pathlib import Path

import peft
import safetensors
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from peft_net import load_base, write_base

FOLDER = Path(__file__).parent.parent / "test/fixtures/peft"

CASES = {
    "plain": dict(r=4, lora_alpha=10, target_modules=["up", "head"]),
    "patterns": dict(
        r=4,
        lora_alpha=6,
        target_modules=["up", "down", "head"],
        rank_pattern={"layers.0.up": 2, "down": 3},
        alpha_pattern={"layers.1.up": 5, "head": 12.5},
    ),
    "rslora": dict(
        r=4, lora_alpha=6, use_rslora=True, target_modules=["up", "down"], rank_pattern={"layers.1.down": 9}, alpha_pattern={"layers.0.down": 3}
    ),
    "regex": dict(r=2, lora_alpha=4, target_modules=r"layers\.\d\.(up|down)", exclude_modules=["layers.1.up"]),
    "layers": dict(r=3, lora_alpha=8, target_modules=["up", "down"], layers_to_transform=[1], layers_pattern=["layers"]),
}
HALF = {"f16": torch.float16, "bf16": torch.bfloat16, "f64": torch.float64}  # the plain case, stored in other types


def sort_sets(path: Path) -> None:
    """PEFT writes its sets in random order."""
    config = json.loads(path.read_text())
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config[key], list):
            config[key].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def output(net, adapter: Path, x) -> list:
    model = peft.PeftModel.from_pretrained(net, adapter).double().eval()
    with torch.no_grad():
        return model(x.double()).flatten().tolist()


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_base(FOLDER)
    outputs = {}
    for seed, (name, options) in enumerate(CASES.items()):
        torch.manual_seed(100 + seed)
        net, x = load_base(FOLDER)
        model = get_peft_model(net, LoraConfig(**options))
        for key, value in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(value, std=0.3)
        model.save_pretrained(FOLDER / name)
        (FOLDER / name / "README.md").unlink(missing_ok=True)
        sort_sets(FOLDER / name / "adapter_config.json")
        outputs[name] = output(load_base(FOLDER)[0], FOLDER / name, x)
    for name, dtype in HALF.items():
        target = FOLDER / f"plain-{name}"
        shutil.copytree(FOLDER / "plain", target, dirs_exist_ok=True)
        tensors = load_file(FOLDER / "plain/adapter_model.safetensors")
        save_file({k: v.to(dtype).contiguous() for k, v in tensors.items()}, target / "adapter_model.safetensors", {"format": "pt"})
        net, x = load_base(FOLDER)
        outputs[f"plain-{name}"] = output(net, target, x)
    versions = {"peft": peft.__version__, "torch": torch.__version__.split("+")[0], "safetensors": safetensors.__version__}
    (FOLDER / "expected.json").write_text(json.dumps({"versions": versions, "outputs": outputs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
