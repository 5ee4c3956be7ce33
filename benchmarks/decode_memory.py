"""Does the memory of decoding grow with the picture?

Each number is of a fresh process: it makes an autoencoder and latents of noise, and decodes one picture. Counted is the
most memory that the process held at once (VmHWM) above what it held before, less the picture itself, 3 bytes a pixel;
on a GPU the most that torch held. What libraries take at the first evaluation is in it.

    python benchmarks/decode_memory.py
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
from typing import Literal

import numpy as np
import torch
from canvas_memory import held
from record import facts_of_this_machine, write_result

from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.latents import Latents
from brickwork.nn.device import choose_device

SIDES = (512, 1024, 2048)
KINDS: dict[str, tuple[Literal[4, 8], int]] = {"f4c8": (4, 8), "f8c16": (8, 16)}


def decode_once(options: argparse.Namespace) -> None:
    """The fresh process: prints bytes above the start, the picture taken away."""
    factor, channels = KINDS[options.kind]
    device = choose_device("auto")
    network = Autoencoder.Config(factor=factor, channels=channels).build().to(device)
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    codec = Latents.measure(network, [noise])
    x0 = torch.randn(1, channels, options.side // factor, options.side // factor, device=device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if device.type == "cuda" else held("VmRSS")
    picture = codec.decode(x0)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else held("VmHWM")
    print(peak - before - picture.numel())


def in_fresh_process(options: argparse.Namespace, kind: str, side: int) -> float:
    """Median of the repeats, in MB."""
    words = [sys.executable, __file__, "--kind", kind, "--side", str(side)]
    runs = [subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True) for _ in range(options.repeats)]
    return statistics.median(int(done.stdout) / 1e6 for done in runs)


def main() -> None:
    """Pictures of 512 to 2048 pixels a side, by two autoencoders."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        decode_once(options)
        return
    rows = []
    for kind in KINDS:
        found = {side: round(in_fresh_process(options, kind, side), 1) for side in SIDES}
        ratio = round(found[SIDES[-1]] / found[SIDES[0]], 3)
        rows.append({"autoencoder": kind, "mb_beside_the_picture": found, "2048_over_512": ratio})
        print(rows[-1], flush=True)
    print(write_result("decode-memory", facts_of_this_machine() | {"repeats": options.repeats, "rows": rows}))


if __name__ == "__main__":
    main()
