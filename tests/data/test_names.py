"""Names, kinds of files, folders and tables: what is found in a set of files, and what is said to be passed over."""

import io
import json
import os
import sys
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from brickwork.data.dataset import DataConfig, load_dataset
from brickwork.data.kinds import Kind, kind_of
from brickwork.data.names import clean_name, clean_path, whole_text
from brickwork.data.opening import open_source, open_whole
from brickwork.data.source import Source
from brickwork.data.split import fraction
from brickwork.data.tree import split_named
from brickwork.errors import DataError, MissingExtraError, MissingSplitError

Write = Callable[..., Path]
NFD, NFC = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFD", "NFC"))


def picture(grey: int = 1, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), grey).save(buffer, kind)
    return buffer.getvalue()


def zip_of(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is, which the constructor would change
            archive.writestr(info, data)
    return path


def both(tmp_path: Path, folder: Write, files: Mapping[str, bytes]) -> list[Source]:
    """A folder of these files, and a zip of them."""
    return [open_whole(folder(dict(files))), open_whole(zip_of(tmp_path / "set.zip", files))]


def pictures(*names: str) -> dict[str, bytes]:
    """A picture for each name, of grey 1, 2, ..."""
    return {name: picture(i) for i, name in enumerate(names, 1)}


def labels(source: Source) -> list[str] | None:
    return None if source.labels is None else [source.classes[k] for k in source.labels]


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("cats\\a.png", "cats/a.png"),
        ("./cats//a.png", "cats/a.png"),
        ("/cats/./a.png", "cats/a.png"),
        ("C:\\cats\\a.png", "cats/a.png"),
        ("\\\\server\\cats\\a.png", "server/cats/a.png"),
        ("dogs/../cats/a.png", "cats/a.png"),
        ("../a.png", None),
        ("a/../../b.png", None),
        (f"{NFD}.png", f"{NFC}.png"),
        ("caf\udce9.png", "caf\\udce9.png"),
        ("a\x1b[31m\n.png", "a\\x1b[31m\\n.png"),
        ("\u202egnp.a", "\\u202egnp.a"),
    ],
)
def test_paths_are_cleaned(raw: str, clean: str | None) -> None:
    assert clean_path(raw) == clean


@given(st.text(st.characters(), max_size=40))
@settings(max_examples=200, deadline=None)
def test_every_name_can_be_printed_and_is_cleaned_once(text: str) -> None:
    name = clean_name(text)
    assert name.encode().decode() == name
    assert "\n" not in name
    assert clean_name(name) == name
    path = clean_path(text)
    assert path is None or (not path.startswith("/") and ".." not in path.split("/"))
    assert whole_text(text).encode().decode() == whole_text(text)


def test_halves_of_a_character_are_joined_or_marked() -> None:
    assert whole_text("\ud83d\ude00 and \ud83d and \ude00!") == "\U0001f600 and \ufffd and \ufffd!"


def test_names_of_a_zip(tmp_path: Path) -> None:
    """Backslashes, drive letters and dots; a path that leads out, and names that are another's, are passed over."""
    files = pictures("cats\\a.png", "C:\\cats\\b.png", "./dogs/c.png", "/dogs/d.png", "../e.png", "dogs//c.png")
    files["cats\\"] = b""  # a folder
    source = open_whole(zip_of(tmp_path / "a.zip", files))
    assert list(source.names) == ["cats/a.png", "cats/b.png", "dogs/c.png", "dogs/d.png"]
    assert labels(source) == ["cats", "cats", "dogs", "dogs"]
    assert source.found == (
        "found 4 images, 2 classes; passed over: 1 with a path that leads out of the set (../e.png), "
        "1 with a name that another has (dogs/c.png)"
    )


