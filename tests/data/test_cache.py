"""Decoded sets that are kept: found again, checked, limited in size, and never in the way."""

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brickwork.data.cache import cache_limit
from brickwork.data.checked import CheckedImages
from brickwork.data.config import DataConfig
from brickwork.data.dataset import Dataset, load_dataset, load_heldout
from brickwork.errors import BrickworkWarning, ConfigError, DataError

ALL = DataConfig(split="all")
SIDE, COUNT = 128, 60
"""Blocks hold 21 images of this side, so that there are three."""


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRICKWORK_CACHE_GIB", "1")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), np.uint8)):
        Image.fromarray(image).save(root / f"{i:03}.png", compress_level=0)
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def kept(cache: Path, suffix: str = ".npy") -> Path:
    (path,) = cache.glob(f"*{suffix}")
    return path


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brickwork.data.dataset.gather", lambda *_: pytest.fail("decoded again"))


@pytest.mark.parametrize("max_bytes", [100, 1 << 30], ids=["mapped", "in memory"])
def test_the_second_opening_decodes_nothing(photos: Path, cache: Path, monkeypatch, max_bytes: int) -> None:
    plain = load_dataset(photos, ALL)
    first = load_dataset(photos, ALL, cache=cache, max_bytes=max_bytes)
    no_decoding(monkeypatch)
    second = load_dataset(photos, ALL, cache=cache, max_bytes=max_bytes)
    assert first.digest == second.digest == plain.digest
    assert isinstance(second.images, CheckedImages)
    np.testing.assert_array_equal(second.images, plain.images)
    for key in (3, -1, slice(5, 50, 7), np.array([59, 0, 2]), [1, 2], (slice(None), 0), plain.images[:, 0, 0, 0] > 99):
        assert type(second.images[key]) is np.ndarray or np.isscalar(second.images[key])
        np.testing.assert_array_equal(second.images[key], plain.images[key])
    second.images[0] = 0  # in memory only
    np.testing.assert_array_equal(load_dataset(photos, ALL, cache=cache).images[0], plain.images[0])


