"""Writes test/fixtures/quantized.json: what bitsandbytes makes of matrices whose elements follow from their place.

    python3 -m venv /tmp/bnb && /tmp/bnb/bin/pip install torch bitsandbytes
    /tmp/bnb/bin/python scripts/make-quantized-fixture.py

quantize_4bit(..., blocksize=64, compress_statistics=True, quant_type="nf4") on the CPU. Two steps of it are repeated with more care, and the
script says how far apart the results are:

* The mean of the scales is a float32 sum in an order that depends on the machine. Here it is the float64 mean, rounded once.
* Scales are quantised by the kernel that bitsandbytes registers for all devices ("default"; the nearest number of the map, as its CUDA kernel).
  Its CPU kernel looks a number up in a table of 65,536 steps, which misses the nearest one now and then, and always near 0.
"""
import base64
import importlib
import json
from pathlib import Path

import bitsandbytes
import bitsandbytes._ops as registry
import bitsandbytes.backends.default.ops as default_ops
import bitsandbytes.functional as F
import numpy as np
import torch

OUT = Path(__file__).parent.parent / "test/fixtures/quantized.json"
CASES = [(1, 64, "f32"), (3, 192, "f32"), (7, 320, "bf16"), (33, 576, "f16"), (129, 576, "f32")]
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def default_kernel(name):
    """The function that bitsandbytes registers for devices without one of their own."""
    found = {}
    before = registry.register_kernel
    registry.register_kernel = lambda kernel, key: lambda function: found.setdefault(kernel, function)
    importlib.reload(default_ops)
    registry.register_kernel = before
    return found[f"bitsandbytes::{name}"]


def matrix(rows, cols):
    """Sums of four hashed bytes and a hashed fraction, about normal; rows differ in size, one is zero."""
    place = np.arange(rows * cols, dtype=np.uint64)
    word = (place * 2654435761 + 12345) % 2**32
    word = ((word ^ (word >> 15)) * 2246822519) % 2**32
    word = ((word ^ (word >> 13)) * 3266489917) % 2**32
    word ^= word >> 16
    total = sum(((word >> (8 * i)) & 255).astype(np.float64) for i in range(4)) - 510 + (word % 1021) / 1024
    scale = 2.0 ** -(place // cols % 5 + 8).astype(np.float64)
    scale[place // cols == 5] = 0
    return torch.tensor((total * scale).astype(np.float32)).reshape(rows, cols)


def text(tensor):
    return base64.b64encode(tensor.contiguous().numpy().tobytes()).decode()


def main():
    quantize_blockwise = default_kernel("quantize_blockwise")
    dynamic_map = F.create_dynamic_map()
    cases = []
    for rows, cols, dtype in CASES:
        x = matrix(rows, cols).to(DTYPES[dtype])
        packed, state = F.quantize_4bit(x, blocksize=64, compress_statistics=True, quant_type="nf4")
        absmax = x.float().reshape(-1, 64).abs().max(dim=1)[0]
        offset = absmax.double().mean().float()
        scale_codes, group_scales = quantize_blockwise(absmax - offset, dynamic_map, 256)
        careful = F.QuantState(
            absmax=scale_codes, shape=x.shape, dtype=torch.float32, blocksize=64, code=state.code, quant_type="nf4", offset=offset,
            state2=F.QuantState(absmax=group_scales, code=dynamic_map, blocksize=256, dtype=torch.float32),
        )
        ulps = (offset.view(torch.int32) - state.offset.view(torch.int32)).abs().item()
        differ = (scale_codes != state.absmax).sum().item()
        print(f"{rows} x {cols} {dtype}: offset {ulps} ulp apart, {differ} of {len(absmax)} scale codes of the CPU kernel are others")
        cases.append({
            "rows": rows, "cols": cols, "dtype": dtype, "codes": text(packed), "scaleCodes": text(scale_codes),
            "groupScales": text(group_scales), "offset": offset.item(), "values": text(F.dequantize_4bit(packed, careful)[:4]),
            "own": {"offset": state.offset.item(), "groupScales": text(state.state2.absmax), "scaleCodes": text(state.absmax)},
        })
    made = {
        "versions": {"bitsandbytes": bitsandbytes.__version__, "torch": torch.__version__},
        "nf4": F.get_4bit_type("nf4", device="cpu").tolist(), "dynamicMap": dynamic_map.tolist(), "cases": cases,
    }
    OUT.write_text(json.dumps(made, indent=1) + "\n")


main()
