"""Registry of backbones, by the names that files and recipes use."""

from __future__ import annotations

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.dit import Dit
from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.backbone.tldm import Tldm
from brickwork.backbone.unet import Unet
from brickwork.backbone.uvit import Uvit
from brickwork.registry import Registry

BACKBONES = Registry[type[BackboneConfig]](
    "backbone",
    BackboneConfig,
    {
        "dit": Dit.Config,
        "lego": Lego.Config,
        "stoic": Stoic.Config,
        "tldm": Tldm.Config,
        "unet": Unet.Config,
        "uvit": Uvit.Config,
    },
)
"""Configs of backbones, by name."""
