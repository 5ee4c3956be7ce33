"""A mistake in an argument of a public function is one line; so is memory that is not there."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import tiny_model

import brickwork as bw
from brickwork.errors import MemoryLackError, MissingExtraError, PlaceError, UnknownNameError
from brickwork.memory import available, within_memory

WRONG = [
    3,
    -1,
    2.5,
    float("nan"),
    b"x",
    [None],
    {"a": 1},
    object(),
    np.zeros(3),
    10**400,
    int,
    Path("nowhere/x"),
    ("a", 1),
]
DOORS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "load": ({"path": "nowhere"}, ["path"]),
    "load_recipe": ({"name": "stoic-tiny"}, ["name", "minutes", "batch"]),
    "load_dataset": ({"spec": "nowhere"}, ["spec"]),
    "preset": ({"name": "stoic-tiny"}, ["name"]),
    "cost": ({"config": bw.preset("stoic-digits")}, ["config"]),
    "train": ({"recipe": "stoic-tiny", "data": "nowhere", "out": "nowhere/a"}, ["recipe", "data", "out", "device"]),
    "evaluate": ({"model": tiny_model("stoic"), "reference": "nowhere"}, ["reference", "num_images"]),
    "Sampler": ({}, ["steps", "solver", "schedule", "guidance", "guidance_interval", "plan", "batch_size"]),
}


@pytest.mark.parametrize(("name", "argument"), [(name, one) for name, (_, all_) in DOORS.items() for one in all_])
def test_a_wrong_argument_is_one_line(name: str, argument: str) -> None:
    lines = [line for value in WRONG if (line := refusal(name, argument, value)) is not None]
    assert len(lines) >= len(WRONG) - 5, "a number or a path may be right"
    assert not any("\n" in line for line in lines)


def refusal(name: str, argument: str, value: Any) -> str | None:
    """The line of a public function for a value of an argument; None if it takes the value."""
    try:
        getattr(bw, name)(**{**DOORS[name][0], argument: value})
    except bw.BrickworkError as error:
        return str(error)
    return None


def test_the_line_says_value_and_rule() -> None:
    with pytest.raises(bw.BrickworkError, match=r"^load: path 3: it must be a text or of class Path$"):
        bw.load(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(bw.BrickworkError, match=r"^Sampler: plan 3: it must be of class PlanRule or a text$"):
        bw.sample(tiny_model("stoic"), seeds=0, plan=3)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.float32)),  # pyright: ignore[reportAttributeAccessIssue]
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to "
                     "allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["python", "numpy", "torch", "system"],
)  # fmt: skip
def test_memory_that_is_not_there(error: Exception) -> None:
    with (
        pytest.raises(MemoryLackError, match=r"^drawing: there is not enough memory.*; lower batch_size$") as caught,
        within_memory("drawing", "lower batch_size"),
    ):
        raise error
    assert ("4398.05 GB more were asked for" in str(caught.value)) == ("llocate" in str(error) and "4" in str(error))


def test_pictures_that_no_memory_holds() -> None:
    with pytest.raises(MemoryLackError, match=r"^counting: there is not enough memory"):
        bw.cost(bw.preset("stoic-tiny"), size=1 << 40)


def test_a_library_that_names_no_reason_lacks_memory_where_little_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("could not create a primitive")
    monkeypatch.setattr("brickwork.memory.available", lambda: 5e9)
    with pytest.raises(RuntimeError, match=r"^could not create a primitive$"), within_memory("training", ""):
        raise error
    monkeypatch.setattr("brickwork.memory.available", lambda: 5e6)
    with pytest.raises(MemoryLackError, match=r"5\.00 MB are free"), within_memory("training", ""):
        raise error


HALF = "a\ud800b"
SURROGATE = "a\udc80b"
"""Name of a file whose bytes are no UTF-8, as Python spells it."""


@pytest.mark.parametrize("name", [HALF, SURROGATE, "a\0b"], ids=["half", "bytes", "zero"])
def test_a_name_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    pictures = np.zeros((2, 8, 8, 1), np.uint8)
    model = tiny_model("stoic")
    uses = (
        lambda: bw.save(model, tmp_path / name),
        lambda: bw.save_png(pictures[0], f"{tmp_path}/{name}.png"),
        lambda: bw.pack(model, tmp_path / name),
        lambda: bw.load(tmp_path / name),
        lambda: bw.load_dataset(str(tmp_path / name)),
        lambda: bw.open_package(tmp_path / name),
        lambda: bw.verify(tmp_path / name),
        lambda: bw.train("stoic-digits", "digits", tmp_path / name),
    )
    for use in uses:
        with pytest.raises(bw.BrickworkError):
            use()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("use", ["load", "load_dataset", "load_recipe", "load_codec", "open_package", "verify"])
def test_a_name_that_is_too_long(use: str) -> None:
    with pytest.raises(bw.BrickworkError, match=r"nnn.*: File name too long|nnn.* no "):
        getattr(bw, use)("n" * 5000)


def test_half_a_character_in_a_name_of_a_class() -> None:
    with pytest.raises(bw.BrickworkError, match="half a character"):
        tiny_model("stoic", classes=("a", "b", "c", "d", HALF))


def test_a_missing_argument_names_the_function() -> None:
    with pytest.raises(TypeError, match=r"^sheet\(\) missing 1 required positional argument: 'columns'"):
        bw.sheet(np.zeros((2, 8, 8, 1), np.uint8))  # pyright: ignore[reportCallIssue]


def test_captions_background_and_facts() -> None:
    pictures: Any = np.zeros((2, 8, 8, 1), np.uint8)
    numbers: Any = [1, 2]
    with pytest.raises(bw.BrickworkError, match=r"column_captions .*: it must be a list, each of them a text"):
        bw.sheet(pictures, 2, column_captions=numbers)
    with pytest.raises(bw.BrickworkError, match=r"background -1: it must be from 0 to 255"):
        bw.sheet(pictures, 2, background=-1)
    with pytest.raises(bw.BrickworkError, match="JSON cannot hold them"):
        bw.save_png(pictures[0], "nowhere/a.png", {"a": object()})


@pytest.mark.parametrize("seeds", [range(10**9), range(10**30), [0] * 100_001], ids=["many", "endless", "one more"])
def test_more_seeds_than_one_call_draws(seeds: Any) -> None:
    with pytest.raises(bw.BrickworkError, match=r"^seeds: at most 100,000 at once; draw the rest in another call$"):
        bw.sample(tiny_model("stoic"), seeds=seeds)


def test_other_errors_come_through_and_free_memory_is_known() -> None:
    with pytest.raises(RuntimeError, match="shapes"), within_memory("drawing", "lower batch_size"):
        raise RuntimeError("shapes cannot be multiplied")
    assert available() > 1e6


@pytest.mark.parametrize(
    "read", [bw.load, bw.load_codec, bw.load_dataset, bw.load_recipe, bw.open_package, bw.verify, bw.import_weights]
)
@pytest.mark.parametrize("name", ["x" * 300, "y/" * 3000 + "a"])
def test_a_name_that_the_system_refuses_is_one_line(read: Callable[[str], Any], name: str) -> None:
    with pytest.raises(bw.BrickworkError) as caught:
        read(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [UnknownNameError("a", "b", ["c"]), MissingExtraError("x", "y", "z"), PlaceError(OSError(2, "gone", "x"))]
)
def test_errors_come_back_whole_from_another_process(error: bw.BrickworkError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
