"""Failing inputs: shrunk to what matters, and kept with their number and the command that repeats them."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

from campaign.changes import Change
from campaign.mutations import Result, tried
from campaign.subject import Subject

SECONDS = 5.0
"""Time for shrinking one input."""


def keep(subject: Subject, result: Result, place: Path, out: Path) -> Path:
    """Keep the input of a fault, shrunk, with a note on how it is repeated.

    Args:
        subject: Its reader.
        result: The fault.
        place: Folder with the valid input.
        out: Folder of the campaign.
    """
    small = shrunk(subject, result, place) if result.outcome.kind != "hang" else result.change
    name = re.sub(r"\W+", "-", f"{subject.name}-{result.outcome.kind}-{result.change.number}")
    folder = out / "faults" / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place / "valid", folder / "input")
    if small.data is not None:
        (folder / "input" / small.file).write_bytes(small.data)
    note = {
        "subject": subject.name,
        "number": result.change.number,
        "repeat": f"make campaign REPEAT='{subject.name}:{result.change.number}'",
        "file": small.file,
        "change": f"{result.change.what} ({result.change.level})",
        "outcome": result.outcome.kind,
        "line": result.outcome.line,
    }
    (folder / "fault.json").write_text(json.dumps(note, indent=1))
    (folder / "traceback.txt").write_text(result.outcome.text)
    return folder


def shrunk(subject: Subject, result: Result, place: Path) -> Change:
    """Return a change with fewer changed bytes that meets the same fault."""
    change, valid = result.change, (place / "valid" / result.change.file).read_bytes()
    if change.data is None:
        return change
    end, data = time.monotonic() + SECONDS, change.data
    size = max(1, len(data) // 2)
    while size and time.monotonic() < end:
        at = 0
        while at < len(data) and time.monotonic() < end:
            for shorter in _candidates(data, valid, at, size):
                if meets(subject, replace(change, data=shorter), result, place):
                    data = shorter
                    break
            else:
                at += size
                continue
            at += size if len(data) == len(change.data) else 0
        size //= 2 if len(data) < 4096 else 4
    return replace(change, data=data)


def _candidates(data: bytes, valid: bytes, at: int, size: int) -> list[bytes]:
    """Return simpler data: a piece as it was in the valid file, or a piece left out."""
    found = []
    if len(data) == len(valid):
        if data[at : at + size] != valid[at : at + size]:
            found.append(data[:at] + valid[at : at + size] + data[at + size :])
    elif len(data) > len(valid) or len(data) < 4096:
        found.append(data[:at] + data[at + size :])
    return [one for one in found if one != data and one != valid]


def meets(subject: Subject, change: Change, result: Result, place: Path) -> bool:
    """Tell whether a change meets the same fault."""
    [again] = tried(subject, [change], place)
    return again.outcome.signature == result.outcome.signature
