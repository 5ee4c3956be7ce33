"""Trains compiled models of 2 and of 6 blocks, and prints how many graphs were compiled for each.

The graphs are run eagerly: what is counted is how often the compiler was asked.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from kill_driver import tiny_data, tiny_recipe
from torch._dynamo.backends.debugging import aot_eager

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.dit import Dit
from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.training.denoiser.loop import train

SIZES: dict[str, Any] = {"size": 4, "channels": 1, "num_classes": 3}


def config(name: str, depth: int) -> BackboneConfig:
    """A backbone of so many blocks; a stack of LEGO has them all in one brick."""
    if name == "stoic":
        return Stoic.Config(width=32, heads=2, depth=depth, time="adaln", depthwise=True, **SIZES)
    if name == "dit":
        return Dit.Config(width=32, heads=2, depth=depth, **SIZES)
    brick = Lego.Brick(window=2, patch=1, width=32, heads=4, depth=depth)
    return Lego.Config(bricks=(brick,), vector_width=16, **SIZES)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    count = 0

    def backend(graph: torch.fx.GraphModule, inputs: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return aot_eager(graph, inputs, **options)

    compile_module = torch.nn.Module.compile

    def compiled(self: torch.nn.Module, **options: Any) -> None:
        compile_module(self, backend=backend, fullgraph=True, **options)

    torch.nn.Module.compile = compiled  # pyright: ignore[reportAttributeAccessIssue]
    found: dict[str, list[int]] = {}
    for name in ("stoic", "dit", "lego"):
        for depth in (2, 6):
            torch._dynamo.reset()
            count = 0
            recipe = replace(tiny_recipe(), steps=3, backbone=config(name, depth), compile=True)
            train(recipe, tiny_data(), folder / f"{name}-{depth}", device="cpu", progress=False)
            found.setdefault(name, []).append(count)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
