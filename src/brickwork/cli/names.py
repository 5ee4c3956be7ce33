"""Names of classes that need PyTorch, listed without it; a test compares them with the tables they stand for."""

from __future__ import annotations

# fmt: off
PRESETS = (
    "stoic-12x512-s1", "stoic-12x512-s2", "stoic-16x512-s1", "stoic-16x512-s2", "stoic-32x512-s1",
    "stoic-32x512-s2", "stoic-12x768-s1", "stoic-12x768-s2", "stoic-16x768-s1", "stoic-16x768-s2",
    "stoic-32x768-s1", "stoic-32x768-s2", "stoic-64x1024-s2", "stoic-128x1024-s2", "stoic-64x1536-s2",
    "stoic-128x1536-s2", "lego-s-pg-64", "lego-s-pr-64", "lego-s-u-32", "lego-s-u-64", "lego-l-pg-64",
    "lego-l-pr-64", "lego-l-pg-64-old", "lego-l-pr-64-old", "lego-l-pg-32", "lego-l-pr-32", "lego-l-u-32",
    "lego-l-u-64", "lego-xl-pg-32", "lego-xl-pr-32", "lego-xl-pg-64", "lego-xl-pr-64", "lego-xl-u-32",
    "lego-xl-u-64", "tldm-mini", "tldm-mini-256", "tldm-S", "tldm-B", "tldm-L", "tldm-match-a", "tldm-match-b",
    "tldm-XL", "unet-ldm-f8", "unet-ldm-f4", "unet-ddpm-32", "unet-adm-64", "uvit-s-2", "uvit-s-4", "uvit-s-2-coco",
    "uvit-s-2-deep", "uvit-m-4", "uvit-l-4", "uvit-l-2", "uvit-h-2", "uvit-l-4-512", "uvit-h-4-512", "dit-s-2",
    "dit-s-4", "dit-s-8", "dit-b-2", "dit-b-4", "dit-b-8", "dit-l-2", "dit-l-4", "dit-l-8", "dit-xl-2", "dit-xl-4",
    "dit-xl-8", "lego-s-pg-32", "lego-s-pr-32", "lego-small-pg", "lego-small-pr", "lego-digits", "stoic-digits",
    "stoic-tiny", "stoic-small", "stoic-base", "tldm-tiny", "tldm-small", "unet-small-latent", "unet-small",
)
"""Presets, as in ``brickwork.backbone.presets.PRESETS``."""

OURS = (
    "stoic-tiny", "stoic-small", "stoic-base", "stoic-digits", "lego-small-pg", "lego-small-pr", "lego-s-pg-32",
    "lego-s-pr-32", "lego-digits", "tldm-tiny", "tldm-small", "unet-small", "unet-small-latent",
)
"""Presets to begin with; the others have published sizes."""

TEXTS = (
    "none", "words", "bytes", "clip", "t5",
)
"""Text encoders, as in ``brickwork.text.table.TEXTS``."""

FORMATS = (
    "dit", "sit", "lego", "uvit",
)
"""Formats of published weights, as in ``brickwork.foreign.formats.FORMATS``."""

IMAGE_CONDITIONS = (
    "nothing", "coarse", "grey",
)
"""Image conditions, as in ``brickwork.codec.image_condition.IMAGE_CONDITIONS``."""
# fmt: on


def families() -> dict[str, list[str]]:
    """Return the presets of published sizes by their family, which is the first word of a name."""
    found: dict[str, list[str]] = {}
    for name in PRESETS:
        if name not in OURS:
            found.setdefault(name.partition("-")[0], []).append(name)
    return found
