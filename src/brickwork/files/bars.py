"""Bars of progress and lines beside them, on standard error; a terminal that is gone ends no work."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm

from brickwork.errors import printable
from brickwork.files.streams import MAX_LINE, steady


class Bar(tqdm):
    """tqdm's bar, whose writing never raises; it has no thread beside it, whose start waits for ever without memory."""

    monitor_interval = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"file": steady(sys.stderr), "miniters": 1} | options)


def tell(message: str) -> None:
    """Write lines on standard error, above the bars, as ``printable`` shows them."""
    lines = [printable(line, MAX_LINE) for line in message.split("\n")]
    Bar.write("\n".join(lines), file=steady(sys.stderr))
