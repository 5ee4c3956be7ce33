from typing import Any

import numpy as np
import pytest

from brickwork.errors import ArgumentError
from brickwork.quality.seam import seam

BORDERS = [32, 64, 96]


def smooth(count: int, height: int, width: int, blur: float = 1.5) -> np.ndarray:
    """Smooth noise, grey levels around 128: white noise with high frequencies taken away."""
    white = np.random.default_rng(0).standard_normal((count, height, width, 3))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
    keep = np.exp(-2 * (np.pi * blur) ** 2 * (rows**2 + columns**2))[None, :, :, None]
    values = np.fft.ifft2(np.fft.fft2(white, axes=(1, 2)) * keep, axes=(1, 2)).real
    return (128 + 40 * values / values.std()).clip(0, 255).astype(np.uint8)


def tiled(images: np.ndarray) -> np.ndarray:
    """32-pixel columns, each from another image."""
    out = images.copy()
    for start in (32, 64, 96):
        out[:, :, start : start + 32] = np.roll(images, start, axis=0)[:, :, start : start + 32]
    return out


@pytest.mark.parametrize("blur", [0.0, 1.0, 3.0])
def test_smooth_noise_has_no_seam(blur: float) -> None:
    images = smooth(64, 32, 128, blur)
    assert seam(images, BORDERS, axis=2) == pytest.approx(1, abs=0.04)
    assert seam(images, [16], axis=1) == pytest.approx(1, abs=0.04)


def test_a_pasted_tiling_has_one() -> None:
    images = tiled(smooth(64, 32, 128))
    assert seam(images, BORDERS, axis=2) > 3
    assert seam(images, [16, 48, 80, 112], axis=2) == pytest.approx(0.7, abs=0.2)  # others stand among the elsewhere
    assert seam(images, [16], axis=1) == pytest.approx(1, abs=0.04)
    turned = np.swapaxes(images, 1, 2)
    assert seam(turned, BORDERS, axis=1) == seam(images, BORDERS, axis=2)


def test_a_blurred_border_is_a_seam_below_one() -> None:
    images = smooth(64, 32, 128, 0.5).astype(float)
    for border in BORDERS:
        images[:, :, border - 2 : border + 2] = images[:, :, border - 2 : border + 2].mean(axis=2, keepdims=True)
    assert seam(images, BORDERS, axis=2) < 0.7


def test_by_hand() -> None:
    steps = np.array([0, 0, 0, 5, 5, 7, 7, 7], dtype=np.uint8)[None, None, :, None]
    # jumps at 1 .. 6: 0, 5, 5, 2, 2, 0
    assert seam(steps, [3], axis=2) == 5 / 1
    assert seam(steps, [5], axis=2) == 2 / 2.5
    assert seam(steps, [3, 5], axis=2) == np.inf
    assert seam(steps, [1], axis=2) == 0  # only the jump at 1 is there
    assert seam(np.zeros((1, 8, 8, 1)), [4], axis=1) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"images": np.zeros((8, 8, 3))}, "shape"),
        ({"axis": 3}, "axis 3"),
        ({"borders": [0]}, "border 0 .*1 to 7"),
        ({"borders": [8]}, "border 8"),
        ({"borders": []}, "with and without"),
        ({"borders": range(1, 8)}, "with and without"),
    ],
)
def test_refusals(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        seam(**{"images": np.zeros((2, 8, 8, 1)), "borders": [4], "axis": 2, **options})
