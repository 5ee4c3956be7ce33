"""Tiny configs of every backbone, by family and option: what one test of the contract runs on."""

from __future__ import annotations

from typing import Any, TypeVar

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.dit import Dit
from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.backbone.tldm import Tldm
from brickwork.backbone.unet import Unet
from brickwork.backbone.uvit import Uvit

TEXT: dict[str, Any] = {"text_length": 4, "text_width": 12}


Config = TypeVar("Config", bound=BackboneConfig)


def _all_of(kind: type[Config], base: dict[str, Any], options: dict[str, dict[str, Any]]) -> dict[str, Config]:
    """A config for each set of options beside the base."""
    return {name: kind(**{**base, **some}) for name, some in options.items()}


STOIC = _all_of(
    Stoic.Config,
    {"size": 8, "channels": 3, "width": 32, "heads": 2, "depth": 3, "stride": 2, "num_classes": 5},
    {
        "plain": {},
        "unconditional": {"num_classes": 0},
        "grey": {"channels": 1},
        "stride 1": {"stride": 1, "size": 6},
        "stride 4": {"stride": 4},
        "kernel 2": {"kernel": 2},
        "kernel 4": {"kernel": 4},
        "kernel 5": {"kernel": 5},
        "reflect": {"padding_mode": "reflect"},
        "circular": {"padding_mode": "circular", "stem_layers": 2},
        "stem of 4": {"stem_layers": 4},
        "stem of 6": {"stem_layers": 6},
        "time added": {"time": "add"},
        "time adaln": {"time": "adaln"},
        "no extra rows": {"time": "add", "num_classes": 0},
        "three class tokens": {"num_class_tokens": 3},
        "text": TEXT,
        "text alone": {**TEXT, "num_classes": 0},
        "image condition": {"condition_channels": 2},
        "linear tokens": {"decoder": "linear_tokens"},
        "slice channels": {"decoder": "slice_channels"},
        "no final conv": {"final_conv": False},
        "skip add": {"long_skip": "add", "depth": 4},
        "skip concat": {"long_skip": "concat", "depth": 4},
        "skip concat, odd": {"long_skip": "concat", "depth": 5},
        "learned": {"position": "learned"},
        "sincos": {"position": "sincos"},
        "rope": {"position": "rope"},
        "coordinates": {"position": "coordinates"},
        "qk norm": {"qk_norm": True},
        "depthwise": {"depthwise": True},
        "shared": {"share_weights": True},
        "checkpointing": {"checkpointing": True},
        "mlp ratio 2": {"mlp_ratio": 2},
        "much": {
            "time": "adaln",
            "position": "rope",
            "qk_norm": True,
            "depthwise": True,
            "long_skip": "concat",
            "checkpointing": True,
            "share_weights": True,
            "stem_layers": 3,
            "text_length": 2,
            "text_width": 6,
        },
    },
)
TLDM_BASE: dict[str, Any] = {"size": 8, "channels": 4, "width": 32, "heads": 2, "depth": 3, "num_classes": 5}
TLDM = _all_of(
    Tldm.Config,
    TLDM_BASE,
    {
        "plain": {},
        "unconditional": {"num_classes": 0},
        "patch 1": {"patch": 1, "size": 4},
        "patch 4": {"patch": 4},
        "three class tokens": {"num_class_tokens": 3},
        "text": TEXT,
        "text alone": {**TEXT, "num_classes": 0},
        "image condition": {"condition_channels": 2},
        "skip add": {"long_skip": "add", "depth": 4},
        "skip concat": {"long_skip": "concat", "depth": 4},
        "skip concat, odd": {"long_skip": "concat", "depth": 5},
        "sincos": {"position": "sincos"},
        "qk norm": {"qk_norm": True},
        "final conv": {"final_conv": True},
        "mlp ratio 2": {"mlp_ratio": 2},
        "checkpointing": {"checkpointing": True},
        "adaln": {"conditioning": "adaln_zero"},
        "adaln, text": {"conditioning": "adaln_zero", "qk_norm": True, "long_skip": "concat", **TEXT},
        "adaln, sincos": {"conditioning": "adaln_zero", "position": "sincos", "num_classes": 0},
        "cross": {"conditioning": "cross_attention"},
        "cross, text": {"conditioning": "cross_attention", "qk_norm": True, "num_class_tokens": 2, **TEXT},
        "cross, sincos": {"conditioning": "cross_attention", "position": "sincos", "num_classes": 0},
    },
)
DIT_BASE: dict[str, Any] = {"size": 8, "channels": 4, "width": 32, "heads": 2, "depth": 3, "num_classes": 5}
DIT = _all_of(
    Dit.Config,
    DIT_BASE,
    {
        "plain": {},
        "unconditional": {"num_classes": 0},
        "variance": {"variance": True},
        "patch 4": {"patch": 4},
        "text": TEXT,
        "image condition": {"condition_channels": 2},
        "mlp ratio 2": {"mlp_ratio": 2},
        "checkpointing": {"checkpointing": True},
    },
)
UVIT_BASE: dict[str, Any] = {"size": 8, "channels": 3, "width": 32, "heads": 2, "depth": 5, "num_classes": 5}
UVIT = _all_of(
    Uvit.Config,
    UVIT_BASE,
    {
        "plain": {},
        "unconditional": {"num_classes": 0},
        "patch 4, latents": {"patch": 4, "channels": 4},
        "text": {**TEXT, "num_classes": 0},
        "text and classes": TEXT,
        "image condition": {"condition_channels": 2},
        "no final conv": {"final_conv": False},
        "one block": {"depth": 1},
        "checkpointing": {"checkpointing": True},
    },
)
UNET_BASE: dict[str, Any] = {
    "size": 8,
    "widths": (8, 16),
    "attention": (1,),
    "num_blocks": 1,
    "groups": 4,
    "head_width": 8,
    "context_width": 12,
}
UNET = _all_of(
    Unet.Config,
    UNET_BASE,
    {
        "ldm": {"num_classes": 5},
        "ldm, text": {"num_classes": 5, "text_length": 3, "text_width": 6},
        "ldm, text alone": {"text_length": 3, "text_width": 6},
        "ldm, unconditional": {},
        "ldm, one head": {"num_classes": 5, "head_width": None, "attention": (0, 1)},
        "ldm, one level": {"widths": (8,), "attention": (0,), "num_classes": 5},
        "ddpm": {"design": "ddpm", "num_classes": 5},
        "ddpm, text": {"design": "ddpm", "num_classes": 5, "text_length": 3, "text_width": 6},
        "ddpm, unconditional": {"design": "ddpm"},
        "adm": {"design": "adm", "num_classes": 5, "num_blocks": 2},
        "image condition": {"num_classes": 5, "condition_channels": 3},
    },
)
SMALL = Lego.Brick(window=4, patch=2, width=16, heads=2, depth=1)
MIDDLE = Lego.Brick(window=8, patch=4, width=24, heads=2, depth=2)
IMAGE = Lego.Brick(window=0, patch=4, width=32, heads=4, depth=1)
LEGO_BASE: dict[str, Any] = {"size": 16, "channels": 3, "num_classes": 5, "vector_width": 32}
STACKS = {"pg": (SMALL, MIDDLE, IMAGE), "pr": (IMAGE, MIDDLE, SMALL), "one": (IMAGE,)}
LEGO = _all_of(
    Lego.Config,
    LEGO_BASE,
    {
        **{name: {"bricks": bricks} for name, bricks in STACKS.items()},
        "unconditional": {"bricks": STACKS["pr"], "num_classes": 0},
        "text": {"bricks": STACKS["one"], **TEXT},
        "image condition": {"bricks": STACKS["pg"], "condition_channels": 2},
        "detached": {"bricks": STACKS["one"], "detach": True},
        "depthwise": {"bricks": (Lego.Brick(window=4, width=16, heads=2, depth=2, depthwise=True), IMAGE)},
        "checkpointing": {"bricks": STACKS["pg"], "checkpointing": True},
    },
)

TINY: dict[str, dict[str, BackboneConfig]] = {
    "dit": {**DIT},
    "lego": {**LEGO},
    "stoic": {**STOIC},
    "tldm": {**TLDM},
    "unet": {**UNET},
    "uvit": {**UVIT},
}
"""Configs by the name of their backbone, which is that of the registry, then by option."""
EVERY = {f"{family}: {name}": config for family, configs in TINY.items() for name, config in configs.items()}

ASKING = r"transformer_blocks\.\d+\.(attn2\.to_q|attn2\.to_k|norm2)\."
"""Parameters of a U-Net, by their names in diffusers, that ask a context."""


def idle_of(config: BackboneConfig) -> str:
    """Names of parameters that a softmax does not see: those that ask a single row, and a bias of all keys."""
    if not isinstance(config, Unet.Config):
        return ""
    one_row = config.design == "ldm" and not config.text_length
    return (f"{ASKING}|" if one_row else "") + r"to_k\.bias$"
