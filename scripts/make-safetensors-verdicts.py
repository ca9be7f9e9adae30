"""Records what the reference safetensors reader and writer do, as fixtures for test/io.

    python -m venv venv && venv/bin/pip install safetensors numpy
    venv/bin/python scripts/make-safetensors-verdicts.py

Writes test/fixtures/safetensors/reference-verdicts.json and reference-written.safetensors. The inputs come from
test/io/write-corpus.ts; their SHA-256 is recorded, so the tests notice when verdicts and bytes no longer belong together.
"""

import hashlib
import json
import platform
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy
import safetensors
import safetensors.numpy

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "test" / "fixtures" / "safetensors"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(data: bytes):
    """The tensors as the reference reader sees them, one line of text each, or None if it refuses the file."""
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError:
        return None
    return sorted(
        f"{name.encode('utf-8').hex()} {info['dtype']} {list(info['shape'])} {bytes(info['data']).hex()}".replace(", ", ",")
        for name, info in tensors
    )


def split(data: bytes):
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position)
        yield data[position + 4 : position + 4 + length]
        position += 4 + length


def case_verdicts(folder: Path) -> dict:
    verdicts = {}
    for path in sorted(folder.glob("S*.safetensors"), key=lambda p: int(p.stem[1:])):
        data = path.read_bytes()
        verdicts[path.stem] = {"sha256": sha256(data), "verdict": "error" if read(data) is None else "ok"}
    return verdicts


def mutation_verdicts(folder: Path) -> dict:
    data = (folder / "mutations.bin").read_bytes()
    accepted = {}
    count = 0
    for index, file in enumerate(split(data)):
        count += 1
        tensors = read(file)
        if tensors is not None:
            accepted[str(index)] = sha256("\n".join(tensors).encode())[:16]
    return {"sha256": sha256(data), "count": count, "accepted": accepted}


def written_contents(folder: Path) -> dict:
    contents = {}
    for path in sorted(folder.glob("written-*.safetensors")):
        data = path.read_bytes()
        tensors = read(data)
        if tensors is None:
            raise SystemExit(f"the reference reader refuses {path.name}")
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        contents[path.stem[len("written-") :]] = {"sha256": sha256(data), "metadata": metadata, "tensors": tensors}
    return contents


def reference_file() -> bytes:
    """Several types and names, so that the order of header and data shows; one metadata key, as the order of several is not defined."""
    tensors = {
        "b.weight": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
        "a.weight": numpy.array([[1.5, -2.0]], dtype=numpy.float32),
        "half": numpy.array([0.5, 65504.0, -0.0], dtype=numpy.float16),
        "count": numpy.array(7, dtype=numpy.int64),
        "mask": numpy.array([True, False, True]),
        "bytes": numpy.array([1, 2, 255], dtype=numpy.uint8),
        "none": numpy.zeros((0, 4), dtype=numpy.float64),
        "é": numpy.array([1, -1], dtype=numpy.int16),
    }
    return safetensors.numpy.save(tensors, metadata={"format": "pt"})


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["npx", "tsx", "test/io/write-corpus.ts", name], cwd=ROOT, check=True)
        record = {
            "versions": {"python": platform.python_version(), "safetensors": safetensors.__version__, "numpy": numpy.__version__},
            "cases": case_verdicts(folder),
            "mutations": mutation_verdicts(folder),
            "written": written_contents(folder),
        }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "reference-verdicts.json").write_text(json.dumps(record, indent=1, ensure_ascii=True) + "\n")
    (OUT / "reference-written.safetensors").write_bytes(reference_file())


if __name__ == "__main__":
    main()
