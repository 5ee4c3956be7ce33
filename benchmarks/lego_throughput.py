"""How fast is LEGO, against the published forward written down plainly and against the floor, on the same machine?

One model, S PG 64, with the same weights in all: ours; the transcription (unfold per brick, modulation in each window,
torch's fused attention); and the floor, which is ours without any modulation. Inference of one image, and training:
forward, backward and an optimizer step. fp32 and bf16 autocast; eager, and compiled block by block, as brickwork's
training does it. All cells take turns, and the median of their rounds counts; a ratio is the median of the ratios
within one round. Beside them the machine's own matrix product rate, taken in the same rounds.

    python benchmarks/lego_throughput.py --rounds 9
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from lego_transcription import BrickShape, Transcription, randomize, to_brickwork
from record import facts_of_this_machine, write_result
from torch import Tensor, nn

from brickwork.backbone.lego import Brick, Lego
from brickwork.backbone.presets import preset
from brickwork.diffusion.denoiser import Condition
from brickwork.model.cost import cost
from brickwork.nn import linear as products
from brickwork.nn.attention import kernel_choices
from brickwork.nn.layers import Attention, Grid, Mlp

Step = Callable[[], None]
Outputs = Callable[[Tensor, Tensor], list[Tensor]]
STACKS = ("transcription", "ours", "floor")
TASKS = ("inference", "training")
PRECISIONS = ("fp32", "bf16")
MODES = ("eager", "compiled")


class PlainBlock(nn.Module):
    """The block without its modulation; nothing else differs."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, qkv_bias=True)
        self.mlp = Mlp(width, mlp_ratio, gelu="tanh")

    def forward(self, x: Tensor, vector: Tensor, grid: Grid) -> Tensor:
        x = x + self.attention(F.layer_norm(x, x.shape[-1:], eps=1e-6), window=grid[0] * grid[1])
        return x + self.mlp(F.layer_norm(x, x.shape[-1:], eps=1e-6))


class PlainEnd(nn.Module):
    """The last layer without its modulation."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, h: Tensor, vector: Tensor) -> Tensor:
        return self.linear(F.layer_norm(h, h.shape[-1:], eps=1e-6))


def without_modulation(network: Lego) -> Lego:
    """The same network, its other weights kept."""
    for brick in network.bricks:
        assert isinstance(brick, Brick)
        c = brick.brick
        plain = nn.ModuleList(PlainBlock(c.width, c.heads, network.config.mlp_ratio) for _ in range(c.depth))
        plain.load_state_dict(brick.blocks.state_dict(), strict=False)
        brick.blocks, brick.final = plain, cast(Any, PlainEnd(brick.final.linear))
    return network


@dataclass
class Cell:
    """One thing to time, and its times."""

    stack: str
    task: str
    precision: str
    mode: str
    step: Step
    images: int
    times: list[float] = field(default_factory=list)

    @property
    def place(self) -> tuple[str, str, str]:
        return self.task, self.precision, self.mode


def build(stack: str, config: Lego.Config, device: str) -> tuple[nn.Module, list[nn.Module], Outputs]:
    """A network of this kind with the weights that all share, its blocks, and how to call it."""
    shapes = [BrickShape(brick.window or config.size, brick.patch, brick.depth) for brick in config.bricks]
    first = config.bricks[0]
    theirs = Transcription(shapes, width=first.width, heads=first.heads, channels=config.channels)
    randomize(theirs, seed=0)
    if stack == "transcription":
        blocks = [block for brick in theirs.model for block in brick.get_submodule("blocks").children()]
        return theirs.to(device), blocks, theirs
    ours = config.build()
    ours.load_state_dict(to_brickwork(theirs.state_dict()))
    ours = (without_modulation(ours) if stack == "floor" else ours).to(device)
    return ours, list(ours.compilable()), lambda x, number: ours.outputs(x, number, Condition())


def inference(run: Outputs, precision: str, x: Tensor, number: Tensor) -> Step:
    def step() -> None:
        with torch.inference_mode(), autocast(precision, x.device.type):
            run(x, number)

    return step


def training(run: Outputs, weights: nn.Module, precision: str, x: Tensor, number: Tensor) -> Step:
    """A loss on every brick, its gradient, and a step of Adam."""
    optimizer = torch.optim.Adam(weights.parameters(), lr=1e-6, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision, x.device.type):
            outputs = run(x, number)
        torch.stack([(output.float() - x).square().mean() for output in outputs]).mean().backward()
        optimizer.step()

    return step


def cells(config: Lego.Config, wanted: argparse.Namespace) -> Iterator[Cell]:
    """Every cell, having run once."""
    generator = torch.Generator().manual_seed(0)
    for task, precision, mode in product(wanted.tasks, wanted.precisions, wanted.modes):
        images = 1 if task == "inference" else wanted.batch
        x = torch.randn(images, config.channels, config.size, config.size, generator=generator).to(wanted.device)
        number = torch.linspace(-1.5, 1, images).to(wanted.device)
        for stack in wanted.stacks:
            weights, blocks, run = build(stack, config, wanted.device)
            if task == "inference":
                step = inference(run, precision, x, number)
            else:
                step = training(run, weights, precision, x, number)
            step()  # kernels are chosen by measuring, which a compiler would not see
            if mode == "compiled":
                for block in blocks:
                    block.compile(dynamic=False)
                step()
            print(f"ready: {task} {precision} {mode} {stack}", flush=True)
            yield Cell(stack, task, precision, mode, step, images)


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(step: Step, clock: Callable[[], float]) -> float:
    wait()
    start = clock()
    step()
    wait()
    return clock() - start


def autocast(precision: str, device: str) -> contextlib.AbstractContextManager[object]:
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()


def matmul_rate(precision: str, device: str, clock: Callable[[], float]) -> float:
    """FLOP/s of a product of two 2048 x 2048 matrices, by the better of torch's and oneDNN's."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    a = torch.randn(2048, 2048, device=device).to(dtype)
    runs = [lambda: cast(None, a @ a)]
    if products.is_available(device, dtype):
        runs.append(lambda: cast(None, products.product(a, a)))
    return 2 * 2048**3 / min(seconds(run, clock) for run in runs for _ in range(2))


