"""Captions beside images: in files of their own, or in lines of JSON; for all images, or refused."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brickwork.data.dataset import DataConfig, load_dataset, load_heldout
from brickwork.data.opening import open_source, open_whole
from brickwork.data.source import Source
from brickwork.errors import DataError

Write = Callable[..., Path]
PLAIN = {"a.png": 1, "b.png": 2, "a.txt": b"a red ball\n", "b.txt": "  Stra\u00dfe\r\n  of   stones ".encode()}


def lines(*rows: Any) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def zipped(root: Path, prefix: str = "") -> Path:
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(root).as_posix())
    return path


def both(root: Path) -> list[Source]:
    """The folder, and a zip of it with one folder around everything."""
    return [open_whole(root), open_whole(zipped(root, "wrapper/"))]


def test_a_text_beside_each_image(folder: Write) -> None:
    for source in both(folder(PLAIN)):
        assert source.captions == ["a red ball", "Straße of stones"]


def test_captions_and_classes_and_splits(folder: Write) -> None:
    root = folder(
        {f"{split}/{name}/x{suffix}": 7 if suffix == ".png" else f"{split} {name}".encode()
         for split in ("train", "test") for name in ("cats", "dogs") for suffix in (".png", ".txt")}
    )  # fmt: skip
    for spec in (root, zipped(root)):
        source = open_source(spec, "test")
        assert source.classes == ("cats", "dogs")
        assert source.captions is not None
        assert list(source.captions) == ["test cats", "test dogs"]


@pytest.mark.parametrize("table", ["captions.jsonl", "metadata.jsonl"])
@pytest.mark.parametrize("key", ["caption", "text"])
def test_lines_of_json(folder: Write, table: str, key: str) -> None:
    rows = [{"file_name": "x/b.png", key: "second"}, {"file_name": "./x/a.png", key: None, "more": [1]}]
    root = folder({"x/a.png": 1, "x/b.png": 2, table: lines(*rows) + b"\n\n"})
    for source in both(root):
        assert list(source.names) == ["x/a.png", "x/b.png"]
        assert source.captions == ["", "second"]


def test_lines_name_files_from_where_they_lie(folder: Write) -> None:
    """As in an image folder of the hub: a table in each split's folder."""
    rows = [lines({"file_name": "a.png", "text": name}) for name in ("one", "two")]
    root = folder({"train/a.png": 1, "train/metadata.jsonl": rows[0], "test/a.png": 2, "test/metadata.jsonl": rows[1]})
    for source in both(root):
        assert list(source.names) == ["test/a.png", "train/a.png"]
        assert source.captions == ["two", "one"]


def test_other_texts_are_no_captions(folder: Write) -> None:
    files = {"a.png": 1, "README.txt": b"x", "metadata.jsonl": lines({"file_name": "a.png", "bbox": [1]})}
    assert all(source.captions is None for source in both(folder(files)))
    hidden = {"a.png": 1, ".git/captions.jsonl": b"x", "__MACOSX/captions.jsonl": b"x"}
    assert all(source.captions is None for source in both(folder(hidden, name="hidden")))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"c.png": 3, "d.png": 3}, r"2 captions for 4 images, and none for (wrapper/)?c\.png: write c\.txt"),
        ({"captions.jsonl": lines({"file_name": "a.png", "text": "x"})}, r"a\.png has a caption in .*a\.txt"),
        ({"captions.jsonl": lines({"file_name": "z.png", "text": "x"})}, r"line 1 has a caption for 'z\.png'.*no such"),
        ({"captions.jsonl": lines({"file_name": "../a.png", "text": "x"})}, "no such image"),
        ({"captions.jsonl": lines({"text": "x"})}, "line 1 names no image"),
        ({"captions.jsonl": lines({"file_name": "a.png"})}, "line 1 has no caption"),
        ({"captions.jsonl": lines({"file_name": "a.png", "text": ["x"]})}, "a text of type list"),
        ({"captions.jsonl": b"\n{'a': 1}"}, "line 2 is no JSON"),
        ({"captions.jsonl": b"[1]"}, "line 1 is no object"),
        ({"captions.jsonl": b"[" * 100_000}, "line 1 is no JSON"),
        ({"a.txt": b"caf\xe9"}, r"a\.txt: not UTF-8"),
    ],
)  # fmt: skip
def test_gaps_and_errors_are_told(folder: Write, files: dict, says: str) -> None:
    root = folder(PLAIN | files)
    for spec in (root, zipped(root, "wrapper/")):
        with pytest.raises(DataError, match=says) as caught:
            open_whole(spec)
        assert "\n" not in str(caught.value)


def test_two_captions_for_one_image(folder: Write) -> None:
    rows = lines({"file_name": "a.png", "text": "x"}, {"file_name": "./a.png", "text": "y"})
    with pytest.raises(DataError, match="line 2 has a second caption"):
        open_whole(folder({"a.png": 1, "captions.jsonl": rows}))


def test_a_text_without_end(folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brickwork.data.tables.MAX_BYTES", 10)
    root = folder({"a.png": 1, "a.txt": b"x" * 11})
    for spec in (root, zipped(root)):
        with pytest.raises(DataError, match=r"a\.txt: longer than 10 bytes"):
            open_whole(spec)


def test_captions_can_be_left_out(folder: Write, tmp_path: Path) -> None:
    """Then gaps do not matter, and images may be mirrored as any."""
    root = folder(PLAIN | {"c.png": 3})
    config = DataConfig(captions=False, split="all")
    for spec in (root, zipped(root)):
        data = load_dataset(spec, config)
        assert len(data) == 3
        assert data.captions is None
        assert data.flip
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8), captions=np.array(["x", "y"]))
    assert load_dataset(tmp_path / "a.npz", config).captions is None


def test_a_dataset_has_them_in_its_order_and_is_not_mirrored(folder: Write) -> None:
    """A broken image takes its caption with it."""
    files = {f"{name}.png": ord(name) for name in "bcde"} | {"a.png": b"broken"}
    texts = {f"{name}.txt": name.encode() for name in "abcde"}
    root = folder(files | texts)
    data = load_dataset(root, DataConfig(split="all"))
    assert data.captions == tuple("bcde")
    assert data.images[:, 0, 0, 0].tolist() == [ord(name) for name in "bcde"]
    assert not data.flip
    train, heldout = load_dataset(root, DataConfig(holdout=0.5)), load_heldout(root, DataConfig(holdout=0.5))
    assert sorted((train.captions or ()) + (heldout.captions or ())) == list("bcde")


def test_another_caption_is_another_data_set(folder: Write) -> None:
    config = DataConfig(split="all")
    one = load_dataset(folder(PLAIN), config).digest
    assert load_dataset(folder(PLAIN), config).digest == one
    assert load_dataset(folder({"a.txt": b"a blue ball"}), config).digest != one


@pytest.mark.parametrize("what", ["captions", "labels"])
def test_as_many_as_images(folder: Write, what: str) -> None:
    data = load_dataset(folder(PLAIN), DataConfig(split="all"))
    some: Any = {"captions": ("x",), "labels": np.zeros(1, np.int64)}[what]
    with pytest.raises(DataError, match=f"1 {what} for 2 images"):
        replace(data, **{what: some})
