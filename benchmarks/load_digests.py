"""What do digests cost when a model is loaded?

Two files of the same model are loaded in turn: one without digests and with no look for NaN, and one with both. Time is
that of the processor, one thread, so that other work on the machine counts little; the ratio is the median of the
ratios within a turn. Beside it, each check alone and the hashes that were considered, over the same weights in memory.

    python benchmarks/load_digests.py --megabytes 150 --repeats 15
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import xxhash
from record import facts_of_this_machine, write_result
from safetensors.torch import save_file

import brickwork as bw
from brickwork.backbone.stoic import Stoic
from brickwork.errors import UndigestedWarning
from brickwork.files import tensors as tensors_module
from brickwork.files.tensors import is_finite, read_tensors

WIDTH = 512
HASHES: dict[str, Callable[[Any], object]] = {
    "xxh3, 128 bits": lambda data: xxhash.xxh3_128_digest(data),
    "crc32": zlib.crc32,
    "SHA-256": lambda data: hashlib.sha256(data).digest(),
    "BLAKE2b": lambda data: hashlib.blake2b(data).digest(),
}


def model_of(megabytes: int) -> bw.Model:
    """A STOIC of about this size."""
    depth = max(1, round(megabytes * 1e6 / (4 * 12 * WIDTH**2)))
    config = Stoic.Config(size=32, channels=3, width=WIDTH, heads=8, depth=depth)
    return bw.Model(config.build(), bw.LinearFlow(), bw.Velocity(), bw.Pixels(num_channels=3))


def seconds(work: Callable[..., object], *things: object) -> float:
    """Processor time of one call for each thing."""
    start = time.process_time()
    for thing in things:
        work(thing)
    return time.process_time() - start


def turn(old: Path, new: Path) -> tuple[float, float]:
    """Seconds to load a file without any check, and one with all."""
    with mock.patch.object(tensors_module, "is_finite", return_value=True):
        without = seconds(bw.load, old)
    return without, seconds(bw.load, new)


def main() -> None:
    """Both files in turn, once uncounted and then as often as asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UndigestedWarning)
    with tempfile.TemporaryDirectory() as folder:
        new, old = Path(folder) / "new.safetensors", Path(folder) / "old.safetensors"
        bw.save(model_of(options.megabytes), new)
        tensors, metadata = read_tensors(new)
        save_file(tensors, old, metadata)
        turns = [turn(old, new) for _ in range(options.repeats + 1)][1:]
        size = new.stat().st_size / 1e6
    arrays = [tensor.flatten().view(torch.uint8).numpy() for tensor in tensors.values()]
    parts = {name: min(seconds(work, *arrays) for _ in range(5)) for name, work in HASHES.items()}
    parts["all finite"] = min(seconds(is_finite, *tensors.values()) for _ in range(5))
    result = {
        "megabytes": round(size, 1),
        "repeats": options.repeats,
        "seconds_without": round(statistics.median(one for one, _ in turns), 4),
        "seconds_with": round(statistics.median(two for _, two in turns), 4),
        "ratio": round(statistics.median(two / one for one, two in turns), 4),
        "seconds_of_parts": {name: round(time_taken, 4) for name, time_taken in parts.items()},
    }
    for name, value in result.items():
        print(f"{name:<18} {value}")
    print(write_result("load-digests", {**facts_of_this_machine(), **result}))


if __name__ == "__main__":
    main()
