"""Tensors come out of every kind of torch's files as they went in; a file that lies about them is refused."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, _utils, nn

from brickwork.errors import CheckpointError
from brickwork.foreign.torchfile import Stored, read_tree

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def plain(value: object) -> bytes:
    return pickle.dumps(value)


def old_plain(value: object) -> bytes:
    return pickle.dumps(value, 3)


def zipped(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def legacy(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


WRITERS = [plain, old_plain, zipped, legacy]


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        (tmp_path / "file.pth").write_bytes(data)
        return read_tree(tmp_path / "file.pth")

    return read


@pytest.mark.parametrize("write", WRITERS)
def test_tensors_of_every_dtype_and_layout_are_equal(write: Callable[[object], bytes], tree: Any) -> None:
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    values: dict[str, Tensor] = {str(dtype): (torch.randn(3, 5) * 9).to(dtype) for dtype in DTYPES}
    values |= {
        "part": base[1:3, ::2],
        "transposed": base.T,
        "scalar": torch.tensor(3.5),
        "none": torch.empty(0, 3),
        "parameter": nn.Parameter(base),
        "attributed": nn.Parameter(base),
        "complex": torch.randn(2, dtype=torch.complex64),
    }
    values["attributed"].extra = "kept by torch"  # pyright: ignore[reportAttributeAccessIssue]
    found = tree(write(values))
    assert list(found) == list(values)
    for name, value in values.items():
        stored = found[name]
        assert isinstance(stored, Stored), name
        assert torch.equal(stored.read(), value), name
        assert stored.read().is_contiguous()
        assert stored.dtype == value.dtype


@pytest.mark.parametrize("write", WRITERS)
def test_float8_and_tensors_with_attributes(write: Callable[[object], bytes], tree: Any) -> None:
    value = torch.randn(4).to(torch.float8_e4m3fn)
    attributed = torch.randn(3)
    attributed.extra = 1  # pyright: ignore[reportAttributeAccessIssue]
    found = tree(write([value, attributed]))
    assert torch.equal(found[0].read().float(), value.float())
    assert torch.equal(found[1].read(), attributed)


@pytest.mark.parametrize("write", WRITERS)
def test_a_part_of_a_large_tensor_brings_in_no_more(write: Callable[[object], bytes], tree: Any) -> None:
    found = tree(write(torch.arange(1000.0)[10:20]))
    assert found.storage.numel == 1000
    assert found.read().untyped_storage().nbytes() == 40


@pytest.mark.parametrize("write", WRITERS)
def test_shared_storage_is_one_storage(write: Callable[[object], bytes], tree: Any) -> None:
    base = torch.randn(3)
    found = tree(write({"a": base, "b": base}))
    assert found["a"].storage is found["b"].storage or write in (zipped,)
    assert torch.equal(found["a"].read(), found["b"].read())


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_cut_anywhere_is_refused(write: Callable[[object], bytes], tree: Any) -> None:
    data = write({"a": torch.arange(4.0), "b": nn.Parameter(torch.ones(2, dtype=torch.float16))})
    for length in {*range(0, len(data), max(1, len(data) // 60)), len(data) - 1}:
        with pytest.raises(CheckpointError) as caught:
            tree(data[:length])
        assert "\n" not in str(caught.value)
        assert "file.pth" in str(caught.value)


# ---- tensors beyond their storage -----------------------------------------------------------------------------------


class Crafted:
    """Throw-away: a tensor rebuilt from six numbers with any offset, size and stride."""

    def __init__(self, *args: Any, version: str = "_rebuild_tensor_v2") -> None:
        self.args, self.version = args, version

    def __reduce__(self) -> tuple[Any, ...]:
        storage = torch.arange(6.0)._typed_storage()
        return getattr(_utils, self.version), (storage, *self.args, False, OrderedDict())


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "geometry",
    [
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (6, (1,), (1,)),
        (0, (2, 3), (4, 1)),
        (0, (2,), (6,)),
        (0, (2**62, 2**62), (1, 1)),
        (0, (10**9,), (0,)),  # one number shown a milliard times
        (2**63 - 1, (1,), (1,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (5, (2,), (-1,)),
        (0, (2,), (1, 1)),
        (0, (2.0,), (1,)),
        (0, ("2",), (1,)),
        (0, [2], (1,)),
        (None, (2,), (1,)),
        (0, (1,) * 17, (1,) * 17),
    ],
)
def test_no_tensor_reaches_beyond_its_storage(
    write: Callable[[object], bytes], geometry: tuple[Any, ...], tree: Any
) -> None:
    with pytest.raises(CheckpointError, match=r"reaches beyond|that none can have|is not made of"):
        tree(write(Crafted(*geometry)))


@pytest.mark.parametrize("write", WRITERS)
def test_all_of_a_storage_is_allowed(write: Callable[[object], bytes], tree: Any) -> None:
    assert tree(write(Crafted(0, (2, 3), (3, 1)))).read().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tree(write(Crafted(1, (2, 2), (3, 1), version="_rebuild_tensor_v2"))).read().tolist() == [[1, 2], [4, 5]]
    assert tree(write(Crafted(6, (0,), (1,)))).read().shape == (0,)


# ---- containers that lie --------------------------------------------------------------------------------------------


def repacked(data: bytes, change: Callable[[str, bytes], bytes | None], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file with its entries changed; None leaves one out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", method) as new:
        for info in old.infolist():
            content = change(info.filename, old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda name, data: None if name.endswith("data/0") else data, "lacks the storage '0'"),
        (lambda name, data: data[:-1] if name.endswith("data/0") else data, "not of the 16 bytes"),
        (lambda name, data: data + b"x" if name.endswith("data/0") else data, "not of the 16 bytes"),
        (lambda name, data: b"big" if name.endswith("byteorder") else data, "big-endian"),
        (lambda name, data: None if name.endswith("data.pkl") else data, "0 data.pkl"),
        (lambda name, data: b"\x80\x02N" if name.endswith("data.pkl") else data, "not whole"),
    ],
)
def test_a_zip_file_that_lies_is_refused(change: Any, reason: str, tree: Any) -> None:
    with pytest.raises(CheckpointError, match=reason):
        tree(repacked(zipped(torch.ones(4)), change))


def test_a_compressed_zip_file_is_refused(tree: Any) -> None:
    data = repacked(zipped(torch.ones(40000)), lambda name, data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed or encrypted"):
        tree(data)


def test_a_zip_directory_with_64_bit_numbers_is_read(tree: Any) -> None:
    """As torch writes beyond 4 GB: places as all ones, and the true ones in extra fields and a second end."""
    data = bytearray(zipped(torch.arange(4.0)))
    end = data.rfind(b"PK\x05\x06")
    count, _, offset = struct.unpack_from("<H2L", data, end + 10)
    entries, at = b"", offset
    for _ in range(count):
        head = bytearray(data[at : at + 46])
        name_length, extra_length, comment_length = struct.unpack_from("<3H", head, 28)
        name = data[at + 46 : at + 46 + name_length]
        place = struct.unpack_from("<L", head, 42)[0]
        extra = struct.pack("<2HQ", 1, 8, place)
        struct.pack_into("<H", head, 30, len(extra))
        struct.pack_into("<L", head, 42, 0xFFFFFFFF)
        entries += bytes(head) + name + extra
        at += 46 + name_length + extra_length + comment_length
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(entries), offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + len(entries), 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    wide = bytes(data[:offset]) + entries + end64 + locator + last
    assert tree(wide).read().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_damaged_zip_directory_is_refused_or_harmless(at: int, tree: Any) -> None:
    data = bytearray(zipped(torch.arange(4.0)))
    place = data.rfind(b"PK\x01\x02") + at
    if place < len(data):
        data[place] ^= 0xFF
    with suppress(CheckpointError):
        assert tree(bytes(data)).read().tolist() == [0, 1, 2, 3]


def test_a_legacy_file_that_lies_is_refused(tree: Any) -> None:
    data = legacy(torch.arange(4.0))
    count = data.rfind((4).to_bytes(8, "little"))
    for lie, reason in [
        (data[:count] + (5).to_bytes(8, "little") + data[count + 8 :], "none that its tensors are in"),
        (data[:count] + (2**62).to_bytes(8, "little") + data[count + 8 :], "none that its tensors are in"),
        (data.replace(b"\xe9\x03.", b"\xe8\x03."), "version 1000"),
        (data.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "big-endian"),
        (data.replace(b"torch FloatStorage".replace(b" ", b"\n"), b"torch\nWoodenStorage"), "no storage of numbers"),
        (data.replace(b"torch\nFloatStorage", b"torch\nDoubleStorage"), "not of the 32 bytes"),
    ]:
        assert lie != data
        with pytest.raises(CheckpointError, match=reason):
            tree(lie)


class FromBytes:
    """Throw-away: a storage out of a byte string, as plain pickles have."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.storage._load_from_bytes, (self.data,)


