"""A package that is not what was packed is refused with one line, before any picture."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brickwork.cli import main
from brickwork.device.runner import open_package
from brickwork.errors import BrickworkError, PackageError
from brickwork.files.manifest import MANIFEST, SUMS, from_json, manifest_digest, to_json, verify
from brickwork.sampling.loop import sample


def draw(folder: Path) -> np.ndarray:
    return sample(open_package(folder), seeds=[0], labels=3, steps=1)


def forge(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit the manifest and make the sums agree, as someone would who wants it to pass."""
    values = json.loads((folder / MANIFEST).read_text())
    change(values)
    (folder / MANIFEST).write_text(json.dumps(values))
    sums = {name: file["sha256"] for name, file in values["files"].items()}
    sums[MANIFEST] = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def test_a_whole_package_draws_and_verifies(digits_package: Path) -> None:
    assert draw(digits_package).shape == (1, 8, 8, 1)
    assert verify(digits_package).num_parts == 3
    assert main(["verify", str(digits_package)]) == 0


@pytest.mark.parametrize("name", [MANIFEST, SUMS, "weights.bin", "denoiser-p3-8x8-b1.onnx"])
def test_any_byte_counts(digits_package: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, rng = digits_package / name, np.random.default_rng(0)
    whole = path.read_bytes()
    places = sorted({0, len(whole) - 1, *rng.integers(0, len(whole), 12).tolist()})
    for place in places:
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        with pytest.raises(PackageError):
            draw(digits_package)
        with pytest.raises(PackageError):
            verify(digits_package)
    out = digits_package.parent / "a.png"
    assert main(["run", str(digits_package), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert not out.exists()
    path.write_bytes(whole)
    assert len(draw(digits_package)) == 1


@pytest.mark.parametrize("name", [MANIFEST, SUMS, "weights.bin", "denoiser-p3-8x8-b1.onnx"])
@pytest.mark.parametrize("spoil", ["cut", "empty", "gone", "longer", "link to another", "link to nothing", "pipe"])
def test_files_that_are_not_whole(digits_package: Path, name: str, spoil: str) -> None:
    path = digits_package / name
    data = path.read_bytes()
    path.unlink()
    if spoil == "pipe":
        os.mkfifo(path)
    elif spoil.startswith("link"):
        if spoil == "link to another":
            (digits_package.parent / "elsewhere").write_bytes(data[:-1] + b"?")
        path.symlink_to(digits_package.parent / "elsewhere")
    elif spoil != "gone":
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "longer": data + b"\0"}[spoil])
    for check in (draw, verify):
        with pytest.raises(PackageError) as caught:
            check(digits_package)
        assert len(str(caught.value).splitlines()) == 1


def test_a_package_of_links_as_in_a_cache(digits_package: Path) -> None:
    blobs = digits_package.parent / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(digits_package.iterdir())):
        path.rename(blobs / f"{number:064}")
        path.symlink_to(f"../blobs/{number:064}")
    verify(digits_package)
    assert len(draw(digits_package)) == 1


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "a/b", "..", ".", "", ".hidden", "a\\b", "a\0b", "weights.bin/", MANIFEST, "é", "a b"],
)
def test_a_manifest_cannot_name_a_file_outside(digits_package: Path, name: str) -> None:
    secret = digits_package.parent / "secret"
    secret.write_bytes((digits_package / "weights.bin").read_bytes())

    def point_elsewhere(values: dict[str, Any]) -> None:
        values["files"][name] = values["files"].pop("weights.bin")
        for graph in values["graphs"]:
            graph["weights"] = [name]

    forge(digits_package, point_elsewhere)
    with pytest.raises(PackageError, match=r"file name|do not agree"):
        draw(digits_package)


