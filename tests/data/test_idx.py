"""IDX files as MNIST and Fashion-MNIST have them."""

import gzip
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brickwork.data.idx import FASHION
from brickwork.data.opening import open_source
from brickwork.errors import DataError

Write = Callable[..., Path]
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 6, 5), np.uint8)
LABELS = np.arange(20) % 10
BOTH = {"train": (IMAGES[:14], LABELS[:14]), "t10k": (IMAGES[14:], LABELS[14:])}


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_with_both_splits(idx: Write, packed: bool) -> None:
    root = idx(BOTH, packed=packed)
    train, test = open_source(root), open_source(root, "test")
    assert (len(train), len(test)) == (14, 6)
    np.testing.assert_array_equal(np.stack([test.image(i) for i in range(6)])[..., 0], IMAGES[14:])
    assert test.labels is not None
    assert test.labels.tolist() == LABELS[14:].tolist()
    assert train.classes == tuple("0123456789")
    assert not train.mirrors


def test_fashion_has_names(idx: Write) -> None:
    root = idx(BOTH, name="Fashion_MNIST")
    assert open_source(root).classes == FASHION
    assert open_source(root / "t10k-images-idx3-ubyte.gz", "all").classes == FASHION


def test_one_file_with_and_without_labels(idx: Write) -> None:
    root = idx({"train": (IMAGES, LABELS)})
    path = root / "train-images-idx3-ubyte.gz"
    train, held = open_source(path, holdout=0.3), open_source(path, "test", holdout=0.3)
    assert len(train) + len(held) == 20
    assert train.labels is not None
    for i in range(len(train)):
        assert LABELS[(train.image(i)[:, :, 0] == IMAGES).all((1, 2))][0] == train.labels[i]
    (root / "train-labels-idx1-ubyte.gz").unlink()
    assert open_source(path).labels is None


def test_only_train_files_hold_out_by_hash(idx: Write) -> None:
    root = idx({"train": (IMAGES, LABELS)})
    assert 0 < len(open_source(root, "heldout")) < 20


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: b"\0\0\x0d\3" + d[4:], "starts with 00 00 0d 03"),
        (lambda d: d[:-1], "holds fewer bytes than the 600 of 20x6x5"),
        (lambda d: d + b"\0", "holds more bytes"),
        (lambda d: d[:3], "starts with 00 00 08;"),
        (lambda d: d[:10], "truncated or damaged"),
        (lambda d: d[:4] + b"\xff" * 12 + d[16:], "claims"),
        (lambda d: b"", "starts with"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_wrong_or_truncated(idx: Write, change: Callable[[bytes], bytes], why: str, packed: bool) -> None:
    path = next(idx({"train": (IMAGES,)}, packed=packed).iterdir())
    data = path.read_bytes()
    path.write_bytes(gzip.compress(change(gzip.decompress(data))) if packed else change(data))
    with pytest.raises(DataError, match=why):
        open_source(path)


def test_truncated_gzip(idx: Write) -> None:
    path = next(idx({"train": (IMAGES,)}).iterdir())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="truncated or damaged"):
        open_source(path)


def test_zeros_behind_a_packed_file_are_not_read(idx: Write) -> None:
    path = next(idx({"train": (IMAGES,)}, packed=True).iterdir())
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"1099511627776 bytes for 600 of images"):
        open_source(path)


def test_labels_of_another_number(idx: Write) -> None:
    with pytest.raises(DataError, match=r"labels-idx1.*5 labels for 20 images"):
        open_source(idx({"train": (IMAGES, LABELS[:5])}))


@pytest.mark.parametrize("name", ["a set.tar.gz", "set.tgz", "set.tar"])
def test_a_tar_archive_is_not_taken_for_idx(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with tarfile.open(tmp_path / name, "w" if name.endswith("tar") else "w:gz") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    with pytest.raises(DataError, match="a tar archive; unpack it"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["a.csv", "a", "a.tar", "a.npz", "a.zip", "a.gz", "a.npy"])
def test_a_terabyte_of_zeros_is_refused_at_once(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=re.escape(name)):
        open_source(tmp_path / name)
