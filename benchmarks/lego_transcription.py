"""The published LEGO forward, written down plainly: what ours must agree with, and what it is timed against.

Zheng et al. 2024 (arXiv 2310.06389). Each brick cuts the image into windows and takes them as images of their own: the
condition vector is repeated for every window and every window computes its own modulation. Attention is torch's fused
one, bf16 comes by autocast, and nothing is slow on purpose. Parameters are named as in the published files, so that
``state_dict`` has their keys. Nothing of brickwork is imported, so that the two can only agree by being right.

Letters: B images, L windows of one image, r window and l patch in pixels, T = (r/l)^2 tokens of a window, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class BrickShape:
    """One brick: the window it treats as a whole, its token's side, both in pixels, and its blocks."""

    window: int
    patch: int
    depth: int


class Transcription(nn.Module):
    """The network F of the paper, without the scalings around it.

    Args:
        bricks: From the first to the last.
        width: D of tokens and of the condition vector.
        heads: Of every block.
        channels: C of the image.
        num_classes: Width of the one-hot label; 0 has no labels.
        mlp_ratio: Hidden width over D.
    """

    def __init__(
        self,
        bricks: Sequence[BrickShape],
        *,
        width: int,
        heads: int,
        channels: int,
        num_classes: int = 0,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        self.t_embedder = TimeEmbedder(width)
        self.y_embedder = LabelEmbedder(num_classes, width) if num_classes else None
        self.model = nn.ModuleList(
            BrickNetwork(
                brick,
                width=width,
                heads=heads,
                channels=channels,
                inputs=(channels if k == 0 else 2 * channels) + 2,
                mlp_ratio=mlp_ratio,
            )
            for k, brick in enumerate(bricks)
        )

    def forward(self, x: Tensor, number: Tensor, one_hot: Tensor | None = None) -> list[Tensor]:
        """Every brick's raw output F_k, (B, C, H, W) each.

        Args:
            x: (B, C, H, W), scaled for the network.
            number: (B,), ln(sigma)/4.
            one_hot: (B, classes); a row of zeros asks for no class. Needed where there are classes.
        """
        vector = self.t_embedder(number)
        if self.y_embedder is not None:
            assert one_hot is not None
            vector = vector + self.y_embedder(one_hot)
        with_place = torch.cat([x, coordinates(x)], dim=1)
        outputs: list[Tensor] = []
        for brick in self.model:
            seen = torch.cat([outputs[-1], with_place], dim=1) if outputs else with_place
            outputs.append(brick(seen, vector))
        return outputs


class BrickNetwork(nn.Module):
    """One brick: a small DiT that is run on every window."""

    pos_embed: Tensor

    def __init__(
        self, shape: BrickShape, *, width: int, heads: int, channels: int, inputs: int, mlp_ratio: int
    ) -> None:
        super().__init__()
        self.window, self.patch = shape.window, shape.patch
        self.register_buffer("pos_embed", position_table(shape.window // shape.patch, width)[None])
        self.x_embedder = PatchEmbedder(inputs, width, shape.patch)
        self.blocks = nn.ModuleList(DitBlock(width, heads, mlp_ratio) for _ in range(shape.depth))
        self.final_layer = FinalLayer(width, shape.patch**2 * channels)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        """(B, inputs, H, W) and (B, D) → (B, C, H, W)."""
        r, side = self.window, self.window // self.patch
        rows, columns = image.shape[2] // r, image.shape[3] // r
        windows = rearrange(image, "b c (i r) (j s) -> (b i j) c r s", r=r, s=r)
        vectors = vector.repeat_interleave(rows * columns, dim=0)
        tokens = self.x_embedder(windows) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens, vectors)
        tokens = self.final_layer(tokens, vectors)
        windows = rearrange(tokens, "n (h w) (p q c) -> n c (h p) (w q)", h=side, w=side, p=self.patch, q=self.patch)
        return rearrange(windows, "(b i j) c r s -> b c (i r) (j s)", i=rows, j=columns)


class DitBlock(nn.Module):
    """adaLN-Zero transformer block. Peebles & Xie 2023 (arXiv 2212.09748), section 3.2."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = Perceptron(width, mlp_ratio * width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Tokens (N, T, D) of N windows, and a vector (N, D) for each."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(vector)[:, None].chunk(6, dim=-1)
        x = x + gate_a * self.attn((1 + scale_a) * self.norm1(x) + shift_a)
        return x + gate_m * self.mlp((1 + scale_m) * self.norm2(x) + shift_m)


class SelfAttention(nn.Module):
    """Multi-head attention over the tokens of a window."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        q, k, v = rearrange(self.qkv(x), "n t (three h d) -> three n h t d", three=3, h=self.heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(rearrange(mixed, "n h t d -> n t (h d)"))


class Perceptron(nn.Module):
    """Linear, tanh GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class FinalLayer(nn.Module):
    """Modulated norm, and a linear layer to the numbers of a patch."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, numbers)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """(N, T, D) → (N, T, l·l·C)."""
        shift, scale = self.adaLN_modulation(vector)[:, None].chunk(2, dim=-1)
        return self.linear((1 + scale) * self.norm_final(x) + shift)


class PatchEmbedder(nn.Module):
    """A convolution whose stride is its kernel: one linear layer on every patch of a window."""

    def __init__(self, inputs: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, width, kernel_size=patch, stride=patch)

    def forward(self, windows: Tensor) -> Tensor:
        """(N, inputs, r, r) → (N, T, D)."""
        return self.proj(windows).flatten(2).transpose(1, 2)


class TimeEmbedder(nn.Module):
    """256 cosines and sines of the number, then two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, number: Tensor) -> Tensor:
        """(B,) → (B, D)."""
        rate = torch.exp(-math.log(10_000) * torch.arange(128, dtype=number.dtype, device=number.device) / 128)
        angle = number[:, None] * rate
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=1))


