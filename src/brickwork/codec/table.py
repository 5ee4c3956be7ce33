"""Registries of codecs and autoencoders, by the names that files and recipes have for them."""

from __future__ import annotations

from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.base import CodecConfig, FirstStageConfig, Pixels
from brickwork.codec.latents import Latents
from brickwork.codec.published import Published
from brickwork.registry import Registry

CODECS = Registry[type[CodecConfig]]("codec", CodecConfig, {"pixels": Pixels, "latents": Latents.Config})
"""Configs of codecs, by name."""

FIRST_STAGES = Registry[type[FirstStageConfig]](
    "autoencoder", FirstStageConfig, {"conv": Autoencoder.Config, "published": Published.Config}
)
"""Configs of autoencoders for ``Latents``, by name."""
