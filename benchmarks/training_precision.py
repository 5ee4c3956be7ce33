"""Does bf16 train faster than fp32, on this processor and on one like it without AVX-512?

What ``precision = "auto"`` decides, for networks of each design: images/s of a training step, forward and backward, in
both precisions, which take turns in one run; the median of the rounds counts. A processor without AVX-512 is imitated
by hiding it from torch and its libraries, in a process of its own; most laptops are like that.

    python benchmarks/training_precision.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from noise_data import noise_data
from record import facts_of_this_machine, write_result

from brickwork.backbone.presets import preset
from brickwork.codec.base import Pixels
from brickwork.nn.attention import wait
from brickwork.training.denoiser.batches import draw_batch
from brickwork.training.denoiser.begin import build_model
from brickwork.training.denoiser.gradient import try_out
from brickwork.training.denoiser.recipe import Recipe, fit_to_data, published_parts
from brickwork.training.denoiser.state import TrainState
from brickwork.training.run.precision import PRECISIONS

WITHOUT_AVX512 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
BATCHES = {"stoic-digits": 128, "stoic-tiny": 32, "stoic-small": 8, "lego-digits": 64, "tldm-tiny": 16}


def rates(device: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Images/s of a step of every network in both precisions."""
    for preset_name, count in BATCHES.items():
        backbone = preset(preset_name)
        data = noise_data(count, backbone.size, backbone.channels)
        recipe = Recipe(backbone=backbone, batch=count, steps=1, **published_parts(backbone))
        recipe = fit_to_data(recipe, data, codec=Pixels(num_channels=backbone.channels))
        state = TrainState(build_model(recipe, data).to(device), recipe)
        batch = draw_batch(recipe, data, state.model, state.counters)
        seconds = {name: [0.0] * rounds for name in PRECISIONS}
        for turn in range(-1, rounds):
            for name in PRECISIONS:
                wait(state.device)
                start = time.perf_counter()
                state.set_precision(name)
                try_out(state, batch)
                wait(state.device)
                if turn >= 0:  # the turn before chooses kernels
                    seconds[name][turn] = time.perf_counter() - start
        row: dict[str, Any] = {"preset": preset_name, "size": backbone.size, "batch": count, "rounds": rounds}
        for name, values in seconds.items():
            row[f"{name}_images_per_second"] = count / statistics.median(values)
            row[f"{name}_spread"] = (max(values) - min(values)) / statistics.median(values)
        row["fp32_over_bf16"] = row["fp32_images_per_second"] / row["bf16_images_per_second"]
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", action="store_true", help="print one JSON object per network, and keep no file")
    arguments = parser.parse_args()
    if arguments.rows:
        for row in rates(arguments.device, arguments.rounds):
            print(json.dumps(row), flush=True)
        return
    settings: dict[str, dict[str, str]] = {"as it is": {}}
    if arguments.device == "cpu":
        settings["without AVX-512"] = WITHOUT_AVX512
    cells = []
    for name, hidden in settings.items():
        command = [sys.executable, __file__, "--rows", "--device", arguments.device, "--rounds", str(arguments.rounds)]
        with subprocess.Popen(command, env=os.environ | hidden, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                row = {"processor": name, **json.loads(line)}
                cells.append(row)
                both = "  ".join(f"{row[f'{p}_images_per_second']:>8.1f} {p}" for p in ("fp32", "bf16"))
                print(f"{name:<16} {row['preset']:<20} {both}   fp32 over bf16 {row['fp32_over_bf16']:.2f}", flush=True)
        if process.returncode:
            raise SystemExit(process.returncode)
    print(write_result("training-precision", facts_of_this_machine() | {"hidden": WITHOUT_AVX512, "cells": cells}))


if __name__ == "__main__":
    main()
