"""Cropping and resizing."""

import numpy as np
import pytest

from brickwork.data.fit import FILTERS, fit
from brickwork.errors import DataError

PLAIN = {"size": None, "crop": "centre", "box": None, "filter": "lanczos", "name": "cat.png"}


def ramp(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.arange(height * width * channels, dtype=np.uint8).reshape(height, width, channels)


def test_centre_crop_takes_the_middle() -> None:
    image = ramp(4, 10)
    np.testing.assert_array_equal(fit(image, **PLAIN), image[:, 3:7])
    np.testing.assert_array_equal(fit(image.transpose(1, 0, 2), **PLAIN), image.transpose(1, 0, 2)[3:7])


def test_crop_none_keeps_everything() -> None:
    assert fit(ramp(4, 10), **{**PLAIN, "crop": "none"}).shape == (4, 10, 3)
    with pytest.raises(DataError, match=r"cat\.png is 10x4.*--crop centre"):
        fit(ramp(4, 10), **{**PLAIN, "crop": "none", "size": 4})


def test_box_is_cut_out_first() -> None:
    image = ramp(6, 8)
    np.testing.assert_array_equal(fit(image, **{**PLAIN, "box": (1, 2, 5, 6)}), image[2:6, 1:5])
    with pytest.raises(DataError, match=r"8x6.*--box 0 0 9 6"):
        fit(image, **{**PLAIN, "box": (0, 0, 9, 6)})


def test_box_filter_is_the_mean_of_each_cell() -> None:
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 1), np.uint8)
    small = fit(image, **{**PLAIN, "size": 4, "filter": "box"})
    mean = image.reshape(4, 2, 4, 2).astype(float).mean((1, 3))
    assert np.abs(small[:, :, 0] - mean).max() <= 1  # rounded once along each axis


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_flat_image_stays_flat(filter: str, channels: int) -> None:  # noqa: A002
    image = np.full((9, 9, channels), 137, np.uint8)
    for size in (4, 16):
        result = fit(image, **{**PLAIN, "size": size, "filter": filter})
        assert result.shape == (size, size, channels)
        assert (result == 137).all()


def test_nearest_invents_no_value() -> None:
    image = np.zeros((4, 4, 1), np.uint8)
    image[1::2] = 255
    assert set(np.unique(fit(image, **{**PLAIN, "size": 13, "filter": "nearest"}))) == {0, 255}


def test_the_right_size_is_left_alone() -> None:
    image = ramp(8, 8)
    assert fit(image, **{**PLAIN, "size": 8}) is image
