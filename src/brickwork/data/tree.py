"""Classes and splits told by the folders of image files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brickwork.data.found import Passed, passed_over
from brickwork.data.source import SPLITS, Labels, Rows
from brickwork.errors import DataError

SPLIT_NAMES = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "eval": "validation", "evaluation": "validation",
}  # fmt: skip
_SPLIT = re.compile(
    rf"({'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})[-_ ]?(set|data|split|images|imgs|[ab]|(19|20)\d\d)?",
    re.IGNORECASE,
)

Parts = tuple[str, ...]


def split_named(name: str) -> str | None:
    """Return the split that a name stands for: "train" for "Training", "train2017" or "train_set"; None for none."""
    found = _SPLIT.fullmatch(name)
    return SPLIT_NAMES[found[1].lower()] if found else None


@dataclass(frozen=True, kw_only=True)
class Arranged:
    """Images of a folder or archive, told apart by their folders.

    Attributes:
        rows: int64, the images that belong to the set, in order; the others lie beside its parts.
        labels: int64 for each of these rows, index into classes; None if there are none.
        classes: Names of the class folders, sorted.
        splits: int64 for each of these rows, a value of SPLITS; None if no folders are splits.
        passed: What lies beside the parts.
    """

    rows: Rows
    labels: Labels | None
    classes: tuple[str, ...]
    splits: Rows | None
    passed: tuple[Passed, ...] = ()


def arrange(name: str, paths: Sequence[str], *, classes: bool = True) -> Arranged:
    """Tell labels and splits by folders: ``[around/][split/]class/.../file``, ``class/split/file`` or without classes.

    Folders that lie around all images say nothing. Below them, folders with a split's name ("train", "test", "val" ...)
    are splits if "train" is one and either no others are beside them, or "test" or "validation" is one too: then what
    lies beside is passed over. All other folders at that place are classes.

    Args:
        name: What the user called the set, for messages.
        paths: Cleaned paths of the images.
        classes: False where something else tells the classes.

    Raises:
        DataError: Some images lie in class folders and others beside them.
    """
    parts = without_common([tuple(path.split("/")) for path in paths])
    rows, splits, parts = split_folders(parts)
    over = passed_over("beside the split folders", [paths[i] for i in sorted(set(range(len(paths))) - set(rows))])
    if classes and splits is not None:
        known, secret = with_classes(parts, splits)
        over += passed_over("in a split without classes", [paths[rows[i]] for i in secret])
        rows, splits, parts = [rows[i] for i in known], splits[known], [parts[i] for i in known]
    labels, names = class_folders(name, [paths[i] for i in rows], parts) if classes else (None, ())
    return Arranged(rows=np.array(rows, np.int64), labels=labels, classes=names, splits=splits, passed=tuple(over))


def class_folders(name: str, paths: Sequence[str], parts: Sequence[Parts]) -> tuple[Labels | None, tuple[str, ...]]:
    """Return labels and the sorted names of the folders at the top, or None and none where no image is in a folder."""
    if all(len(p) == 1 for p in parts):
        return None, ()
    for path, p in zip(paths, parts, strict=True):
        if len(p) == 1:
            raise DataError(f"{name}: {path} lies beside the class folders; put every image in a sub-folder, or none")
    names = tuple(sorted({p[0] for p in parts}))
    index = {c: k for k, c in enumerate(names)}
    return np.array([index[p[0]] for p in parts], np.int64), names


def without_common(parts: Sequence[Parts]) -> Sequence[Parts]:
    """Return paths without the folders at their top that all of them share."""
    first = min(parts, default=())
    last = max(parts, default=())
    depth = next((i for i, (a, b) in enumerate(zip(first[:-1], last[:-1], strict=False)) if a != b), None)
    depth = min(len(first), len(last)) - 1 if depth is None else depth
    return [p[depth:] for p in parts] if depth > 0 else parts


def split_folders(parts: Sequence[Parts]) -> tuple[list[int], Rows | None, Sequence[Parts]]:
    """Tell splits by the folders at the top, or by those inside the folders at the top.

    Returns:
        The images that are in a split, or all; a value of SPLITS for each, or None; and their paths without the split.
    """
    for depth in (0, 1):
        named = [split_named(p[depth]) if len(p) > depth + 1 else None for p in parts]
        there = set(named)
        if "train" not in there or (None in there and (depth or not there & {"test", "validation"})):
            continue
        rows = [i for i, split in enumerate(named) if split is not None]
        splits = np.array([SPLITS[split] for split in named if split is not None], np.int64)
        return rows, splits, [parts[i][:depth] + parts[i][depth + 1 :] for i in rows]
    return list(range(len(parts))), None, parts


def with_classes(parts: Sequence[Parts], splits: Rows) -> tuple[list[int], list[int]]:
    """Return the images of the splits that have classes, and those of the splits in which no image has one.

    If no split has any, all images are returned as the former.
    """
    split_of = splits.tolist()
    nested = {split for split, p in zip(split_of, parts, strict=True) if len(p) > 1} or set(split_of)
    secret = [i for i, split in enumerate(split_of) if split not in nested]
    return [i for i, split in enumerate(split_of) if split in nested], secret
