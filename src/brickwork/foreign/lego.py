"""Published LEGO weights, converted into brickwork's network. Zheng et al. 2024, arXiv 2310.06389.

The three released files of github.com/JegZheng/LEGODiffusion, LEGO-L-PG-64.pkl, LEGO-L-PR-64.pkl and
LEGO-XL-U-256.pkl, are plain pickles of a table whose ``ema`` is a module in EDM's wrapping: its network is under
``model``, and that network's bricks under ``model`` again. The names below are the keys of that code's state dict, got
by running it; brick k is ``model.model.k``. These differ:

- ``x_embedder.proj`` is a convolution with the stride of its kernel: ours is linear on (channel, row, column).
- ``y_embedder.embedding_table`` is a linear layer on the one-hot label: ours is its transpose, a row a class.
- ``pos_embed`` is a fixed table: ours is computed, and the file's must equal it.
- ``map_augment`` takes augmentation labels in training; pictures are drawn without, so it is left out.

Everything else is the same under another name. Sizes are read from shapes. No shape tells the number of heads: it is an
attribute of the pickled attention; for a state dict, which has no attributes, it is that of the published width.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from brickwork.backbone.base import Backbone
from brickwork.backbone.lego import Brick, BrickConfig, Lego, LegoConfig
from brickwork.diffusion.prediction import EdmF, Prediction
from brickwork.diffusion.process import Edm, NoiseProcess
from brickwork.errors import CheckpointError
from brickwork.foreign.pickles import quote
from brickwork.foreign.source import PublishedTensors, renamed
from brickwork.foreign.weights import Weights
from brickwork.nn.layers import window_positions

HEADS = {384: 6, 1024: 16, 1152: 16}
"""Heads of the published widths S, L and XL."""

_START = "model.0.x_embedder.proj.weight"
_NAMES = {
    r"time\.first": r"t_embedder.mlp.0",
    r"time\.second": r"t_embedder.mlp.2",
    r"label": r"y_embedder.embedding_table",
    r"bricks\.(\d+)\.embed": r"model.\1.x_embedder.proj",
    r"bricks\.(\d+)\.blocks\.(\d+)\.attention\.(qkv|proj)": r"model.\1.blocks.\2.attn.\3",
    r"bricks\.(\d+)\.blocks\.(\d+)\.mlp\.widen": r"model.\1.blocks.\2.mlp.fc1",
    r"bricks\.(\d+)\.blocks\.(\d+)\.mlp\.narrow": r"model.\1.blocks.\2.mlp.fc2",
    r"bricks\.(\d+)\.blocks\.(\d+)\.modulation": r"model.\1.blocks.\2.adaLN_modulation.1",
    r"bricks\.(\d+)\.final\.modulation": r"model.\1.final_layer.adaLN_modulation.1",
    r"bricks\.(\d+)\.final\.linear": r"model.\1.final_layer.linear",
}  # ours → theirs, without .weight and .bias


def recognises(weights: Weights) -> bool:
    """Tell whether the names are LEGO's: bricks that each embed patches, and one shared time embedding."""
    start = _prefix(weights)
    return start is not None and f"{start}t_embedder.mlp.0.weight" in weights.tensors


def convert(weights: Weights) -> tuple[Backbone, NoiseProcess, Prediction]:
    """Return the network with every weight of the file; EDM's process and prediction, with its sigma_data or 0.5.

    Raises:
        CheckpointError: A tensor is missing, left over, or of a shape or dtype that does not fit the others.
        ConfigError: The sizes make no network.
    """
    prefix = _prefix(weights)
    assert prefix is not None
    source = PublishedTensors(weights, prefix, "LEGO")
    config = _config(source)
    lego = source.build(config)
    assert isinstance(lego, Lego)
    theirs = {ours: renamed(ours, _NAMES) for ours in lego.state_dict()}
    tables = {f"model.{k}.pos_embed" for k in range(config.num_parts)}
    left_out = {"map_augment.weight", "map_augment.bias"}
    source.refuse(set(source.names) - set(theirs.values()) - tables - left_out)
    lego.load_state_dict(
        {ours: _adapt(source, ours, theirs[ours], meta.shape) for ours, meta in lego.state_dict().items()}, assign=True
    )
    for k, brick in enumerate(lego.bricks):
        assert isinstance(brick, Brick)
        brick.position = _position(source, k, brick)
    sigma_data = weights.attributes.get(prefix.removesuffix("model.") + "sigma_data", 0.5)
    if type(sigma_data) not in (int, float):
        raise CheckpointError(f"its sigma_data is {quote(sigma_data)}: it must be a number such as 0.5")
    sigma_data = float(sigma_data)
    return lego, Edm(sigma_data=sigma_data), EdmF(sigma_data=sigma_data)


