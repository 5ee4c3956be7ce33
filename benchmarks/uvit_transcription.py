"""U-ViT's forward as plain functions over the names of its published files: what ours is compared with in tests.

Bao et al. 2023, arXiv 2209.12152, figure 1; the names are those of the released state dicts.
"""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from brickwork.backbone.uvit import Uvit


def published(config: Uvit.Config, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the names of the released files; only their shapes are from the paper's geometry."""
    d, p, C, half = config.width, config.patch, config.channels, config.depth // 2
    shapes = {"patch_embed.proj": (d, C, p, p), "norm": (d,), "decoder_pred": (p * p * C, d)}
    if config.text_length:
        shapes["context_embed"] = (d, config.text_width)
    if config.final_conv:
        shapes["final_layer"] = (C, C, 3, 3)
    places = [*(f"in_blocks.{k}" for k in range(half)), "mid_block", *(f"out_blocks.{k}" for k in range(half))]
    for place in places:
        shapes |= {f"{place}.norm1": (d,), f"{place}.norm2": (d,), f"{place}.attn.proj": (d, d)}
        shapes |= {f"{place}.mlp.fc1": (4 * d, d), f"{place}.mlp.fc2": (d, 4 * d)}
        if place.startswith("out"):
            shapes[f"{place}.skip_linear"] = (d, 2 * d)
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * (shape[-1] ** -0.5 if len(shape) > 1 else 0.5)

    state = {f"{name}.weight": random(*shape) for name, shape in shapes.items()}
    state |= {f"{name}.bias": random(shape[0]) for name, shape in shapes.items()}
    state |= {f"{place}.attn.qkv.weight": random(3 * d, d) for place in places}
    state["pos_embed"] = random(1, config.num_extra + config.grid[0] ** 2, d)
    if config.num_classes:
        state["label_emb.weight"] = random(config.num_classes + 1, d)
    return state


def transcription(
    w: dict[str, Tensor], heads: int, x: Tensor, t: Tensor, y: Tensor | None = None, context: Tensor | None = None
) -> Tensor:
    """The output; y picks rows of the class table, the last of which is "no class"."""

    def linear(name: str, h: Tensor) -> Tensor:
        return F.linear(h, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def norm(name: str, h: Tensor) -> Tensor:
        mean, variance = h.mean(-1, keepdim=True), h.var(-1, correction=0, keepdim=True)
        return (h - mean) / (variance + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def block(name: str, h: Tensor) -> Tensor:
        q, k, v = linear(f"{name}.attn.qkv", norm(f"{name}.norm1", h)).unflatten(-1, (3, heads, -1)).unbind(2)
        scores = torch.einsum("bihd,bjhd->bhij", q, k) / q.shape[-1] ** 0.5
        mixed = torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v).flatten(2)
        h = h + linear(f"{name}.attn.proj", mixed)
        return h + linear(f"{name}.mlp.fc2", F.gelu(linear(f"{name}.mlp.fc1", norm(f"{name}.norm2", h))))

    patches = w["patch_embed.proj.weight"]
    d, C, p, _ = patches.shape
    h = F.conv2d(x, patches, w["patch_embed.proj.bias"], stride=p).flatten(2).transpose(1, 2)
    angle = t[:, None] * torch.exp(-log(10000) * torch.arange(d // 2) / (d // 2))
    rows = [torch.cat([angle.cos(), angle.sin()], dim=1)[:, None]]
    rows += [] if context is None else [linear("context_embed", context)]
    rows = rows if y is None else [w["label_emb.weight"][y][:, None], *rows]
    h = torch.cat([*rows, h], dim=1) + w["pos_embed"]

    half = len({name.split(".")[1] for name in w if name.startswith("in_blocks.")})
    kept = []
    for k in range(half):
        h = block(f"in_blocks.{k}", h)
        kept.append(h)
    h = block("mid_block", h)
    for k in range(half):
        h = block(f"out_blocks.{k}", linear(f"out_blocks.{k}.skip_linear", torch.cat([h, kept.pop()], dim=-1)))

    side = x.shape[2] // p
    h = linear("decoder_pred", norm("norm", h))[:, -side * side :]
    image = h.view(len(x), side, side, p, p, C).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)
    return (
        F.conv2d(image, w["final_layer.weight"], w["final_layer.bias"], padding=1) if "final_layer.bias" in w else image
    )
