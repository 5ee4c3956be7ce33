"""Latents: pictures through a frozen autoencoder, scaled to mean 0 and standard deviation 1 by channel."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.codec.base import Codec, FirstStage, FirstStageConfig, Latent, from_unit, to_unit
from brickwork.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True)
class LatentsConfig:
    """Known to users as ``Latents.Config``."""

    autoencoder: FirstStageConfig
    """The autoencoder."""
    mean: tuple[float, ...]
    """Of each channel of its latents, measured once; encoding takes it off, decoding puts it back."""
    std: tuple[float, ...]
    """Standard deviation of each channel, measured once."""
    weights: str
    """SHA-256 (hex) of the autoencoder's weights that mean and std were measured with."""
    posterior: Literal["mode", "sample"] = "mode"
    """What encoding gives: the mean of the autoencoder's posterior, or in training a sample of it."""
    tile: int = 64
    """Latent places, each way, that are decoded at once; decoding memory grows with it and not with the picture."""

    def __post_init__(self) -> None:
        count = self.autoencoder.channels
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != count or not all(map(math.isfinite, values)):
                raise ConfigError(f"{name} of {len(values)} channels: {count} finite numbers, one per latent channel")
        if not all(value > 0 for value in self.std):
            raise ConfigError(f"std {min(self.std)}: latents are divided by it, so it must be above 0; measure it anew")
        if self.posterior not in ("mode", "sample"):
            raise ConfigError(f"posterior {self.posterior!r}: must be mode or sample")
        if self.tile < 1:
            raise ConfigError(f"tile {self.tile}: must be at least 1 latent place")

    def build(self) -> Latents:
        """The codec with fresh weights."""
        return Latents(self, self.autoencoder.build())


