"""Every named size, one row each, with the image size, channels, classes and text length its count is stated for."""

from __future__ import annotations

from typing import Any

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.stoic import Stoic
from brickwork.errors import UnknownNameError

# The carrier of layout of our own presets: the position-free form that learned best at equal MACs (docs/log.md).
CARRIER: dict[str, Any] = {"depthwise": True, "stem_layers": 2}

# Literal: arXiv 2411.06119 read word by word (one 3x3 stem, no carrier of layout), at its widths and depths and at the
# scale it leaves open; 32x32 colour, unconditional, as the counts are published for U-ViT of the same width and depth.
# Ours: the ones to recommend.
PRESETS: dict[str, BackboneConfig] = {
    "stoic-12x512-s1":   Stoic.Config(depth=12,  width=512,  stride=1, size=32, channels=3),
    "stoic-12x512-s2":   Stoic.Config(depth=12,  width=512,  stride=2, size=32, channels=3),
    "stoic-16x512-s1":   Stoic.Config(depth=16,  width=512,  stride=1, size=32, channels=3),
    "stoic-16x512-s2":   Stoic.Config(depth=16,  width=512,  stride=2, size=32, channels=3),
    "stoic-32x512-s1":   Stoic.Config(depth=32,  width=512,  stride=1, size=32, channels=3),
    "stoic-32x512-s2":   Stoic.Config(depth=32,  width=512,  stride=2, size=32, channels=3),
    "stoic-12x768-s1":   Stoic.Config(depth=12,  width=768,  stride=1, size=32, channels=3),
    "stoic-12x768-s2":   Stoic.Config(depth=12,  width=768,  stride=2, size=32, channels=3),
    "stoic-16x768-s1":   Stoic.Config(depth=16,  width=768,  stride=1, size=32, channels=3),
    "stoic-16x768-s2":   Stoic.Config(depth=16,  width=768,  stride=2, size=32, channels=3),
    "stoic-32x768-s1":   Stoic.Config(depth=32,  width=768,  stride=1, size=32, channels=3),
    "stoic-32x768-s2":   Stoic.Config(depth=32,  width=768,  stride=2, size=32, channels=3),
    "stoic-64x1024-s2":  Stoic.Config(depth=64,  width=1024, stride=2, size=32, channels=3),
    "stoic-128x1024-s2": Stoic.Config(depth=128, width=1024, stride=2, size=32, channels=3),
    "stoic-64x1536-s2":  Stoic.Config(depth=64,  width=1536, stride=2, size=32, channels=3),
    "stoic-128x1536-s2": Stoic.Config(depth=128, width=1536, stride=2, size=32, channels=3),

    "stoic-digits":      Stoic.Config(depth=3,   width=96,   stride=1, size=8,  channels=1, num_classes=10, **CARRIER),
    "stoic-tiny":        Stoic.Config(depth=8,   width=192,  stride=4, size=28, channels=1, num_classes=10, **CARRIER),
    "stoic-small":       Stoic.Config(depth=8,   width=256,  stride=2, size=32, channels=3, num_classes=10, **CARRIER),
    "stoic-base":        Stoic.Config(depth=12,  width=512,  stride=4, size=64, channels=3, **CARRIER),
}  # fmt: skip

BACKBONES: dict[str, type[BackboneConfig]] = {"stoic": Stoic.Config}


def preset(name: str) -> BackboneConfig:
    """The config of a named size.

    Raises:
        UnknownNameError: No such name; the message says the near ones.
    """
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name]
