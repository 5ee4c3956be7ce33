"""Layers from pixels to tokens and back: convolutions and patches, condition rows, and four decoders."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal, final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.backbone.base import rows_of_null
from brickwork.backbone.position import require_grid
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError
from brickwork.nn.layers import Grid, modulated_norm
from brickwork.nn.linear import Linear
from brickwork.nn.shapes import Image, Label, Sigma, Text, Tokens

Patches = Float[Tensor, "B T P"]  # P = S·S·C numbers of each image row
PaddingMode = Literal["zeros", "reflect", "circular"]


def stem_padding(kernel: int, stride: int) -> int:
    """Return the zeros on each side that keep H/stride: (k-1)/2 for odd kernels, (k-S)/2 for even ones."""
    return (kernel - 1) // 2 if kernel % 2 else (kernel - stride) // 2


@final
class InitialConvolution(nn.Sequential):
    """Image → feature map (B, L, H/S, W/S): one convolution with the stride, or several with SiLU between.

    With more than one layer, all but the last have L/2 channels: the first has kernel and stride, the rest are 3x3.

    Args:
        channels: C of the image, and the coordinate channels if there are any.
        width: Width L of a row, in channels.
        kernel: Kernel of the first layer, in pixels.
        stride: Stride of the first layer, in pixels.
        layers: Number of convolutions.
        padding_mode: "zeros", "reflect" or "circular"; circular removes every absolute cue.
    """

    def __init__(
        self, channels: int, width: int, *, kernel: int, stride: int, layers: int, padding_mode: PaddingMode
    ) -> None:
        widths = [width // 2] * (layers - 1) + [width]
        padding = stem_padding(kernel, stride)
        parts: list[nn.Module] = []
        parts.append(nn.Conv2d(channels, widths[0], kernel, stride, padding, padding_mode=padding_mode))
        for before, after in itertools.pairwise(widths):
            parts += [nn.SiLU(), nn.Conv2d(before, after, 3, 1, 1, padding_mode=padding_mode)]
        super().__init__(*parts)

    def forward(self, input: Image) -> Float[Tensor, "B D H2 W2"]:  # noqa: A002 - the name torch gives it
        """Return the feature map of an image."""
        first, *rest = self
        h = on_pixels(first, input)
        for part in rest:
            h = part(h)
        return h


@final
class Patchify(nn.Module):
    """Image → rows (B, T, L), row by row of patches: one convolution of p x p with stride p.

    Args:
        channels: Channels of the image and of the image condition.
        width: Width L of a row, in channels.
        patch: Side p of a patch, in pixels.
    """

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.conv = nn.Conv2d(channels, width, patch, patch)

    def grid(self, x: Image) -> Grid:
        """Return the rows of this image, as height and width.

        Raises:
            ArgumentError: The patch does not divide the image.
        """
        p, (H, W) = self.patch, x.shape[2:]
        if H % p or W % p:
            raise ArgumentError(f"image of {H}x{W} pixels: patch {p} must divide both; pad or resize it")
        return H // p, W // p

    def forward(self, x: Float[Tensor, "B Cin H W"]) -> Tokens:
        """Convert an image into rows."""
        return on_pixels(self.conv, x).flatten(2).mT.contiguous()


def on_pixels(layer: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Run a layer that reads pixels in fp32 even under autocast; its result has autocast's dtype.

    A bf16 pixel near 1 has steps of 1/128: a fifth of the noise at level 0.05, which it would hide.
    """
    device = pixels.device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return layer(pixels)
    with torch.autocast(device, enabled=False):
        return layer(pixels.float()).to(torch.get_autocast_dtype(device))


def coordinates(x: Image) -> Float[Tensor, "B C+2 H W"]:
    """Append two channels: height and width of each pixel's centre in (-1, 1). Liu et al. 2018 (CoordConv)."""
    B, _, H, W = x.shape
    row = (torch.arange(H, device=x.device, dtype=x.dtype) * 2 + 1) / H - 1
    column = (torch.arange(W, device=x.device, dtype=x.dtype) * 2 + 1) / W - 1
    plane = torch.stack([row[:, None].expand(H, W), column[None].expand(H, W)])
    return torch.cat([x, plane.expand(B, -1, -1, -1)], dim=1)


