"""The reader of JSON and TOML texts: what is beyond its limits is one short line."""

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutate import mutate_bytes, mutate_json

from brickwork.files.plain import SMALL, Limits, read_json, read_small, read_toml

VALUE: dict[str, Any] = {
    "steps": 50,
    "sizes": [1, 2.5, [3]],
    "words": {"é": "a b", "none": None},
    "yes": True,
    "seed": 2**64 - 1,
}


def test_what_a_writer_makes_is_read_as_it_is() -> None:
    assert read_json(json.dumps(VALUE)) == VALUE
    assert read_json(json.dumps(VALUE, ensure_ascii=False).encode()) == VALUE
    assert read_json('"\\ud83d\\ude00"') == "😀"
    assert read_toml("a = 1\nb = [inf, 0.5]\n[c]\nd = 'x'") == {"a": 1, "b": [float("inf"), 0.5], "c": {"d": "x"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 900 + "]" * 900, "more than 64 lists and tables in each other"),
        ('{"a":' * 100_000 + "0" + "}" * 100_000, "more than 64 lists and tables in each other"),
        ("9" * 500, "a whole number of 500 digits, and at most 20 are read"),
        ("9" * 5000, "a whole number of 5000 digits, and at most 20 are read"),
        ("[1e999]", "1e999 is too large for a number"),
        ("0." + "1" * 500, "a number of 502 characters, and at most 400 are read"),
        ("[NaN]", "NaN is no number of JSON"),
        ("-Infinity", "-Infinity is no number of JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ('["\\ud83d"]', "a text with half a character (a lone surrogate)"),
        ('{"\\ud83d": 1}', "a text with half a character (a lone surrogate)"),
        (b'"\xff"', "byte 1 is no UTF-8"),
        ("[" + "0," * 200_000 + "0]", "some 200,001 values, and at most 100,000 are read"),
        (" " * (2 << 20), "2,097,152 bytes, and at most 1,048,576 are read"),
        ("", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_json_beyond_its_limits_is_one_line(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_json(text, SMALL)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "9" * 500, "a whole number of more than 20 digits"),
        ("a = " + "9" * 5000, "a whole number of more than 20 digits"),
        ("a = 0x" + "f" * 500, "a whole number of more than 20 digits"),
        ("a = " + "[" * 900 + "]" * 900, "more than 64 lists and tables in each other"),
        (".".join("a" * 900) + " = 1", "more than 64 lists and tables in each other"),
        ("a = 1e999", "1e999 is too large for a number"),
        ("a = 1\na = 2", "Cannot overwrite a value "),
        (b"a = '\xff'", "byte 5 is no UTF-8"),
        ("a = '\ud83d'", "a text with half a character (a lone surrogate)"),
    ],
)
def test_toml_beyond_its_limits_is_one_line(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_toml(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) <= 120


def outcome(read: Callable[[bytes], Any], data: bytes) -> tuple[Any, str]:
    """Return what was read, or why nothing was."""
    try:
        return read(data), ""
    except ValueError as error:
        return None, str(error)


def test_mutated_texts_are_read_as_they_are_or_refused() -> None:
    text = json.dumps(VALUE, ensure_ascii=False).encode()
    for seed in range(500):
        for made in (mutate_bytes(text, seed), mutate_json(VALUE, seed)):
            value, said = outcome(read_json, made.data)
            assert len(said) <= 120, made.what
            assert said or value == json.loads(made.data), made.what


def test_mutated_toml_is_read_as_it_is_or_refused() -> None:
    text = b"steps = 50\nminutes = 1.5\n[data]\nsize = 16\nname = 'e'\nbetas = [0.9, 0.99]\n"
    for seed in range(500):
        made = mutate_bytes(text, seed)
        table, said = outcome(read_toml, made.data)
        assert len(said) <= 120, made.what
        assert said or repr(table) == repr(tomllib.loads(made.data.decode())), made.what


def test_only_regular_files_of_a_small_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        read_small(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        read_small(Path("/dev/zero"))
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(ValueError, match="21,474,836,480 bytes, and at most 8 are read"):
        read_small(tmp_path / "sparse", Limits(size=8))
    (tmp_path / "plain").write_bytes(b"12345678")
    assert read_small(tmp_path / "plain", Limits(size=8)) == b"12345678"
