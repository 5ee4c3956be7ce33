"""A pickle is followed, never obeyed: what it names stays two strings, and what it may cost is bounded."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from brickwork.errors import CheckpointError
from brickwork.foreign.pickles import MAX_OPERATIONS, MAX_TEXT, Budget, Global, Machine, Record
from brickwork.foreign.torchfile import Storage, read_tree


def follow(data: bytes, **limits: int) -> Any:
    def nothing(reference: object) -> NoReturn:
        raise CheckpointError(f"reference {reference}")

    return Machine(memoryview(data), {}, nothing, Budget(**limits)).run(0)[0]


class Point:
    """Throw-away: pickled with a state."""

    def __init__(self) -> None:
        self.x = 3


class Runs:
    """Throw-away: unpickling it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


VALUES = [
    None, True, False, 0, 255, 65535, -1, 2**31 - 1, -(2**40), 2**80, 0.5, -1e300, float("inf"), "", "größer",
    "x" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1, [2]], {}, {"a": 1, 2: {"b": (None,)}},
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_out_as_pickle_reads_them(protocol: int) -> None:
    shared = ["shared"]
    value = {"values": VALUES, "twice": [shared, shared]}
    found = follow(pickle.dumps(value, protocol))
    assert found == pickle.loads(pickle.dumps(value, protocol)) == value
    assert found["twice"][0] is found["twice"][1]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_byte_strings_are_slices_of_the_file(protocol: int) -> None:
    data = pickle.dumps([b"abc", b"y" * 300, bytearray(b"z") if protocol == 5 else b"z"], protocol)
    view = memoryview(data)
    found = Machine(view, {}, str, Budget()).run(0)[0]
    assert [bytes(part) for part in found] == [b"abc", b"y" * 300, b"z"]
    assert all(part.obj is data for part in found)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_an_object_becomes_its_name_and_its_state(protocol: int) -> None:
    found = follow(pickle.dumps(Point(), protocol))
    assert isinstance(found, Record)
    assert found.kind == Global(Point.__module__, "Point")
    assert found.state == {"x": 3}


def test_a_dict_of_another_class_keeps_its_items() -> None:
    found = follow(pickle.dumps(OrderedDict(a=1)))
    assert (found.kind, found.items) == (Global("collections", "OrderedDict"), {"a": 1})


def test_sets_are_lists() -> None:
    assert follow(pickle.dumps({7})) == follow(pickle.dumps(frozenset([7]))) == [7]


def test_keys_that_could_be_made_to_collide_are_left_out() -> None:
    assert follow(pickle.dumps({2**70: 1, 0.5: 2, (1, 2): 3, "a": 4, 5: 6})) == {"a": 4, 5: 6}


# ---- hostile files --------------------------------------------------------------------------------------------------


def commands(path: Path) -> dict[str, bytes]:
    """Every way to make a pickle call os.system, as bytes."""
    touch = f"touch {path}".encode()
    text = b"X" + len(touch).to_bytes(4, "little") + touch
    return {
        "reduce": pickle.dumps(Runs(touch.decode())),
        "global": b"\x80\x02cos\nsystem\n" + text + b"\x85R.",
        "stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text + b"\x85R.",
        "inst": b"(" + text + b"ios\nsystem\n.",
        "obj": b"(cos\nsystem\n" + text + b"o.",
        "newobj": b"\x80\x02cos\nsystem\n" + text + b"\x85\x81.",
        "newobj_ex": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text + b"\x85}\x92.",
        "build": b"\x80\x02cos\nsystem\n" + text + b"b.",
        "eval": b"c__builtin__\neval\n(V__import__('os').system(" + repr(touch.decode()).encode() + b")\ntR.",
    }


@pytest.mark.parametrize("way", sorted(commands(Path())))
def test_nothing_runs(way: str, tmp_path: Path) -> None:
    data = commands(tmp_path / "touched")[way]
    found = follow(data)
    assert not (tmp_path / "touched").exists()
    assert isinstance(found, Record | Global)
    if way in ("reduce", "global", "stack_global"):
        pickle.loads(data)  # the file would have run, had it been unpickled
        assert (tmp_path / "touched").exists()


def test_extension_codes_are_refused() -> None:
    copyreg.add_extension("os", "system", 0x4321)
    try:
        for data in (b"\x80\x02\x83\x21\x43.", b"\x80\x02\x82\x21.", b"\x80\x02\x84\x21\x43\x00\x00."):
            with pytest.raises(CheckpointError, match="extension registry"):
                follow(data)
    finally:
        copyreg.remove_extension("os", "system", 0x4321)


