"""The log of a run: one JSON object per line, appended; a resumed run continues it from the step of its saved state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

from brickwork.errors import OutputError
from brickwork.files.whole import write_whole


@final
class Journal:
    """Writer of ``log.jsonl``.

    Args:
        path: The log.
        step: Step of the saved state. Lines of later steps, written by a run that was killed after its last save, are
            dropped, and so is a line cut short. -1 drops all.

    Raises:
        OutputError: The log cannot be written.
    """

    def __init__(self, path: Path, *, step: int) -> None:
        self.path = path
        self.rewind(step)

    def rewind(self, step: int) -> None:
        """Drop the lines of later steps."""
        kept = [record for record in read_journal(self.path) if record["step"] <= step]
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
    """Return all whole lines of a log; none if there is no file."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # cut short by a kill
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records
