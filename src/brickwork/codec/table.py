"""Every codec and autoencoder by the name that files and recipes have for it."""

from __future__ import annotations

from typing import Any

from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.base import FirstStageConfig, Pixels
from brickwork.codec.latents import Latents
from brickwork.codec.published import Published

CODECS: dict[str, Any] = {"pixels": Pixels, "latents": Latents.Config}
"""Configs of codecs."""

FIRST_STAGES: dict[str, type[FirstStageConfig]] = {"conv": Autoencoder.Config, "published": Published.Config}
"""Configs of autoencoders, for ``Latents``."""

NESTED: dict[type, dict[str, type[FirstStageConfig]]] = {FirstStageConfig: FIRST_STAGES}
"""Configs of several classes that a codec's config holds, by their base; see ``entries``."""
