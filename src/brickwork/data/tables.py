"""Tables that lie beside images: rows of JSON, CSV or Parquet that name an image and say something about it."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from brickwork.data.names import clean_path
from brickwork.errors import DataError, MissingExtraError, first_line
from brickwork.files.plain import Limits, read_json

FILE_KEYS = ("file_name", "filename", "file", "image", "image_path", "image_name", "path", "img")
"""Names of the column that says which image a row is about."""
CAPTION_KEYS = ("caption", "captions", "text", "prompt", "description")
"""Names of a column of captions."""
LABEL_KEYS = ("label", "labels", "class", "class_name", "fine_label", "coarse_label")
"""Names of a column of classes."""
KNOWN = frozenset((*FILE_KEYS, *CAPTION_KEYS, *LABEL_KEYS))

STEMS = ("captions", "metadata")
"""Names of tables, without their suffix."""
MAX_BYTES = 1 << 28
"""Size of the largest file of captions or labels that is read: 256 MiB."""
MAX_ROWS = 10_000_000
"""Most rows of a table."""
LIMITS = Limits(size=MAX_BYTES, values=1 << 25)

Read = Callable[[str, int], bytes]
"""Function that returns at most so many first bytes of a file, or raises a DataError that names it."""
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table of facts about images.

    Attributes:
        path: Its file.
        rows: ("FILE line 3", values by column, in lower case) for each row; columns that are not KNOWN are left out.
    """

    path: str
    rows: Sequence[tuple[str, Row]]

    @property
    def for_captions(self) -> bool:
        """True for a table whose name says that it holds captions."""
        return PurePosixPath(self.path).stem.lower() == "captions"

    def has(self, keys: Sequence[str]) -> bool:
        """Tell whether a row has a column of one of these names."""
        return any(key in row for _, row in self.rows for key in keys)

    def named(self, place: str, row: Row) -> tuple[str, str]:
        """Return the image that a row is about: its name there, and its cleaned path from the top of the set."""
        said = value_of(row, FILE_KEYS)
        if not isinstance(said, str):
            raise DataError(f'{place} names no image: give it a "file_name", or leave captions out (--no-captions)')
        return said, clean_path(said, posixpath.dirname(self.path)) or ""


def is_table(path: str) -> bool:
    """Tell whether a file's name is that of a table that is read."""
    file = PurePosixPath(path.lower())
    return file.stem in STEMS and file.suffix in READERS


def read_table(path: str, read: Read) -> Table:
    """Read a table.

    Raises:
        DataError: It is too large or not understood.
        MissingExtraError: It needs a package that is not installed.
    """
    rows: list[tuple[str, Row]] = []
    for place, row in READERS[PurePosixPath(path).suffix.lower()](path, read):
        if len(rows) == MAX_ROWS:
            raise DataError(f"{path}: more than {MAX_ROWS} rows; split it")
        values = {str(key).strip().lower(): value for key, value in row.items()}
        rows.append((place, {key: value for key, value in values.items() if key in KNOWN}))
    return Table(path=path, rows=rows)


def value_of(row: Row, keys: Sequence[str]) -> Any:
    """Return the value of the first of some columns that a row has; None without any."""
    return next((row[key] for key in keys if key in row), None)


def bytes_of(path: str, read: Read) -> bytes:
    """Read a file of captions or labels whole."""
    data = read(path, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: longer than {MAX_BYTES} bytes, which is no file of captions; split or shorten it")
    return data


def text_of(path: str, read: Read) -> str:
    """Read a file's text."""
    try:
        return bytes_of(path, read).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error


def lines_of_json(path: str, read: Read) -> Iterator[tuple[str, Row]]:
    """Yield each line that is not blank; facts that are not read may be what other programs call JSON."""
    for number, line in enumerate(text_of(path, read).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} line {number} is no JSON ({error}): write one object in each line") from error
        if not isinstance(row, dict):
            raise DataError(f'{path} line {number} is no object: write {{"file_name": ..., "caption": ...}}')
        yield f"{path} line {number}", row


def entries_of_json(path: str, read: Read) -> Iterator[tuple[str, Row]]:
    """Yield the objects of a list, or the entries of a table of captions by image."""
    try:
        whole = read_json(text_of(path, read), LIMITS)
    except ValueError as error:
        raise DataError(f"{path} is no JSON that can be read ({error}): write a list of objects") from error
    if isinstance(whole, dict):
        whole = [{"file_name": file} | (v if isinstance(v, dict) else {"caption": v}) for file, v in whole.items()]
    for number, row in enumerate(whole if isinstance(whole, list) else [whole], 1):
        if not isinstance(row, dict):
            raise DataError(f'{path} entry {number} is no object: write {{"file_name": ..., "caption": ...}}')
        yield f"{path} entry {number}", row


def lines_of_csv(path: str, read: Read) -> Iterator[tuple[str, Row]]:
    """Yield the rows behind the first, which names the columns; separated by commas, semicolons or tabs."""
    text = text_of(path, read)
    first = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        columns = next(lines, [])
        for row in lines:
            place = f"{path} line {lines.line_num}"
            if row and len(row) != len(columns):
                raise DataError(f"{place} has {len(row)} values for {len(columns)} columns: put texts in double quotes")
            if row:
                yield place, dict(zip(columns, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path} line {lines.line_num} is no CSV ({error}): mend it") from error


def rows_of_parquet(path: str, read: Read) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a Parquet file; only the columns that may be wanted are read."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("hub", "pyarrow", f"{path} (a table in Parquet)") from error
    data = bytes_of(path, read)
    try:
        file: Any = parquet.ParquetFile(io.BytesIO(data))
        columns = [name for name in file.schema_arrow.names if name.strip().lower() in KNOWN]
        number = 0
        for batch in file.iter_batches(batch_size=256, columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError, RecursionError) as error:
        first = first_line(error)
        raise DataError(f"{path}: not a Parquet file that can be read ({first}); make it again") from error


READERS: dict[str, Callable[[str, Read], Iterator[tuple[str, Row]]]] = {
    ".jsonl": lines_of_json,
    ".json": entries_of_json,
    ".csv": lines_of_csv,
    ".tsv": lines_of_csv,
    ".parquet": rows_of_parquet,
}
"""Readers of tables by suffix."""
