"""Loads adapters that lowrank wrote with PEFT, and compares the outputs. Exits with 1 when one differs.

    npx tsx test/lora/write-adapters.ts /tmp/written
    /tmp/peft/bin/python scripts/check-with-peft.py /tmp/written            # see make-peft-fixtures.py for the environment
    /tmp/peft/bin/python scripts/check-with-peft.py /tmp/written --record   # and renews test/fixtures/peft/written

The folder holds one adapter per case and ours.json with lowrank's outputs (f32). PEFT computes in float64. Nothing of an adapter may be
left over or missing: PEFT only warns of that, so the check looks itself.
"""
import argparse
import json
import shutil
import sys
import warnings
from pathlib import Path

import peft
import torch
from safetensors.torch import load_file

from peft_net import load_base

FIXTURES = Path(__file__).parent.parent / "test/fixtures/peft"


def check(folder: Path, ours: list) -> tuple[list, float]:
    net, x = load_base(FIXTURES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = peft.PeftModel.from_pretrained(net, folder).eval()
    stored = load_file(folder / "adapter_model.safetensors")
    used = peft.get_peft_model_state_dict(model)
    assert set(stored) == set(used), f"{folder.name}: names differ: {set(stored) ^ set(used)}"
    assert all(torch.equal(stored[name], used[name]) for name in stored), f"{folder.name}: values differ"
    with torch.no_grad():
        output = model.double()(x.double()).flatten()
    return output.tolist(), float((torch.tensor(ours, dtype=torch.float64) - output).abs().max() / output.abs().max())


def refusal(folder: Path) -> str:
    try:
        peft.PeftModel.from_pretrained(load_base(FIXTURES)[0], folder)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError(f"{folder.name}: PEFT loaded what is not in its format")


def main() -> int:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("folder", type=Path)
    args.add_argument("--record", action="store_true")
    args.add_argument("--bound", type=float, default=2e-6, help="largest difference, as a part of the largest output; default 2e-6")
    options = args.parse_args()
    ours = json.loads((options.folder / "ours.json").read_text())["outputs"]
    outputs, failed = {}, False
    for name, values in ours.items():
        outputs[name], difference = check(options.folder / name, values)
        failed |= not difference <= options.bound
        print(f"{name}: {difference:.2e} of the largest output{'' if difference <= options.bound else '  WRONG'}")
    said = refusal(options.folder / "sigma-own-format")
    print("the Σ format is refused:", said)
    versions = {"peft": peft.__version__, "torch": torch.__version__.split("+")[0]}
    if options.record and not failed:
        target = FIXTURES / "written"
        shutil.rmtree(target, ignore_errors=True)
        for name in ours:
            shutil.copytree(options.folder / name, target / name)
        record = {"versions": versions, "refusal": said, "outputs": outputs}
        (target / "peft.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
