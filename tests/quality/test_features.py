"""The shipped networks: they are the files that the docs describe, small, right often enough, and blind to batches."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from brickwork.data.dataset import DataConfig, load_dataset
from brickwork.errors import ArgumentError, UnknownNameError
from brickwork.quality.features import FeatureNet, features, resized, shipped_net

DOCS = Path(__file__).parents[2] / "docs" / "features.md"
RNG = np.random.default_rng(0)


def pictures(count: int, size: int, channels: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, size, size, channels), dtype=np.uint8)


@pytest.mark.parametrize("name", ["grey", "colour"])
def test_the_files_are_those_of_the_docs(name: str):
    net = shipped_net(name)
    file = resources.files("brickwork.quality") / "weights" / f"{name}.safetensors"
    assert len(file.read_bytes()) < 5_000_000
    text = DOCS.read_text(encoding="utf-8")
    assert net.digest in text
    for head in net.heads.values():
        assert f"{head.accuracy:.2%}".replace("%", " %") in text
        assert head.weight.shape == (len(head.classes), net.net.num_features)


def test_stated_accuracies():
    grey, colour = shipped_net("grey").heads, shipped_net("colour").heads
    assert grey["fashion-mnist"].accuracy >= 0.92
    assert grey["digits"].accuracy >= 0.97
    assert colour["cifar10"].accuracy >= 0.82


def test_the_stated_accuracy_on_digits_is_the_true_one():
    data = load_dataset("digits", DataConfig(split="test", holdout=0.2, size=16))
    head = shipped_net("grey").heads["digits"]
    right = (features(data.images) @ head.weight.T + head.bias).argmax(1) == data.labels
    assert len(right) == head.num_held_out
    assert right.mean() >= head.accuracy


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 1), (32, 3), (64, 3), (100, 3)])
def test_features_of_any_size(size: int, channels: int):
    images = pictures(3, size, channels)
    found = features(images)
    assert found.shape == (3, 128 if channels == 1 else 160)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert np.array_equal(found, features(images))


def test_features_do_not_depend_on_the_batch():
    images = pictures(300, 8, 1)
    whole = features(images)
    alone = np.concatenate([features(images[i : i + 1]) for i in (0, 255, 256, 299)])
    assert np.allclose(whole[[0, 255, 256, 299]], alone, atol=1e-5)
    assert features(images[:0]).shape == (0, 128)


def test_the_fixed_resize():
    x = torch.rand(2, 3, 20, 20)
    assert resized(torch.rand(2, 1, 8, 8), "grey").shape == (2, 1, 32, 32)
    assert resized(torch.rand(2, 1, 100, 90), "grey").shape == (2, 1, 32, 32)
    for side, size in ((20, 32), (32, 32), (47, 32), (48, 64), (64, 64), (300, 64)):
        assert resized(torch.rand(1, 3, side, side), "colour").shape[-2:] == (size, size)
    assert torch.equal(resized(torch.full((1, 3, 128, 128), 0.25), "colour"), torch.full((1, 3, 64, 64), 0.25))
    same = torch.rand(1, 3, 32, 32)
    assert resized(same, "colour") is same
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 1.0
    small = resized(checks.expand(1, 1, 64, 64), "grey")
    assert (small[..., 2:-2, 2:-2] - 0.5).abs().max() < 1e-6  # antialiased: a chequerboard is grey
    assert resized(x, "colour").shape[1] == 3


def test_the_net_by_hand():
    """One stage of width 1 whose convolutions only pass the centre on: each step is arithmetic on one number."""
    net = FeatureNet(1, (1, 1), {"a": 2})
    for conv in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]
    image = torch.full((1, 1, 8, 8), 0.25)
    assert net(image).item() == pytest.approx(0.5)  # h + h
    assert net(-image).item() == 0.0


def test_what_is_refused():
    with pytest.raises(ArgumentError, match="features are taken of uint8"):
        features(np.zeros((1, 8, 8, 1), np.float32))
    with pytest.raises(ArgumentError, match="features are taken of uint8"):
        features(np.zeros((8, 8, 1), np.uint8))
    with pytest.raises(ArgumentError, match="4 channels"):
        features(pictures(1, 8, 4))
    with pytest.raises(ArgumentError, match="images of 7x7"):
        features(pictures(1, 7, 1))
    with pytest.raises(UnknownNameError, match="did you mean colour"):
        shipped_net("color")
