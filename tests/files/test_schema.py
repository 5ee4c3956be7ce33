"""One set of rules for JSON, TOML and words; each door with its own error and advice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from math import inf, nan
from typing import Annotated, Any, Literal

import pytest

from brickwork.bounds import above, at_least
from brickwork.diffusion.process import PROCESSES, Edm, LinearFlow, NoiseProcess
from brickwork.errors import ArgumentError, BrickworkError, CheckpointError, ConfigError, PackageError
from brickwork.files.manifest import READER as PACKAGE
from brickwork.files.schema import HEADER, MAX_DEPTH, TOML, Reader, short, to_entry

WORD = Reader(error=ArgumentError, form="word", noun="option")


@dataclass(frozen=True)
class Inner:
    """A nested config."""

    width: Annotated[int, at_least(1)]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A config with a field of every kind."""

    whole: int = 0
    real: float = 0.0
    flag: bool = False
    text: str = ""
    maybe: int | None = None
    choice: Literal["a", "b", 1] = "a"
    several: bool | str | tuple[int, ...] = False
    pair: tuple[float, float] = (0.0, 0.0)
    rate: Annotated[float, above(0)] = 1.0
    table: dict[str, int] = field(default_factory=dict)
    inner: Inner = field(default_factory=partial(Inner, 1))
    parts: tuple[Inner, ...] = ()
    process: NoiseProcess = field(default_factory=Edm)
    anything: Any = None


VALUES: dict[str, list[tuple[Any, Any]]] = {
    "whole": [(3, 3), (-1, -1)],
    "real": [(3, 3.0), (0.5, 0.5)],
    "flag": [(True, True)],
    "text": [("", ""), ("3", "3")],
    "maybe": [(4, 4)],
    "choice": [("b", "b"), (1, 1)],
    "several": [(True, True), ("x", "x"), ([1, 2], (1, 2))],
    "pair": [([1, 2.5], (1.0, 2.5))],
    "rate": [(0.1, 0.1)],
    "table": [({"a": 1}, {"a": 1})],
    "inner": [({"width": 2, "names": ["x"]}, Inner(2, ("x",)))],
    "parts": [([{"width": 2}, {"width": 3}], (Inner(2), Inner(3)))],
    "process": [(["flow", {}], LinearFlow()), (["edm", {"t_max": 40}], Edm(t_max=40.0))],
    "anything": [([1, {"a": "b"}], [1, {"a": "b"}])],
}


@pytest.mark.parametrize("reader", [HEADER, PACKAGE, TOML], ids=["header", "package", "toml"])
@pytest.mark.parametrize(("key", "value", "read"), [(k, *pair) for k, pairs in VALUES.items() for pair in pairs])
def test_what_is_read(reader: Reader, key: str, value: Any, read: Any) -> None:
    found = getattr(reader.config(Outer, {key: value}), key)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("whole", True, "whole is True: it must be a whole number"),
        ("whole", 1.0, "whole is 1.0: it must be a whole number"),
        ("whole", "1", "whole is '1': it must be a whole number"),
        ("real", True, "real is True: it must be a number"),
        ("real", 10**400, "real is 1000"),
        ("real", nan, "real is nan: it must be a"),
        ("flag", 1, "flag is 1: it must be true or false"),
        ("text", 3, "text is 3: it must be a text"),
        ("maybe", "x", "maybe is 'x': it must be a whole number"),
        ("choice", True, "choice is True: it must be 'a' or 'b' or 1"),
        ("choice", ["a"], "choice is ['a']: it must be 'a' or 'b' or 1"),
        ("several", 3, "several is 3: it must be true or false or a text or a list"),
        ("several", [1, "x"], "several[1] is 'x': it must be a whole number"),
        ("pair", [1.0], "pair is [1.0]: it must be a list of 2"),
        ("pair", 1.0, "pair is 1.0: it must be a list of 2"),
        ("rate", 0, "rate is 0: it must be a number, above 0"),
        ("table", {"a": "x"}, "table.a is 'x': it must be a whole number"),
        ("table", [], "table is []: it must be a table"),
        ("inner", {}, "inner.width is missing"),
        ("inner", {"width": 0}, "inner.width is 0: it must be a whole number, at least 1"),
        ("inner", {"width": 2, "name": []}, "no {noun} named 'inner.name'"),
        ("inner", 3, "inner is 3: it must be a table of width, names"),
        ("parts", [{"width": 1}, {"width": None}], "parts[1].width is None: it must be a whole number, at least 1"),
        ("process", "edm", "process is 'edm': it must be [name, fields]"),
        ("process", ["edm", {"t_max": "x"}], "process.t_max is 'x': it must be a number"),
        ("process", ["e" * 201, {}], "it must be [name, fields]"),
    ],
)
@pytest.mark.parametrize("reader", [HEADER, PACKAGE, TOML], ids=["header", "package", "toml"])
def test_what_is_refused(reader: Reader, key: str, value: Any, rule: str) -> None:
    with pytest.raises(reader.error) as caught:
        reader.config(Outer, {key: value})
    message = str(caught.value)
    assert rule.format(noun=reader.noun) in message
    assert message.startswith(reader.subject)
    assert reader.mend in message or reader.newer in message
    assert len(message.splitlines()) == 1
    assert len(message) < 300


