"""Published U-ViT weights, converted into brickwork's network. Bao et al. 2023, arXiv 2209.12152.

The files released at github.com/baofff/U-ViT, such as cifar10_uvit_small.pth and imagenet256_uvit_huge.pth, are state
dicts. They differ from ours:

- blocks are in three lists, ``in_blocks``, ``mid_block`` and ``out_blocks``: ours are in one;
- a block of the second half holds its ``skip_linear``: ours are listed apart, by the block of the first half;
- ``pos_embed`` is one table of all tokens: ours has one for the condition's tokens and one for the image's.

Sizes are read from shapes; heads are those of the published widths, or a pickled attention's attribute. No tensor says
which process noised the images. The small, middle and large networks of images and classes were trained in continuous
time; the huge ones, which alone have no convolution at the end, and those with text, in Stable Diffusion's 1000 steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from brickwork.backbone.base import Backbone
from brickwork.backbone.uvit import UvitConfig
from brickwork.diffusion.prediction import Eps, Prediction
from brickwork.diffusion.process import DiscreteVp, NoiseProcess, Vp
from brickwork.foreign.source import PublishedTensors, renamed
from brickwork.foreign.weights import Assumed, Weights

HEADS = {512: 8, 768: 12, 1024: 16, 1152: 16}
"""Heads of the published widths S, M, L and H."""
CLIP_TOKENS = 77
NO_NULL = 1000
"""Rows of the class table of the networks for ImageNet at 64 pixels, which have no row for "no class"."""

_START = "mid_block.attn.qkv.weight"
_LABELS, _TEXT = "label_emb.weight", "context_embed.weight"
_PLACE = r"(in_blocks\.\d+|mid_block|out_blocks\.\d+)\."
_NAMES = {
    r"patchify\.conv": r"patch_embed.proj",
    r"classes\.table": r"label_emb",
    r"text\.linear": r"context_embed",
    r"head\.norm": r"norm",
    r"head\.head": r"decoder_pred",
    r"final_conv": r"final_layer",
    _PLACE + r"norm_attention": r"\1.norm1",
    _PLACE + r"norm_mlp": r"\1.norm2",
    _PLACE + r"attention\.(qkv|proj)": r"\1.attn.\2",
    _PLACE + r"mlp\.widen": r"\1.mlp.fc1",
    _PLACE + r"mlp\.narrow": r"\1.mlp.fc2",
    _PLACE + r"skip_linear": r"\1.skip_linear",
}  # ours, with blocks named by ``_in_thirds`` → theirs, without .weight and .bias


def recognises(weights: Weights) -> bool:
    """Tell whether the names are U-ViT's: a middle block, and one table of positions."""
    start = _prefix(weights)
    return start is not None and all(start + name in weights.tensors for name in ("pos_embed", "decoder_pred.weight"))


def assumed(weights: Weights) -> Assumed:
    """Return what is assumed as published, since no tensor says it."""
    source = _source(weights)
    config = _config(source)
    steps, continuous = "Stable Diffusion's 1000 steps, counted from 1", "betas from 0.1 to 20 in continuous time"
    said: list[str] = []
    if config.channels == 4:
        said.append("latents of Stable Diffusion's autoencoder, times 0.18215")
    if config.num_classes:
        has_null = source.stored(_LABELS, 2).shape[0] > config.num_classes
        said.append(
            "the last row of the class table is no class"
            if has_null
            else "there is no row for no class, and the mean of all rows stands for it"
        )
    if config.text_length:
        said.append("no text is CLIP's embedding of the empty caption, not zeros: give it as the negative text")
    process = steps if _in_steps(config) else continuous
    return Assumed(process=process, prediction="the output is the noise", rest="; ".join(said))


def convert(weights: Weights) -> tuple[Backbone, NoiseProcess, Prediction]:
    """Return the network with every weight of the file; the published process and prediction.

    Raises:
        CheckpointError: A tensor is missing, left over, or of a shape or dtype that does not fit the others.
        ConfigError: The sizes make no network.
    """
    source = _source(weights)
    config = _config(source)
    uvit = source.build(config)
    meta = {name: tuple(tensor.shape) for name, tensor in uvit.state_dict().items()}
    table = source.read("pos_embed", (1, config.num_extra + config.grid[0] ** 2, config.width))
    state = {"position.extra": table[:, : config.num_extra], "position.table": table[:, config.num_extra :]}
    theirs = {ours: renamed(_in_thirds(ours, config.depth), _NAMES) for ours in meta if ours not in state}
    source.refuse(set(source.names) - set(theirs.values()) - {"pos_embed"})
    for ours, name in theirs.items():
        state[ours] = _classes(source, meta[ours]) if name == _LABELS else source.read(name, meta[ours])
    uvit.load_state_dict(state, assign=True)
    return uvit, DiscreteVp() if _in_steps(config) else Vp(), Eps()


def _prefix(weights: Weights) -> str | None:
    """Return the prefix of the names: "module." where a training wrapper was saved; None for another design."""
    return next((name.removesuffix(_START) for name in weights.tensors if name.endswith(_START)), None)


def _source(weights: Weights) -> PublishedTensors:
    prefix = _prefix(weights)
    assert prefix is not None
    return PublishedTensors(weights, prefix, "U-ViT")


def _in_steps(config: UvitConfig) -> bool:
    """Tell whether the published network of this kind was trained in discrete time."""
    return config.text_length > 0 or not config.final_conv


def _config(source: PublishedTensors) -> UvitConfig:
    """Return the config, its sizes read from shapes."""
    width, channels, patch, _ = source.stored("patch_embed.proj.weight", 4).shape
    places = source.stored("pos_embed", 3).shape[1]
    rows = source.stored(_LABELS, 2).shape[0] if _LABELS in source.names else 0
    text_width = source.stored(_TEXT, 2).shape[1] if _TEXT in source.names else 0
    extras = (rows > 0) + 1 + (CLIP_TOKENS if text_width else 0)
    if (stated := source.whole("extras")) is not None:
        extras = stated
    return UvitConfig(
        size=source.side("pos_embed", places - extras) * patch,
        channels=channels,
        num_classes=rows if rows == NO_NULL else max(0, rows - 1),
        text_length=extras - (rows > 0) - 1,
        text_width=text_width,
        width=width,
        depth=2 * source.count("in_blocks.") + 1,
        heads=source.heads("mid_block.attn.num_heads", width, HEADS),
        mlp_ratio=source.stored("mid_block.mlp.fc1.weight", 2).shape[0] // width,
        patch=patch,
        final_conv="final_layer.weight" in source.names,
    )


def _classes(source: PublishedTensors, shape: tuple[int, ...]) -> Tensor:
    """Return the class table, whose last row is for no class: the mean of all rows, where the file has none."""
    rows = source.stored(_LABELS, 2).shape[0]
    table = source.read(_LABELS, (rows, shape[1]))
    return table if rows == shape[0] else torch.cat([table, table.mean(dim=0, keepdim=True)])


def _in_thirds(ours: str, depth: int) -> str:
    """Rename blocks and merges by their place in the file: "in_blocks.3", "mid_block", "out_blocks.0.skip_linear"."""
    kind, _, rest = ours.partition(".")
    if kind not in ("blocks", "merges"):
        return ours
    number, _, rest = rest.partition(".")
    k, half = int(number), depth // 2
    if kind == "merges":
        return f"out_blocks.{half - 1 - k}.skip_linear.{rest}"
    place = f"in_blocks.{k}" if k < half else "mid_block" if k == half else f"out_blocks.{k - half - 1}"
    return f"{place}.{rest}"
