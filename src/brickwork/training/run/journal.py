"""The log of a run: one JSON object per line, appended; a resumed run continues it from the step of its saved state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from brickwork.errors import OutputError
from brickwork.files.plain import SMALL, Limits, read_json, read_small
from brickwork.files.whole import write_whole

LIMITS = Limits(size=1 << 30)
"""Limits of a log."""
LINE = replace(SMALL, finite=False)
"""Limits of a line; a measurement may be infinite, or no number."""


@final
class Journal:
    """Writer of ``log.jsonl``.

    Args:
        path: The log.
        step: Step of the saved state. Lines of later steps, written by a run that was killed after its last save, are
            dropped, and so is a line cut short. -1 drops all.

    Attributes:
        passed_over: Lines that were dropped since they cannot be read.

    Raises:
        OutputError: The log cannot be written.
    """

    def __init__(self, path: Path, *, step: int) -> None:
        self.path, self.passed_over = path, 0
        self.rewind(step)

    def rewind(self, step: int) -> None:
        """Drop the lines of later steps."""
        records, self.passed_over = _read(self.path)
        kept = [record for record in records if record["step"] <= step]
        write_whole(self.path, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def write(self, record: dict[str, Any]) -> None:
        """Append one line. ``record["step"]`` is required."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            reason = f"{error.strerror}; free some space or choose another place"
            raise OutputError(f"cannot write {self.path}: {reason}") from error


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; none if there is no file.

    A line is a table of a step and of numbers, texts and tables of numbers; what is none is passed over.

    Raises:
        OutputError: The log cannot be read.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the lines, and how many others were passed over: cut short by a kill, or not written by a run."""
    try:
        text = read_small(path, LIMITS).decode(errors="replace")
    except FileNotFoundError:
        return [], 0
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot read {path} ({reason}): take it away, or choose another place") from error
    lines = [line for line in text.split("\n") if line.strip()]
    records = [record for record in map(_record, lines) if record is not None]
    return records, len(lines) - len(records)


def _record(line: str) -> dict[str, Any] | None:
    """Return a line's table; None if it is no line of a log."""
    try:
        record = read_json(line, LINE)
    except ValueError:
        return None
    if not isinstance(record, dict) or type(step := record.get("step")) is not int or not 0 <= step < 1 << 63:
        return None
    return record if all(isinstance(value, str) or _is_numbers(value) for value in record.values()) else None


def _is_numbers(value: Any) -> bool:
    """Return True for a number, and for tables of numbers."""
    if isinstance(value, dict):
        return all(map(_is_numbers, value.values()))
    return isinstance(value, int | float)
