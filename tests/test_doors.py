"""A mistake in an argument of a public function is one line; so is memory that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import tiny_model

import brickwork as bw
from brickwork.errors import MemoryLackError
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


def test_other_errors_come_through_and_free_memory_is_known() -> None:
    with pytest.raises(RuntimeError, match="shapes"), within_memory("drawing", "lower batch_size"):
        raise RuntimeError("shapes cannot be multiplied")
    assert available() > 1e6
