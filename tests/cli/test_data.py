"""`brickwork data`: what is told of a set, and the sheet of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brickwork.cli import main

BLUE, RED = (0, 0, 255), (255, 0, 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten blue pictures with red sides that a square leaves out, one broken, and a text."""
    folder = tmp_path / "my photos"
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    for i in range(10):
        picture = Image.new("RGB", (80 + 40 * (i % 2), 40), RED)
        picture.paste(BLUE, ((picture.width - 40) // 2, 0, (picture.width + 40) // 2, 40))
        picture.save(folder / "ab"[i % 2] / f"{i}.png")
    (folder / "a" / "broken.png").write_bytes(b"broken")
    (folder / "notes.txt").write_text("none")
    return folder


def test_a_set_is_told_and_shown(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    assert main(["data", str(photos), "--out", str(out), "--holdout", "0"]) == 0
    captured = capsys.readouterr()
    assert "found 11 images, 2 classes; passed over: 1 of another kind (notes.txt); skipped 1 of 11" in captured.err
    lines = captured.out.splitlines()
    assert lines[0].startswith("11 pictures of 80x40 to 120x40 → squares of 40: their own size")
    assert lines[1].startswith("10 images of 40x40x3 to train on, never mirrored; none held out")
    assert lines[2] == "classes: a 5, b 5"
    assert lines[-1] == f"brickwork train '{photos}'"
    pixels = np.asarray(Image.open(out))
    assert pixels.shape == (2 * 42 + 2, 8 * 42 + 2, 3)  # ten squares of 40, eight in a row
    assert (pixels[2:42, 2:42] == BLUE).all(), "the square in the middle"


def test_a_size_is_passed_on(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(photos), "--out", str(tmp_path / "a.png"), "--size", "8", "--flip"]) == 0
    out = capsys.readouterr().out
    assert "8x8x3 to train on, mirrored half of the time" in out
    assert out.splitlines()[-1].endswith("--size 8")


def test_captions_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(
        tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8), captions=np.array(["one", "two", "three", "four"])
    )
    assert main(["data", str(tmp_path / "a.npz"), "--out", str(tmp_path / "a.png"), "--split", "all"]) == 0
    assert "captions: the first is 'one'" in capsys.readouterr().out


def test_a_set_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(tmp_path / "nowhere")]) == 1
    assert "no such folder or file" in capsys.readouterr().err
    assert main(["data", "digits", "--out", "a.gif"]) == 1
