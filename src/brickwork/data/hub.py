"""Data sets of the Hugging Face hub, by name."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from brickwork.data.decode import Decoder
from brickwork.data.found import Passed, passed_over
from brickwork.data.labels import labels_of_values
from brickwork.data.regular import read_regular
from brickwork.data.source import SPLITS, Labels, Pixels, Source, checked_labels
from brickwork.data.tables import CAPTION_KEYS
from brickwork.data.tree import SPLIT_NAMES, split_named
from brickwork.errors import DataError, MissingExtraError, first_line
from brickwork.files.revision import asked_for, split_revision

IMAGE_NAMES = ("image", "img", "jpg", "png", "webp", "picture")
LABEL_NAMES = ("label", "labels", "class", "fine_label", "coarse_label")


def open_hub(name: str, decoder: Decoder | None = None) -> Source:
    """Open the splits of "owner/name[:config][@revision]" that are named train, validation or test.

    A revision is a branch, a tag or a commit; without one it is the newest.

    The image column is the first of the feature type Image, one called "image" or the like before others; labels come
    from a ClassLabel column, else from texts or whole numbers in a column called "label" or the like; captions from a
    text column called "caption", "text" or the like. No code that comes with the data set is run.

    Raises:
        MissingExtraError: The package datasets is not installed.
        DataError: The data set is missing, or no column holds images.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("hub", "datasets", "a data set of the Hugging Face hub") from error
    library: Any = datasets
    place, revision = split_revision(name)
    repository, _, config = place.partition(":")
    try:
        loaded = library.load_dataset(repository, config or None, **asked_for(revision))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        first = first_line(error)
        raise DataError(f"hf:{name}: cannot be loaded ({first}); check name, revision and network") from error
    tables, passed = usable_splits(name, loaded)
    return source_of(name, tables, library, decoder or Decoder(), passed)


def usable_splits(name: str, loaded: Any) -> tuple[dict[str, Any], list[Passed]]:
    """Return the tables by split: train, validation, test; and the splits that are none of these."""
    if not isinstance(loaded, Mapping):
        return {"train": loaded}, []
    tables = {SPLIT_NAMES[str(key)]: table for key, table in loaded.items() if str(key) in SPLIT_NAMES}
    for key, table in loaded.items():
        if split := split_named(str(key)):
            tables.setdefault(split, table)
    if not tables:
        raise DataError(
            f"hf:{name}: has the splits {', '.join(map(str, loaded))}; one must be train, validation or test"
        )
    unused = [str(key) for key, table in loaded.items() if all(table is not used for used in tables.values())]
    return tables, passed_over("in splits that are not train, validation or test", unused)


def source_of(
    name: str, tables: Mapping[str, Any], library: Any, decoder: Decoder, passed: Sequence[Passed] = ()
) -> Source:
    """Return one source over the tables of all splits. passed: what was passed over before."""
    features = next(iter(tables.values())).features
    column = column_of(features, ("Image",), IMAGE_NAMES)
    if column is None:
        raise DataError(f"hf:{name}: has the columns {', '.join(features)}, of which none is of the feature type Image")
    label_column = column_of(features, ("ClassLabel",), LABEL_NAMES) or plain_label_column(features)
    if label_column is not None:
        secret = secret_splits(tables, label_column)
        tables = {split: table for split, table in tables.items() if split not in secret}
        passed = [*passed, *passed_over("split whose labels are secret", secret)]
    rows = [undecoded(table, column, library) for table in tables.values()]
    starts = np.cumsum([0, *map(len, rows)])
    places = [f"{split} {i}" for split, table in zip(tables, rows, strict=True) for i in range(len(table))]

    def cell(i: int) -> Any:
        part = int(np.searchsorted(starts, i, side="right")) - 1
        try:
            return rows[part][int(i - starts[part])][column]
        except Exception as error:  # a damaged table makes the libraries raise errors of many kinds
            return error

    labels, classes, over = labels_of(f"hf:{name}", tables, label_column)
    unknown = [key for key in LABEL_NAMES if key in features and label_column is None]
    over += passed_over("column of labels that are neither texts nor whole numbers", unknown)
    captions = captions_of(features, tables)
    prints = [str(getattr(table, "_fingerprint", "")) for table in tables.values()]
    return Source(
        name=f"hf:{name}",
        image=lambda i: cell_pixels(cell(i), places[i], decoder),
        identity=lambda i: cell_identity(cell(i), decoder.max_bytes + 1),
        names=places,
        labels=labels,
        classes=classes,
        captions=captions,
        splits=np.repeat(np.array([SPLITS[split] for split in tables], np.int64), np.diff(starts)),
        mirrors=captions is None,
        encoded=True,
        version="/".join(prints) if all(prints) else "",
        passed=(*passed, *over),
    )


