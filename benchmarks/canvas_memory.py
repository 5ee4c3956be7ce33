"""Does memory grow with the window, and not with the canvas?

Each number is of a fresh process: it loads a model, draws one canvas, and tells the most memory that it held at once
(VmHWM of the process; on a GPU, the most that torch held) above what it held when the model was loaded. What libraries
take at the first evaluation is in it. The canvas itself is taken away: what the same run takes, in another fresh
process, with a denoiser that needs no memory of its own, x / 2, after one small picture. That is x, its noise, the
joined estimate and the solver's arrays, each of the canvas's size.

    python benchmarks/canvas_memory.py lego-small-pg
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from record import facts_of_this_machine, write_result
from torch import Tensor

from brickwork.backbone.presets import PRESETS
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import EdmF
from brickwork.diffusion.process import Edm
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.nn.device import choose_device
from brickwork.sampling.canvas import DEFAULT_MODE, Canvas
from brickwork.sampling.loop import sample_x0
from brickwork.sampling.solvers import Ddim

WIDTHS = (256, 1024, 4096)


class Half:
    """x / 2, by windows of 32x32."""

    process, shape, num_classes, text_shape = Edm(), (3, 32, 32), 0, None

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return x / 2

    def asarray(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(choose_device("auto"))

    def decode(self, x0: Tensor) -> np.ndarray:
        raise NotImplementedError


def held(key: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024


def draw_once(options: argparse.Namespace) -> None:
    """The fresh process: prints bytes above the loaded model, or above the stand-in's first picture."""
    on_gpu = choose_device("auto").type == "cuda"

    def draw(width: int) -> None:
        canvas = Canvas(denoiser, 32, width, options.mode, options.chunk)
        guidance = options.guidance if denoiser.num_classes else 1.0
        sample_x0(canvas, seeds=[0], steps=options.steps, solver=Ddim(), guidance=guidance)

    denoiser = Half() if options.model == "half" else opened(options.model)
    if options.model == "half":
        draw(32)
    gc.collect()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else held("VmRSS")
    draw(options.width)
    print((torch.cuda.max_memory_allocated() if on_gpu else held("VmHWM")) - before)


def opened(name: str) -> Model:
    """A model by its file or run, or a preset with fresh weights; all weights read, which a file's are at first use."""
    if name not in PRESETS:
        model = load(name, choose_device("auto"))
        assert all(bool(weight.isfinite().all()) for weight in model.parameters())
        return model
    config = PRESETS[name]
    model = Model(config.build(), Edm(), EdmF(), Pixels(num_channels=config.channels))
    return model.to(choose_device("auto")).eval().requires_grad_(False)


def in_fresh_process(options: argparse.Namespace, model: str, width: int) -> float:
    """Median of the repeats, in MB."""
    words = [sys.executable, __file__, model, "--mode", options.mode, "--steps", str(options.steps)]
    words += ["--chunk", str(options.chunk), "--guidance", str(options.guidance), "--width", str(width)]
    runs = [subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True) for _ in range(options.repeats)]
    return statistics.median(int(done.stdout) / 1e6 for done in runs)


def main() -> None:
    """32 rows, 32 to 4096 columns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="run, file, or preset of 32x32 (with fresh weights)")
    parser.add_argument("--mode", default=DEFAULT_MODE)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.width is not None:
        draw_once(options)
        return
    rows = []
    for width in WIDTHS:
        above, canvas = in_fresh_process(options, options.model, width), in_fresh_process(options, "half", width)
        net = above - canvas
        rows.append({"canvas": [32, width], "above_model": above, "of_the_canvas": canvas, "net": net})
        print(
            {key: round(value, 2) if isinstance(value, float) else value for key, value in rows[-1].items()}, flush=True
        )
    found = {row["canvas"][1]: row for row in rows}
    ratios = {key: found[4096][key] / found[256][key] for key in ("net", "above_model")}
    print(f"32x4096 over 32x256: {ratios['net']:.3f}; with the canvas {ratios['above_model']:.3f}")
    asked = {key: getattr(options, key) for key in ("model", "mode", "chunk", "steps", "guidance", "repeats")}
    result = {"unit": "MB", "ratios_4096_over_256": ratios, "rows": rows}
    print(write_result("canvas-memory", facts_of_this_machine() | asked | result))


if __name__ == "__main__":
    main()
