"""A file is the old one or the new one, whatever goes wrong while it is written."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from brickwork.data.cache import cache_folder
from brickwork.errors import OutputError
from brickwork.files.whole import remove_leftovers, whole_file, write_whole


def test_a_file_is_written_and_replaced_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    for data in (b"one", b"two"):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("place", ["os.fsync", "os.replace", "os.chmod"])
def test_a_full_disk_leaves_the_old_file(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_whole(tmp_path / "a", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(place, full)
        with pytest.raises(OutputError, match=r"a: cannot be written \(No space left on device\); free some space"):
            write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_mistake_of_the_writer_passes_through_and_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_file(tmp_path / "a") as part:
            part.write_bytes(b"half")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_kill_are_removed_and_other_files_kept(tmp_path: Path) -> None:
    for name in (".a.1f2e3d4c.part", ".a.old", "a", ".b.1.part"):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path / "a")
    assert {p.name for p in tmp_path.iterdir()} == {"a", ".b.1.part"}


@pytest.mark.skipif(sys.platform != "linux", reason="the folders of other systems are platformdirs' own matter")
def test_caches_are_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "brickwork" / "images"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "brickwork" / "images"
