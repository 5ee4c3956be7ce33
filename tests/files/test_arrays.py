"""Arrays come out of numpy's files as they went in; a header that says more than there is takes no memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from brickwork.files.arrays import PickledError, read_npy, read_npz

PLAIN = b"{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"


def with_header(text: bytes, numbers: bytes = b"abc", version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes((version, 0)) + (len(text) + 1).to_bytes(2, "little") + text + b"\n" + numbers


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
        np.array(7),
        np.zeros((0, 5), np.uint8),
        np.array(["é", "abc"]),
        np.array([b"x", b"yz"]),
        np.array([True, False]),
        np.arange(3, dtype=">i2"),
    ],
)
def test_there_and_back(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    found = read_npy(tmp_path / "a.npy")
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    assert np.array_equal(found, array)
    assert found.flags.writeable
    np.savez_compressed(tmp_path / "a.npz", one=array, other=np.zeros(3))
    arrays, names = read_npz(tmp_path / "a.npz", ["one", "none"])
    assert names == ["one", "other"]
    assert arrays.keys() == {"one"}
    assert np.array_equal(arrays["one"], array)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "does not begin as an array"),
        (b"\x93NUMPY", "does not begin as an array"),
        (with_header(PLAIN)[:-1], "3 bytes of numbers, and 2 follow"),
        (with_header(PLAIN.replace(b"(3,)", b"(10000000000,)")), "10,000,000,000 bytes of numbers, and 3 follow"),
        (with_header(PLAIN.replace(b"(3,)", b"(9" + b"9" * 400 + b",)")), "only plain numbers and texts"),
        (with_header(PLAIN.replace(b"(3,)", b"(-3,)")), "damaged header|only plain"),
        (with_header(PLAIN.replace(b"|u1", b"<U0")), "only plain numbers and texts"),
        (with_header(PLAIN.replace(b"(3,)", b"((3,),)")), "damaged header"),
        (with_header(PLAIN.replace(b"'|u1'", b"[('a', '|u1')]")), "only plain numbers and texts"),
        (with_header(PLAIN.replace(b"|u1", b"|O")), "a pickled object array, which is never opened"),
        (with_header(PLAIN.replace(b"|u1", b"<M8[s]"), bytes(24)), "only plain numbers and texts"),
        (with_header(b"{" * 300), "damaged header"),
        (with_header(PLAIN, version=9), "version 9 of numpy's format"),
        (b"\x93NUMPY\x02\0" + b"\xff" * 4, "a header of 4,294,967,295 bytes"),
    ],
)
def test_a_header_that_lies_is_one_line(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ValueError, match=said) as caught:
        read_npy(tmp_path / "a.npy")
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_members_share_one_bound(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1000), b=np.zeros(1000))
    assert len(read_npz(tmp_path / "a.npz", ["a", "b"], most=16_000)[0]) == 2
    with pytest.raises(ValueError, match="at most 7,999 are read"):
        read_npz(tmp_path / "a.npz", ["a", "b"], most=15_999)


def test_objects_and_text_that_is_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([None], dtype=object))
    with pytest.raises(PickledError, match="a is a pickled object array"):
        read_npz(tmp_path / "a.npz", ["a"])
    file = io.BytesIO()
    np.save(file, np.array(["a"]))
    (tmp_path / "a.npy").write_bytes(file.getvalue()[:-4] + b"\xff\xff\xff\x7f")
    with pytest.raises(ValueError, match="no characters"):
        read_npy(tmp_path / "a.npy")
