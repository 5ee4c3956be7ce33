"""A file is the old one or the new one, whatever goes wrong while it is written."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from brickwork.data.cache import cache_folder
from brickwork.errors import OutputError
from brickwork.files import whole
from brickwork.files.owned import SUFFIX, owned_folder, sweep
from brickwork.files.tensors import write_tensors
from brickwork.files.whole import check_place, restore, whole_file, whole_folder, write_whole


def test_a_file_is_written_and_replaced_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    for data in (b"one", b"two"):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("place", ["os.fsync", "os.replace", "os.mkdir"])
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


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_decides_who_may_read(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "a", b"")
        write_tensors(tmp_path / "b", {"x": torch.zeros(1)}, {})  # safetensors alone would make it private
        with whole_folder(tmp_path / "c") as folder:
            (folder / "d").write_bytes(b"")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"a": mode, "b": mode, "c": mode | (mode & 0o444) >> 2, "d": mode}


KILLED = """
import os, signal, sys
from pathlib import Path
from brickwork.files import whole
out, point = Path(sys.argv[1]), sys.argv[2]
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if point == "filling":
    with whole.whole_folder(out) as folder:
        (folder / "a").write_bytes(b"half")
        die()
if point == "file":
    with whole.whole_file(out / "a") as part:
        part.write_bytes(b"half")
        die()
if point == "aside":  # a system that cannot swap names, killed between its two steps
    whole._swap = lambda *_: False
    Path.rename = lambda here, there, rename=Path.rename: (rename(here, there), die())
if point == "swapped":
    whole.shutil.rmtree = die
with whole.whole_folder(out) as folder:
    (folder / "a").write_bytes(b"new")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("point", "holds"), [("filling", b"old"), ("file", b"old"), ("aside", b"old"), ("swapped", b"new")]
)
def test_a_kill_leaves_one_of_the_two_and_the_next_writer_sweeps(point: str, holds: bytes, tmp_path: Path) -> None:
    out = tmp_path / "package"
    write_whole(out / "a", b"old")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(out), point], check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    restore(out)
    assert (out / "a").read_bytes() == holds
    with whole_folder(out) as folder:
        (folder / "a").write_bytes(b"third")
    write_whole(out / "b", b"")
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"package", "package/a", "package/b"}


def test_what_a_living_writer_has_begun_is_nobody_elses(tmp_path: Path) -> None:
    for name in (f".1234{SUFFIX}", ".a.1f2e3d4c.part", "b.part"):
        (tmp_path / name).mkdir()
    with owned_folder(tmp_path) as mine:
        write_whole(tmp_path / "a", b"")
        assert {path.name for path in tmp_path.iterdir()} == {mine.name, ".a.1f2e3d4c.part", "b.part", "a"}
        sweep(tmp_path, ".*.part")
        assert {path.name for path in tmp_path.iterdir()} == {mine.name, "b.part", "a"}


def test_a_folder_is_replaced_where_names_cannot_be_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "_swap", lambda *_: False)
    for content in (b"old", b"new"):
        with whole_folder(tmp_path / "out") as folder:
            (folder / "a").write_bytes(content)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_bytes() == b"new"


@pytest.mark.skipif(sys.platform != "linux", reason="the folders of other systems are platformdirs' own matter")
def test_caches_are_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "brickwork" / "images"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "brickwork" / "images"


@pytest.mark.parametrize("kind", ["pipe", "socket", "link to a pipe"])
def test_what_is_no_file_is_not_replaced_by_one(kind: str, tmp_path: Path) -> None:
    there = tmp_path / "a"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(there))
    else:
        os.mkfifo(tmp_path / "pipe" if "link" in kind else there)
        if "link" in kind:
            there.symlink_to("pipe")
    before = there.stat().st_mode, there.is_symlink()
    with pytest.raises(OutputError, match=r"a: cannot be written \(a device, a pipe or a socket has that name"):
        write_whole(there, b"new")
    with pytest.raises(OutputError, match="a device, a pipe or a socket has that name"), whole_folder(there):
        pass
    assert (there.stat().st_mode, there.is_symlink()) == before


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "old").write_bytes(b"old")
    for name, target in (("old", "far/old"), ("new", "far/new")):
        (tmp_path / name).symlink_to(target)
        write_whole(tmp_path / name, b"data")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target).read_bytes() == b"data"


def test_links_in_a_circle_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="cannot be written"):
        write_whole(tmp_path / "a", b"data")
    with pytest.raises(OutputError, match="cannot be written"), whole_folder(tmp_path / "a"):
        pass


@pytest.mark.parametrize("name", ["file/a", "folder", "x" * 300, "pipe", "circle", "a\0b"])
def test_a_place_that_cannot_be_written_is_seen_before_the_work(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="cannot be written"):
        check_place(tmp_path / name)
    (tmp_path / ".0123456789abcdef.brickwork.part").mkdir()  # of a process that was killed
    for fine in ("file", "new/folder/a", "a"):
        check_place(tmp_path / fine)
    assert sorted(tmp_path.rglob("*")) == before
