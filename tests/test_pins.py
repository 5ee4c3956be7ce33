"""The files that the make targets install are pinned alike, and by hash."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    found = PIN.findall((ROOT / name).read_text(encoding="utf-8"))
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_hashes_are_of_the_pinned_versions(name: str) -> None:
    text, known = (ROOT / name).read_text(encoding="utf-8"), pins("constraints.txt")
    assert pins(name).items() <= known.items()
    assert {"setuptools", "numpy"} <= pins(name).keys()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(pins(name))
    assert all("--hash=sha256:" in entry for entry in entries)


def test_every_pin_but_torchs_has_hashes() -> None:
    assert pins("constraints.txt").keys() - pins("requirements-dev.txt").keys() == {"torch"}