@final
class Latents(nn.Module, Codec):
    """A frozen autoencoder with the statistics of its latents.

    Rombach et al. 2022 (arXiv 2112.10752), section 3.1; scaling by measured statistics as Karras et al. 2024
    (arXiv 2312.02696), section 5, have it for each channel.

    Args:
        config: The autoencoder's config, and statistics.
        autoencoder: The network; frozen in place.
    """

    Config = LatentsConfig
    mean: Tensor
    std: Tensor

    def __init__(self, config: LatentsConfig, autoencoder: FirstStage) -> None:
        super().__init__()
        self._config = config
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(config, name))[:, None, None], persistent=False)

    @classmethod
    def measure(
        cls, autoencoder: FirstStage, batches: Iterable[np.ndarray], posterior: Literal["mode", "sample"] = "mode"
    ) -> Latents:
        """The codec of an autoencoder, with the statistics of its latents of these pictures.

        Args:
            autoencoder: Trained.
            batches: Pictures, uint8 (B, H, W, C), some at a time.
            posterior: What encoding will give.

        Raises:
            ConfigError: There are no pictures, or a channel of their latents is constant or no number.
        """
        autoencoder = autoencoder.eval()
        device = next(autoencoder.parameters()).device
        count, total, square = 0, torch.zeros(()), torch.zeros(())
        for batch in batches:
            with torch.no_grad():
                mean, std = autoencoder.posterior(to_unit(torch.from_numpy(batch).to(device)))
            z = mean.double()
            spread = z.square() + (std.double().square() if std is not None and posterior == "sample" else 0)
            total = total.to(z) + z.sum(dim=(0, 2, 3))
            square = square.to(z) + spread.sum(dim=(0, 2, 3))
            count += z[:, 0].numel()
        if not count:
            raise ConfigError("statistics of no pictures: give at least one")
        mean = total / count
        std = (square / count - mean.square()).clamp(min=0).sqrt()
        config = LatentsConfig(
            autoencoder=autoencoder.config,
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            weights=weights_digest(autoencoder),
            posterior=posterior,
        )
        return cls(config, autoencoder).to(device)

    @property
    def config(self) -> LatentsConfig:
        """What it was built from."""
        return self._config

    @property
    def channels(self) -> int:
        """Of the latents."""
        return self._config.autoencoder.channels

    @property
    def picture_channels(self) -> int:
        """Of the pictures."""
        return self._config.autoencoder.picture_channels

    @property
    def factor(self) -> int:
        """Pixels per latent place."""
        return self._config.autoencoder.factor

    @property
    def digest(self) -> str:
        """Of weights, statistics and what encoding gives; how large tiles are changes no number beyond rounding."""
        return hashlib.sha256(repr(replace(self._config, tile=1)).encode()).hexdigest()

    def check_weights(self) -> None:
        """Refuse statistics that were measured with other weights.

        Raises:
            ConfigError: With one line.
        """
        found = weights_digest(self.autoencoder)
        if found != self._config.weights:
            raise ConfigError(
                f"mean and std are of an autoencoder {self._config.weights[:12]} and its weights are {found[:12]}: "
                "latents would be half scaled; measure the statistics anew, or take the weights they belong to"
            )

    def posterior(self, images: Tensor) -> tuple[Latent, Latent | None]:
        """Scaled mean and standard deviation of pictures' latents; None for no deviation.

        Args:
            images: uint8 (B, H, W, C).
        """
        self.check(images)
        with torch.no_grad():
            mean, std = self.autoencoder.posterior(to_unit(images))
        mean = (mean.float() - self.mean) / self.std
        if std is None or self._config.posterior == "mode":
            return mean, None
        return mean, std.float() / self.std

    def encode(self, images: Tensor) -> Tensor:
        """The scaled mean of the posterior; training adds its deviation where the config says "sample"."""
        return self.posterior(images)[0]

    def decode(self, x0: Tensor) -> Tensor:
        """Tile by tile, into the picture: memory beside the picture does not grow with it.

        Tiles with a halo of ``autoencoder.halo`` places give the same pixels as the whole at once, up to rounding.
        """
        B, _, h, w = x0.shape
        out = torch.empty(B, h * self.factor, w * self.factor, self.picture_channels, dtype=torch.uint8)
        together = max(1, self._config.tile**2 // (h * w))  # small pictures: as many as fill one tile
        for start in range(0, B, together):
            some = slice(start, start + together)
            for rows, columns in self.tiles(h, w):
                out[some, self._pixels(rows), self._pixels(columns)] = self._decode(x0[some], rows, columns).to(out)
        return out.to(x0.device)

    def _pixels(self, places: slice) -> slice:
        return slice(places.start * self.factor, places.stop * self.factor)

    def tiles(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of latent places that are decoded at once; the halo not counted."""
        side = self._config.tile
        for top in range(0, height, side):
            for left in range(0, width, side):
                yield slice(top, min(top + side, height)), slice(left, min(left + side, width))

    def _decode(self, x0: Latent, rows: slice, columns: slice) -> Tensor:
        """Pixels of one tile, uint8 (B, H, W, C), from its places and the halo around them."""
        halo, f = self.autoencoder.halo, self.factor
        around = [
            slice(max(0, part.start - (halo or 0)), min(part.stop + (halo or 0), size))
            for part, size in zip((rows, columns), x0.shape[2:], strict=True)
        ]
        with torch.no_grad():
            z = x0[:, :, around[0], around[1]].float() * self.std + self.mean
            pixels = self.autoencoder.decode(z)
        top, left = ((part.start - wide.start) * f for part, wide in zip((rows, columns), around, strict=True))
        height, width = ((part.stop - part.start) * f for part in (rows, columns))
        return from_unit(pixels[:, :, top : top + height, left : left + width])

    def train(self, mode: bool = True) -> Latents:
        """Never: the autoencoder is frozen."""
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Latents:
        """Never."""
        return self


def weights_digest(module: nn.Module) -> str:
    """SHA-256 (hex) of a network's weights, by name, as little-endian float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()
