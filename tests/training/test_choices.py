"""Choices for pictures alone: size, network and budget, and the lines that give the reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import brickwork as bw
from brickwork.errors import ConfigError
from brickwork.files.proposed import proposals
from brickwork.training.denoiser.choices import chosen, network_for, of_one_size, stride_for


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures from 80x60 to 90x200."""
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (60 if i else 200, 80 + 10 * (i == 0), 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "size", "network"),
    [
        ({}, 32, ("stoic-tiny", 4)),  # by the pictures: 60 is not 64
        ({"minutes": 1.0}, 32, ("stoic-digits", 4)),
        ({"minutes": 5.0}, 32, ("stoic-tiny", 4)),
        ({"minutes": 90.0}, 32, ("stoic-small", 2)),
        ({"epochs": 3.0, "data": bw.DataConfig(size=64)}, 64, ("stoic-tiny", 4)),
        ({"data": bw.DataConfig(size=12)}, 12, ("stoic-tiny", 2)),
    ],
)
def test_what_is_chosen(photos: Path, settings: dict[str, Any], size: int, network: tuple[str, int]) -> None:
    recipe = bw.recipe_for(photos, device="cpu", **settings)
    preset = bw.preset(network[0])
    assert isinstance(recipe.backbone, bw.Stoic.Config)
    assert isinstance(preset, bw.Stoic.Config)
    assert (recipe.backbone.width, recipe.backbone.depth) == (preset.width, preset.depth)
    assert recipe.backbone.stride == network[1]
    assert recipe.data.size == size
    assert recipe.minutes == (0 if "epochs" in settings else settings.get("minutes", 30.0))
    assert "size" in proposals(recipe.backbone), "the data still set it"


def test_what_the_user_says_stays(photos: Path) -> None:
    asked = bw.load_recipe("stoic-small", minutes=1.0, lr=5e-4, backbone=bw.Stoic.Config(width=48, stride=2, depth=1))
    recipe, lines = chosen(asked, photos, {"lr", "backbone.width", "backbone.stride"}, "cpu")
    assert isinstance(recipe.backbone, bw.Stoic.Config)
    assert (recipe.backbone.width, recipe.backbone.stride, recipe.backbone.depth, recipe.lr) == (48, 2, 3, 5e-4)
    assert lines == [
        "11 pictures of 80x60 to 90x200 → squares of 32: the largest for 1 minute of training (--size sets another)",
        "stoic-digits with stride 2, for 1 minute",
    ]
    recipe, lines = chosen(bw.load_recipe("stoic-small"), photos, set(), "cpu")
    assert lines[1] == "stoic-tiny with stride 4, for 30 minutes (--minutes sets another budget)"
    kept = bw.recipe_for(photos, backbone=bw.preset("lego-small-pg"))
    assert isinstance(kept.backbone, bw.Lego.Config)


def test_a_gpu_gets_more_to_do() -> None:
    assert [network_for(minutes, "cuda").preset for minutes in (1, 30)] == ["stoic-small", "stoic-base"]


@pytest.mark.parametrize(("size", "places", "stride"), [(32, 8, 4), (28, 16, 2), (8, 8, 1), (64, 8, 4), (30, 16, 2)])
def test_strides(size: int, places: int, stride: int) -> None:
    assert stride_for(size, places) == stride


def test_a_size_without_a_stride_is_refused_with_another() -> None:
    with pytest.raises(ConfigError, match=r"size 97: 97x97 places .* take 96"):
        stride_for(97, 16)


def test_mixed_pictures_get_the_size_of_the_network(photos: Path, tmp_path: Path) -> None:
    recipe = bw.load_recipe("stoic-tiny", steps=1)
    sized, lines = of_one_size(recipe, photos)
    assert sized.data.size == 28
    assert "squares of 28: the size of the network" in lines[0]
    set_by_user = bw.load_recipe("stoic-tiny", data=bw.DataConfig(size=16))
    assert of_one_size(set_by_user, photos) == (set_by_user, [])
    (photos / "0.png").unlink()
    assert of_one_size(recipe, photos) == (recipe, []), "one size needs no other"


def test_epochs_become_images(photos: Path) -> None:
    assert bw.load_recipe("stoic-tiny", epochs=2.5).in_images(11).images == 28
    assert bw.load_recipe("stoic-tiny", epochs=0.1).in_images(30).images == 3
    with pytest.raises(ConfigError, match="epochs = 2 and images = 5"):
        bw.load_recipe("stoic-tiny", epochs=2.0, images=5).require_budget()
