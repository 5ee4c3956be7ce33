"""A small convolutional autoencoder that a CPU trains: nearly all of its work is at the latents' own resolution.

It has no attention and no normalisation over places: a pixel depends on nearby latents alone, and ``reach`` says how
near. A straight linear path beside the convolutions, patch to latent and latent to patch, starts the network where a
principal component analysis of patches would end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, final

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional

from brickwork.bounds import MOST_BLOCKS, at_least, between, check_fields
from brickwork.codec.base import FirstStage, FirstStageConfig, Latent
from brickwork.files.proposed import Proposed
from brickwork.nn.floats import float32_default
from brickwork.nn.shapes import Image

PATCH = 4
"""Largest side in pixels of a square patch at the finest level; a smaller factor is the patch itself."""
WIDEST = 4
"""Most channels of a level, as a multiple of the finest level's."""
LOWEST, HIGHEST = -30.0, 20.0
"""Bounds of the posterior's log-variance; beyond them its exponential is useless in single precision."""
AT_ONCE = 4096
"""Places that are quantised at once: their distances to all codes are held in memory."""


@final
@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(FirstStageConfig):
    """Config of the small convolutional autoencoder, ``Autoencoder.Config``."""

    picture_channels: Annotated[int, at_least(1)] = Proposed(3)  # pyright: ignore[reportIncompatibleMethodOverride]
    """Channels of the pictures: 1 grey, 3 colour."""
    channels: Annotated[int, at_least(1)] = 8  # pyright: ignore[reportIncompatibleMethodOverride]
    """Channels Z of the latents."""
    factor: Literal[2, 4, 8, 16] = 4  # pyright: ignore[reportIncompatibleMethodOverride]
    """Pixels per latent place, each way: 2, 4, 8 or 16."""
    kind: Literal["kl", "vq"] = "kl"
    """kl: latents have a Gaussian posterior; vq: each place is decoded as the nearest code of a codebook."""
    width: Annotated[int, at_least(1)] = 96
    """Channels of the network where patches enter; twice as many at each coarser level, at most four times."""
    encoder_depth: Annotated[int, between(1, MOST_BLOCKS)] = 2
    """Residual blocks of the encoder at each level."""
    decoder_depth: Annotated[int, between(1, MOST_BLOCKS)] = 4
    """Residual blocks of the decoder at each level; each widens the halo by one place."""
    codes: Annotated[int, at_least(1)] = 1024
    """Codes in the codebook, for kind vq."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def patch(self) -> int:
        """Side in pixels of the square patch that enters the finest level as one place."""
        return min(self.factor, PATCH)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first; each level has half as many places each way as the one before."""
        levels = (self.factor // self.patch).bit_length()
        return tuple(self.width * min(2**level, WIDEST) for level in range(levels))

    @float32_default()
    def build(self) -> Autoencoder:
        """Return an autoencoder with fresh weights."""
        return Autoencoder(self)


@final
class Block(nn.Module):
    """Residual block ``x + mix(silu(near(silu(x))))`` with near 3x3 and mix 1x1; at the start the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.mix = nn.Conv2d(width, width, 1)
        _zero(self.mix)

    def forward(self, x: Image) -> Image:
        """Apply the block; shape kept."""
        return x + self.mix(functional.silu(self.near(functional.silu(x))))


@final
class Encoder(nn.Module):
    """Encoder of pictures into parameters of the posterior, factor times fewer places each way.

    Args:
        config: Config of the autoencoder.
        out: Channels of the result: mean and log-variance of each latent channel, or one vector.
    """

    def __init__(self, config: AutoencoderConfig, out: int) -> None:
        super().__init__()
        widths, values = config.widths, config.picture_channels
        self.patch, self.factor = config.patch, config.factor
        self.enter = nn.Conv2d(values * config.patch**2, widths[0], 1)
        self.levels = nn.ModuleList(nn.Sequential(*(Block(w) for _ in range(config.encoder_depth))) for w in widths)
        self.narrow = nn.ModuleList(nn.Conv2d(4 * a, b, 1) for a, b in pairwise(widths))
        self.leave = nn.Conv2d(widths[-1], out, 1)
        self.straight = nn.Conv2d(values * config.factor**2, out, 1)

    def forward(self, pixels: Image) -> Latent:
        """Encode pixels: (B, C, H, W) → (B, out, H/factor, W/factor)."""
        x = self.enter(functional.pixel_unshuffle(pixels, self.patch))
        for k, level in enumerate(self.levels):
            x = level(self.narrow[k - 1](functional.pixel_unshuffle(x, 2)) if k else x)
        return self.leave(x) + self.straight(functional.pixel_unshuffle(pixels, self.factor))


@final
class Decoder(nn.Module):
    """Decoder of latents into pictures, by the encoder's levels from coarse to fine."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, values = config.widths[::-1], config.picture_channels
        self.patch, self.factor = config.patch, config.factor
        self.enter = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(nn.Sequential(*(Block(w) for _ in range(config.decoder_depth))) for w in widths)
        self.widen = nn.ModuleList(nn.Conv2d(a, 4 * b, 1) for a, b in pairwise(widths))
        self.leave = nn.Conv2d(widths[-1], values * config.patch**2, 3, padding=1)
        self.straight = nn.Conv2d(config.channels, values * config.factor**2, 1)
        _zero(self.leave)

    def forward(self, z: Latent) -> Image:
        """Decode latents: (B, Z, h, w) → (B, C, h·factor, w·factor)."""
        x = self.enter(z)
        for k, level in enumerate(self.levels):
            x = level(functional.pixel_shuffle(self.widen[k - 1](x), 2) if k else x)
        fine = functional.pixel_shuffle(self.leave(functional.silu(x)), self.patch)
        return fine + functional.pixel_shuffle(self.straight(z), self.factor)

    @property
    def reach(self) -> int:
        """Pixels around a latent place's own square that the place changes, on each side.

        It is counted through the kernels: a k x k convolution reaches (k - 1) / 2 places farther, and an upsampling by
        2 doubles the places reached so far.
        """
        places = _radius(self.enter)
        for k, level in enumerate(self.levels):
            places = (2 * places if k else places) + sum(map(_radius, level.modules()))
        return (places + _radius(self.leave)) * self.patch


@final
class Autoencoder(FirstStage):
    """Convolutional autoencoder of pictures and latents; ``brickwork.training.autoencoder`` trains it.

    Kind kl: Kingma & Welling 2013 (arXiv 1312.6114), weighted as Rombach et al. 2022 (arXiv 2112.10752) have it. Kind
    vq: van den Oord et al. 2017 (arXiv 1711.00937). The network is our own.

    Attributes:
        codebook: (codes, Z) for kind vq; else None.
    """

    Config = AutoencoderConfig

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self._config = config
        self.encoder = Encoder(config, config.channels * (2 if config.kind == "kl" else 1))
        self.decoder = Decoder(config)
        self.codebook = nn.Parameter(torch.randn(config.codes, config.channels)) if config.kind == "vq" else None

    @property
    def config(self) -> AutoencoderConfig:
        """The config that it was built from."""
        return self._config

    @property
    def halo(self) -> int:
        """Latent places on each side that a decoded pixel depends on: the decoder's reach, whole places."""
        return -(-self.decoder.reach // self.config.factor)

    def moments(self, pixels: Image) -> tuple[Latent, Latent | None]:
        """Return mean and log-variance of the latents of pictures in [-1, 1]; None as log-variance for kind vq."""
        out = self.encoder(pixels).float()
        if self.codebook is not None:
            return out, None
        mean, log_variance = out.chunk(2, dim=1)
        return mean, log_variance.clamp(LOWEST, HIGHEST)

    def posterior(self, pixels: Image) -> tuple[Latent, Latent | None]:
        """Return mean and standard deviation; for kind vq the latents before quantisation, and None."""
        mean, log_variance = self.moments(pixels)
        return mean, None if log_variance is None else (0.5 * log_variance).exp()

    def nearest(self, z: Latent) -> Int[Tensor, "B h w"]:
        """Return the number of the nearest code of each place, int64 (B, h, w); the first of two equally near.

        Each distance is summed by itself instead of by a matrix product, whose rounding depends on how many places
        there are: a tile must choose the codes that the whole picture would.
        """
        assert self.codebook is not None, "nearest: of kind vq only"
        places = z.detach().float().permute(0, 2, 3, 1)
        book = self.codebook.detach().float()
        chosen = [
            torch.cdist(some, book, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
            for some in places.reshape(-1, z.shape[1]).split(AT_ONCE)
        ]
        return torch.cat(chosen).reshape(places.shape[:3])

    def look_up(self, codes: Tensor) -> Latent:
        """Return codes by number, int64 (B, h, w) → (B, Z, h, w)."""
        assert self.codebook is not None, "look_up: of kind vq only"
        return functional.embedding(codes, self.codebook).permute(0, 3, 1, 2)

    def decode(self, z: Latent) -> Image:
        """Decode latents into pictures; for kind vq by the nearest codes."""
        if self.codebook is not None:
            z = self.look_up(self.nearest(z)).to(z.dtype)
        return self.decoder(z)


def _radius(layer: nn.Module) -> int:
    """Return how many places a layer looks at on each side; 0 for a layer that is no convolution."""
    return (layer.kernel_size[0] - 1) // 2 if isinstance(layer, nn.Conv2d) else 0


def _zero(layer: nn.Conv2d) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
