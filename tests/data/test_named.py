"""Sets by name: scikit-learn's digits, and the Hugging Face hub with a stand-in for its package."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Picture

from brickwork.data.config import DataConfig
from brickwork.data.dataset import load_dataset, load_heldout
from brickwork.data.opening import open_source, open_whole
from brickwork.errors import DataError, MissingExtraError


def test_digits() -> None:
    pytest.importorskip("sklearn")
    source = open_whole("digits")
    assert len(source) == 1797
    assert source.classes == tuple("0123456789")
    assert source.labels is not None
    assert source.labels[:10].tolist() == list(range(10))
    image = source.image(0)
    assert image.shape == (8, 8, 1)
    assert image[0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 5, 13, 9, 1 of 16
    assert len(load_dataset("digits")) + len(load_heldout("digits")) == 1797
    assert not load_dataset("digits").flip


def test_digits_without_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r'pip install "brickwork\[digits\]"'):
        open_source("digits")


def test_the_hub_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r'pip install "brickwork\[hub\]"'):
        open_source("hf:owner/name")


class Image:
    """Stands for datasets.Image; the loader goes by the name of the type."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class Value:
    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class Table(list):
    """A list of rows with features; cast_column turns pictures to the bytes of their files, as the real one does."""

    def __init__(self, rows: list[dict], features: dict) -> None:
        super().__init__(rows)
        self.features = features

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)

    def cast_column(self, column: str, feature: Image) -> "Table":
        assert not feature.decode
        rows = []
        for row in self:
            buffer = io.BytesIO()
            row[column].save(buffer, "PNG")
            rows.append({**row, column: {"bytes": buffer.getvalue(), "path": None}})
        return Table(rows, self.features)


class Bare(list):
    """Without cast_column: the cells are pictures."""

    def __init__(self, rows: list[dict], features: dict) -> None:
        super().__init__(rows)
        self.features = features

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


FEATURES = {"id": Value("int64"), "img": Image(), "label": ClassLabel(["cat", "dog"])}


