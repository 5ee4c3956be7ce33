"""Trains with and without traced blocks and compares; exits with an error if they differ or a graph breaks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from kill_driver import tiny_data, tiny_recipe

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.lego import Lego
from brickwork.nn.attention import use_kernel
from brickwork.training.denoiser.loop import train

LEGO = Lego.Config(
    bricks=(
        Lego.Brick(window=2, patch=1, width=32, heads=4, depth=2),
        Lego.Brick(window=2, patch=2, width=32, heads=4, depth=1),
        Lego.Brick(patch=1, width=32, heads=2, depth=2),
    ),
    vector_width=16,
    num_classes=3,
)


def compare(backbone: BackboneConfig, folder: Path) -> None:
    """The same weights after three steps."""
    recipe = replace(tiny_recipe(), steps=3, backbone=backbone)
    with use_kernel("matmul"):
        plain = train(recipe, tiny_data(), folder / "plain", device="cpu", progress=False)
    traced = train(replace(recipe, compile=True), tiny_data(), folder / "traced", device="cpu", progress=False)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(traced.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    compile_module = torch.nn.Module.compile

    def trace(self: torch.nn.Module, **options: Any) -> None:
        compile_module(self, backend="aot_eager", fullgraph=True, **options)

    torch.nn.Module.compile = trace  # pyright: ignore[reportAttributeAccessIssue]
    compare(replace(tiny_recipe().backbone, num_classes=3), folder / "stoic")
    compare(LEGO, folder / "lego")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
