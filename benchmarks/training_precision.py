"""Does bf16 train faster than fp32, on this processor and on one like it without AVX-512?

The choice that ``precision = "auto"`` makes, for networks of each design: images/s of a training step in both
precisions, which take turns in one run. A processor without AVX-512 is imitated by hiding it from torch and its
libraries, in a process of its own; most laptops are like that.

    python benchmarks/training_precision.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from record import facts_of_this_machine, write_result

from brickwork.backbone.presets import preset
from brickwork.data.dataset import Dataset
from brickwork.training.batches import draw_batch
from brickwork.training.loop import build_model, trial
from brickwork.training.precision import seconds_per_image
from brickwork.training.recipe import Recipe, fit_to_data, published_parts
from brickwork.training.state import TrainState

WITHOUT_AVX512 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
PRESETS = ("stoic-digits", "stoic-tiny", "stoic-small", "lego-digits", "tldm-tiny", "unet-small-latent")
BATCH = 64


def noise(size: int, channels: int) -> Dataset:
    """Images to compute with."""
    generator = np.random.default_rng(0)
    return Dataset(
        name="noise",
        images=generator.integers(0, 256, (BATCH, size, size, channels), dtype=np.uint8),
        labels=generator.integers(0, 10, BATCH),
        classes=tuple("0123456789"),
        captions=None,
        skipped=(),
        flip=False,
        digest="",
    )


def rates(device: str) -> Iterator[dict[str, Any]]:
    """Images/s of a step of every network in both precisions."""
    for name in PRESETS:
        backbone = preset(name)
        data = noise(backbone.size, backbone.channels)
        recipe = Recipe(backbone=replace(backbone, num_classes=10), batch=BATCH, steps=1, **published_parts(backbone))
        recipe = fit_to_data(recipe, data)
        state = TrainState(build_model(recipe, data).to(device), recipe)
        batch = draw_batch(recipe, data, state.model, state.counters)
        seconds = seconds_per_image(trial(state, batch), len(batch), state.device)
        found = {f"{name}_images_per_second": 1 / value for name, value in seconds.items()}
        yield {
            "preset": name,
            "size": backbone.size,
            "batch": BATCH,
            **found,
            "bf16_over_fp32": seconds["fp32"] / seconds["bf16"],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", action="store_true", help="print one JSON object per network, and keep no file")
    arguments = parser.parse_args()
    if arguments.rows:
        for row in rates(arguments.device):
            print(json.dumps(row), flush=True)
        return
    settings: dict[str, dict[str, str]] = {"as it is": {}}
    if arguments.device == "cpu":
        settings["without AVX-512"] = WITHOUT_AVX512
    cells = []
    for name, hidden in settings.items():
        command = [sys.executable, __file__, "--rows", "--device", arguments.device]
        with subprocess.Popen(command, env=os.environ | hidden, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                row = {"processor": name, **json.loads(line)}
                cells.append(row)
                both = "  ".join(f"{row[f'{p}_images_per_second']:>8.1f} {p}" for p in ("fp32", "bf16"))
                print(f"{name:<16} {row['preset']:<20} {both}   bf16 over fp32 {row['bf16_over_fp32']:.2f}", flush=True)
        if process.returncode:
            raise SystemExit(process.returncode)
    print(write_result("training-precision", facts_of_this_machine() | {"hidden": WITHOUT_AVX512, "cells": cells}))


if __name__ == "__main__":
    main()
