"""What is held out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brickwork.data.opening import open_source
from brickwork.data.split import fraction, held_out
from brickwork.errors import DataError, UnknownNameError

Write = Callable[..., Path]


def files(first: int, last: int) -> dict[str, int]:
    return {f"{i:03}.png": i for i in range(first, last)}


def test_the_share_is_the_rest_of_train(folder: Write) -> None:
    root = folder(files(0, 200), size=(1, 1))
    train, test, held = (list(open_source(root, s, holdout=0.2).names) for s in ("train", "test", "heldout"))
    assert test == held
    assert not set(train) & set(test)
    assert sorted(train + test) == sorted(files(0, 200))
    assert abs(len(test) - 40) < 4 * np.sqrt(200 * 0.2 * 0.8)
    assert len(open_source(root, "all")) == 200


def test_adding_images_moves_none(folder: Write) -> None:
    before = set(open_source(folder(files(50, 150), size=(1, 1)), "test", holdout=0.1).names)
    after = set(open_source(folder(files(0, 250), size=(1, 1)), "test", holdout=0.1).names)
    assert {name for name in after if name in files(50, 150)} == before


def test_the_hash_is_fixed() -> None:
    """sha256("abc") begins ba7816bf8f01cfea (FIPS 180-2, B.1)."""
    assert fraction(b"abc") == 0xBA7816BF8F01CFEA / 2**64


def test_a_small_set_keeps_one_on_each_side(folder: Write) -> None:
    root = folder(files(0, 2))
    for share in (1e-9, 0.05, 0.999):
        assert (len(open_source(root, holdout=share)), len(open_source(root, "test", holdout=share))) == (1, 1)


def test_equal_images_are_on_the_same_side(tmp_path: Path) -> None:
    images = np.repeat(np.arange(50, dtype=np.uint8), 2)[:, None, None]
    np.savez(tmp_path / "a.npz", images=images)
    source = open_source(tmp_path / "a.npz", "all")
    held = held_out(source, 0.3)
    twins = held.reshape(50, 2)
    assert (twins[:, 0] != twins[:, 1]).sum() <= 2  # the lowest and the highest hash may stand alone


def test_nothing_held_out(folder: Write) -> None:
    root = folder(files(0, 5))
    assert len(open_source(root, holdout=0.0)) == 5
    with pytest.raises(DataError, match="the held-out share is 0; raise --holdout"):
        open_source(root, "heldout", holdout=0.0)
    alone = folder(files(0, 1), name="alone")
    assert len(open_source(alone)) == 1
    with pytest.raises(DataError, match="one image only"):
        open_source(alone, "heldout")


def test_splits_that_are_not_there(folder: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'validation'; it has 'train' and, by hash, 'test'"):
        open_source(folder(files(0, 5)), "validation")
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 2, 2), np.uint8), split=np.array([0, 0, 1, 1]))
    with pytest.raises(DataError, match=r"no split 'test'; it has train, validation"):
        open_source(tmp_path / "a.npz", "test")
    assert len(open_source(tmp_path / "a.npz", "heldout")) == 2
    with pytest.raises(UnknownNameError, match="did you mean train"):
        open_source(tmp_path / "a.npz", "trian")