@torch.no_grad()
def disagreement(config: Lego.Config, device: str) -> list[float]:
    """Of every brick in fp32: largest difference to the transcription over its largest value."""
    x = torch.randn(2, config.channels, config.size, config.size, generator=torch.Generator().manual_seed(1)).to(device)
    number = torch.tensor([-1.0, 0.5], device=device)
    ours, theirs = (build(stack, config, device)[2](x, number) for stack in ("ours", "transcription"))
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True)]


def measure(config: Lego.Config, wanted: argparse.Namespace) -> dict[str, Any]:
    """Every cell's speed, which take turns, and the ratios of each round."""
    clock = time.process_time if wanted.processor_time else time.perf_counter
    ready = list(cells(config, wanted))
    rates = dict.fromkeys(wanted.precisions, 0.0)
    for turn in range(wanted.rounds + 1):
        for precision in wanted.precisions:
            rates[precision] = max(rates[precision], matmul_rate(precision, wanted.device, clock))
        for cell in ready:
            taken = seconds(cell.step, clock)
            if turn > 0:
                cell.times.append(taken)
    theirs = {cell.place: cell.times for cell in ready if cell.stack == "transcription"}
    macs, rows = cost(config).macs, []
    for cell in ready:
        median = statistics.median(cell.times)
        flops = (
            2 * macs * cell.images * (1 if cell.task == "inference" else 3)
        )  # the backward pass is twice the forward
        row = {"task": cell.task, "precision": cell.precision, "mode": cell.mode, "stack": cell.stack,
               "milliseconds": 1e3 * median, "spread": (max(cell.times) - min(cell.times)) / median,
               "images_per_second": cell.images / median,
               "share_of_matmul_rate": flops / median / rates[cell.precision]}  # fmt: skip
        for name, mode in (("like", cell.mode), ("eager", "eager")):
            other = theirs.get((cell.task, cell.precision, mode))
            if other is not None:
                ratios = [b / a for a, b in zip(cell.times, other, strict=True)]
                row[f"times_as_fast_as_{name}_transcription"] = statistics.median(ratios)
        rows.append(row)
    return {"batch": wanted.batch, "rounds": wanted.rounds, "macs": macs, "matmul_flops": rates, "cells": rows}


def table(result: dict[str, Any]) -> str:
    """In Markdown."""
    rates = ", ".join(f"{rate / 1e12:.2f} {precision}" for precision, rate in result["matmul_flops"].items())
    lines = [
        f"{result['preset']} on {result['hardware']}, {result['cores']} threads, torch {result['versions']['torch']}: "
        f"inference of 1 image, training with {result['batch']}; {result['rounds']} rounds; matrix products {rates} "
        f"TFLOP/s; fp32 outputs differ by {max(result['disagreement']):.1e}",
        "",
        "| task | precision | mode | stack | ms | of the matmul rate | times theirs | times theirs eager |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["cells"]:
        ratios = [f"{row.get(f'times_as_fast_as_{name}_transcription', 0):.2f}" for name in ("like", "eager")]
        lines.append(
            f"| {row['task']} | {row['precision']} | {row['mode']} | {row['stack']} | {row['milliseconds']:.1f} | "
            f"{row['share_of_matmul_rate']:.0%} | {' | '.join(ratios)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="lego-s-pg-64")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=4, help="of a training step")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--stacks", nargs="*", choices=STACKS, default=STACKS)
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=TASKS)
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--modes", nargs="*", choices=MODES, default=MODES)
    parser.add_argument("--processor-time", action="store_true", help="of this process alone, where others run too")
    parser.add_argument("--no-write", action="store_true", help="print, and keep no file")
    wanted = parser.parse_args()
    torch._dynamo.config.recompile_limit = 64  # one block's code serves every shape, precision and task here
    config = preset(wanted.preset)
    assert isinstance(config, Lego.Config)
    result = facts_of_this_machine() | {
        "preset": wanted.preset,
        "clock": "processor" if wanted.processor_time else "wall",
    }
    result |= {"disagreement": disagreement(config, wanted.device)} | measure(config, wanted)
    result |= {"kernels": kernel_choices()}
    print("\n" + table(result))
    if not wanted.no_write:
        path: Path = write_result("lego-throughput", result)
        path.with_suffix(".md").write_text(table(result) + "\n")
        print(f"\n{path}")


if __name__ == "__main__":
    main()
