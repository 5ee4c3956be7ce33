"""Folders and zips of image files."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from brickwork.data.decode import Decoder
from brickwork.data.folder import open_folder
from brickwork.data.opening import open_source, open_whole
from brickwork.errors import DataError

Write = Callable[..., Path]
TWO = {"dogs/b.png": 2, "cats/a.png": 1, "cats/deep/er/c.JPG": 3, "dogs/a.png": 4}


def zipped(root: Path, prefix: str = "") -> Path:
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(root).as_posix())
    return path


def test_sub_folders_are_classes_sorted(folder: Write) -> None:
    source = open_folder(folder(TWO))
    assert source.classes == ("cats", "dogs")
    assert list(source.names) == ["cats/a.png", "cats/deep/er/c.JPG", "dogs/a.png", "dogs/b.png"]
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert [int(source.image(i)[0, 0, 0]) for i in (0, 2, 3)] == [1, 4, 2]


def test_a_flat_folder_has_no_labels(folder: Write) -> None:
    source = open_folder(folder({"a.png": 1, "b.bmp": 2}))
    assert len(source) == 2
    assert source.labels is None
    assert source.classes == ()


def test_other_files_are_passed_over(folder: Write) -> None:
    root = folder(
        {"a.png": 1, "a.txt": b"x", ".DS_Store": b"x", "._a.png": b"x", "x/list.json": b"{}", ".git/b.png": 2}
    )
    assert list(open_folder(root).names) == ["a.png"]


@pytest.mark.parametrize("prefix", ["", "wrapper/"])
def test_a_zip_is_the_same_as_its_folder(folder: Write, prefix: str) -> None:
    root = folder({**TWO, "__MACOSX/cats/._a.png": b"junk"})
    plain, archive = open_folder(folder(TWO, name="plain")), open_whole(zipped(root, prefix))
    assert list(archive.names) == list(plain.names)
    assert archive.classes == plain.classes
    assert [archive.identity(i) for i in range(4)] == [plain.identity(i) for i in range(4)]
    assert all((archive.image(i) == plain.image(i)).all() for i in range(4))


def test_split_folders(folder: Write) -> None:
    root = folder({"train/x/a.png": 1, "train/y/b.png": 2, "val/x/c.png": 3, "test/y/d.png": 4})
    for spec in (root, zipped(root)):
        sources = {split: open_source(spec, split) for split in ("train", "validation", "test", "heldout")}
        assert {split: list(s.names) for split, s in sources.items()} == {
            "train": ["train/x/a.png", "train/y/b.png"],
            "validation": ["val/x/c.png"],
            "test": ["test/y/d.png"],
            "heldout": ["test/y/d.png"],
        }
        assert sources["test"].classes == ("x", "y")
        assert sources["test"].labels is not None
        assert sources["test"].labels.tolist() == [1]


def test_images_beside_class_folders_are_refused(folder: Write) -> None:
    with pytest.raises(DataError, match=r"z\.png lies beside"):
        open_folder(folder({"cats/a.png": 1, "z.png": 2}))


def test_links_in_a_circle_end(folder: Write) -> None:
    root = folder(TWO)
    (root / "cats" / "again").symlink_to(root)
    assert len(open_folder(root)) == 4


def test_a_link_that_leads_nowhere_is_reported(folder: Write) -> None:
    root = folder({"a.png": 1})
    (root / "b.png").symlink_to(root / "gone.png")
    with pytest.raises(DataError, match=r"b\.png: No such file"):
        open_folder(root).image(1)


@pytest.mark.parametrize("files", [{}, {"readme.txt": b"x"}])
def test_no_images(folder: Write, files: dict) -> None:
    with pytest.raises(DataError, match="no image files"):
        open_source(folder(files))


def test_a_zip_without_images(folder: Write) -> None:
    with pytest.raises(DataError, match="no image files"):
        open_source(zipped(folder({"readme.txt": b"x"})))


def test_missing_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing.*no such folder or file"):
        open_source(tmp_path / "nothing")
    (tmp_path / "a.tar").write_bytes(b"x")
    with pytest.raises(DataError, match="unknown kind"):
        open_source(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_corrupt_zip(folder: Write, keep: float) -> None:
    path = zipped(folder(TWO))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match="not a zip that can be read"):
        open_source(path)


def test_a_damaged_member_is_named(folder: Write) -> None:
    path = zipped(folder(TWO))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("dogs/b.png")
    middle = member.header_offset + 30 + len(member.filename) + member.compress_size // 2
    data[middle : middle + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    source = open_whole(path)
    assert source.image(0)[0, 0, 0] == 1
    with pytest.raises(DataError, match=r"^dogs/b\.png: "):
        source.image(3)


def test_a_member_that_unpacks_to_too_much(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(1 << 21))
    with pytest.raises(DataError, match=r"a\.png: 2097152 bytes, and up to 1048584 are read; --max-pixels"):
        open_whole(tmp_path / "bomb.zip", decoder=Decoder(max_pixels=1)).image(0)


def test_a_path_that_climbs_out_writes_nothing(tmp_path: Path, folder: Write) -> None:
    inner = folder({"a.png": 5}) / "a.png"
    with zipfile.ZipFile(tmp_path / "climb.zip", "w") as archive:
        archive.write(inner, "../../evil.png")
        archive.writestr(zipfile.ZipInfo("/tmp/evil.png"), inner.read_bytes())
    before = sorted(tmp_path.rglob("*"))
    source = open_whole(tmp_path / "climb.zip")
    assert [int(source.image(i)[0, 0, 0]) for i in range(len(source))] == [5]  # ".." is as good as hidden
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_to_what_holds_the_folder_is_not_followed(folder: Write, tmp_path: Path) -> None:
    root = folder(TWO)
    (root / "cats" / "all").symlink_to("/")
    (root / "cats" / "up").symlink_to("../..")
    assert len(open_folder(root)) == len(TWO)


def test_an_empty_name_is_not_this_folder(folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder(TWO))
    with pytest.raises(DataError, match="an empty name of data"):
        open_source("")
    assert len(open_whole(".")) == len(TWO)
