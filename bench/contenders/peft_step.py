"""The work `lora-step` with torch, transformers and PEFT: trains the model and adapter that `bench/lora-step.ts --write DIR` wrote.

    python bench/contenders/peft_step.py --model DIR [--threads 1] [--batch 4] [--tokens 256] [--steps 5]

Prints one line of JSON. The first step is left out of the median.
"""
import argparse
import json
import math
import resource
import statistics
import sys
import time
from pathlib import Path

CONTENDER = "peft"

try:
    import peft
    import torch
    import transformers
except ImportError as error:
    remedy = "LOWRANK_PYTHON must name a Python with: pip install -r bench/contenders/requirements.txt"
    print(json.dumps({"contender": CONTENDER, "unavailable": str(error), "remedy": remedy}))
    sys.exit(3)


def load(folder: Path) -> torch.nn.Module:
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return peft.PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True).train()


def rows(count: int, length: int, vocabulary: int) -> torch.Tensor:
    """randomExamples of bench/smollm2.ts."""
    return torch.tensor([[(t * 7919 + i * 104_729 + 17) % vocabulary for t in range(length)] for i in range(count)])


def train(model: torch.nn.Module, tokens: torch.Tensor, steps: int) -> tuple[list[float], list[float]]:
    """Losses, and seconds of each step by the clock on the wall. The settings of AdamW are those of lowrank's `train`."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01, fused=True)
    losses, seconds = [], []
    for _ in range(steps):
        started = time.perf_counter()
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - started)
    return losses, seconds


def prove(losses: list[float], vocabulary: int) -> None:
    expected = math.log(vocabulary)
    if not abs(losses[0] - expected) <= 0.5:
        sys.exit(f"wrong answer: the first loss is {losses[0]}, expected ln({vocabulary}) = {expected} ± 0.5")
    if not losses[-1] < losses[0]:
        sys.exit(f"wrong answer: the loss does not fall: {losses}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    for name, default in (("threads", 1), ("batch", 4), ("tokens", 256), ("steps", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load(options.model)
    vocabulary = model.config.vocab_size
    losses, seconds = train(model, rows(options.batch, options.tokens, vocabulary), options.steps)
    prove(losses, vocabulary)
    packages = {"torch": torch, "transformers": transformers, "peft": peft}
    answer = {
        "contender": CONTENDER,
        "work": "lora-step",
        "threads": torch.get_num_threads(),
        "unit": "tokens/s",
        "value": options.batch * options.tokens / statistics.median(seconds[1:]),
        "samples": options.steps - 1,
        "losses": losses,
        "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "versions": {name: package.__version__ for name, package in packages.items()} | {"python": sys.version.split()[0]},
    }
    print(json.dumps(answer))


main()