def test_files_in_files_end(tree: Any) -> None:
    data = plain(torch.ones(2)._typed_storage())
    assert tree(data).numel == 2
    for _ in range(2):
        data = plain(FromBytes(data))
    with pytest.raises(CheckpointError, match="more than 2 deep"):
        tree(data)


def test_a_byte_string_must_hold_a_storage(tree: Any) -> None:
    for inner in (plain({"a": 1}), legacy({"a": torch.ones(2)}), b"", b"text"):
        with pytest.raises(CheckpointError):
            tree(plain(FromBytes(inner)))


def test_one_byte_string_opened_without_end_is_refused(tree: Any) -> None:
    """The budget is of the whole file, not of each pickle in it."""
    inner = b"\x80\x04" + b"N0" * 5000 + b"N."
    load = b"\x80\x04ctorch.storage\n_load_from_bytes\nB" + len(inner).to_bytes(4, "little") + inner + b"\x8500"
    with pytest.raises(CheckpointError):
        tree(load * 1000)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>", "begins with b'<html>'"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00" + b'{"a":{}}', "no whole safetensors file"),
        (b"PK\x03\x04 and nothing more", "without its directory"),
        (pickle.dumps(Crafted, 2)[:-1] + b"Q.", "outside itself"),
    ],
)
def test_other_files_say_what_they_are(data: bytes, reason: str, tree: Any) -> None:
    with pytest.raises(CheckpointError, match=reason):
        tree(data)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(CheckpointError, match="no file"):
            read_tree(path)


def test_the_file_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(before := plain(torch.arange(5.0)))
    read_tree(path).read().add_(7)
    assert path.read_bytes() == before


# ---- torch's own reader ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (repacked(zipped(torch.ones(4)), lambda n, d: d[:-1] if n.endswith("data/0") else d), "not of the 16 bytes"),
        (repacked(zipped(torch.ones(4)), lambda n, d: b"big" if n.endswith("byteorder") else d), "big-endian"),
        (zipped(Crafted(0, (10**9,), (0,))), "reaches beyond"),
    ],
)
def test_torch_s_own_reader_takes_what_ours_refuses(data: bytes, reason: str, tree: Any, tmp_path: Path) -> None:
    """Why there is a reader of ours: where torch refuses these too, this fails, and torch.load can take its place."""
    (tmp_path / "a.pth").write_bytes(data)
    assert isinstance(torch.load(tmp_path / "a.pth", weights_only=True, mmap=True), Tensor)
    with pytest.raises(CheckpointError, match=reason):
        tree(data)