def _prefix(weights: Weights) -> str | None:
    """Return the prefix of the names: "model." in EDM's wrapping, "" for a bare network; None for another design."""
    return next((name.removesuffix(_START) for name in weights.tensors if name.endswith(_START)), None)


def _config(source: PublishedTensors) -> LegoConfig:
    """Return the config, its sizes read from shapes, the rest from attributes."""
    bricks = [_brick(source, k) for k in range(source.count("model."))]
    channels = source.stored(_START, 4).shape[1] - 2  # two coordinates
    size = max(brick.window for brick in bricks)
    labels = "y_embedder.embedding_table.weight"
    hidden, width = source.stored("model.0.blocks.0.mlp.fc1.weight", 2).shape
    return LegoConfig(
        size=size,
        channels=channels,
        num_classes=source.stored(labels, 2).shape[1] if labels in source.names else 0,
        bricks=tuple(
            BrickConfig(
                window=0 if brick.window == size else brick.window,
                patch=brick.patch,
                width=brick.width,
                heads=brick.heads,
                depth=brick.depth,
            )
            for brick in bricks
        ),
        vector_width=source.stored("t_embedder.mlp.0.weight", 2).shape[0],
        mlp_ratio=hidden // width,
    )


def _brick(source: PublishedTensors, k: int) -> BrickConfig:
    """Return one brick's config; its window follows from the number of positions in its table."""
    width, _, patch, _ = source.stored(f"model.{k}.x_embedder.proj.weight", 4).shape
    places = source.stored(f"model.{k}.pos_embed", 3).shape[1]
    if isqrt(places) ** 2 != places:
        raise CheckpointError(f"its model.{k}.pos_embed has {places} places: windows are squares")
    heads = source.heads(f"model.{k}.blocks.0.attn.num_heads", width, HEADS, f"its brick {k}")
    return BrickConfig(
        window=isqrt(places) * patch,
        patch=patch,
        width=width,
        heads=heads,
        depth=max(1, source.count(f"model.{k}.blocks.")),
    )


def _adapt(source: PublishedTensors, ours: str, theirs: str, shape: torch.Size) -> Tensor:
    """Return a weight in brickwork's layout, float32."""
    axes = 4 if ours.endswith("embed.weight") else len(shape)
    stored = source.stored(theirs, axes)
    found = stored.shape
    if axes == 4:
        found = (found[0], found[1] * found[2] * found[3])
    elif ours == "label.weight":
        found = found[::-1]
    if found != tuple(shape):
        raise CheckpointError(
            f"its {theirs} is of shape {stored.shape}: by its other sizes it must make {tuple(shape)}; another design?"
        )
    tensor = source.numbers(stored, theirs)
    return tensor.T.contiguous() if ours == "label.weight" else tensor.reshape(shape)


def _position(source: PublishedTensors, k: int, brick: Brick) -> Tensor:
    """Return the computed table of positions; refuse the file if its table differs."""
    width = brick.brick.width
    stored = source.stored(f"model.{k}.pos_embed", 3)
    rows, columns = brick.trained_grid
    shape = (1, rows * columns, width)
    if stored.shape != shape:
        raise CheckpointError(f"its model.{k}.pos_embed is of shape {stored.shape}: it must be {shape}")
    table = window_positions(brick.trained_grid, brick.trained_grid, width)
    # A file in float16 has the table rounded; angles of up to 32 tokens are exact to 1e-5 in float32.
    if not torch.allclose(stored.read().float()[0], table, rtol=0, atol=1e-3):
        raise CheckpointError(f"its model.{k}.pos_embed is not the table of sines that was published: it was changed")
    return table
