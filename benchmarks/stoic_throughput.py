"""How fast does the STOIC block stack train, against torch's own encoder of the same geometry on the same machine?

Forward and backward of the stack alone, fp32 and bf16 autocast, eager and compiled; the cells take turns, and the
median of their rounds counts. Beside it, the machine's own matrix product rate in the same run, and where the time of a
whole training step of one of our presets goes.

    python benchmarks/stoic_throughput.py --rounds 7
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from noise_data import noise_data
from record import facts_of_this_machine, write_result
from torch import Tensor, nn

from brickwork.backbone.presets import preset
from brickwork.backbone.stoic import Stoic
from brickwork.nn.attention import kernel_choices
from brickwork.nn.layers import Block
from brickwork.training.denoiser.batches import draw_batch
from brickwork.training.denoiser.begin import build_model
from brickwork.training.denoiser.gradient import accumulate_gradient
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.state import TrainState


@dataclass(frozen=True)
class Geometry:
    """A stack to time: the rows are a square grid and the extra rows."""

    name: str
    depth: int
    width: int
    heads: int
    side: int
    extra: int
    batch: int

    @property
    def rows(self) -> int:
        return self.side**2 + self.extra

    @property
    def macs(self) -> int:
        """Per image and pass: matrix products of all blocks, without the depthwise convolution."""
        return self.depth * (12 * self.width**2 * self.rows + 2 * self.rows**2 * self.width)


def of_preset(name: str, batch: int) -> Geometry:
    """The stack of one of our presets."""
    c = preset(name)
    assert isinstance(c, Stoic.Config)
    return Geometry(name, c.depth, c.width, c.num_heads, c.grid[0], c.num_extra, batch)


GEOMETRIES = [
    of_preset("stoic-digits", batch=128),
    of_preset("stoic-tiny", batch=128),
    Geometry("6x160", depth=6, width=160, heads=5, side=8, extra=2, batch=128),
    Geometry("4x512", depth=4, width=512, heads=8, side=16, extra=1, batch=8),
]
Step = Callable[[], None]


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(step: Step) -> float:
    wait()
    start = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - start


def matmul_rate(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of a product of two 2048 x 2048 matrices, best of six."""
    a = torch.randn(2048, 2048, device=device).to(dtype)
    return 2 * 2048**3 / min(seconds(lambda: cast(None, a @ a)) for _ in range(6))


def autocast(bf16: bool, device: str) -> contextlib.AbstractContextManager[object]:
    return torch.autocast(device, torch.bfloat16) if bf16 else contextlib.nullcontext()


def training_step(run: Callable[[Tensor], Tensor], weights: nn.Module, x: Tensor, bf16: bool) -> Step:
    """Forward and backward; the gradients are dropped, as an optimizer would."""

    def step() -> None:
        with autocast(bf16, x.device.type):
            out = run(x)
        out.backward(torch.ones_like(out))
        for parameter in weights.parameters():
            parameter.grad = None

    return step


def encoder(g: Geometry) -> tuple[nn.Module, list[nn.Module]]:
    layer = nn.TransformerEncoderLayer(g.width, g.heads, 4 * g.width, 0.0, "gelu", batch_first=True, norm_first=True)
    stack = nn.TransformerEncoder(layer, g.depth, enable_nested_tensor=False)
    return stack, list(stack.layers)


def blocks(g: Geometry, depthwise: bool) -> tuple[nn.Module, list[nn.Module]]:
    parts = [Block(g.width, g.heads, 4, qk_norm=False, depthwise=depthwise, modulated=False) for _ in range(g.depth)]
    return nn.ModuleList(parts), list(parts)


def cells(g: Geometry, device: str, compiled: tuple[bool, ...]) -> Iterator[tuple[dict[str, Any], Step]]:
    """Every stack in every precision and mode, ready to run."""
    torch.manual_seed(0)
    for name in ("nn.TransformerEncoder", "ours", "ours with depthwise convolutions"):
        for bf16 in (False, True):
            for compile_it in compiled:
                weights, parts = encoder(g) if name.startswith("nn") else blocks(g, depthwise="depthwise" in name)
                weights.to(device)
                # A stack gets what reaches it in a network: ours a stem's bf16 output, torch's the usual fp32.
                dtype = torch.bfloat16 if bf16 and not name.startswith("nn") else torch.float32
                x = torch.randn(g.batch, g.rows, g.width, device=device).to(dtype)
                calls: list[Callable[..., Tensor]] = [torch.compile(p) for p in parts] if compile_it else [*parts]
                arguments = () if name.startswith("nn") else ((g.side, g.side),)

                def run(
                    x: Tensor, calls: list[Callable[..., Tensor]] = calls, arguments: tuple[Any, ...] = arguments
                ) -> Tensor:
                    for call in calls:
                        x = call(x, *arguments)
                    return x

                facts = {"stack": name, "precision": "bf16" if bf16 else "fp32", "compiled": compile_it}
                yield facts, training_step(run, weights, x, bf16)


