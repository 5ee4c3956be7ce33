"""Presets: every named size, with the image size, channels, classes and text length its count is stated for."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from brickwork.backbone.base import FROM_DATA, BackboneConfig
from brickwork.backbone.dit import Dit
from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.backbone.tldm import Tldm
from brickwork.backbone.unet import Unet
from brickwork.backbone.uvit import Uvit
from brickwork.doors import door
from brickwork.errors import UnknownNameError
from brickwork.files.proposed import proposing

# Convolutions of our own presets in place of positions: the form that learned best at equal MACs (docs/log.md).
CARRIER: dict[str, Any] = {"depthwise": True, "stem_layers": 2}

# Bricks small enough for a CPU: narrow where tokens are many, wide where they are few; with a depthwise convolution,
# which learns faster at small budgets (docs/log.md).
SMALL = (
    Lego.Brick(window=4, patch=2, width=128, heads=2, depth=2, depthwise=True),
    Lego.Brick(window=16, patch=4, width=192, heads=3, depth=3, depthwise=True),
    Lego.Brick(window=0, patch=4, width=256, heads=4, depth=4, depthwise=True),
)
DIGITS = (
    Lego.Brick(window=0, patch=2, width=64, heads=2, depth=2, depthwise=True),
    Lego.Brick(window=0, patch=1, width=64, heads=2, depth=2, depthwise=True),
    Lego.Brick(window=4, patch=1, width=64, heads=2, depth=1, depthwise=True),
)

# Arguments that rows of the table share.
LDM_F4: dict[str, Any] = {"size": 64, "channels": 3, "num_classes": 1000}
DDPM: dict[str, Any] = {"design": "ddpm", "size": 32, "channels": 3}
ADM: dict[str, Any] = {"design": "adm", "num_blocks": 3, "size": 64, "channels": 3, "num_classes": 1000}
SMALL_UNET: dict[str, Any] = {"groups": 16, "head_width": 16, "num_classes": 10}

# ImageNet in latents of a factor of 8, at 256 pixels and at 512; DiT's published head has a half for the variance.
IMAGENET_256: dict[str, Any] = {"size": 32, "channels": 4, "num_classes": 1000}
IMAGENET_512: dict[str, Any] = {"size": 64, "channels": 4, "num_classes": 1000}
IMAGENET_64: dict[str, Any] = {"size": 64, "channels": 3, "num_classes": 1000}
COCO: dict[str, Any] = {"size": 32, "channels": 4, "text_length": 77, "text_width": 768}
DIT: dict[str, Any] = {**IMAGENET_256, "variance": True}

# Literal: arXiv 2411.06119 read word by word (one 3x3 stem, no positions or depthwise layers), at its widths and depths
# and the scale it leaves open; 32x32 colour, unconditional, as published counts are for U-ViT of equal width and depth.
# LEGO: arXiv 2310.06389 with the bricks of its released code; "-old" is behind the released 64-pixel files; C = 4 are
# latents. The S sizes for 32 pixels in colour are missing there, and are ours.
# Transformer-LDM: arXiv 2212.14678 does not say its sizes. S to XL are those of DiT, on 256 patches of latents; "match"
# has the parameters of the latent U-Net that the paper compares with (395 M); mini is for small latents.
# U-Net: LDM's two for ImageNet (Rombach et al. 2022), DDPM's for CIFAR-10 (Ho et al. 2020), ADM's for ImageNet at 64
# pixels (Dhariwal and Nichol 2021); of the small ones the first has the parameters, and nearly the MACs, of tldm-tiny.
# U-ViT: arXiv 2209.12152, table 2 and released configs; "-512" is for 512 pixels, "-coco" has text of CLIP, and so has
# "-deep". DiT: arXiv 2212.09748, table 1.
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

    "lego-s-pg-64":      Lego.Config.pg(384, (2, 4, 6), size=64, channels=3),
    "lego-s-pr-64":      Lego.Config.pr(384, (6, 4, 2), size=64, channels=3),
    "lego-s-u-32":       Lego.Config.u(384, (6, 4, 2, 4, 6), size=32, channels=4),
    "lego-s-u-64":       Lego.Config.u(384, (6, 4, 2, 4, 6), size=64, channels=3),
    "lego-l-pg-64":      Lego.Config.pg(1024, (6, 8, 12), size=64, channels=3, num_classes=1000),
    "lego-l-pr-64":      Lego.Config.pr(1024, (12, 8, 6), size=64, channels=3, num_classes=1000),
    "lego-l-pg-64-old":  Lego.Config.pg(1024, (6, 6, 12), size=64, channels=3, num_classes=1000),
    "lego-l-pr-64-old":  Lego.Config.pr(1024, (12, 6, 6), size=64, channels=3, num_classes=1000),
    "lego-l-pg-32":      Lego.Config.pg(1024, (4, 8, 12), size=32, channels=4, num_classes=1000),
    "lego-l-pr-32":      Lego.Config.pr(1024, (12, 8, 4), size=32, channels=4, num_classes=1000),
    "lego-l-u-32":       Lego.Config.u(1024, (12, 8, 6, 8, 12), size=32, channels=4, num_classes=1000),
    "lego-l-u-64":       Lego.Config.u(1024, (12, 8, 6, 8, 12), size=64, channels=4, num_classes=1000),
    "lego-xl-pg-32":     Lego.Config.pg(1152, (4, 12, 14), size=32, channels=4, num_classes=1000),
    "lego-xl-pr-32":     Lego.Config.pr(1152, (14, 12, 4), size=32, channels=4, num_classes=1000),
    "lego-xl-pg-64":     Lego.Config.pg(1152, (4, 12, 14), size=64, channels=4, num_classes=1000),
    "lego-xl-pr-64":     Lego.Config.pr(1152, (14, 12, 4), size=64, channels=4, num_classes=1000),
    "lego-xl-u-32":      Lego.Config.u(1152, (14, 10, 4, 10, 14), size=32, channels=4, num_classes=1000),
    "lego-xl-u-64":      Lego.Config.u(1152, (14, 12, 4, 12, 14), size=64, channels=4, num_classes=1000),

    "tldm-mini":         Tldm.Config(depth=12, width=256,  heads=4,  size=16, channels=4, num_classes=10),
    "tldm-mini-256":     Tldm.Config(depth=12, width=256,  heads=4,  size=32, channels=4, num_classes=100),
    "tldm-S":            Tldm.Config(depth=12, width=384,  heads=6,  size=32, channels=4, num_classes=1000),
    "tldm-B":            Tldm.Config(depth=12, width=768,  heads=12, size=32, channels=4, num_classes=1000),
    "tldm-L":            Tldm.Config(depth=24, width=1024, heads=16, size=32, channels=4, num_classes=1000),
    "tldm-match-a":      Tldm.Config(depth=30, width=1024, heads=16, size=32, channels=4, num_classes=1000),
    "tldm-match-b":      Tldm.Config(depth=24, width=1152, heads=16, size=32, channels=4, num_classes=1000),
    "tldm-XL":           Tldm.Config(depth=28, width=1152, heads=16, size=32, channels=4, num_classes=1000),

    "unet-ldm-f8":       Unet.Config(widths=(256, 512, 1024), size=32, channels=4, num_classes=1000),
    "unet-ldm-f4":       Unet.Config(widths=(192, 384, 576, 960), attention=(1, 2, 3), head_width=None, **LDM_F4),
    "unet-ddpm-32":      Unet.Config(widths=(128, 256, 256, 256), attention=(1,), head_width=None, **DDPM),
    "unet-adm-64":       Unet.Config(widths=(192, 384, 576, 768), attention=(1, 2, 3), head_width=64, **ADM),

    "uvit-s-2":          Uvit.Config(depth=13, width=512,  heads=8,  patch=2, size=32, channels=3),
    "uvit-s-4":          Uvit.Config(depth=13, width=512,  heads=8,  patch=4, size=64, channels=3),
    "uvit-s-2-coco":     Uvit.Config(depth=13, width=512,  heads=8,  patch=2, **COCO),
    "uvit-s-2-deep":     Uvit.Config(depth=17, width=512,  heads=8,  patch=2, **COCO),
    "uvit-m-4":          Uvit.Config(depth=17, width=768,  heads=12, patch=4, **IMAGENET_64),
    "uvit-l-4":          Uvit.Config(depth=21, width=1024, heads=16, patch=4, **IMAGENET_64),
    "uvit-l-2":          Uvit.Config(depth=21, width=1024, heads=16, patch=2, **IMAGENET_256),
    "uvit-h-2":          Uvit.Config(depth=29, width=1152, heads=16, patch=2, final_conv=False, **IMAGENET_256),
    "uvit-l-4-512":      Uvit.Config(depth=21, width=1024, heads=16, patch=4, **IMAGENET_512),
    "uvit-h-4-512":      Uvit.Config(depth=29, width=1152, heads=16, patch=4, final_conv=False, **IMAGENET_512),

    "dit-s-2":           Dit.Config(depth=12, width=384,  heads=6,  patch=2, **DIT),
    "dit-s-4":           Dit.Config(depth=12, width=384,  heads=6,  patch=4, **DIT),
    "dit-s-8":           Dit.Config(depth=12, width=384,  heads=6,  patch=8, **DIT),
    "dit-b-2":           Dit.Config(depth=12, width=768,  heads=12, patch=2, **DIT),
    "dit-b-4":           Dit.Config(depth=12, width=768,  heads=12, patch=4, **DIT),
    "dit-b-8":           Dit.Config(depth=12, width=768,  heads=12, patch=8, **DIT),
    "dit-l-2":           Dit.Config(depth=24, width=1024, heads=16, patch=2, **DIT),
    "dit-l-4":           Dit.Config(depth=24, width=1024, heads=16, patch=4, **DIT),
    "dit-l-8":           Dit.Config(depth=24, width=1024, heads=16, patch=8, **DIT),
    "dit-xl-2":          Dit.Config(depth=28, width=1152, heads=16, patch=2, **DIT),
    "dit-xl-4":          Dit.Config(depth=28, width=1152, heads=16, patch=4, **DIT),
    "dit-xl-8":          Dit.Config(depth=28, width=1152, heads=16, patch=8, **DIT),

    "lego-s-pg-32":      Lego.Config.pg(384, (2, 4, 6), size=32, channels=3),
    "lego-s-pr-32":      Lego.Config.pr(384, (6, 4, 2), size=32, channels=3),
    "lego-small-pg":     Lego.Config(bricks=SMALL, vector_width=192, size=32, channels=3),
    "lego-small-pr":     Lego.Config(bricks=SMALL[::-1], vector_width=192, size=32, channels=3),

    "lego-digits":       Lego.Config(bricks=DIGITS, vector_width=64, size=8, channels=1, num_classes=10),
    "stoic-digits":      Stoic.Config(depth=3,   width=96,   stride=1, size=8,  channels=1, num_classes=10, **CARRIER),
    "stoic-tiny":        Stoic.Config(depth=8,   width=192,  stride=4, size=28, channels=1, num_classes=10, **CARRIER),
    "stoic-small":       Stoic.Config(depth=8,   width=256,  stride=2, size=32, channels=3, num_classes=10, **CARRIER),
    "stoic-base":        Stoic.Config(depth=12,  width=512,  stride=4, size=64, channels=3, **CARRIER),

    "tldm-tiny":         Tldm.Config(depth=8,  width=192,  size=16, channels=8, num_classes=10),
    "tldm-small":        Tldm.Config(depth=8,  width=256,  size=16, channels=8, num_classes=10),

    "unet-small-latent": Unet.Config(widths=(48, 64, 80),  size=16, context_width=64, channels=8, **SMALL_UNET),
    "unet-small":        Unet.Config(widths=(48, 96, 144), size=32, design="ddpm", attention=(1, 2), **SMALL_UNET),
}  # fmt: skip
PRESETS = {name: proposing(row, FROM_DATA) for name, row in PRESETS.items()}


@door("building a preset")
def preset(name: str) -> BackboneConfig:
    """Return the config of a named size.

    Raises:
        UnknownNameError: No preset has this name; the message has similar ones.
    """
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name]


@door("listing presets")
def list_presets(pattern: str = "*") -> list[str]:
    """Return the names of presets that match a shell pattern, such as "lego-*", in the order of the table."""
    return [name for name in PRESETS if fnmatchcase(name, pattern)]
