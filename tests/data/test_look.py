"""A look at headers: sizes as a viewer shows them, without decoding, and the size that suits a set."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brickwork.data.config import DataConfig
from brickwork.data.decode import Decoder
from brickwork.data.files import HEADER
from brickwork.data.look import Look, fitting_size, look_at
from brickwork.errors import DataError


def picture(form: str, width: int = 40, height: int = 20, orientation: int = 1, **options: object) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    Image.new("RGB", (width, height), "teal").save(buffer, form, exif=exif, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sides_are_those_of_the_decoded_picture(form: str, orientation: int) -> None:
    data = picture(form, orientation=orientation)
    height, width, _ = Decoder().decode(data).shape
    assert Decoder().sides_of(data) == (width, height)
    assert (width, height) == ((20, 40) if orientation > 4 else (40, 20))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_header_is_enough(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, form)
    assert Decoder().sides_of(buffer.getvalue()[:1000]) == (96, 64)


def test_a_look_passes_over_what_is_broken_and_reads_behind_long_headers(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture("JPEG", 40, 30, orientation=6))
    (tmp_path / "b.png").write_bytes(b"no picture")
    jpeg = picture("JPEG", 64, 48)
    comments = b"".join(b"\xff\xfe\xff\xff" + bytes(65533) for _ in range(HEADER // 65533 + 1))
    (tmp_path / "c.jpg").write_bytes(jpeg[:2] + comments + jpeg[2:])
    look = look_at(tmp_path, DataConfig(split="all"))
    assert look.sides == ((30, 40), (64, 48))
    assert look.squares == (30, 48)
    assert look.mixed
    assert str(look) == "3 pictures of 30x40 to 64x48"
    boxed = look_at(tmp_path, DataConfig(split="all", box=(0, 0, 10, 12)))
    assert not boxed.mixed
    assert boxed.squares == (10, 10)


def test_sets_without_headers_are_decoded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((30, 8, 12, 3), np.uint8))
    assert look_at(tmp_path / "a.npz", DataConfig(split="all")).sides == ((12, 8),) * 16


def test_a_set_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image files"):
        look_at(tmp_path)


@pytest.mark.parametrize(
    ("squares", "most", "size"),
    [
        ([28] * 9, 64, 28),  # its own
        ([28] * 9, 16, 16),
        ([30] * 9, 64, 16),  # 30 has no stride
        ([480, 640, 3000], 64, 64),
        ([480, 640, 3000], 32, 32),
        ([20] + [100] * 19, 64, 64),  # one of twenty is small
        ([20] * 4 + [100] * 16, 64, 16),
        ([5, 6], 64, 8),
        ([], 32, 32),
    ],
)
def test_the_size_that_suits(squares: list[int], most: int, size: int) -> None:
    sides = tuple((side, side) for side in squares)
    assert fitting_size(Look(name="x", count=9, sides=sides, squares=tuple(squares), found=""), most) == size
