"""Codec of latents: a frozen autoencoder whose latents are scaled to mean 0 and standard deviation 1 per channel."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.bounds import at_least, check_fields
from brickwork.codec.base import Codec, CodecConfig, FirstStage, FirstStageConfig, Latent, from_unit, to_unit
from brickwork.doors import door
from brickwork.errors import ConfigError
from brickwork.nn.floats import float32_default

TILE = 512
"""Side in pixels of the tiles that are decoded one at a time, by default."""
FAR = 8
"""Halo in latent places where a pixel depends on every latent: farther ones change it little."""


@final
@dataclass(frozen=True, kw_only=True)
class LatentsConfig(CodecConfig):
    """Config of a codec of latents, ``Latents.Config``."""

    autoencoder: FirstStageConfig
    """Config of the autoencoder."""
    mean: tuple[float, ...]
    """Mean of each latent channel, measured once; encoding subtracts it, decoding adds it."""
    std: tuple[float, ...]
    """Standard deviation of each latent channel, measured once."""
    weights: str
    """SHA-256 (hex) of the autoencoder's weights that mean and std were measured with."""
    posterior: Literal["mode", "sample"] = "mode"
    """mode: the mean of the autoencoder's posterior; sample: in training a sample of it."""
    tile: Annotated[int, at_least(1)] = 64
    """Side in latent places of the tiles decoded at once, halos included; it bounds memory for pictures of any size."""

    def __post_init__(self) -> None:
        check_fields(self)
        count = self.autoencoder.channels
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != count or not all(map(math.isfinite, values)):
                raise ConfigError(f"{name} of {len(values)} channels: {count} finite numbers, one per latent channel")
        if not all(value > 0 for value in self.std):
            raise ConfigError(f"std {min(self.std)}: latents are divided by it, so it must be above 0; measure it anew")

    @float32_default()
    def build(self) -> Latents:
        """Return the codec with fresh weights."""
        return Latents(self, self.autoencoder.build())


@final
class Latents(nn.Module, Codec):
    """Codec of a frozen autoencoder and the statistics of its latents.

    Rombach et al. 2022 (arXiv 2112.10752), section 3.1; scaling by measured statistics as Karras et al. 2024
    (arXiv 2312.02696), section 5, have it for each channel.

    Args:
        config: The autoencoder's config, and the statistics.
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
    @door("measuring latents", "give smaller batches")
    def measure(
        cls, autoencoder: FirstStage, batches: Iterable[np.ndarray], posterior: Literal["mode", "sample"] = "mode"
    ) -> Latents:
        """Return an autoencoder's codec, with the statistics of its latents measured on these pictures.

        Args:
            autoencoder: A trained autoencoder.
            batches: Pictures, uint8 (B, H, W, C).
            posterior: Encode into the posterior's mean, or in training into samples.

        Raises:
            ConfigError: There are no pictures, or a channel of their latents is constant or not finite.
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
            tile=max(1, TILE // autoencoder.config.factor),
        )
        return cls(config, autoencoder).to(device)

    @property
    def config(self) -> LatentsConfig:
        """The config that it was built from."""
        return self._config

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return self._config.autoencoder.channels

    @property
    def picture_channels(self) -> int:
        """Channels of the pictures."""
        return self._config.autoencoder.picture_channels

    @property
    def factor(self) -> int:
        """Pixels per latent place, each way."""
        return self._config.autoencoder.factor

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of weights, statistics and posterior; not of the tile, which changes rounding alone."""
        return hashlib.sha256(repr(replace(self._config, tile=1)).encode()).hexdigest()

    def check_weights(self) -> None:
        """Refuse statistics that were measured with other weights.

        Raises:
            ConfigError: The weights' digest is not the one in the config.
        """
        found = weights_digest(self.autoencoder)
        if found != self._config.weights:
            raise ConfigError(
                f"mean and std are of an autoencoder {self._config.weights[:12]} and its weights are {found[:12]}: "
                "latents would be half scaled; measure the statistics anew, or take the weights they belong to"
            )

    def posterior(self, images: Tensor) -> tuple[Latent, Latent | None]:
        """Return the scaled mean and standard deviation of pictures' latents; None for no deviation.

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
        """Encode pictures into the posterior's scaled mean; training adds the deviation if the config says "sample"."""
        return self.posterior(images)[0]

    def decode(self, x0: Tensor) -> Tensor:
        """Decode into pictures window by window, so that extra memory does not grow with the picture.

        A window holds a tile and a halo of ``autoencoder.halo`` places around it. Its pixels are those of decoding the
        whole at once, up to rounding; nearly so where a pixel depends on every latent (halo None).
        """
        B, _, h, w = x0.shape
        out = torch.empty(B, h * self.factor, w * self.factor, self.picture_channels, dtype=torch.uint8)
        together = max(1, self._config.tile**2 // max(1, h * w))  # pictures smaller than a window are decoded together
        for start in range(0, B, together):
            some = slice(start, start + together)
            for rows in self._windows(h):
                for columns in self._windows(w):
                    out[some, self._pixels(rows.own), self._pixels(columns.own)] = self._decode(x0[some], rows, columns)
        return out.to(x0.device)

    def _windows(self, size: int) -> list[Window]:
        halo = self.autoencoder.halo
        return windows(size, self._config.tile, FAR if halo is None else halo)

    def _pixels(self, places: slice) -> slice:
        return slice(places.start * self.factor, places.stop * self.factor)

    def _decode(self, x0: Latent, rows: Window, columns: Window) -> Tensor:
        """Decode one window and return the pixels of its own places, uint8 (B, H, W, C)."""
        with torch.no_grad():
            z = x0[:, :, rows.seen, columns.seen].float() * self.std + self.mean
            pixels = self.autoencoder.decode(z)
        own = [
            self._pixels(slice(part.own.start - part.seen.start, part.own.stop - part.seen.start))
            for part in (rows, columns)
        ]
        return from_unit(pixels[:, :, own[0], own[1]]).cpu()

    def train(self, mode: bool = True) -> Latents:
        """Stay in evaluation mode: the autoencoder is frozen."""
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Latents:
        """Ignore the request: the autoencoder is frozen."""
        return self


@final
@dataclass(frozen=True)
class Window:
    """Range of latent places decoded at once, along one side."""

    seen: slice
    """Places that go through the decoder."""
    own: slice
    """Those places among them whose pixels are kept."""


def windows(size: int, tile: int, halo: int) -> list[Window]:
    """Return windows of equal length that together own each place once.

    Each sees ``halo`` places beyond its own, except beyond the picture. All have ``tile`` places, halos included, or
    span the whole side where that is shorter; a tile too small for its halos owns as many places as one halo has.

    Args:
        size: Places along the side.
        tile: Places of a window, halos included.
        halo: Places on each side that a decoded pixel depends on.
    """
    length = min(size, max(tile, 3 * halo, 1))
    found, done = [], 0
    while done < size:
        start = min(max(0, done - halo), size - length)
        end = size if start + length == size else start + length - halo
        found.append(Window(slice(start, start + length), slice(done, end)))
        done = end
    return found


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 (hex) of a network's weights, by name, as little-endian float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()
