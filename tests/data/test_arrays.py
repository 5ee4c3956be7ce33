"""Both layouts of .npz."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brickwork.data.opening import open_source, open_whole
from brickwork.errors import DataError

N = 6
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 6, 5, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)
SPLIT = np.array([0, 0, 0, 1, 2, 2], np.uint8)


def save(path: Path, **arrays) -> Path:
    np.savez(path / "set.npz", **arrays)
    return path / "set.npz"


def encoded(images: np.ndarray) -> dict[str, np.ndarray]:
    parts = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        parts.append(np.frombuffer(buffer.getvalue(), np.uint8))
    return {"jpeg": np.concatenate(parts), "offsets": np.cumsum([0, *map(len, parts)])}


@pytest.mark.parametrize("layout", ["images", "jpeg"])
def test_both_layouts(tmp_path: Path, layout: str) -> None:
    arrays = {"images": IMAGES} if layout == "images" else encoded(IMAGES)
    path = save(tmp_path, **arrays, labels=LABELS, split=SPLIT, classes=np.array(["a", "b", "c"]))
    source = open_source(path)
    assert len(source) == 3
    for i in range(3):
        np.testing.assert_array_equal(source.image(i), IMAGES[i])
    assert source.labels is not None
    assert source.labels.dtype == np.int64
    assert source.labels.tolist() == [0, 1, 2]
    assert source.classes == ("a", "b", "c")
    test = open_source(path, "test")
    np.testing.assert_array_equal(test.image(1), IMAGES[5])
    assert test.labels is not None
    assert test.labels.tolist() == [1, 2]


def test_captions_and_names(tmp_path: Path) -> None:
    texts = np.array([f"a thing, number {i}" for i in range(N)])
    source = open_source(save(tmp_path, images=IMAGES, captions=texts, names=texts, split=SPLIT), "test")
    assert source.captions is not None
    assert list(source.captions) == texts[4:].tolist()
    assert source.captions[1] == texts[5]
    assert not source.mirrors
    assert source.labels is None


def test_grey_and_alpha_arrays(tmp_path: Path) -> None:
    assert open_whole(save(tmp_path, images=IMAGES[..., 0])).image(2).shape == (6, 5, 1)
    clear = np.zeros((1, 2, 2, 4), np.uint8)
    clear[0, 0, 0] = 10, 20, 30, 255
    image = open_whole(save(tmp_path, images=clear)).image(0)
    assert image[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_numbers_are_the_names_of_unnamed_classes(tmp_path: Path) -> None:
    assert open_whole(save(tmp_path, images=IMAGES, labels=LABELS[:, None])).classes == ("0", "1", "2")


def test_splits_by_name(tmp_path: Path) -> None:
    path = save(tmp_path, images=IMAGES, split=np.array(["train"] * 4 + ["test"] * 2))
    assert len(open_source(path)) == 4
    assert len(open_source(path, "heldout")) == 2


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"pictures": IMAGES, "y": LABELS}, r"keys pictures, y; needed is images .* or jpeg"),
        ({"jpeg": np.zeros(4, np.uint8)}, "needed is"),
        ({"images": IMAGES.astype(np.float32)}, "float32; they must be uint8"),
        ({"images": IMAGES.transpose(0, 3, 1, 2)}, r"shape \(6, 3, 6, 5\)"),
        ({"images": IMAGES[0, 0]}, "shape"),
        ({"images": IMAGES[:0]}, "no images in it"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "5 labels for 6 images"),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, "float64; they must be whole"),
        ({"images": IMAGES, "labels": LABELS.astype(int) - 1}, "label -1 is below 0"),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array(["a", "b"])}, "label 2 has no class; 2 are named"),
        ({"images": IMAGES, "labels": LABELS.astype(np.int64) * 10**15}, "number the classes from 0"),
        ({"images": IMAGES, "split": SPLIT[:2]}, r"split has shape \(2,\)"),
        ({"images": IMAGES, "split": SPLIT + 1}, "split holds .* 0 train, 1 validation, 2 test"),
        ({"images": IMAGES, "split": SPLIT.astype(float)}, "split holds"),
        ({"images": IMAGES, "captions": np.array(["one"])}, r"shape \(6,\)"),
        ({"images": IMAGES, "captions": np.array(["x"] * N, dtype=object)}, "captions is a pickled object array"),
        ({"jpeg": np.zeros(9, np.uint8), "offsets": np.array([0, 5, 10])}, "at most 9"),
        ({"jpeg": np.zeros(9, np.uint8), "offsets": np.array([0, 5, 4])}, "must rise"),
        ({"jpeg": np.zeros(9, np.uint8), "offsets": np.array([-3, 5])}, "must rise"),
        ({"jpeg": np.zeros(9, np.uint8), "offsets": np.array([0.0, 5.0])}, "whole numbers"),
        ({"jpeg": np.zeros(9, np.int32), "offsets": np.array([0, 5])}, "must be uint8"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict, why: str) -> None:
    with pytest.raises(DataError, match=why):
        open_source(save(tmp_path, **arrays))


def test_damaged_files(tmp_path: Path) -> None:
    path = save(tmp_path, images=IMAGES)
    data = path.read_bytes()
    for broken in (b"", b"PK\x03\x04", data[: len(data) // 2], b"\x80\x04K\x01."):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"not an \.npz"):
            open_source(path)
    with path.open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(DataError, match="a single array"):
        open_source(path)


def test_no_pickle_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    path = save(tmp_path, images=np.array([Trap()], dtype=object))
    with pytest.raises(DataError, match="pickled object array"):
        open_source(path)
    assert not (tmp_path / "sprung").exists()