def test_a_graph_cannot_read_weights_outside(digits_package: Path) -> None:
    """The location of the weights stands in the graph itself; a forged one must not lead anywhere."""
    path = digits_package / "denoiser-p3-8x8-b1.onnx"
    (digits_package.parent / "outsider").write_bytes((digits_package / "weights.bin").read_bytes())
    data = path.read_bytes()
    assert data.count(b"weights.bin") > 10
    path.write_bytes(data.replace(b"weights.bin", b"../outsider"))

    def rehash(values: dict[str, Any]) -> None:
        values["files"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    forge(digits_package, rehash)
    with pytest.raises(PackageError, match="cannot open"):
        draw(digits_package)


def test_expect_pins_the_manifest(digits_package: Path) -> None:
    digest = manifest_digest(digits_package)
    assert open_package(digits_package, expect=digest).num_parts == 3
    forge(digits_package, lambda values: values["classes"].reverse())
    assert open_package(digits_package).classes[0] == "9"
    with pytest.raises(PackageError, match="another package"):
        open_package(digits_package, expect=digest)


def test_a_file_too_many_is_seen(digits_package: Path) -> None:
    (digits_package / "extra.bin").write_bytes(b"1")
    with pytest.raises(PackageError, match="does not name"):
        verify(digits_package)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("process"), "process is missing; copy or pack it again"),
        (lambda v: v.update(format=2), "format 2"),
        (lambda v: v.update(shape=[1, 8]), "shape"),
        (lambda v: v.update(shape=[1, 8, True]), "shape"),
        (lambda v: v.update(shape=[1, 8, 0]), "shape"),
        (lambda v: v.update(shape=[1, 8, 10**30]), "a whole number of 31 digits"),
        (lambda v: v.update(classes=[1, 2]), "classes"),
        (lambda v: v.update(graphs={}), "graphs"),
        (lambda v: v.update(graphs=[]), "no graph"),
        (lambda v: v.update(target="toaster"), "toaster"),
        (lambda v: v.update(target="coreml"), "Apple"),
        (lambda v: v.update(layout="pile"), "layout"),
        (lambda v: v.update(process=["flow", {"t_max": 7}]), "t_max"),
        (lambda v: v.update(process=["warp", {}]), "warp"),
        (lambda v: v.update(news=1), "no field named 'news'; upgrade brickwork, or pack it again"),
        (lambda v: v["sampling"].update(steps="many"), "sampling.steps"),
        (lambda v: v["graphs"][0].update(file="nothing.onnx"), "nothing.onnx"),
        (lambda v: v["graphs"][0]["inputs"][0].update(shape=[1, -1, 8, 8]), "shape"),
        (lambda v: v.update(text={"length": 3, "width": 4, "tokenizer": ["runes", {}]}), "runes"),
        (lambda v: v.update(factor=0), "factor"),
        (
            lambda v: v.update(condition_channels=0),
            "given_channels and condition_channels: they are the former and the",
        ),
    ],
)
def test_a_manifest_that_says_nonsense(digits_package: Path, change: Callable[[Any], object], said: str) -> None:
    forge(digits_package, change)
    with pytest.raises(BrickworkError, match=re.escape(said)) as caught:
        assert open_package(digits_package).tokenizer
    assert len(str(caught.value).splitlines()) == 1


def test_a_manifest_keeps_the_keys_of_0_1() -> None:
    text = """{
        "format": 1, "brickwork": "0.1.0", "target": "onnx", "shape": [1, 8, 8], "picture_channels": 1,
        "process": ["flow", {}], "given_channels": 3, "graphs": [], "files": {}
    }"""
    manifest = from_json(text)
    assert manifest.condition_channels == 3
    written = json.loads(to_json(manifest))
    assert written["given_channels"] == 3
    assert "condition_channels" not in written
    assert from_json(to_json(manifest)) == manifest


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format": NaN}', '{"format": 1}', "[" * 100_000])
def test_a_manifest_that_is_none(digits_package: Path, text: str) -> None:
    (digits_package / MANIFEST).write_text(text)
    with pytest.raises(PackageError):
        open_package(digits_package)


def test_no_package_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path)]) == 1
    assert main(["verify", str(tmp_path / "none")]) == 1
    assert "manifest.json" in capsys.readouterr().err
    fifo = tmp_path / "p"
    fifo.mkdir()
    os.mkfifo(fifo / MANIFEST)
    with pytest.raises(PackageError):
        open_package(fifo)
