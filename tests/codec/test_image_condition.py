from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from brickwork.codec.base import Pixels
from brickwork.codec.image_condition import IMAGE_CONDITIONS, Coarse, Grey, ImageCondition, Nothing, enlarged, reduced
from brickwork.errors import ArgumentError, ConfigError


def pictures(count: int = 2, height: int = 12, width: int = 8, channels: int = 3) -> Tensor:
    numbers = np.random.default_rng(0).integers(0, 256, (count, height, width, channels))
    return torch.from_numpy(numbers.astype(np.uint8))


def halves_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_smaller_is_the_mean_of_squares(scale: int) -> None:
    images = pictures(height=4 * scale, width=2 * scale)
    small = reduced(images, scale)
    assert small.shape == (2, 4, 2, 3)
    for b, i, j, c in np.ndindex(*small.shape):
        square = images[b, i * scale : (i + 1) * scale, j * scale : (j + 1) * scale, c]
        assert small[b, i, j, c] == halves_up(Fraction(int(square.sum()), scale * scale))


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
def test_larger_is_the_line_between_middles(scale: int) -> None:
    images = pictures(height=3, width=4, channels=1)
    large = enlarged(images, scale)
    assert large.shape == (2, 3 * scale, 4 * scale, 1)

    def share(place: int, square: int, last: int) -> Fraction:
        at = min(max(Fraction(2 * place + 1, 2 * scale) - Fraction(1, 2), Fraction(0)), Fraction(last))
        return max(Fraction(0), 1 - abs(at - square))

    for b, i, j, c in np.ndindex(*large.shape):
        value = sum(
            (share(i, m, 2) * share(j, n, 3) * int(images[b, m, n, c]) for m in range(3) for n in range(4)), Fraction(0)
        )
        assert large[b, i, j, c] == halves_up(value)


def test_a_plain_picture_stays() -> None:
    plain = torch.full((1, 8, 8, 3), 255, dtype=torch.uint8)
    assert torch.equal(Coarse(scale=4).degrade(plain), plain)
    assert torch.equal(Grey().degrade(plain), plain)


def test_grey_is_the_luma_of_the_data_reader() -> None:
    images = pictures()
    grey = Grey().degrade(images)
    assert grey.shape == images.shape
    for picture, result in zip(images.numpy(), grey.numpy(), strict=True):
        luma = np.asarray(Image.fromarray(picture).convert("L"))
        np.testing.assert_array_equal(result, np.repeat(luma[:, :, None], 3, axis=2))


def test_own_pictures_become_what_training_gave() -> None:
    images, coarse = pictures(), Coarse(scale=4)
    wanted = coarse.degrade(images)
    assert torch.equal(coarse.prepare(images, 12, 8), wanted)
    assert torch.equal(coarse.prepare(reduced(images, 4), 12, 8), wanted)
    wanted = Grey().degrade(images)
    assert torch.equal(Grey().prepare(images, 12, 8), wanted)
    assert torch.equal(Grey().prepare(wanted[..., :1], 12, 8), wanted)


def test_channels_beside_x() -> None:
    codec = Pixels()
    assert {name: kind().channels(codec) for name, kind in IMAGE_CONDITIONS.items()} == {
        "nothing": 0,
        "coarse": 3,
        "grey": 3,
    }
    Nothing().check(codec, 7, 9)
    Coarse(scale=4).check(codec, 8, 16)
    Grey().check(codec, 7, 9)


@pytest.mark.parametrize("scale", [1, 0, 65, True])
def test_a_scale_makes_coarser(scale: int) -> None:
    with pytest.raises(ConfigError, match="image condition of scale"):
        Coarse(scale=scale)


@pytest.mark.parametrize(
    ("image_condition", "size", "says"),
    [
        (Coarse(scale=4), (8, 6), "8x6 pixels, 3 channels: this model makes 8x8 pixels of 2x2"),
        (Grey(), (8, 7), "8x7 pixels, 3 channels: this model makes 8x8"),
        (Nothing(), (8, 8), "no image condition"),
    ],
)
def test_own_pictures_of_another_size(image_condition: ImageCondition, size: tuple[int, int], says: str) -> None:
    with pytest.raises(ArgumentError, match=says) as caught:
        image_condition.prepare(pictures(1, *size), 8, 8)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_made() -> None:
    with pytest.raises(ConfigError, match="scale 4 with pictures of 8x6"):
        Coarse(scale=4).check(Pixels(), 8, 6)
    with pytest.raises(ConfigError, match="no colour to add"):
        Grey().check(Pixels(num_channels=1), 8, 8)
    with pytest.raises(ArgumentError, match="scale 4 must divide"):
        Coarse(scale=4).degrade(pictures(1, 8, 6))
    with pytest.raises(ArgumentError, match="2 channels"):
        Grey().degrade(pictures(1, 8, 8, 2))
    with pytest.raises(ArgumentError, match="no image condition"):
        Nothing().degrade(pictures())
