"""Image files of a folder or an archive: raw paths become names, labels, captions and splits in this one place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from brickwork.data.captions import find_captions, texts_beside
from brickwork.data.decode import Decoder
from brickwork.data.found import Passed, passed_over
from brickwork.data.heif import check_heif
from brickwork.data.kinds import HEAD, Kind, kind_of
from brickwork.data.labels import labels_by_name, labels_of_tables, tool_labels
from brickwork.data.names import clean_path
from brickwork.data.source import Labels, Pixels, Source
from brickwork.data.tables import CAPTION_KEYS, LABEL_KEYS, Table, is_table, read_table
from brickwork.data.tree import Arranged, arrange
from brickwork.errors import DataError

HEADER = 1 << 17
"""First bytes of an image file in which its size is mostly said."""
WANTED = (".caption", ".captions", ".json", ".jsonl", ".csv", ".tsv", ".parquet")
"""Suffixes of files that say something about images, so that passing over one is worth a warning."""


class ReadRaw(Protocol):
    """Function that reads the beginning of a file by its path in the folder or archive; thread-safe."""

    def __call__(self, raw: str, limit: int, /) -> bytes:
        """Return at most so many first bytes. Raises a DataError that names the file if it cannot."""
        ...


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files by their names.

    Attributes:
        raw: Cleaned path of each file -> its path in the folder or archive, sorted by the cleaned one.
        kinds: Kind of each file, by the same paths.
        passed: Paths that lead out of the set, or that are another file's too.
    """

    raw: Mapping[str, str]
    kinds: Mapping[str, Kind]
    passed: tuple[Passed, ...]

    def of(self, kind: Kind) -> list[str]:
        """Return the files of one kind, sorted."""
        return [path for path, its in self.kinds.items() if its is kind]


def source_of_files(
    name: str,
    raw_paths: Iterable[str],
    read: ReadRaw,
    size: Callable[[str], int],
    *,
    captions: bool,
    version: Callable[[list[str]], str],
    decoder: Decoder,
    unwrap: bool = False,
    passed: Sequence[Passed] = (),
) -> Source:
    """Make a source of the image files among some files, sorted by path.

    Args:
        name: What the user called the set.
        raw_paths: Paths of all files, as the folder or archive has them.
        read: Function that reads one of them.
        size: Function that returns the size of one in bytes, or raises a DataError.
        captions: Look for captions, and for tables that may hold some.
        version: Function that returns the version of images by their paths there.
        decoder: Decoder of the images.
        unwrap: Leave the one folder that all images may share, as zip programs add it, out of their names.
        passed: What was passed over before.

    Raises:
        DataError: There is no image, images lie beside class folders, some images have captions and others none, or a
            file of labels or captions is not understood.
        MissingExtraError: HEIC images or a table need a package that is not installed.
    """
    files = named_files(raw_paths, read)
    images, others = files.of(Kind.PICTURE), files.of(Kind.OTHER)
    over = [*passed, *files.passed, *passed_over(Kind.UNREAD.value, files.of(Kind.UNREAD))]
    if not images:
        said = f" (passed over: {', '.join(map(str, over))})" if over else ""
        raise DataError(f"{name}: no image files in it{said}; give a folder or .zip of images, an .npz or IDX files")

    def read_named(path: str, limit: int) -> bytes:
        return read(files.raw[path], limit)

    check_heif(images, read_named)
    numbers = tool_labels(others, read_named)
    tables = [read_table(path, read_named) for path in filter(is_table, others)] if captions else []
    tree = arrange(name, images, classes=numbers is None)
    paths = [images[i] for i in tree.rows]
    raws = [files.raw[path] for path in paths]
    labels, classes, why = labels_of(name, paths, tree, numbers, tables)
    shown = without_wrapper(paths) if unwrap else paths
    texts = find_captions(name, paths, files.kinds, tables, read_named) if captions else {}
    over += [*tree.passed, *why, *left_over(others, paths, tables, captions=captions, tool=numbers is not None)]
    over += passed_over(Kind.LEFT.value, files.of(Kind.LEFT), expected=True)

    def image(i: int) -> Pixels:
        there = size(raws[i])
        return decoder.decode_file(there, lambda: read(raws[i], there), shown[i])

    def sides(i: int) -> tuple[int, int]:
        there = size(raws[i])
        try:
            return decoder.sides_of(read(raws[i], min(HEADER, there)), shown[i])
        except DataError:  # what a camera writes before the picture may be long
            if not HEADER < there <= decoder.max_bytes:
                raise
            return decoder.sides_of(read(raws[i], there), shown[i])

    return Source(
        name=name,
        image=image,
        sides=sides,
        encoded=True,
        identity=lambda i: shown[i].encode(),
        names=shown,
        labels=labels,
        classes=classes,
        captions=[texts[path] for path in paths] if texts else None,
        splits=tree.splits,
        version=version(raws),
        passed=tuple(over),
    )


def named_files(raw_paths: Iterable[str], read: ReadRaw) -> Files:
    """Clean the paths of files and tell their kinds; of several files with one name, the last one counts."""
    raw: dict[str, str] = {}
    outside, twice = [], []
    for path in sorted(raw_paths):
        name = clean_path(path)
        if not name:
            outside.append(path)
            continue
        if name in raw:
            twice.append(name)
        raw[name] = path
    raw = dict(sorted(raw.items()))
    kinds = {name: kind_of(name, lambda path=path: read(path, HEAD)) for name, path in raw.items()}
    passed = passed_over("with a path that leads out of the set", outside)
    return Files(raw=raw, kinds=kinds, passed=(*passed, *passed_over("with a name that another has", twice)))


def without_wrapper(paths: list[str]) -> list[str]:
    """Return paths without the one top folder that all of them share, if there is one."""
    cut = [path.partition("/") for path in paths]
    wrapped = len({top for top, _, _ in cut}) == 1 and all(below for _, _, below in cut)
    return [below for _, _, below in cut] if wrapped else paths


def labels_of(
    name: str, paths: list[str], tree: Arranged, numbers: dict[str, int] | None, tables: list[Table]
) -> tuple[Labels | None, tuple[str, ...], list[Passed]]:
    """Return labels and classes by dataset.json, else by folders, else by a table, and the tables passed over."""
    if numbers:
        return *labels_by_name(name, paths, numbers), []
    labelled = [table for table in tables if table.has(LABEL_KEYS)]
    if tree.labels is not None or numbers is not None or not labelled:
        return tree.labels, tree.classes, []
    labels, classes, why = labels_of_tables(paths, labelled)
    return labels, classes, passed_over(f"with labels that are no classes: {why}", [t.path for t in labelled if why])


def left_over(
    others: Collection[str], images: list[str], tables: list[Table], *, captions: bool, tool: bool
) -> list[Passed]:
    """Return what was passed over of the files that are no images."""
    used = {table.path for table in tables if table.has((*CAPTION_KEYS, *LABEL_KEYS))}
    used |= set(texts_beside(images, others).values())
    used |= {path for path in others if tool and PurePosixPath(path).name.lower() == "dataset.json"}
    rest = [path for path in others if path not in used]
    wanted = [path for path in rest if captions and path.lower().endswith(WANTED)]
    others = [path for path in rest if path not in set(wanted)]
    over = passed_over("without captions or labels that are known", wanted)
    return over + passed_over(Kind.OTHER.value, others, expected=True)
