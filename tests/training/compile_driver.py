"""Trains with and without traced blocks and compares; exits with an error if they differ or a graph breaks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from kill_driver import tiny_data, tiny_recipe

from brickwork.attention import use_kernel
from brickwork.training.loop import train


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    recipe = tiny_recipe()
    recipe = replace(recipe, steps=3, backbone=replace(recipe.backbone, num_classes=3))
    compile_module = torch.nn.Module.compile

    def trace(self: torch.nn.Module) -> None:
        compile_module(self, backend="aot_eager", fullgraph=True)

    torch.nn.Module.compile = trace  # pyright: ignore[reportAttributeAccessIssue]
    with use_kernel("matmul"):
        plain = train(recipe, tiny_data(), folder / "plain", device="cpu", progress=False)
    traced = train(replace(recipe, compile=True), tiny_data(), folder / "traced", device="cpu", progress=False)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(traced.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
