"""One list of tiny configs that covers every option; a test that asks for ``tiny`` runs on each."""

import pytest

from brickwork.backbone.stoic import Stoic

BASE = {"size": 8, "channels": 3, "width": 32, "heads": 2, "depth": 3, "stride": 2, "num_classes": 5}

TINY = {
    name: Stoic.Config(**{**BASE, **options})
    for name, options in {
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
        "text": {"text_length": 4, "text_width": 12},
        "text alone": {"text_length": 4, "text_width": 12, "num_classes": 0},
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
    }.items()
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tiny" in metafunc.fixturenames:
        metafunc.parametrize("tiny", TINY.values(), ids=TINY.keys())
