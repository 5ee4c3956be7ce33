"""Debian's chromium without a window, with the same switches wherever a test or a benchmark opens the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launch(playwright: Any) -> Any:
    """Start the browser in a started playwright."""
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
