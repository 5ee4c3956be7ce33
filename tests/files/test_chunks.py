"""Rows that are kept chunk by chunk: computed once, taken up, checked when read, and never the death of a process."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brickwork.errors import BrickworkWarning, ConfigError, OutputError
from brickwork.files import chunks
from brickwork.files.chunks import FACTS, Chunks

ROWS = np.random.default_rng(0).normal(size=(10, 2, 3)).astype(np.float32)


class Cache:
    """Rows of a folder, with a note of those that were computed."""

    def __init__(self, folder: Path, of: str = "a", *, ours: bool = True, rows: np.ndarray = ROWS) -> None:
        self.made: list[tuple[int, int]] = []
        self.source = rows
        self.rows = Chunks(
            folder,
            "rows",
            {"format": 2, "of": of},
            shape=rows.shape,
            dtype="float32",
            per_chunk=4,
            make=self.make,
            ours=ours,
        )

    def make(self, start: int, stop: int) -> np.ndarray:
        self.made.append((start, stop))
        return self.source[start:stop]

    def all(self) -> np.ndarray:
        return self.rows[np.arange(len(self.rows))]


def test_rows_are_computed_once_and_are_a_plain_file(tmp_path: Path) -> None:
    first, again = Cache(tmp_path), Cache(tmp_path)
    first.rows.fill()
    assert first.made == [(0, 4), (4, 8), (8, 10)]
    again = Cache(tmp_path)
    np.testing.assert_array_equal(again.rows[np.array([9, 0, 9])], ROWS[[9, 0, 9]])
    assert again.made == []
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), ROWS)


def test_every_flipped_bit_is_made_good_and_said(tmp_path: Path) -> None:
    Cache(tmp_path).rows.fill()
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    rng = np.random.default_rng(1)
    for name, data in whole.items():
        for place in rng.choice(len(data) * 8, 20, replace=False):
            damaged = bytearray(data)
            damaged[place // 8] ^= 1 << place % 8
            (tmp_path / name).write_bytes(damaged)
            with pytest.warns(BrickworkWarning, match="damaged") as said:
                np.testing.assert_array_equal(Cache(tmp_path).all(), ROWS)
            assert len(said) == 1
            assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole


@pytest.mark.parametrize("left", [0, 1, 128 + 24, 128 + 4 * 24, 128 + 7 * 24])
def test_whatever_a_kill_leaves_of_the_rows_is_taken_up(left: int, tmp_path: Path) -> None:
    Cache(tmp_path).rows.fill()
    os.truncate(tmp_path / "rows.npy", left)
    cache = Cache(tmp_path)
    assert cache.rows.made == max(0, left - 128) // 96 * 4
    np.testing.assert_array_equal(cache.all(), ROWS)
    assert len(cache.made) == 3 - max(0, left - 128) // 96


@pytest.mark.parametrize("missing", [FACTS, "rows.npy", "rows.sums"])
def test_a_missing_file_is_made_anew(missing: str, tmp_path: Path) -> None:
    Cache(tmp_path).rows.fill()
    (tmp_path / missing).unlink()
    np.testing.assert_array_equal(Cache(tmp_path).all(), ROWS)


def test_rows_of_something_else_are_replaced_in_the_users_cache_alone(tmp_path: Path) -> None:
    Cache(tmp_path).rows.fill()
    with pytest.raises(ConfigError, match=r"holds rows of something else \(of: a, not b\)"):
        Cache(tmp_path, "b", ours=False)
    np.testing.assert_array_equal(Cache(tmp_path, "b", rows=-ROWS).all(), -ROWS)
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine" / "rows.npy", ROWS)
    with pytest.raises(ConfigError, match=r"holds rows\.npy without cache\.json"):
        Cache(tmp_path / "mine", ours=False)


def test_a_limit_of_file_size_is_one_line_and_the_next_run_goes_on(tmp_path: Path) -> None:
    cache, (soft, hard) = Cache(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 + 150, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot keep rows here \(File too large\); make room"):
            cache.rows.fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = Cache(tmp_path)
    np.testing.assert_array_equal(again.all(), ROWS)
    assert again.made == [(4, 8), (8, 10)]


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = chunks._write_at

    def full(path: Path, offset: int, data: bytes) -> None:
        if offset > 200:
            write(path, offset, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, offset, data)

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "_write_at", full)
        with pytest.raises(OutputError, match=r"No space left on device\); make room"):
            Cache(tmp_path).rows.fill()
    np.testing.assert_array_equal(Cache(tmp_path).all(), ROWS)


@pytest.mark.parametrize("name", ["rows.npy", "rows.sums"])
@pytest.mark.parametrize("known", [True, False])
def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path, name: str, known: bool) -> None:
    Cache(tmp_path).rows.fill()
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match="is no regular file"):
        Cache(tmp_path, of="a" if known else "b")


def test_no_rows_at_all(tmp_path: Path) -> None:
    none: Any = Cache(tmp_path, rows=ROWS[:0]).all()
    assert none.shape == (0, 2, 3)
