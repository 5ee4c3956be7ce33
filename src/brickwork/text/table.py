"""Registry of text encoders, by the names that files and recipes have for them."""

from __future__ import annotations

from brickwork.registry import Registry
from brickwork.text.base import NoText, TextConfig
from brickwork.text.published import T5, Clip
from brickwork.text.small import Bytes, Words

TEXTS = Registry[type[TextConfig]](
    "text",
    TextConfig,
    {"none": NoText, "words": Words.Config, "bytes": Bytes.Config, "clip": Clip.Config, "t5": T5.Config},
)
"""Configs of text encoders, by name."""