@final
class ClassRows(nn.Module):
    """Class label as rows of the sequence: a table of K + 1 entries, the last for "no class" (label -1)."""

    def __init__(self, num_classes: int, num_rows: int, width: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_rows = num_rows
        self.table = nn.Embedding(num_classes + 1, num_rows * width)

    def forward(self, labels: Label) -> Tokens:
        """Embed labels: (B,) → (B, num_rows, L)."""
        return self.table(rows_of_null(labels, self.num_classes)).unflatten(-1, (self.num_rows, -1))


def labels_of(condition: Condition, c_noise: Sigma) -> Label:
    """Return the labels of a batch; without any, "no class" for each entry of c_noise."""
    return c_noise.new_full((len(c_noise),), -1).long() if condition.labels is None else condition.labels


@final
class TextRows(nn.Module):
    """Text tokens as rows of the sequence, through one linear layer; zeros are "no text"."""

    def __init__(self, length: int, text_width: int, width: int) -> None:
        super().__init__()
        self.shape = (length, text_width)
        self.linear = nn.Linear(text_width, width)

    def forward(self, text: Text | None, x: Image) -> Float[Tensor, "B M D"]:
        """Embed text: (B, M, E) → (B, M, L); None is zeros for each image of x.

        Raises:
            ArgumentError: M or E is not the model's.
        """
        return self.linear(require_text(text, self.shape, x))


@final
class TextVector(nn.Module):
    """Text as one vector: the mean of its tokens, rows of zeros left out, through one linear layer."""

    def __init__(self, length: int, text_width: int, width: int) -> None:
        super().__init__()
        self.shape = (length, text_width)
        self.linear = nn.Linear(text_width, width)

    def forward(self, text: Text | None, c_noise: Sigma) -> Float[Tensor, "B D"]:
        """Embed text: (B, M, E) → (B, L); None is zeros for each entry of c_noise.

        Raises:
            ArgumentError: M or E is not the model's.
        """
        text = require_text(text, self.shape, c_noise)
        count = (text != 0).any(dim=-1).sum(dim=-1, keepdim=True).clamp(min=1)
        return self.linear(text.sum(dim=1) / count)


def require_text(text: Text | None, shape: tuple[int, int], like: Tensor) -> Text:
    """Return the text as the model takes it; None is zeros, one for each row of ``like``.

    Raises:
        ArgumentError: M or E is not the model's.
    """
    if text is None:
        text = like.new_zeros((len(like), *shape))
    if text.shape[1:] != shape:
        raise ArgumentError(f"text of {tuple(text.shape[1:])}: this model takes (tokens, width) = {shape}")
    return text


@final
class SliceTokens(nn.Module):
    """Decoder that drops the extra rows, then applies layer norm and a linear head L → S·S·C to each row."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, patch)

    def forward(self, x: Tokens, grid: Grid) -> Patches:
        """Decode rows: (B, E+T, L) → (B, T, S·S·C)."""
        return self.head(self.norm(x[:, x.shape[1] - grid[0] * grid[1] :]))


@final
class LinearTokens(nn.Module):
    """Decoder: layer norm, a linear layer over the row axis E+T → T, then a linear head; ties the model to its grid."""

    def __init__(self, width: int, patch: int, *, grid: Grid, num_extra: int) -> None:
        super().__init__()
        self.grid = grid
        num_rows = grid[0] * grid[1]
        self.norm = nn.LayerNorm(width)
        self.rows = nn.Linear(num_extra + num_rows, num_rows)
        self.head = nn.Linear(width, patch)

    def forward(self, x: Tokens, grid: Grid) -> Patches:
        """Decode rows: (B, E+T, L) → (B, T, S·S·C).

        Raises:
            ArgumentError: The grid is not the layer's.
        """
        require_grid(grid, self.grid, "decoder 'linear_tokens'")
        return self.head(self.rows(self.norm(x).transpose(1, 2)).transpose(1, 2))


@final
class SliceChannels(nn.Module):
    """Decoder that takes the first S·S·C channels of each image row as the picture; no weights."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: Tokens, grid: Grid) -> Patches:
        """Decode rows: (B, E+T, L) → (B, T, S·S·C)."""
        return x[:, x.shape[1] - grid[0] * grid[1] :, : self.patch]


@final
class FinalLayer(nn.Module):
    """Modulated norm, then a linear layer to the pixels of a patch."""

    def __init__(self, width: int, patch: int, vector_width: int) -> None:
        super().__init__()
        self.modulation = Linear(vector_width, 2 * width)
        self.linear = Linear(width, patch)

    def forward(self, h: Tokens, vector: Float[Tensor, "B V"]) -> Patches:
        """Decode rows of D channels into rows of l·l·C pixels."""
        shift, scale = self.modulation(vector)[:, None].chunk(2, dim=-1)
        return self.linear(modulated_norm(h, scale, shift))


def unshuffle(rows: Patches, grid: Grid, stride: int) -> Image:
    """Rearrange rows of S·S·C numbers, channels innermost, into pixels (B, C, H, W)."""
    return rearrange(rows, "b (h w) (p q c) -> b c (h p) (w q)", h=grid[0], w=grid[1], p=stride, q=stride)


def prepend(x: Tokens, extra: list[Float[Tensor, "B _ D"]]) -> Float[Tensor, "B T D"]:
    """Put condition rows in front of the image rows."""
    return torch.cat([*(rows.to(x.dtype) for rows in extra), x], dim=1) if extra else x