def throughput(g: Geometry, rounds: int, device: str, compiled: tuple[bool, ...]) -> dict[str, Any]:
    """Images/s of every cell, which take turns."""
    torch.compiler.reset()  # it stops to compile after a few forms of one layer, and each geometry has its own
    ready = list(cells(g, device, compiled))
    for _, step in ready:
        step()
        step()
    times = [[0.0] * rounds for _ in ready]
    rates = {"fp32": 0.0, "bf16": 0.0}
    for turn in range(rounds):
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            rates[name] = max(rates[name], matmul_rate(dtype, device))
        for row, (_, step) in zip(times, ready, strict=True):
            row[turn] = seconds(step)
    rows = []
    for row, (facts, _) in zip(times, ready, strict=True):
        rate = g.batch / statistics.median(row)
        flops = 6 * g.macs * rate  # 2 per MAC; backward is twice the forward
        spread = (max(row) - min(row)) / statistics.median(row)
        rows.append(facts | {"images_per_second": rate, "flops": flops, "spread": spread,
                             "share_of_matmul_rate": flops / rates[facts["precision"]]})  # fmt: skip
    theirs = {(r["precision"], r["compiled"]): r["images_per_second"] for r in rows if r["stack"].startswith("nn")}
    for row in rows:
        row["ratio_to_encoder"] = row["images_per_second"] / theirs[row["precision"], row["compiled"]]
    return {"geometry": asdict(g) | {"rows": g.rows}, "matmul_flops": rates, "cells": rows}


def time_by_part(name: str, batch: int, rounds: int, device: str) -> dict[str, Any]:
    """Milliseconds of one bf16 training step of a preset, whole and part by part, each part run on its own."""
    config = preset(name)
    assert isinstance(config, Stoic.Config)
    data = noise_data(1024, config.size, config.channels)
    recipe = Recipe(backbone=config, batch=batch, precision="bf16", steps=1)
    state = TrainState(build_model(recipe, data).to(device), recipe)
    net = cast(Stoic, state.model.backbone)
    first = cast(Block, net.blocks[0])
    rows = config.grid[0] * config.grid[1] + config.num_extra
    x = torch.randn(batch, config.channels, config.size, config.size, device=device)
    h = torch.randn(batch, rows, config.width, device=device).bfloat16().requires_grad_()
    at = draw_batch(recipe, data, state.model, state.counters)

    def optimize() -> None:
        for parameter in state.parameters:
            parameter.grad = torch.ones_like(parameter)
        state.update(torch.zeros((), device=device))

    def fill() -> None:
        for parameter in state.parameters:
            parameter.grad = torch.ones_like(parameter)

    def whole() -> None:
        batch_now = draw_batch(recipe, data, state.model, state.counters)
        state.update(accumulate_gradient(state, batch_now))

    def repeated(run: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Step, int]:
        return training_step(run, net, x, bf16=True), config.depth

    depthwise = first.depthwise
    parts: dict[str, tuple[Step, int]] = {
        "data": (lambda: cast(None, draw_batch(recipe, data, state.model, state.counters)), 1),
        "stem": (training_step(net.stem, net, x, bf16=True), 1),
        "attention": repeated(first.attention, h),
        "MLP": repeated(first.mlp, h),
        "norms": repeated(lambda x: first.norm_mlp(first.norm_attention(x)), h),
        "decoder": (training_step(lambda x: net.decoder(x, config.grid), net, h, bf16=True), 1),
    }
    if depthwise is not None:
        parts["depthwise"] = repeated(lambda x: depthwise(x, config.grid), h)
    times: dict[str, list[float]] = {part: [] for part in ("whole step", "optimizer", *parts)}
    accumulate_gradient(state, at)
    for turn in range(rounds + 1):
        now = {"whole step": seconds(whole), "optimizer": seconds(optimize) - seconds(fill)}
        now |= {part: seconds(step) * count for part, (step, count) in parts.items()}
        for part, value in now.items():
            if turn > 0:
                times[part].append(value)
    table = {part: 1e3 * statistics.median(values) for part, values in times.items()}
    table["rest: residual sums, rows, loss, copies of weights"] = table["whole step"] - sum(
        value for part, value in table.items() if part != "whole step"
    )
    return {
        "preset": name,
        "batch": batch,
        "images_per_second": 1e3 * batch / table["whole step"],
        "milliseconds": table,
    }


def show(result: dict[str, Any]) -> None:
    for stack in result["stacks"]:
        g, rates = stack["geometry"], stack["matmul_flops"]
        print(f"\n{g['name']}: {g['depth']} blocks of {g['width']}, {g['rows']} rows, batch {g['batch']}")
        print(f"  matrix products: {rates['fp32'] / 1e12:.2f} fp32, {rates['bf16'] / 1e12:.2f} bf16 TFLOP/s")
        for row in stack["cells"]:
            mode = f"{row['precision']} {'compiled' if row['compiled'] else 'eager'}"
            speed = f"{row['images_per_second']:>9.1f} images/s {row['share_of_matmul_rate']:>7.1%} of the rate"
            print(f"  {row['stack']:<34}{mode:<15}{speed} {row['ratio_to_encoder']:>6.2f} x encoder")
    for step in result["steps"]:
        print(
            f"\n{step['preset']}: a bf16 training step, batch {step['batch']}, {step['images_per_second']:.0f} images/s"
        )
        for part, value in step["milliseconds"].items():
            print(f"  {part:<52}{value:>8.2f} ms{value / step['milliseconds']['whole step']:>8.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--geometries", nargs="*", default=[g.name for g in GEOMETRIES])
    parser.add_argument("--presets", nargs="*", default=["stoic-digits", "stoic-tiny"])
    parser.add_argument("--no-compile", action="store_true", help="eager cells only")
    parser.add_argument("--no-write", action="store_true", help="print, and keep no file")
    arguments = parser.parse_args()
    compiled = (False,) if arguments.no_compile else (False, True)
    chosen = [g for g in GEOMETRIES if g.name in arguments.geometries]
    result = facts_of_this_machine() | {
        "stacks": [throughput(g, arguments.rounds, arguments.device, compiled) for g in chosen],
        "steps": [time_by_part(name, 128, arguments.rounds, arguments.device) for name in arguments.presets],
        "attention_kernels": kernel_choices(),
    }
    show(result)
    if not arguments.no_write:
        print(f"\n{write_result('stoic-throughput', result)}")


if __name__ == "__main__":
    main()