@pytest.mark.parametrize("data", [b"\x80\x05\x97.", b"\x80\x05C\x01a\x98."])
def test_buffers_from_elsewhere_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="kept elsewhere"):
        follow(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04" + b"]" * 20_000 + b"a" * 19_999 + b".",
        b"\x80\x04)" + b"\x85" * 20_000 + b".",
        b"\x80\x04" + b"}K\x01" * 20_000 + b"}" + b"s" * 20_000 + b".",
        b"\x80\x04" + b"ca\nb\n)R" * 20_000 + b"b" * 19_999 + b".",
    ],
    ids=["list", "tuple", "dict", "state"],
)
def test_deep_nesting_is_followed_without_recursion(data: bytes) -> None:
    assert follow(data) is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80\x04X" + (2**31).to_bytes(4, "little") + b"a.", "MiB of text"),
        (b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"a.", "not whole"),
        (b"\x80\x04\x8b" + (100).to_bytes(4, "little") + b"a" * 100 + b".", "no valid argument"),
        (b"I" + b"9" * 4000 + b"\n.", "no valid argument"),
        (b"I" + b"9" * 5000 + b"\n.", "does not end"),
        (b"\x80\x04X\x01\x00\x00\x00\xff.", "no valid argument"),
        (b"Fone\n.", "no valid argument"),
        (b"S'a\n.", "no valid argument"),
        (b"g9999999999999\n.", "no number"),
        (b"\x80\x09N.", "protocol 9"),
        (b"\x80\x04\xffN.", "no opcode"),
        (b"\x80\x04.", "stack is empty"),
        (b"\x80\x04t.", "lacks a mark"),
        (b"\x80\x04h\x07.", "never kept"),
        (b"\x80\x04K\x01K\x02K\x03s.", "sets items"),
        (b"\x80\x04](K\x01u.", "sets items"),
        (b"\x80\x04}(K\x01u.", "sets items"),
        (b"\x80\x04}K\x01a.", "appends"),
        (b"\x80\x04K\x01K\x02\x93.", "other than text"),
        (b"\x80\x04K\x01Q.", "reference"),
        (b"", "not whole"),
    ],
)
def test_what_is_no_pickle_says_so(data: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        follow(data)


def test_opcodes_and_text_are_counted() -> None:
    assert follow(b"\x80\x04" + b"N0" * 10 + b"N.", operations=23) is None
    with pytest.raises(CheckpointError, match=f"more than {MAX_OPERATIONS:,} opcodes"):
        follow(b"\x80\x04" + b"N0" * 10 + b"N.", operations=22)
    long = b"\x80\x04" + (b"\x8c\xff" + b"a" * 255 + b"0") * 10 + b"Vabc\n."
    assert follow(long, text=2554) == "abc"
    with pytest.raises(CheckpointError, match=f"more than {MAX_TEXT // 2**20} MiB of text"):
        follow(long, text=2553)


def test_damage_at_any_byte_is_an_error_of_ours_or_a_value() -> None:
    data = pickle.dumps({"point": Point(), "numbers": [1, 2.5, -3, 2**40], "bytes": b"xyz"})
    for at in range(len(data)):
        for byte in (0, 0x28, 0x2E, 0x52, 0x62, 0x80, 0x94, 0xFF, data[at] ^ 1):
            with suppress(CheckpointError):
                follow(data[:at] + bytes([byte]) + data[at + 1 :])


def test_a_pickle_cut_anywhere_is_not_whole() -> None:
    data = pickle.dumps({"point": Point(), "numbers": [1, 2.5, -3, 2**40], "bytes": b"xyz"})
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            follow(data[:length])


def test_copies_are_counted_as_opcodes(tmp_path: Path) -> None:
    pairs = [[f"k{i}", None] for i in range(20_000)]
    head = pickle.dumps(pairs, 4)[:-1]  # the list stays on the stack
    again = b"q\x07" + b"ccollections\nOrderedDict\nh\x07\x85R" * 20_000 + b"."
    (tmp_path / "a.pkl").write_bytes(head + again)
    with pytest.raises(CheckpointError, match=f"more than {MAX_OPERATIONS:,} opcodes and copies"):
        read_tree(tmp_path / "a.pkl")


def test_archives_in_a_file_are_counted_too(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for i in range(5_000):
            archive.writestr(f"data/{i}", b"")
        reference = b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\0"
        archive.writestr("data.pkl", b"\x80\x02(" + reference + b"tQ.")
    data = inner.getvalue()
    load = b"\x80\x04ctorch.storage\n_load_from_bytes\nq\x01B" + len(data).to_bytes(4, "little") + data + b"q\x02\x85R"
    (tmp_path / "a.pkl").write_bytes(load + b".")
    assert isinstance(read_tree(tmp_path / "a.pkl"), Storage)
    (tmp_path / "a.pkl").write_bytes(load + b"h\x01h\x02\x85R" * 1000 + b".")
    with pytest.raises(CheckpointError, match=f"more than {MAX_OPERATIONS:,} opcodes and copies"):
        read_tree(tmp_path / "a.pkl")
