"""The set in memory: sizes, channels, broken files, digests, batches, the cache."""

import hashlib
import inspect
import logging
import re
import struct
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brickwork.data.config import DataConfig
from brickwork.data.dataset import Dataset, digest_of, load_dataset
from brickwork.data.heldout import images_of_run
from brickwork.data.opening import open_source
from brickwork.errors import BrickworkWarning, ConfigError, DataError, OutputError, UnknownNameError

Write = Callable[..., Path]
ALL = DataConfig(split="all")


def test_labels_and_classes(folder: Write) -> None:
    data = load_dataset(folder({"x/a.png": 1, "x/b.png": 2, "y/c.png": 3}), ALL)
    assert data.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert data.images.dtype == np.uint8
    assert data.shape == (8, 8, 1)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.classes == ("x", "y")
    assert data.captions is None


def test_one_coloured_image_makes_all_colour(folder: Write) -> None:
    data = load_dataset(folder({"a.png": 9, "b.png": (1, 2, 3), "c.png": 7}), ALL)
    assert data.images[:, 0, 0].tolist() == [[9, 9, 9], [1, 2, 3], [7, 7, 7]]
    grey = load_dataset(folder({"a.png": 9, "b.png": (255, 0, 0)}, name="g"), DataConfig(split="all", channels=1))
    assert grey.images[:, 0, 0].tolist() == [[9], [76]]
    assert load_dataset(folder({"a.png": 9}, name="h"), DataConfig(split="all", channels=3)).shape == (8, 8, 3)


def test_mixed_sizes_need_a_size(folder: Write) -> None:
    folder({"a.png": 1}, size=(8, 8))
    root = folder({"b.png": 2}, size=(12, 10))
    with pytest.raises(DataError, match=r"8x8 \(a\.png\) and 12x10 \(b\.png\).*--size"):
        load_dataset(root, ALL)
    assert load_dataset(root, DataConfig(split="all", size=6)).images.shape == (2, 6, 6, 1)
    with pytest.raises(DataError, match=r"b\.png is 12x10, not square; --crop centre"):
        load_dataset(root, DataConfig(split="all", size=6, crop="none"))


def test_a_box(folder: Write) -> None:
    root = folder({"a.png": 1}, size=(12, 10))
    assert load_dataset(root, DataConfig(split="all", box=(2, 1, 6, 5))).shape == (4, 4, 1)
    assert load_dataset(root, DataConfig(split="all", crop="none")).shape == (10, 12, 1)


BROKEN = {"x/a.png": 1, "x/b.jpg": b"no image at all", "y/c.png": 3, "y/d.png": b"\x89PNG\r\n\x1a\n"}


def test_broken_images_are_named_counted_and_skipped(folder: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data = load_dataset(folder(BROKEN), ALL)
    assert data.images[:, 0, 0, 0].tolist() == [1, 3]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1]
    assert [report.split(":")[0] for report in data.skipped] == ["x/b.jpg", "y/d.png"]
    assert [r.getMessage() for r in caplog.records] == [
        f"{data.name}: found 4 images, 2 classes; skipped 2 of 4 images that cannot be read; first: {data.skipped[0]}"
    ]


def test_strict_refuses_a_broken_image(folder: Write) -> None:
    with pytest.raises(DataError, match=r"x/b\.jpg: not an image.*--strict"):
        load_dataset(folder(BROKEN), DataConfig(split="all", strict=True))


def test_nothing_but_broken_images(folder: Write) -> None:
    with pytest.raises(DataError, match=r"none of 1 images can be read; first: a\.jpg"):
        load_dataset(folder({"a.jpg": b"junk"}), ALL)


def test_a_run_goes_on_where_no_held_out_image_can_be_read(folder: Write) -> None:
    root = folder({f"{i}.png": i + 1 for i in range(10)})
    (out,) = open_source(root, "heldout").names
    (root / out).write_bytes(b"")
    data, heldout, why = images_of_run(root, DataConfig())
    assert (len(data), heldout) == (9, None)
    assert why.endswith(f"none of 1 held-out images can be read; first: {out}: the file is empty")
    with pytest.raises(DataError, match=rf"{out}: the file is empty"):
        images_of_run(root, DataConfig(strict=True))


def test_the_digest_is_of_the_content(folder: Write) -> None:
    files = {"x/a.png": 1, "y/b.png": 2}
    one, two = load_dataset(folder(files), ALL), load_dataset(folder(files, name="other"), ALL)
    assert one.digest == two.digest
    assert len(one.digest) == 64
    others = [{"x/a.png": 1, "y/b.png": 3}, {"x/a.png": 1, "x/b.png": 2, "y/c.png": 3}, {"a.png": 1, "b.png": 2}]
    digests = {load_dataset(folder(o, name=f"o{i}"), ALL).digest for i, o in enumerate(others)}
    assert len(digests | {one.digest}) == 4


def test_the_digest_by_hand() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    by_hand = hashlib.sha256(b"(2, 2, 2, 3)" + bytes(range(24)) + struct.pack("<qq", 1, 0)).hexdigest()
    assert digest_of(images, np.array([1, 0]), None) == by_hand


