"""Captions beside images: a text file for each, or one file of JSON lines for all.

``cat.txt`` beside ``cat.png``; or ``captions.jsonl`` or ``metadata.jsonl`` in the folder or any sub-folder, with lines
such as ``{"file_name": "cat.png", "caption": "a black cat"}``, with paths relative to the lines' folder.
Either every image has a caption or none has: a set with gaps is refused, since a model would learn from the gaps.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from brickwork.data.tree import is_hidden
from brickwork.errors import DataError

TABLES = ("captions.jsonl", "metadata.jsonl")
KEYS = ("caption", "captions", "text", "prompt", "description")
"""Names of a caption in a line, or in a column of a table."""
MAX_BYTES = 1 << 28
"""Size of the largest file of captions that is read: 256 MiB."""

Read = Callable[[str, int], bytes]
"""Function that returns the first so many bytes of a file, or raises a DataError that names it."""


def find_captions(name: str, images: Sequence[str], files: Collection[str], read: Read) -> list[str] | None:
    """Find a caption for each image; None if no image has one. An empty caption stands for no text.

    Args:
        name: What the user called the set, for messages.
        images: Paths of the images, with forward slashes.
        files: Paths of all files there are.
        read: Function that reads one of them.

    Raises:
        DataError: Some images have a caption and others none, an image has two, a line is not understood or names no
            image, or a text cannot be read.
    """
    found = from_tables(name, images, files, read)
    for path in images:
        beside = str(PurePosixPath(path).with_suffix(".txt"))
        if beside not in files:
            continue
        if path in found:
            raise DataError(f"{name}: {path} has a caption in {beside} and another in a .jsonl: keep one of them")
        found[path] = one_line(text_of(beside, read))
    if not found:
        return None
    if missing := next((path for path in images if path not in found), None):
        beside = PurePosixPath(missing).with_suffix(".txt").name
        raise DataError(
            f"{name}: {len(found)} captions for {len(images)} images, and none for {missing}: write {beside} beside it "
            "(empty for no text), or leave captions out (--no-captions)"
        )
    return [found[path] for path in images]


def from_tables(name: str, images: Sequence[str], files: Collection[str], read: Read) -> dict[str, str]:
    """Return captions by path of their image, from all files of JSON lines."""
    known, found = set(images), {}
    for table in sorted(file for file in files if PurePosixPath(file).name in TABLES and not is_hidden(file)):
        rows = list(lines_of(table, read))
        if table.endswith("metadata.jsonl") and not any(key in row for _, row in rows for key in KEYS):
            continue  # a table of other facts about the images
        for place, row in rows:
            file, caption = named_file(place, row), caption_of(place, row)
            path = posixpath.normpath(posixpath.join(posixpath.dirname(table), file))
            if path not in known:
                raise DataError(f"{name}: {place} has a caption for {file!r}, and there is no such image: take it out")
            if path in found:
                raise DataError(f"{name}: {place} has a second caption for {file!r}: keep one for each image")
            found[path] = caption
    return found


def lines_of(table: str, read: Read) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("FILE line 3", its object) for each line that is not blank."""
    for number, line in enumerate(text_of(table, read).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{table} line {number} is no JSON ({error}): write one object in each line") from error
        if not isinstance(row, dict):
            raise DataError(f'{table} line {number} is no object: write {{"file_name": ..., "caption": ...}}')
        yield f"{table} line {number}", row


def named_file(place: str, row: dict[str, Any]) -> str:
    """Return the name of the image that a line is about."""
    if not isinstance(file := row.get("file_name"), str):
        raise DataError(f'{place} names no image: give it a "file_name"')
    return file


def caption_of(place: str, row: dict[str, Any]) -> str:
    """Return the caption in a line; null stands for no text."""
    key = next((key for key in KEYS if key in row), None)
    if key is None:
        raise DataError(f'{place} has no caption: give it a "caption", or a "text"')
    if not isinstance(row[key], str | None):
        raise DataError(f"{place} has a {key} of type {type(row[key]).__name__}: it must be one string")
    return one_line(row[key] or "")


def text_of(path: str, read: Read) -> str:
    """Read a file's text."""
    data = read(path, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: longer than {MAX_BYTES} bytes, which is no file of captions; split or shorten it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error


def one_line(text: str) -> str:
    """Return a text with one space between its words."""
    return " ".join(text.split())
