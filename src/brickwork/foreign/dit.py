"""Published DiT weights, converted into brickwork's network. Peebles & Xie 2023, arXiv 2212.09748.

The released files, DiT-XL-2-256x256.pt and DiT-XL-2-512x512.pt, are state dicts; training files hold one under "ema".
The names below are those of that state dict, as the converters of other projects have them. Only names differ from
ours, and ``pos_embed``: a fixed table that ours computes, and that the file's must equal.

Sizes are read from shapes; heads are those of the published widths, or a pickled attention's attribute. No tensor says
what the output means: the published schedule, prediction and latents are assumed, and the facts say so.

SiT's files (Ma et al. 2024, arXiv 2401.08740) have the same names and shapes and another meaning, so they are read as
SiT's only where the user says so: the path is straight, the network's time runs from 0 at the noise to 1 at the image,
and its output is the velocity along that time, image minus noise: ours with the other sign.
"""

from __future__ import annotations

import torch

from brickwork.backbone.base import Backbone
from brickwork.backbone.dit import Dit, DitConfig
from brickwork.diffusion.prediction import Eps, Prediction, Velocity
from brickwork.diffusion.process import DiscreteVp, NoiseProcess, SitFlow
from brickwork.errors import CheckpointError
from brickwork.foreign.source import PublishedTensors, renamed
from brickwork.foreign.weights import Assumed, Weights
from brickwork.nn.layers import window_positions

HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
"""Heads of the published widths S, B, L and XL."""

PROCESS = DiscreteVp(beta_start=1e-4, beta_end=0.02, even="beta", first_number=0.0)
"""The noise process of the published networks: Ho et al.'s betas; steps are counted from 0."""
LATENTS = "latents of Stable Diffusion's autoencoder, times 0.18215; the last row of the class table is no class"

_START = "x_embedder.proj.weight"
_LABELS = "y_embedder.embedding_table.weight"
_BLOCK = r"blocks\.(\d+)\."
_NAMES = {
    r"patchify\.conv": r"x_embedder.proj",
    r"time\.first": r"t_embedder.mlp.0",
    r"time\.second": r"t_embedder.mlp.2",
    r"classes\.table": r"y_embedder.embedding_table",
    _BLOCK + r"attention\.(qkv|proj)": r"blocks.\1.attn.\2",
    _BLOCK + r"mlp\.widen": r"blocks.\1.mlp.fc1",
    _BLOCK + r"mlp\.narrow": r"blocks.\1.mlp.fc2",
    _BLOCK + r"modulation": r"blocks.\1.adaLN_modulation.1",
    r"head\.modulation": r"final_layer.adaLN_modulation.1",
    r"head\.linear": r"final_layer.linear",
}  # ours → theirs, without .weight and .bias


def recognises(weights: Weights) -> bool:
    """Tell whether the names are DiT's: modulated blocks and one table of positions."""
    start = _prefix(weights)
    needed = ("pos_embed", "t_embedder.mlp.0.weight", "blocks.0.adaLN_modulation.1.weight")
    return start is not None and all(start + name in weights.tensors for name in needed)


def assumed(weights: Weights) -> Assumed:
    """Return what is assumed as published, since no tensor says it."""
    return Assumed(
        process="1000 steps counted from 0 with betas in even steps from 0.0001 to 0.02",
        prediction="the output is the noise",
        rest=LATENTS,
    )


def assumed_of_sit(weights: Weights) -> Assumed:
    """Return what is assumed of SiT's files."""
    return Assumed(
        process="a straight path, whose time runs from 0 at the noise to 1 at the image",
        prediction="the output is image minus noise",
        rest=LATENTS,
    )


def convert(weights: Weights) -> tuple[Backbone, NoiseProcess, Prediction]:
    """Return the network with every weight of the file, variance outputs too, and the published process and prediction.

    Raises:
        CheckpointError: A tensor is missing, left over, or of a shape or dtype that does not fit the others.
        ConfigError: The sizes make no network.
    """
    prefix = _prefix(weights)
    assert prefix is not None
    source = PublishedTensors(weights, prefix, "DiT")
    config = _config(source)
    dit = source.build(config)
    assert isinstance(dit, Dit)
    theirs = {ours: renamed(ours, _NAMES) for ours in dit.state_dict()}
    source.refuse(set(source.names) - set(theirs.values()) - {"pos_embed"})
    state = {ours: source.read(theirs[ours], tuple(meta.shape)) for ours, meta in dit.state_dict().items()}
    dit.load_state_dict(state, assign=True)
    _place(dit, source)
    return dit, PROCESS, Eps()


def convert_sit(weights: Weights) -> tuple[Backbone, NoiseProcess, Prediction]:
    """Return the network of SiT's file, its last layer with the other sign; SiT's process and our velocity.

    Raises:
        BrickworkError: ``convert`` would raise it.
    """
    dit, _, _ = convert(weights)
    assert isinstance(dit, Dit)
    with torch.no_grad():
        for weight in dit.head.linear.parameters():
            weight.neg_()
    return dit, SitFlow(), Velocity()


def _prefix(weights: Weights) -> str | None:
    """Return the prefix of the names: "module." where a training wrapper was saved; None for another design."""
    return next((name.removesuffix(_START) for name in weights.tensors if name.endswith(_START)), None)


def _config(source: PublishedTensors) -> DitConfig:
    """Return the config, its sizes read from shapes."""
    width, channels, patch, _ = source.stored(_START, 4).shape
    places = source.stored("pos_embed", 3).shape[1]
    hidden = source.stored("blocks.0.mlp.fc1.weight", 2).shape[0]
    outputs = source.stored("final_layer.linear.weight", 2).shape[0]
    return DitConfig(
        size=source.side("pos_embed", places) * patch,
        channels=channels,
        num_classes=source.stored(_LABELS, 2).shape[0] - 1 if _LABELS in source.names else 0,
        width=width,
        depth=max(1, source.count("blocks.")),
        heads=source.heads("blocks.0.attn.num_heads", width, HEADS),
        mlp_ratio=hidden // width,
        patch=patch,
        variance=outputs == 2 * channels * patch**2,
    )


def _place(dit: Dit, source: PublishedTensors) -> None:
    """Give the network, built on the meta device, its table of positions; refuse the file if its table differs."""
    grid, width = dit.config.grid, dit.config.width
    published = source.read("pos_embed", (1, grid[0] * grid[1], width))[0]
    table = window_positions(grid, grid, width)
    # Angles of up to 32 tokens are exact to 1e-5 in float32; a file in half precision has them rounded.
    if not torch.allclose(published, table, rtol=0, atol=1e-3):
        raise CheckpointError("its pos_embed is not the table of sines that was published: it was changed")
    dit.position.table = table
