"""Names on the Hugging Face Hub with a revision: ``owner/name@revision``."""

from __future__ import annotations

from typing import Any

HUB = "hf:"
"""Beginning of names on the Hub, where a place on this machine may be named too."""


def split_revision(name: str) -> tuple[str, str | None]:
    """Return the name before the first "@", and the revision behind it, a branch, tag or commit; None without one."""
    place, _, revision = name.partition("@")
    return place, revision or None


def asked_for(revision: str | None) -> dict[str, Any]:
    """Return the keyword arguments that ask the Hub's libraries for a revision; none for the newest."""
    return {"revision": revision} if revision else {}