def test_names_in_utf8_without_its_flag(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", pictures("caf\u00e9/a.png", "the/b.png"))
    data = path.read_bytes()
    assert data.count(b"\0\x08\0\0") >= 2  # flags 0x800, compression 0
    path.write_bytes(data.replace(b"\0\x08\0\0", b"\0\0\0\0"))
    assert open_whole(path).classes == ("caf\u00e9", "the")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", b"x\x1b[31m.png"):
        (tmp_path / name.decode("utf-8", "surrogateescape")).write_bytes(picture())
    data = load_dataset(tmp_path, DataConfig(split="all"))
    assert len(data) == 2
    assert list(open_whole(tmp_path).names) == ["caf\\udce9.png", "x\\x1b[31m.png"]


@pytest.mark.parametrize("forms", [(NFD, NFC), (NFC, NFD)])
def test_accents_composed_or_not_are_one_name(tmp_path: Path, folder: Write, forms: tuple[str, str]) -> None:
    on_disk, said = forms
    line = json.dumps({"file_name": f"{said}/{said}.PNG", "text": "x"}).encode()
    for source in both(tmp_path, folder, {f"{on_disk}/{on_disk}.png": picture(), "metadata.jsonl": line}):
        assert source.captions == ["x"]
    files = pictures(f"{on_disk}/a.png", f"{said}/b.png", "dogs/c.png")
    assert open_whole(zip_of(tmp_path / "twice.zip", files)).classes == (NFC, "dogs")


# ---- folders around, splits and classes ------------------------------------------------------------------------------

SPLIT = ("train/cats/a.png", "train/dogs/b.png", "test/cats/c.png")


@pytest.mark.parametrize("around", ["", "data/", "data/v1.0/", "train/"])
def test_folders_around_splits_say_nothing(tmp_path: Path, folder: Write, around: str) -> None:
    files = pictures(*(around + path for path in SPLIT)) | {"README.md": b"x", f"{around}list.html": b"x"}
    for source in both(tmp_path, folder, files):
        assert labels(source) == ["cats", "cats", "dogs"]
        assert source.splits is not None
        assert source.splits.tolist() == [2, 0, 0]
        assert "splits train 2, test 1; passed over: 2 of another kind" in source.found
        train = load_dataset(source.name, DataConfig(split="train"))
        assert train.images[:, 0, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize("around", ["", "set/", "a/b/"])
def test_folders_around_classes_say_nothing(tmp_path: Path, folder: Write, around: str) -> None:
    for source in both(tmp_path, folder, pictures(f"{around}cats/a.png", f"{around}dogs/x/b.png")):
        assert labels(source) == ["cats", "dogs"]
        assert source.splits is None
    assert open_whole(folder(pictures(f"{around}cats/a.png", f"{around}cats/b.png"), name="alone")).labels is None


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Training", "train"), ("train2017", "train"), ("training_set", "train"), ("test-images", "test"),
        ("VAL", "validation"), ("valid", "validation"), ("dev", "validation"), ("testing", "test"),
        ("trains", None), ("contest", None), ("2017", None),
    ],
)  # fmt: skip
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_named(name) == split


def test_splits_inside_classes(tmp_path: Path, folder: Write) -> None:
    for source in both(tmp_path, folder, pictures("cats/train/a.png", "cats/test/b.png", "dogs/train/c.png")):
        assert labels(source) == ["cats", "cats", "dogs"]
        assert source.splits is not None
        assert source.splits.tolist() == [2, 0, 0]


def test_what_lies_beside_splits_is_said(tmp_path: Path, folder: Write) -> None:
    files = pictures("w/train/cats/a.png", "w/test/b.png", "w/logo.png", "w/train_masks/a.png")
    for source in both(tmp_path, folder, files):
        assert labels(source) == ["cats"]
        assert "2 beside the split folders (w/logo.png, w/train_masks/a.png)" in source.found
        assert "1 in a split without classes (w/test/b.png)" in source.found


def test_a_class_may_have_a_splits_name(folder: Write) -> None:
    assert open_whole(folder(pictures("bus/a.png", "train/b.png"))).classes == ("bus", "train")


LEFT = [
    "__MACOSX/cats/._a.png", "@eaDir/a.png/SYNOFILE_THUMB_M.png", ".AppleDouble/a.png", ".thumbnails/a.png",
    "$RECYCLE.BIN/S-1/a.png", "System Volume Information/a.png", "lost+found/a.png", "#recycle/a.png",
    ".ipynb_checkpoints/a-checkpoint.png", ".git/a.png", "Catalog Previews.lrdata/a.png", ".picasaoriginals/a.png",
    ".stversions/a.png", "cats/Thumbs.db", "cats/a.png.part", "cats/a.png~", "cats/._a.png", "DESKTOP.INI",
]  # fmt: skip


def test_what_systems_leave_is_no_class_and_no_picture(tmp_path: Path, folder: Write) -> None:
    files = dict.fromkeys(LEFT, picture()) | pictures("cats/a.png", "dogs/b.png")
    for source in both(tmp_path, folder, files):
        assert list(source.names) == ["cats/a.png", "dogs/b.png"]
        assert source.classes == ("cats", "dogs")
        assert f"{len(LEFT)} hidden or left by systems and programs (" in source.found


# ---- pictures by content ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_pictures_are_known_by_their_first_bytes(kind: str) -> None:
    if kind not in Image.SAVE and kind not in Image.MIME:
        pytest.skip(f"this Pillow writes no {kind}")
    assert kind_of("a.jpg!d", lambda: picture(1, kind)[:32]) is Kind.PICTURE


def test_other_kinds_are_counted_and_named(tmp_path: Path, folder: Write) -> None:
    files = {
        "a.jxl": b"\xff\x0a", "b": picture(1), "c.jpg!d": picture(2), "d.cr2": b"II*\0", "e.dib": picture(3, "BMP"),
        "f.png": picture(4), "g.bin": b"\0\0\0\x0cJXL \r\n\x87\n", "h.dat": b"BMW is no bitmap", "i": b"",
    }  # fmt: skip
    for source in both(tmp_path, folder, files):
        assert list(source.names) == ["b", "c.jpg!d", "e.dib", "f.png"]
        assert source.found == (
            "found 4 images, no classes; passed over: 3 in a format that is not read (a.jxl, d.cr2, g.bin), "
            "2 of another kind (h.dat, i)"
        )
    with pytest.raises(DataError, match=r"no image files .*: 1 in a format that is not read \(a\.jxl\)"):
        open_whole(folder({"a.jxl": b"\xff\x0a"}, name="alone"))


def test_folders_that_cannot_be_opened_are_named(folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(pictures("cats/a.png", "dogs/b.png"))
    opened = os.scandir

    def scan(path: str) -> Any:
        if path.endswith("dogs"):
            raise PermissionError(13, "Permission denied", path)
        return opened(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert open_whole(root).found == "found 1 image, no classes; passed over: 1 folder that cannot be opened (dogs)"


# ---- tables ----------------------------------------------------------------------------------------------------------

BLOCKS = pictures(*(f"{i // 2:05d}/img{i:08d}.png" for i in range(4)))


@pytest.mark.parametrize("form", [list, dict])
@pytest.mark.parametrize("around", ["", "set/"])
def test_dataset_json_tells_classes(tmp_path: Path, folder: Write, form: type, around: str) -> None:
    said = {"labels": form([name, i % 2] for i, name in enumerate(BLOCKS))}
    files = {around + name: data for name, data in {**BLOCKS, "dataset.json": json.dumps(said).encode()}.items()}
    for source in both(tmp_path, folder, files):
        assert labels(source) == ["0", "1", "0", "1"]
        assert source.found == "found 4 images, 2 classes"


def test_dataset_json_without_labels(tmp_path: Path, folder: Write) -> None:
    nulls = [[name, None] for name in BLOCKS]
    for said in (None, nulls, []):
        for source in both(tmp_path, folder, {**BLOCKS, "dataset.json": json.dumps({"labels": said}).encode()}):
            assert source.labels is None
    assert open_whole(folder(dict(BLOCKS), name="numbered")).classes == ("00000", "00001")


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"labels": [["00000/img00000000.png", 0]]}, "has no label for 00000/img00000001"),
        ({"labels": [["a.png", [0.5, 1]]]}, "labels are whole numbers from 0"),
        ({"labels": [["a.png", -1]]}, "label -1 of 'a.png'"),
        ({"labels": ["a.png"]}, r"must be \[name, number\]"),
        ({"labels": 3}, "labels are 3; they must be a list"),
        (None, "no JSON that can be read"),
    ],
)
def test_dataset_json_that_is_not_understood(folder: Write, said: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        open_whole(folder({**BLOCKS, "dataset.json": json.dumps(said).encode() if said else b"[[["}))


def parquet(rows: dict[str, list]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as writer

    buffer = io.BytesIO()
    writer.write_table(pyarrow.table(rows), buffer)
    return buffer.getvalue()


TEXTS = {
    "a.caption": b"a cat", "a.TXT": b"a cat", "a.png.txt": b"a cat",
    "metadata.csv": b"\xef\xbb\xbffile_name,text\r\na.png,a cat\r\n",
    "Metadata.CSV": b'Image;Caption\n"a.png";"a cat"\n', "captions.tsv": b"path\tprompt\n.\\a.png\ta cat\n",
    "metadata.json": b'[{"filename": "a.png", "text": "a cat"}]', "captions.json": b'{"a.png": "a cat"}',
    "captions.jsonl": b'{"image": "A.PNG", "caption": "a cat", "score": NaN}', "metadata.parquet": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_captions_in_common_forms(tmp_path: Path, folder: Write, name: str) -> None:
    data = TEXTS[name] or parquet({"file_name": ["a.png"], "text": ["a cat"], "other": [[1]]})
    for source in both(tmp_path, folder, {"a.png": picture(), name: data}):
        assert source.captions == ["a cat"]
        assert source.found == "found 1 image, 1 caption, no classes"
    assert not load_dataset(tmp_path / "set").flip


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("metadata.csv", b"file_name,text\na.png,a,cat\n", "line 2 has 3 values for 2 columns"),
        ("metadata.csv", b'file_name,text\na.png,"a cat', "is no CSV"),
        ("metadata.csv", b"text\na cat\n", "line 2 names no image"),
        ("metadata.csv", b"file_name,text\nb.png,a cat\n", "no such image"),
        ("metadata.csv", b"file_name,text\n\xff", "not UTF-8"),
        ("captions.json", b"[1", "no JSON that can be read"),
        ("captions.json", b"3", "entry 1 is no object"),
        ("metadata.parquet", b"PAR1", "metadata.parquet: not a Parquet file"),
        ("captions.csv", b"file_name,x\na.png,1\n", "line 2 has no caption"),
    ],
)
def test_tables_that_are_not_understood(folder: Write, name: str, data: bytes, says: str) -> None:
    root = folder({"a.png": picture(), name: data})
    with pytest.raises(DataError, match=says) as caught:
        open_whole(root)
    assert "\n" not in str(caught.value)
    assert open_whole(root, captions=False).captions is None


def test_parquet_names_its_extra(folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r'pip install "brickwork\[hub\]"'):
        open_whole(folder({"a.png": picture(), "metadata.parquet": b"PAR1"}))


def test_labels_in_a_table(folder: Write) -> None:
    files = pictures("a.png", "b.png", "c.png")
    words = open_whole(folder({**files, "metadata.csv": b"file_name,label\na.png,dog\nb.png,cat\nc.png,dog\n"}))
    assert labels(words) == ["dog", "cat", "dog"]
    numbers = open_whole(folder({"metadata.csv": b"file_name,label\na.png,10\nb.png,9\nc.png,10\n"}))
    assert numbers.classes == ("9", "10")
    gaps = open_whole(folder({"metadata.csv": b"file_name,label\na.png,10\n"}))
    assert gaps.labels is None
    assert "1 with labels that are no classes: with empty cells (metadata.csv)" in gaps.found
    nothing = open_whole(folder({"metadata.csv": b"file_name,iso\na.png,10\n"}))
    assert "1 without captions or labels that are known (metadata.csv)" in nothing.found


def test_half_a_character_in_texts(folder: Write, tmp_path: Path) -> None:
    line = b'{"file_name": "a.png", "caption": "nice \\ud83d"}\n'
    data = load_dataset(folder({"a.png": picture(), "captions.jsonl": line}))
    assert data.captions == ("nice \ufffd",)
    with pytest.raises(DataError, match="caption 0 has half a character"):
        replace(data, captions=("\ud83d",))


def test_a_picture_that_is_passed_over_may_have_a_caption(folder: Write) -> None:
    lines = b'{"file_name": "a.png", "text": "x"}\n{"file_name": "b.jxl", "text": "y"}\n'
    source = open_whole(folder({"a.png": picture(), "b.jxl": b"\xff\x0a", "metadata.jsonl": lines}))
    assert source.captions == ["x"]


# ---- held out, and what is said --------------------------------------------------------------------------------------


def test_of_each_class_an_image_is_trained(folder: Write) -> None:
    """Classes of one image, and one of sixty: each has a training image, and of the large one the same are held out."""
    single, many = [f"{k:02}/a.png" for k in range(20)], [f"many/{i}.png" for i in range(60)]
    root = folder(dict.fromkeys(single + many, picture()))
    train, held = open_source(root, holdout=0.5), open_source(root, "test", holdout=0.5)
    assert train.labels is not None
    assert set(train.labels.tolist()) == set(range(21))
    assert sorted([*train.names, *held.names]) == sorted(single + many)
    assert set(held.names) == {name for name in many if fraction(name.encode()) < 0.5}


def test_classes_of_one_image_each_hold_out_nothing(folder: Write) -> None:
    root = folder(pictures("a/1.png", "b/2.png"))
    assert len(open_source(root)) == 2
    with pytest.raises(MissingSplitError, match="each class keeps one image for training"):
        open_source(root, "heldout")


def test_a_line_says_what_was_found(
    folder: Write, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    root = folder({"train/a/1.png": picture(), "test/b/2.png": picture(), "x.jxl": b"\xff\x0a"})
    line = (
        "found 2 images, 2 classes, splits train 1, test 1; passed over: 1 in a format that is not read (x.jxl); "
        "1 class without a training image (b)"
    )
    assert load_dataset(root).found == line
    assert [record.getMessage() for record in caplog.records] == [f"{root}: {line}"]
    load_dataset(root, progress=True)
    assert f"{root}: {line}\n" in capsys.readouterr().err
