"""Loads the adapters that scripts/write-llm-adapters.ts wrote with transformers and PEFT, and stores the logits that they give.

    python scripts/check-llm-with-peft.py        # writes test/fixtures/peft-llm/<case>/expected.safetensors and versions.json
"""
import json
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import save_file

fixtures = Path(__file__).resolve().parent.parent / "test" / "fixtures"
tokens = torch.tensor([[(t * 17 + 5) % 300 for t in range(25)], [(t * 11 + 90) % 300 for t in range(25)]])

for folder in sorted((fixtures / "peft-llm").iterdir()):
    if not folder.is_dir():
        continue
    base = transformers.AutoModelForCausalLM.from_pretrained(fixtures / "llm" / folder.name / "model", dtype=torch.float32)
    with torch.no_grad():
        plain = base(tokens).logits.clone()
        model = peft.PeftModel.from_pretrained(base, folder).eval()
        logits = model(tokens).logits
    save_file({"input_ids": tokens.int(), "base": plain.contiguous(), "logits": logits.contiguous()}, folder / "expected.safetensors")
    print(f"{folder.name}: the adapter moves logits by up to {(logits - plain).abs().max():.3f}")

versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
(fixtures / "peft-llm" / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
