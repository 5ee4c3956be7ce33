"""The table of sizes."""

import re

import pytest

from brickwork.backbone.presets import PRESETS, preset
from brickwork.backbone.stoic import Stoic
from brickwork.backbone.table import BACKBONES
from brickwork.errors import UnknownNameError
from brickwork.model.cost import cost

LITERAL = [name for name in PRESETS if re.fullmatch(r"stoic-\d+x\d+-s\d", name)]


def test_the_whole_grid_is_there() -> None:
    published = {f"stoic-{n}x{w}-s{s}" for n in (12, 16, 32) for w in (512, 768) for s in (1, 2)}
    open_scale = {f"stoic-{n}x{w}-s2" for n in (64, 128) for w in (1024, 1536)}
    assert set(LITERAL) == published | open_scale


@pytest.mark.parametrize("name", LITERAL)
def test_literal_presets_are_what_their_name_says(name: str) -> None:
    depth, width, stride = map(int, re.findall(r"\d+", name))
    assert preset(name) == Stoic.Config(depth=depth, width=width, stride=stride, size=32, channels=3)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "size", "channels", "classes", "least", "most"),
    [
        ("stoic-digits", 8, 1, 10, 0.3e6, 0.4e6),
        ("stoic-tiny", 28, 1, 10, 3.3e6, 4.1e6),
        ("stoic-small", 32, 3, 10, 5e6, 8e6),
        ("stoic-base", 64, 3, 0, 30e6, 45e6),
    ],
)
def test_our_presets(name: str, size: int, channels: int, classes: int, least: float, most: float) -> None:
    config = preset(name)
    assert (config.size, config.channels, config.num_classes) == (size, channels, classes)
    assert least < cost(config).parameters < most


def test_digits_fits_two_megabytes() -> None:
    assert 4 * cost(preset("stoic-digits")).parameters < 2e6


def test_a_miss_names_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match="stoic-12x512-s2"):
        preset("stoic-12x512")


def test_every_preset_belongs_to_a_backbone() -> None:
    assert {type(config) for config in PRESETS.values()} == set(BACKBONES.values())
