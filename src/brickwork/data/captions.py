"""Captions beside images: a text file for each, or a table for all.

``cat.txt`` or ``cat.caption`` beside ``cat.png``; or ``captions`` or ``metadata`` as ``.jsonl``, ``.json``, ``.csv``,
``.tsv`` or ``.parquet`` in the folder or any sub-folder, with rows such as
``{"file_name": "cat.png", "caption": "a black cat"}``, with paths relative to the table's folder.
Either every image has a caption or none has: a set with gaps is refused, since a model would learn from the gaps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from brickwork.data.tables import CAPTION_KEYS, Read, Row, Table, text_of, value_of
from brickwork.errors import DataError

SUFFIXES = (".txt", ".caption", ".captions")
"""Suffixes of a text beside an image, in any case; the first that is there is read."""


def find_captions(
    name: str, images: Sequence[str], others: Collection[str], tables: Sequence[Table], read: Read
) -> dict[str, str]:
    """Find a caption for each image; empty if no image has one. An empty caption stands for no text.

    Args:
        name: What the user called the set, for messages.
        images: Cleaned paths of the images.
        others: Paths of the other files, and of images that are passed over.
        tables: Tables beside the images.
        read: Function that reads a file.

    Raises:
        DataError: Some images have a caption and others none, an image has two, a row is not understood or names no
            image, or a text cannot be read.
    """
    found = from_tables(name, images, others, tables)
    for path, beside in texts_beside(images, others).items():
        if path in found:
            raise DataError(f"{name}: {path} has a caption in {beside} and another in a table: keep one of them")
        found[path] = one_line(text_of(beside, read))
    if found and (missing := next((path for path in images if path not in found), None)):
        beside = PurePosixPath(missing).with_suffix(".txt").name
        raise DataError(
            f"{name}: {len(found)} captions for {len(images)} images, and none for {missing}: write {beside} beside it "
            "(empty for no text), or leave captions out (--no-captions)"
        )
    return found


def texts_beside(images: Sequence[str], others: Collection[str]) -> dict[str, str]:
    """Return the text file beside each image that has one: ``cat.txt`` or ``cat.png.txt``."""
    texts: dict[tuple[str, str], str] = {}
    for file in sorted(others):
        stem, dot, suffix = file.rpartition(".")
        if (suffix := (dot + suffix).lower()) in SUFFIXES:
            texts[stem, suffix] = file
    found = {}
    for path in images if texts else ():
        stems = (str(PurePosixPath(path).with_suffix("")), path)
        places = (texts.get((stem, suffix)) for suffix in SUFFIXES for stem in stems)
        if beside := next(filter(None, places), None):
            found[path] = beside
    return found


def from_tables(name: str, images: Sequence[str], others: Collection[str], tables: Sequence[Table]) -> dict[str, str]:
    """Return captions by path of their image, from all tables that have any."""
    exact, other, found = set(images), set(others), {}
    folded = by_folded_name(images)
    for table in tables:
        if not table.for_captions and not table.has(CAPTION_KEYS):
            continue  # a table of other facts about the images
        for place, row in table.rows:
            said, path = table.named(place, row)
            caption = caption_of(place, row)
            if path not in exact and path in other:
                continue  # a picture that is passed over
            path = path if path in exact else folded.get(path.casefold(), "")
            if not path:
                raise DataError(f"{name}: {place} has a caption for {said!r}, and there is no such image: take it out")
            if path in found:
                raise DataError(f"{name}: {place} has a second caption for {said!r}: keep one for each image")
            found[path] = caption
    return found


def by_folded_name(images: Sequence[str]) -> Mapping[str, str]:
    """Return images by their path without upper and lower case; "" where several have the same."""
    folded: dict[str, str] = {}
    for path in images:
        key = path.casefold()
        folded[key] = "" if key in folded else path
    return folded


def caption_of(place: str, row: Row) -> str:
    """Return the caption in a row; null stands for no text."""
    key = next((key for key in CAPTION_KEYS if key in row), None)
    if key is None:
        raise DataError(f'{place} has no caption: give it a "caption", or a "text"')
    if not isinstance(text := value_of(row, CAPTION_KEYS), str | None):
        raise DataError(f"{place} has a {key} of type {type(text).__name__}: it must be one string")
    return one_line(text or "")


def one_line(text: str) -> str:
    """Return a text with one space between its words."""
    return " ".join(text.split())