@pytest.mark.parametrize(
    ("key", "word", "read"),
    [
        ("whole", "3", 3),
        ("real", "3", 3.0),
        ("real", "inf", inf),
        ("flag", "TRUE", True),
        ("flag", "0", False),
        ("text", "3", "3"),
        ("choice", "1", 1),
        ("rate", "1e-3", 0.001),
    ],
)
def test_words_stand_for_values(key: str, word: str, read: Any) -> None:
    found = getattr(WORD.config(Outer, {key: word}), key)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("key", "word", "rule"),
    [
        ("whole", "3.0", "whole is '3.0': it must be a whole number"),
        ("real", "nan", "real is 'nan': it must be a number"),
        ("flag", "yes", "flag is 'yes': it must be true or false"),
        ("maybe", "4", "no option named 'maybe'"),
        ("choice", "c", "choice is 'c': it must be 'a' or 'b' or 1"),
        ("rate", "-1", "rate is '-1': it must be a number, above 0"),
        ("inner", "3", "no option named 'inner'"),
        ("wholes", "3", "no option named 'wholes'; did you mean whole"),
    ],
)
def test_words_that_stand_for_none(key: str, word: str, rule: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        WORD.config(Outer, {key: word})
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("reader", "error", "says"),
    [
        (HEADER, CheckpointError, "the header: no field named 'anythin'; upgrade brickwork; did you mean anything?"),
        (PACKAGE, PackageError, "its manifest: no field named 'anythin'; upgrade brickwork, or pack it again; did you"),
        (TOML, ConfigError, "no setting named 'anythin'; did you mean anything?"),
    ],
)
def test_an_unknown_key_says_the_near_ones(reader: Reader, error: type[BrickworkError], says: str) -> None:
    with pytest.raises(error) as caught:
        reader.fields(Outer, {"anythin": 1})
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("key", ["process", "anything", "nothing"])
def test_what_is_nested_too_deep_is_refused(key: str) -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    with pytest.raises(CheckpointError, match=f"at most {MAX_DEPTH} lists and tables in each other"):
        HEADER.config(Outer, {key: deep})
    assert HEADER.config(Outer, {"anything": deep[0][0]}).anything == deep[0][0]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["real", "anything"])
def test_numbers_that_json_does_not_have(key: str, text: str) -> None:
    with pytest.raises(CheckpointError, match=f"{key} is (nan|-?inf): it must be a finite number"):
        HEADER.config(Outer, {key: json.loads(text)})


def test_set_arguments_of_a_partial_are_no_fields() -> None:
    assert TOML.config(partial(Outer, whole=3), {"real": 2}) == Outer(whole=3, real=2.0)
    with pytest.raises(ConfigError, match="no setting named 'whole'"):
        TOML.config(partial(Outer, whole=3), {"whole": 2})


def test_a_config_that_refuses_its_values_is_named() -> None:
    @dataclass(frozen=True)
    class Split:
        share: int = 1

        def __post_init__(self) -> None:
            assert 12 % self.share == 0

    with pytest.raises(CheckpointError, match=r"split is \{'share': 0\}: it must be what Split can be made of"):
        HEADER.config(Split, {"share": 0}, "split")


@pytest.mark.parametrize("value", ["x" * 10**6, 10**5000, list(range(10**4)), {"k" * 10**4: 1}], ids=type)
def test_a_message_shows_a_value_short(value: Any) -> None:
    assert len(short(value)) <= 80


def test_every_process_is_read_as_it_was_written() -> None:
    for kind in PROCESSES.values():
        assert HEADER.entry(PROCESSES, json.loads(json.dumps(to_entry(PROCESSES, kind()))), "process") == kind()