class LabelEmbedder(nn.Module):
    """A linear layer on the one-hot label; its bias is what "no class" becomes."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Linear(num_classes, width)

    def forward(self, one_hot: Tensor) -> Tensor:
        """(B, classes) → (B, D)."""
        return self.embedding_table(one_hot)


def coordinates(x: Tensor) -> Tensor:
    """(B, 2, H, W): the row's place and the column's, each from -1 at the first pixel's centre to 1 at the last's."""
    B, _, H, W = x.shape
    row = torch.linspace(-1, 1, H, dtype=x.dtype, device=x.device)
    column = torch.linspace(-1, 1, W, dtype=x.dtype, device=x.device)
    return torch.stack([row[:, None].expand(H, W), column[None].expand(H, W)]).expand(B, -1, -1, -1)


def position_table(side: int, width: int) -> Tensor:
    """(side^2, D) of a window's tokens, row by row: the first half tells the column, the second the row.

    Each half is sines, then cosines, of the index times 10000^(-i/(D/4)). He et al. 2022 (MAE).
    """
    rate = 10_000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * rate
    along = torch.cat([angle.sin(), angle.cos()], dim=1)  # side, D/2
    column = along[None, :].expand(side, -1, -1)
    row = along[:, None].expand(-1, side, -1)
    return torch.cat([column, row], dim=2).flatten(0, 1).float()


@torch.no_grad()
def randomize(network: nn.Module, seed: int) -> None:
    """Weights as in a trained network: nothing is zero, the modulation least of all, so that every term shows."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        scale = fan_in**-0.5 if parameter.dim() > 1 else 0.1
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def to_brickwork(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under brickwork's names; position tables are left out, since ours are made when needed."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith("pos_embed"):
            continue
        if name.endswith("x_embedder.proj.weight"):
            value = value.flatten(1)  # ours cuts patches out of pixels, and a convolution of stride l is a product
        if name == "y_embedder.embedding_table.weight":
            value = value.T  # ours looks rows up
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        renamed[name] = value.clone()
    return renamed


NAMES = {
    "t_embedder.mlp.0": "time.first",
    "t_embedder.mlp.2": "time.second",
    "y_embedder.embedding_table": "label",
    "model.": "bricks.",
    "x_embedder.proj": "embed",
    "attn": "attention",
    "mlp.fc1": "mlp.widen",
    "mlp.fc2": "mlp.narrow",
    "adaLN_modulation.1": "modulation",
    "final_layer": "final",
}