def test_a_set_in_memory_is_kept_where_decoding_takes_time(photos: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("brickwork.data.dataset.KEPT_FROM", 1e9)
    load_dataset(photos, ALL)
    assert not (tmp_path / "brickwork").exists()
    monkeypatch.setattr("brickwork.data.dataset.KEPT_FROM", 0.0)
    load_dataset(photos, ALL)
    assert kept(tmp_path / "brickwork" / "images").stat().st_size > COUNT * SIDE * SIDE * 3


@pytest.mark.parametrize("place", [0.05, 0.5, 0.95])
def test_flipped_bytes_are_found_said_once_and_mended(photos: Path, cache: Path, place: float) -> None:
    plain = load_dataset(photos, ALL, cache=cache)
    data = bytearray(kept(cache).read_bytes())
    data[int(place * len(data))] ^= 1
    kept(cache).write_bytes(data)
    damaged = load_dataset(photos, ALL, cache=cache)
    with pytest.warns(BrickworkWarning, match="are damaged; those are decoded anew") as told:
        rows = [damaged.batch(np.array([row]))[0] for row in range(COUNT)]
    np.testing.assert_array_equal(rows, plain.images)
    assert len(told) == 1
    assert not list(cache.iterdir())
    assert load_dataset(photos, ALL, cache=cache).digest == plain.digest


CHANGES = [lambda d: b"", lambda d: d[:-1], lambda d: b"[]" + d[2:], lambda d: d[:40] + b"\0" + d[41:]]


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("change", CHANGES)
def test_damaged_files_are_decoded_anew(photos: Path, cache: Path, suffix: str, change: Callable) -> None:
    digest = load_dataset(photos, ALL, cache=cache).digest
    path = kept(cache, suffix)
    path.write_bytes(change(path.read_bytes()))
    with pytest.warns(BrickworkWarning, match=r"kept there are damaged .*; all are decoded anew"):
        assert load_dataset(photos, ALL, cache=cache).digest == digest
    assert load_dataset(photos, ALL, cache=cache).digest == digest


def test_damage_of_images_that_are_gone_is_an_error(photos: Path, tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "some"
    root.mkdir()
    for path in sorted(photos.iterdir())[:3]:
        (root / path.name).write_bytes(path.read_bytes())
    load_dataset(root, ALL, cache=cache)
    data = load_dataset(root, ALL, cache=cache)
    kept(cache).write_bytes(kept(cache).read_bytes()[:-1000] + bytes(1000))
    (root / "001.png").unlink()
    with pytest.warns(BrickworkWarning), pytest.raises(DataError, match=r"001\.png"):
        data.batch(np.array([2]))


def test_a_changed_image_of_equal_size_and_time_is_decoded_anew(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "set" / "a.bmp"
    path.parent.mkdir()
    Image.new("L", (4, 4), 1).save(path)
    times = path.stat().st_mtime_ns
    assert load_dataset(path.parent, ALL, cache=cache).images.max() == 1
    Image.new("L", (4, 4), 2).save(path)
    os.utime(path, ns=(times, times))
    assert load_dataset(path.parent, ALL, cache=cache).images.max() == 2


def test_splits_of_one_size_do_not_share_images(photos: Path, cache: Path) -> None:
    config = DataConfig(holdout=0.5)
    pairs = [(load_dataset(photos, config, cache=cache), load_heldout(photos, config, cache=cache)) for _ in range(2)]
    assert [data.digest for data in pairs[0]] == [data.digest for data in pairs[1]]
    assert pairs[0][0].digest != pairs[0][1].digest


def test_the_oldest_unused_sets_are_removed(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (64, 63, 62)
    for i, size in enumerate(sizes):
        load_dataset(photos, DataConfig(split="all", size=size), cache=cache)
        for path in cache.glob("*.json"):
            os.utime(path, (1000 * (i + 1), 1000 * (i + 1))) if path.stat().st_mtime > 1e6 else None
    load_dataset(photos, DataConfig(split="all", size=64), cache=cache)  # used now
    monkeypatch.setenv("BRICKWORK_CACHE_GIB", str(3.2 * COUNT * 64 * 64 * 3 / 2**30))
    load_dataset(photos, DataConfig(split="all", size=61), cache=cache)
    assert len(list(cache.glob("*.npy"))) == len(list(cache.glob("*.json"))) == 3
    no_decoding(monkeypatch)
    load_dataset(photos, DataConfig(split="all", size=64), cache=cache)
    load_dataset(photos, DataConfig(split="all", size=62), cache=cache)


@pytest.mark.parametrize("word", ["-1", "much", "inf", "nan"])
def test_a_limit_that_is_none(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("BRICKWORK_CACHE_GIB", word)
    with pytest.raises(ConfigError, match=r"BRICKWORK_CACHE_GIB is .*a number of GiB from 0"):
        cache_limit()


def in_a_process(work: Callable[..., None], *args: object) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=work, args=args)
    process.start()
    process.join(60)
    return process.exitcode


def with_a_limit(photos: Path, cache: Path, max_bytes: int, digest: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    with pytest.warns(BrickworkWarning, match=r"File too large\); (the next run decodes|they are held in memory)"):
        data: Dataset = load_dataset(photos, ALL, cache=cache, max_bytes=max_bytes)
    assert data.digest == digest
    assert not list(cache.iterdir())


def killed(photos: Path, cache: Path, max_bytes: int) -> None:
    os.replace = os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    load_dataset(photos, ALL, cache=cache, max_bytes=max_bytes)


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and limits of files")
@pytest.mark.parametrize("max_bytes", [100, 1 << 30], ids=["mapped", "in memory"])
def test_a_limit_of_files_or_a_kill_leaves_nothing_in_the_way(photos: Path, cache: Path, max_bytes: int) -> None:
    digest = load_dataset(photos, ALL).digest
    assert in_a_process(with_a_limit, photos, cache, max_bytes, digest) == 0
    assert in_a_process(killed, photos, cache, max_bytes) == -signal.SIGKILL
    assert len(list(cache.iterdir())) == 1
    (cache / "0123456789abcdef.12345678.part").write_bytes(b"of an earlier version")
    assert load_dataset(photos, ALL, cache=cache, max_bytes=max_bytes).digest == digest
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]
    (cache / "0123456789abcdef.12345678.part").write_bytes(b"of a killed run, beside images that are kept")
    assert load_dataset(photos, ALL, cache=cache, max_bytes=max_bytes).digest == digest
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]
