"""Words of the command line: each verb with words gone, doubled, swapped, or nasty ones in their place."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from mutate import LONGEST_LINE

import brickwork as bw
from brickwork.cli import main
from brickwork.errors import BrickworkError
from campaign.subject import Subject
from campaign.subjects.models import FILE, small
from campaign.subjects.tables import plain

LINES: dict[str, list[str]] = {
    "sample": ["sample", FILE, "--seeds", "0", "--steps", "1", "--labels", "1", "--guidance", "2", "--out", "a.png"],
    "sample, how": [
        "sample",
        FILE,
        "--solver",
        "heun:churn=1",
        "--schedule",
        "karras:rho=5",
        "--steps",
        "2",
        "--seeds",
        "1",
    ],
    "train": [
        "train",
        "stoic-tiny",
        "--data",
        "set",
        "--steps",
        "1",
        "--out",
        "run",
        "--device",
        "cpu",
        "--batch",
        "2",
    ],
    "edit": ["edit", FILE, "set/a.png", "--strength", "0.5", "--steps", "2", "--seeds", "0", "--out", "b.png"],
    "others": ["info", FILE],
    "macs": ["macs", "stoic-tiny"],
    "list": ["list"],
    "verify": ["verify", "set"],
    "import": ["import", FILE, "--out", "c.safetensors"],
}
SLOW = ("99", "10", "6553", "2147", "9223")
"""Beginnings of numbers that are valid counts of work without an end: no fault."""


def write(place: Path) -> None:
    """Write a model, pictures, and the words of every verb."""
    bw.save(small(), place / FILE)
    plain(place)
    (place / "words.json").write_text(json.dumps(list(LINES.values())))


def called(place: Path) -> Any:
    """Call the verbs whose words were changed; each must end with 0, 1 or 2 and a line."""
    file = place / "words.json"
    try:
        found = json.loads(file.read_text()) if file.is_file() and file.stat().st_size < 1 << 20 else None
    except (ValueError, OSError, RecursionError):
        return None
    lines = found if isinstance(found, list) else []
    known = {json.dumps(words) for words in LINES.values()}
    os.chdir(place)
    codes = []
    for words in lines[: 2 * len(LINES)]:
        if json.dumps(words) in known or not isinstance(words, list):
            continue
        texts = [str(word) for word in words][:60]
        if texts and texts[0] != "serve" and not _endless(texts):
            codes.append(_code(texts))
    return codes


def _endless(words: list[str]) -> bool:
    """Tell whether the words ask for much work, which is no fault."""
    many = len(words) > 24 or any(word.isdigit() and int(word) > 64 for word in words)
    return many or any("bench" in word for word in words)


def _code(words: list[str]) -> int:
    """Call the command line; what it says in an error is one line of a sensible length."""
    before = sys.stderr.tell() if sys.stderr.seekable() else 0
    try:
        code = main([word.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") for word in words])
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except UnicodeEncodeError:
        return 1  # no such word can be typed
    said: str = sys.stderr.getvalue()[before:] if hasattr(sys.stderr, "getvalue") else ""  # pyright: ignore
    if code in (1, 2):
        lines = [line for line in said.splitlines() if line.startswith(("brickwork ", "brickwork:"))]
        if len(lines) != 1 or len(lines[0]) > LONGEST_LINE:
            raise AssertionError(f"exit code {code} with {len(lines)} lines: {said[-300:]!r}")
    if code not in (0, 1, 2):
        raise BrickworkError(f"exit code {code}\n")
    return code


SUBJECTS = (Subject(name="words", make=write, read=called, files="words.json", share=1.5),)
