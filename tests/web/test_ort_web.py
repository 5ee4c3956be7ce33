"""onnxruntime-web comes from the pinned tarball, loaded once, or from a folder that is given."""

from __future__ import annotations

import hashlib
import io
import tarfile
from base64 import b64encode
from pathlib import Path

import pytest

from brickwork.errors import PackageError
from brickwork.package.targets.browser import ort_web


def tarball(**texts: str) -> bytes:
    """A tarball as npm's, of all files that a page needs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for name in ort_web.FILES:
            data = texts.get(name, name).encode()
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


class Registry:
    """Answers with one file, and counts."""

    def __init__(self, data: bytes | None) -> None:
        self.data, self.asked = data, []

    def __call__(self, address: str, output_file: str, pooch: object) -> None:
        self.asked.append(address)
        if self.data is None:
            raise OSError("no network")
        Path(output_file).write_bytes(self.data)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Registry:
    """A registry that has the pinned tarball, and an empty cache."""
    data = tarball()
    found = Registry(data)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ort_web, "_downloader", lambda pooch: found)
    monkeypatch.setattr(ort_web, "_registry", lambda: "https://registry.example/npm/")
    digest = b64encode(hashlib.sha512(data).digest()).decode()
    monkeypatch.setattr(ort_web, "INTEGRITY", f"sha512-{digest}")
    return found


def test_it_is_loaded_once_and_checked_each_time(registry: Registry, tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        assert ort_web.copy_to(folder) == ort_web.VERSION
        assert {path.name for path in folder.iterdir()} == {*ort_web.FILES, ort_web.LICENCE}
        assert (folder / ort_web.FILES[0]).read_text() == ort_web.FILES[0]
        assert "MIT License" in (folder / ort_web.LICENCE).read_text()
    address = f"https://registry.example/npm/onnxruntime-web/-/onnxruntime-web-{ort_web.VERSION}.tgz"
    assert registry.asked == [address]
    kept = ort_web.tarball()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert ort_web.tarball() == kept
    assert registry.asked == [address] * 2, "a damaged one is loaded again"


def test_another_tarball_is_not_used(registry: Registry, tmp_path: Path) -> None:
    registry.data = tarball(**{ort_web.FILES[0]: "bad"})
    with pytest.raises(PackageError, match=r"its hash is not the pinned sha512-"):
        ort_web.tarball()
    assert not list(tmp_path.rglob("*.tgz"))


def test_without_a_network_it_says_the_way_out(registry: Registry) -> None:
    registry.data = None
    with pytest.raises(PackageError, match=r"no network.*--ort-web DIR"):
        ort_web.tarball()


def test_a_folder_of_your_own(registry: Registry, tmp_path: Path) -> None:
    dist, out = tmp_path / "own" / "dist", tmp_path / "out"
    dist.mkdir(parents=True)
    out.mkdir()
    with pytest.raises(PackageError, match=f"holds no {ort_web.FILES[0]}; give the folder dist"):
        ort_web.copy_to(out, str(dist))
    for name in ort_web.FILES:
        (dist / name).write_text(f"own {name}")
    assert ort_web.copy_to(out, str(dist)) == f"of {dist}"
    (dist.parent / "package.json").write_text('{"version": "9.9.9"}')
    assert ort_web.copy_to(out, str(dist)) == "9.9.9"
    assert (out / ort_web.FILES[1]).read_text() == f"own {ort_web.FILES[1]}"
    assert registry.asked == []


def test_the_pin_is_a_sha512() -> None:
    assert ort_web.INTEGRITY.startswith("sha512-")
    assert len(ort_web.INTEGRITY) == len("sha512-") + 88