def numbered(count: int, **options) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    given = {"labels": None, "classes": (), "captions": None, "skipped": (), "flip": True, "digest": ""}
    return Dataset(name="n", images=images, **{**given, **options})


def test_a_batch_mirrors_left_to_right() -> None:
    data = numbered(5)
    before = data.images.copy()
    batch = data.batch(np.array([4, 0, 4]), np.array([True, False, False]))
    np.testing.assert_array_equal(batch[0], before[4][:, ::-1])
    np.testing.assert_array_equal(batch[1], before[0])
    np.testing.assert_array_equal(batch[2], before[4])
    np.testing.assert_array_equal(data.images, before)
    np.testing.assert_array_equal(data.batch(np.array([2])), before[2:3])


@pytest.mark.parametrize(
    ("files", "flip"),
    [({"cat/a.png": 1, "dog/b.png": 2}, True), ({"a.png": 1}, True), ({"0/a.png": 1, "7/b.png": 2}, False)],
)
def test_flip_by_itself(folder: Write, files: dict, flip: bool) -> None:
    root = folder(files)
    assert load_dataset(root, ALL).flip is flip
    assert load_dataset(root, DataConfig(split="all", flip=not flip)).flip is not flip


def many(folder: Write) -> Path:
    root = folder({f"{i:03}.png": i for i in range(100)}, size=(4, 4))
    Image.new("RGB", (4, 4), (0, 0, 255)).save(root / "070.png")
    (root / "050.png").write_bytes(b"junk")
    return root


def test_a_big_set_is_mapped_from_a_file_and_found_again(folder: Write, tmp_path: Path, monkeypatch) -> None:
    root, cache = many(folder), tmp_path / "cache"
    small = load_dataset(root, ALL)
    assert small.images.shape == (99, 4, 4, 3)
    big = load_dataset(root, ALL, max_bytes=100, cache=cache)
    assert isinstance(big.images, np.memmap)
    np.testing.assert_array_equal(big.images, small.images)
    assert (big.digest, big.skipped) == (small.digest, small.skipped)
    np.testing.assert_array_equal(big.batch(np.array([3]), np.array([True])), small.images[3:4])
    assert sorted(p.suffix for p in cache.iterdir()) == [".json", ".npy"]

    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("brickwork.data.dataset.gather", fail)
    assert load_dataset(root, ALL, max_bytes=100, cache=cache).digest == small.digest
    with pytest.raises(AssertionError, match="decoded again"):
        load_dataset(root, DataConfig(split="all", size=2), max_bytes=100, cache=cache)
    (root / "000.png").write_bytes((root / "001.png").read_bytes() + b"\0")
    with pytest.raises(AssertionError, match="decoded again"):
        load_dataset(root, ALL, max_bytes=100, cache=cache)


def test_strict_does_not_take_a_cached_set_with_gaps(folder: Write, tmp_path: Path) -> None:
    root = many(folder)
    load_dataset(root, ALL, max_bytes=100, cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"050\.png"):
        load_dataset(root, DataConfig(split="all", strict=True), max_bytes=100, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_cache_that_cannot_be_written(folder: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setenv("BRICKWORK_CACHE_GIB", "1")
    root, nowhere = many(folder), tmp_path / "file" / "cache"
    with pytest.warns(BrickworkWarning, match=r"cannot keep decoded images here .*; they are held in memory instead"):
        data = load_dataset(root, ALL, max_bytes=100, cache=nowhere)
    assert data.digest == load_dataset(root, ALL).digest
    with pytest.warns(BrickworkWarning, match=r"decoded images are not kept here .*; the next run decodes them again"):
        assert load_dataset(root, ALL, cache=nowhere).digest == data.digest
    monkeypatch.setattr("brickwork.data.dataset.free_memory", lambda: 1000)
    with pytest.raises(OutputError, match="XDG_CACHE_HOME"):
        load_dataset(root, ALL, max_bytes=100, cache=nowhere)


def test_progress_goes_to_stderr(folder: Write, capsys: pytest.CaptureFixture[str]) -> None:
    load_dataset(folder({"a.png": 1}), ALL, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading images" in err


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"size": 0}, ConfigError, "size 0"),
        ({"channels": 2}, ConfigError, "channels 2"),
        ({"holdout": 1.0}, ConfigError, "holdout 1.0"),
        ({"box": (4, 0, 4, 4)}, ConfigError, "left < right"),
        ({"crop": "center"}, UnknownNameError, "did you mean centre"),
        ({"filter": "lanzcos"}, UnknownNameError, "did you mean lanczos"),
        ({"split": "tests"}, UnknownNameError, "did you mean test"),
    ],
)
def test_config_checks_itself(options: dict, error: type, why: str) -> None:
    with pytest.raises(error, match=why):
        DataConfig(**options)


def test_every_field_has_help() -> None:
    source = inspect.getsource(DataConfig)
    for field in fields(DataConfig):
        assert re.search(rf'\n    {field.name}: [^\n]*\n    """[^\n]+\."""\n', source), field.name
