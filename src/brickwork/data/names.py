"""Names as they are shown, compared and hashed: cleaned once, whatever system or archiver wrote them."""

from __future__ import annotations

import re
import unicodedata

DRIVE = re.compile(r"[A-Za-z]:(?=[/\\])")
UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that are no text: controls, breaks of lines, changes of direction, and halves of characters."""


def clean_path(raw: str, folder: str = "") -> str | None:
    """Return a path with forward slashes from the top of its set; None if it leads out of the set.

    Backslashes are slashes; a drive letter, a slash in front, empty parts and "." are dropped.

    Args:
        raw: The path as a folder, an archive or a table has it.
        folder: Cleaned path of the folder that it starts from; "" for the top.

    Returns:
        The path with its parts cleaned by :func:`clean_name`; "" for the top itself.
    """
    parts = folder.split("/") if folder else []
    drive = DRIVE.match(raw)
    for part in raw[drive.end() if drive else 0 :].replace("\\", "/").split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return clean_name("/".join(parts))


def clean_name(text: str) -> str:
    """Return a name in Unicode's composed form (NFC), characters that are no text written as escapes: ``\\x1b``.

    Equal names stay equal, and different ones different; every result can be printed and encoded.
    """
    if text.isascii() and text.isprintable():
        return text
    return UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), unicodedata.normalize("NFC", text))


def whole_text(text: str) -> str:
    """Return a text in which the halves of a character are joined, and a half alone is the sign for it, U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
