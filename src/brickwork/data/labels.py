"""Classes that a table tells: ``dataset.json`` of StyleGAN's and EDM's tools, and columns of labels."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from brickwork.data.names import clean_name, clean_path
from brickwork.data.source import MAX_UNNAMED, Labels, checked_labels
from brickwork.data.tables import LABEL_KEYS, LIMITS, Read, Table, text_of, value_of
from brickwork.errors import DataError, short
from brickwork.files.plain import read_json

TOOL_TABLE = "dataset.json"
FEW = 100
"""Number of classes that any set may have; of more, there must be two images for each."""


def tool_labels(files: Collection[str], read: Read) -> dict[str, int] | None:
    """Read ``dataset.json`` as ``dataset_tool.py`` writes it: ``{"labels": [["00000/img0.png", 3], ...]}``, or null.

    T. Karras et al., StyleGAN2-ADA and EDM; the folders in such a set are numbered blocks of files and no classes.

    Returns:
        Label of each image by its cleaned path; empty where the file says that there are none; None without a file.

    Raises:
        DataError: It is no JSON, or an entry is not a name with a whole number.
    """
    labels: dict[str, int] | None = None
    for path in (file for file in files if PurePosixPath(file).name.lower() == TOOL_TABLE):
        try:
            table = read_json(text_of(path, read), LIMITS)
        except ValueError as error:
            raise DataError(f"{path} is no JSON that can be read ({error}): mend it or take it away") from error
        if not isinstance(table, dict) or "labels" not in table:
            continue
        labels = {} if labels is None else labels
        for image, label in _entries(path, table["labels"]):
            if type(label) is not int or not 0 <= label < MAX_UNNAMED:
                raise DataError(
                    f"{path}: label {short(label)} of {short(image)}; labels are whole numbers from 0, or null for all"
                )
            labels[clean_path(image, posixpath.dirname(path)) or ""] = label
    return labels


def _entries(path: str, labels: Any) -> Iterable[tuple[str, Any]]:
    """Return the pairs of image and label in a list of pairs or a table, none for null or where all labels are null."""
    pairs = list(labels.items()) if isinstance(labels, dict) else labels
    if pairs is None:
        return []
    if not isinstance(pairs, list):
        raise DataError(f"{path}: labels are {short(labels)}; they must be a list of [name, number], or null")
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise DataError(f"{path}: labels have the entry {short(pair)}; it must be [name, number]")
    return pairs if any(label is not None for _, label in pairs) else []


def labels_by_name(name: str, images: Sequence[str], labels: dict[str, int]) -> tuple[Labels, tuple[str, ...]]:
    """Return the label of each image, and the numbers as names of classes.

    Raises:
        DataError: An image has none.
    """
    if missing := next((path for path in images if path not in labels), None):
        raise DataError(f"{name}: {TOOL_TABLE} has no label for {missing}: add it, or write null for all labels")
    return checked_labels(name, np.array([labels[path] for path in images], np.int64), len(images), None)


def labels_of_tables(images: Sequence[str], tables: Sequence[Table]) -> tuple[Labels | None, tuple[str, ...], str]:
    """Return labels that tables give for all images, as :func:`labels_of_values` reads them."""
    places = {path: i for i, path in enumerate(images)}
    values: list[Any] = [None] * len(images)
    for table in tables:
        if table.has(LABEL_KEYS):
            for place, row in table.rows:
                _, path = table.named(place, row)
                if path in places:
                    values[places[path]] = value_of(row, LABEL_KEYS)
    return labels_of_values(values)


def labels_of_values(values: Sequence[Any]) -> tuple[Labels | None, tuple[str, ...], str]:
    """Return labels and classes of a column of texts or whole numbers, which are the classes' names.

    Returns:
        Labels, the classes in order, and ""; or None, no classes, and why the values are no classes.
    """
    if any(value is None or value == "" for value in values):
        return None, (), "with empty cells"
    if not all(type(value) is int and value >= 0 for value in values) and not all(type(v) is str for v in values):
        return None, (), "neither texts nor whole numbers from 0"
    names = [clean_name(str(value)) for value in values]
    different = set(names)
    if len(different) > min(MAX_UNNAMED, max(FEW, len(names) // 2)):
        return None, (), f"with {len(different)} different values, too many for classes"
    numbers = all(name.isdecimal() and len(name) < 20 for name in different)
    classes = sorted(different, key=(lambda name: (int(name), name)) if numbers else None)
    index = {c: k for k, c in enumerate(classes)}
    return np.array([index[name] for name in names], np.int64), tuple(classes), ""