def rows(start: int, count: int, label: int | None = None) -> list[dict]:
    places = range(start, start + count)
    return [{"id": i, "img": Picture.new("L", (4, 4), i), "label": i % 2 if label is None else label} for i in places]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What load_dataset gives for each (name, config); asked is noted under "asked"."""
    loaded: dict = {}

    def load(path: str, name: str | None = None):
        loaded["asked"] = (path, name)
        if (path, name) not in loaded:
            raise FileNotFoundError(f"Couldn't find {path}\non the hub")
        return loaded[path, name]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load, Image=Image))
    return loaded


@pytest.mark.parametrize("table", [Table, Bare])
def test_hub_splits_and_labels(hub: dict, table: type) -> None:
    hub["o/n", None] = {"train": table(rows(10, 5), FEATURES), "test": table(rows(20, 3), FEATURES), "extra": None}
    train, test = load_dataset("hf:o/n"), load_heldout("hf:o/n")
    assert train.images[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 14]
    assert test.images[:, 0, 0, 0].tolist() == [20, 21, 22]
    assert train.classes == ("cat", "dog")
    assert test.labels is not None
    assert test.labels.tolist() == [0, 1, 0]
    assert train.flip


def test_hub_config_and_captions(hub: dict) -> None:
    features = {"text": Value("string"), "small": Image(), "image": Image()}
    pictures = [{"text": f"a {i}", "small": None, "image": Picture.new("RGB", (2, 2), (i, 0, 0))} for i in range(40)]
    hub["o/n", "big"] = Table(pictures, features)
    train = load_dataset("hf:o/n:big", DataConfig(holdout=0.2))
    assert hub["asked"] == ("o/n", "big")
    assert train.captions is not None
    assert train.captions == tuple(f"a {i}" for i in train.images[:, 0, 0, 0])
    assert train.labels is None
    assert not train.flip
    assert len(train) + len(load_heldout("hf:o/n:big", DataConfig(holdout=0.2))) == 40


def test_hub_labels_of_several_shapes(hub: dict) -> None:
    cells = rows(0, 4)
    cells[2]["label"] = [1, 0]
    hub["o/n", None] = {"train": Table(cells, FEATURES)}
    with pytest.raises(DataError, match="column label holds labels of several shapes"):
        open_source("hf:o/n")


def test_hub_secret_labels_are_no_split(hub: dict) -> None:
    hub["o/n", None] = {
        "train": Table(rows(0, 4), FEATURES),
        "validation": Table(rows(4, 2), FEATURES),
        "test": Table(rows(6, 2, label=-1), FEATURES),
    }
    assert load_heldout("hf:o/n").images[:, 0, 0, 0].tolist() == [4, 5]


@pytest.mark.parametrize(
    ("name", "feature", "values", "classes"),
    [
        ("label", Value("int64"), [7, 9, 7], ("7", "9")),
        ("class", Value("string"), ["dog", "cat", "dog"], ("cat", "dog")),
        ("label", Value("large_string"), ["10", "9", "10"], ("9", "10")),
    ],
)
def test_hub_labels_that_are_plain(hub: dict, name: str, feature: Value, values: list, classes: tuple) -> None:
    cells = [{"image": Picture.new("L", (4, 4), i), name: value} for i, value in enumerate(values)]
    hub["o/n", None] = {"train": Table(cells, {"image": Image(), name: feature}), "extra": None}
    source = open_whole("hf:o/n")
    assert source.classes == classes
    assert source.labels is not None
    assert [classes[k] for k in source.labels] == [str(value) for value in values]
    assert "passed over: 1 in splits that are not train, validation or test (extra)" in source.found


@pytest.mark.parametrize(
    ("feature", "values", "says"),
    [
        (Value("string"), [f"a photograph of {i}" for i in range(101)], "101 different values, too many for classes"),
        (Value("int64"), [1, None], "with empty cells"),
        (Value("int64"), [1, -5], "neither texts nor whole numbers from 0"),
        (Value("float32"), [0.5, 1], "neither texts nor whole numbers"),
    ],
)
def test_hub_labels_that_are_no_classes_are_named(hub: dict, feature: Value, values: list, says: str) -> None:
    cells = [{"image": Picture.new("L", (4, 4), i), "label": value} for i, value in enumerate(values)]
    hub["o/n", None] = Table(cells, {"image": Image(), "label": feature})
    source = open_whole("hf:o/n")
    assert source.labels is None
    assert "passed over: 1 column of labels" in source.found
    assert says in source.found


def test_hub_bad_cells_are_skipped(hub: dict) -> None:
    good, bad = rows(0, 3), {"id": 0, "img": {"bytes": b"junk", "path": None}, "label": 1}
    gone = {"id": 0, "img": {"bytes": None, "path": "/nowhere/x.png"}, "label": 1}
    odd = {"id": 0, "img": 7, "label": 1}
    hub["o/n", None] = {"train": Bare([bad, *good, gone, odd], FEATURES), "test": Bare(rows(9, 1), FEATURES)}
    train = load_dataset("hf:o/n")
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1, 0]
    assert [report.split(":")[0] for report in train.skipped] == ["train 0", "train 4", "train 5"]


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (None, "the image column holds nothing"),
        ({"bytes": None, "path": None}, "the image column holds nothing"),
        ({}, "the image column holds nothing"),
        ({"bytes": None, "path": "/nowhere/x.png"}, "/nowhere/x.png: No such file"),
        ({"bytes": None, "path": "/dev/zero"}, "not a regular file"),
        ({"bytes": "text", "path": None}, "the image column holds"),
        ([1, 2], "the image column holds list"),
        (object(), "the image column holds object"),
    ],
)
@pytest.mark.parametrize("row", [0, 7])
def test_hub_bad_cells_end_no_run_that_holds_out_by_content(hub: dict, cell: object, why: str, row: int) -> None:
    bad = rows(0, 8)
    bad[row] = {**bad[row], "img": cell}
    hub["o/n", None] = Bare(bad, FEATURES)
    both = [load_dataset("hf:o/n", DataConfig(split="all")), load_dataset("hf:o/n", DataConfig(holdout=0.3))]
    assert len(both[0]) == 7
    assert both[0].skipped[0].startswith(f"train {row}: ")
    assert why in both[0].skipped[0]
    with pytest.raises(DataError, match=f"train {row}: "):
        load_dataset("hf:o/n", DataConfig(split="all", strict=True))


def test_hub_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(path: str, name: str | None = None, revision: str | None = None) -> Bare:
        asked.append((path, name, revision))
        return Bare(rows(0, 3), FEATURES)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load, Image=Image))
    for spec in ("hf:o/n:big@refs/pr/1", "hf:o/n@v1.0", "hf:o/n"):
        assert len(load_dataset(spec, DataConfig(split="all"))) == 3
    assert asked == [("o/n", "big", "refs/pr/1"), ("o/n", None, "v1.0"), ("o/n", None, None)]


def test_hub_errors(hub: dict) -> None:
    with pytest.raises(DataError, match=r"hf:o/no: cannot be loaded \(Couldn't find o/no\); check"):
        open_source("hf:o/no")
    hub["o/n", None] = Table([{"id": 1}], {"id": Value("int64")})
    with pytest.raises(DataError, match="columns id, of which none is"):
        open_source("hf:o/n")
    hub["o/n", None] = {"2012": Table(rows(0, 1), FEATURES)}
    with pytest.raises(DataError, match="has the splits 2012"):
        open_source("hf:o/n")


def test_hub_identity_is_the_content(hub: dict) -> None:
    hub["o/n", None] = Bare(rows(0, 30), FEATURES)
    before = set(load_heldout("hf:o/n", DataConfig(holdout=0.3)).images[:, 0, 0, 0].tolist())
    hub["o/n", None] = Bare(rows(30, 9) + rows(0, 30)[::-1], FEATURES)
    after = set(load_heldout("hf:o/n", DataConfig(holdout=0.3)).images[:, 0, 0, 0].tolist())
    assert {i for i in after if i < 30} == before
    assert np.all(np.array(sorted(after)) < 39)
