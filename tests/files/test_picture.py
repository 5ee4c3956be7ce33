import errno
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brickwork.errors import ArgumentError, BrickworkWarning, DataError, OutputError
from brickwork.files.picture import SUFFIXES, read_facts, save_picture, save_png, sheet
from brickwork.files.whole import write_whole

FACTS: dict[str, Any] = {"seed": 2**64 - 1, "model": "sha256:ab", "labels": [3, 7], "note": "größer → ✓", "scale": 1.5}


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_pixels_and_facts_come_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image, path = picture(*shape), tmp_path / "new" / "folder" / "a.png"
    save_png(image, path, FACTS)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(np.asarray(opened), image.reshape(shape[:2]) if shape[-1] == 1 else image)
        assert opened.mode == ("RGB" if shape[-1] == 3 else "L")
    assert read_facts(path) == FACTS
    assert os.listdir(path.parent) == ["a.png"]


def test_same_picture_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_png(picture(8, 8, 3), tmp_path / name, FACTS)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("image", [picture(2, 2, 4), picture(2), picture(2, 2).astype(np.float32)])
def test_refuses_what_is_no_picture(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match="uint8"):
        save_png(image, tmp_path / "a.png")


def test_an_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "a.png", tmp_path / "folder.png", Path("/proc/nowhere/a.png")):
        with pytest.raises(OutputError, match="cannot be written") as caught:
            save_png(picture(2, 2), path)
        assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save_png(picture(4, 4), path, {"which": "old"})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save_png(picture(4, 4), path, {"which": "new"})
    assert os.listdir(tmp_path) == ["a.png"]
    assert read_facts(path) == {"which": "old"}


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str, __: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.bin", b"123")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_in_the_format_of_its_name(suffix: str, channels: int, tmp_path: Path) -> None:
    image, path = np.full((16, 24, channels), 200, np.uint8), tmp_path / f"a{suffix}"
    save_picture(image, path, FACTS)
    with Image.open(path) as opened:
        assert opened.format == {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
        assert np.abs(np.asarray(opened.convert("RGB")).astype(int) - 200).max() <= 1
    assert read_facts(path) == FACTS


def test_facts_that_a_format_cannot_hold_are_left_out_with_a_warning(tmp_path: Path) -> None:
    facts, image = {"seeds": list(range(20_000))}, picture(4, 4)
    with pytest.warns(BrickworkWarning, match="written without its facts"):
        save_picture(image, tmp_path / "a.jpg", facts)
    save_picture(image, tmp_path / "a.png", facts)
    assert read_facts(tmp_path / "a.png") == facts


def test_readers_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_facts(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match="not a readable PNG"):
        read_facts(tmp_path / "text.png")
    Image.new("L", (2, 2)).save(tmp_path / "plain.png")
    data = bytearray((tmp_path / "plain.png").read_bytes())
    data[16:24] = b"\0\x10\0\0" * 2  # the size that its header states: 2^40 pixels
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(DataError, match="not a readable PNG"):
        read_facts(tmp_path / "huge.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="not a readable PNG"):
        read_facts(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="carries no brickwork facts"):
        read_facts(tmp_path / "plain.png")


def test_a_sheet_puts_every_pixel_in_its_place() -> None:
    images = picture(5, 2, 3, 1)
    got = sheet(images, 3, padding=1, scale=2, background=7)
    assert got.shape == (1 + 2 * (4 + 1), 1 + 3 * (6 + 1), 1)
    for i in range(5):
        y, x = 1 + i // 3 * 5, 1 + i % 3 * 7
        np.testing.assert_array_equal(got[y : y + 4, x : x + 6], images[i].repeat(2, axis=0).repeat(2, axis=1))
    assert np.all(got[6:10, 15:21] == 7)  # the place of a sixth
    assert np.all(got[0] == 7)
    assert np.all(got[:, 0] == 7)


def test_no_padding_is_plain_tiling() -> None:
    images = picture(4, 2, 2, 3)
    np.testing.assert_array_equal(
        sheet(images, 2, padding=0), np.block([[[images[0]], [images[1]]], [[images[2]], [images[3]]]])
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_captions_are_beside_the_pictures(channels: int) -> None:
    images = np.full((4, 16, 16, channels), 128, dtype=np.uint8)
    plain = sheet(images, 2, scale=2)
    got = sheet(images, 2, scale=2, row_captions=["sneaker", "bag"], column_captions=["0", "1"])
    height, width = plain.shape[:2]
    top, left = got.shape[0] - height, got.shape[1] - width
    assert top > 0
    assert left > 0
    np.testing.assert_array_equal(got[top:, left:], plain)
    assert got[:top].min() < 64  # ink
    assert got[:, :left].min() < 64
    rows = np.flatnonzero((got[..., 0] < 64)[:, :left].any(axis=1))
    assert abs(rows[rows < top + height / 2].mean() - (top + 2 + 16)) < 4  # each caption at the middle of its row
    dark = sheet(images, 2, row_captions=["a", "b"], background=0)
    assert dark.max() > 192


@pytest.mark.parametrize(
    ("images", "options"),
    [
        (picture(2, 4, 4), {}),
        (picture(2, 4, 4, 2), {}),
        (picture(0, 4, 4, 1), {}),
        (picture(2, 4, 4, 1), {"columns": 0}),
        (picture(2, 4, 4, 1), {"scale": 0}),
        (picture(2, 4, 4, 1), {"row_captions": ["a", "b"]}),
        (picture(2, 4, 4, 1), {"column_captions": ["a"]}),
    ],
)
def test_refuses_a_sheet_that_cannot_be(images: np.ndarray, options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        sheet(images, **{"columns": 2, **options})


@pytest.mark.parametrize(
    "how", [{"columns": 1 << 62}, {"scale": 1 << 62}, {"padding": 1 << 62}, {"columns": 10**6, "scale": 10**6}]
)
def test_a_sheet_too_large_for_any_memory_is_one_line(how: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=r"^a sheet of \d+x\d+ pixels: it may have \d+; give fewer"):
        sheet(picture(3, 8, 8, 3), **{"columns": 2, **how})


def test_of_a_long_caption_the_first_letters_are_drawn() -> None:
    one, other = (sheet(picture(1, 8, 8, 3), 1, row_captions=["a" * count]) for count in (500, 10**6))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 8), (8, 0, 1)])
def test_a_picture_without_pixels_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="image of uint8"):
        save_png(picture(*shape), tmp_path / "a.png")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", {1}, 10**5000], ids=["nan", "inf", "half", "set", "long"]
)
def test_facts_that_could_not_be_read_again_are_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"facts of .*a\.png: JSON cannot hold them"):
        save_png(picture(4, 4), tmp_path / "a.png", {"a": value})
    assert os.listdir(tmp_path) == []