def plain_label_column(features: Mapping[str, Any]) -> str | None:
    """Return the first column with a label's usual name that holds plain texts or whole numbers."""
    kinds = {key: str(getattr(feature, "dtype", "")) for key, feature in features.items()}
    plain = [key for key, kind in kinds.items() if kind.endswith("string") or kind.startswith(("int", "uint"))]
    return next((key for key in LABEL_NAMES if key in plain), None)


def labels_of(
    name: str, tables: Mapping[str, Any], column: str | None
) -> tuple[Labels | None, tuple[str, ...], list[Passed]]:
    """Return labels and classes of a column, and the column itself where its values are no classes."""
    if column is None:
        return None, (), []
    values = [v for table in tables.values() for v in table[column]]
    known = getattr(next(iter(tables.values())).features[column], "names", None)
    if known is not None:
        try:
            numbers = np.array(values)
        except (ValueError, OverflowError):
            raise DataError(
                f"{name}: column {column} holds labels of several shapes; one whole number is one"
            ) from None
        return *checked_labels(name, numbers, len(values), known), []
    labels, classes, why = labels_of_values(values)
    return labels, classes, passed_over(f"column of labels {why}", [column] if why else [])


def column_of(features: Mapping[str, Any], types: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    """Return the first column of a feature type, one with a usual name before others."""
    found = [key for key, feature in features.items() if type(feature).__name__ in types]
    return next((key for key in names if key in found), found[0] if found else None)


def secret_splits(tables: Mapping[str, Any], column: str) -> list[str]:
    """Return the splits whose labels are all -1 or empty, as in some test splits; none if that would be all splits."""
    secret = [split for split, table in tables.items() if all(label in (-1, None) for label in table[column])]
    return secret if len(secret) < len(tables) else []


def captions_of(features: Mapping[str, Any], tables: Mapping[str, Any]) -> list[str] | None:
    """Return the texts of a column of strings with a caption's usual name; None without one."""
    for key in CAPTION_KEYS:
        if key in features and getattr(features[key], "dtype", None) in ("string", "large_string"):
            return [str(text or "") for table in tables.values() for text in table[key]]
    return None


def undecoded(table: Any, column: str, library: Any) -> Any:
    """Return the table with the files' bytes instead of pictures, so that 16 bits, CMYK and EXIF are decoded here."""
    if not hasattr(table, "cast_column"):
        return table
    return table.cast_column(column, library.Image(decode=False))


def cell_bytes(cell: Any, name: str, limit: int) -> bytes | None:
    """Return the bytes of the image file in a cell, of a file at most the first so many; None if it holds no file.

    Raises:
        DataError: The file that the cell names cannot be read.
    """
    if isinstance(cell, Mapping):
        data, path = cell.get("bytes"), cell.get("path")
        if isinstance(path, str) and data is None:
            return read_regular(Path(path), f"{name}: {path}", limit)
        cell = data
    return bytes(cell) if isinstance(cell, bytes | bytearray | memoryview) else None


def cell_pixels(cell: Any, name: str, decoder: Decoder) -> Pixels:
    """Decode one cell into uint8 (H, W, C).

    Raises:
        DataError: It is empty, or holds no picture that can be read.
    """
    data = cell_bytes(cell, name, decoder.max_bytes + 1)
    if data is not None:
        return decoder.decode_file(len(data), lambda: data, name)
    if isinstance(cell, Image.Image):
        return decoder.pixels_of(cell.copy(), name)
    if isinstance(cell, Exception):
        said = first_line(cell)
        raise DataError(f"{name}: {said}") from cell
    held = "nothing" if cell is None or isinstance(cell, Mapping) else type(cell).__name__
    raise DataError(f"{name}: the image column holds {held}, not an image")


def cell_identity(cell: Any, limit: int) -> bytes:
    """Return an identity that does not depend on an image's row: the SHA-256 of its bytes, or of its pixels.

    What cannot be read has one of what it is called, as it is skipped on either side of a split.
    """
    try:
        data = cell_bytes(cell, "", limit)
        data = pixels_bytes(cell) if data is None else data
    except Exception:  # it is named when it is read
        data = repr(cell.get("path") if isinstance(cell, Mapping) else type(cell)).encode(errors="backslashreplace")
    return hashlib.sha256(data).digest()


def pixels_bytes(cell: Any) -> bytes:
    """Return the pixels of a picture or array as an .npy file has them; refuse other objects with an error."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(cell), allow_pickle=False)
    return buffer.getvalue()
