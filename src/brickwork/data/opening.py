"""Opening of sources by path or name."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

from brickwork.data.archive import open_archive
from brickwork.data.arrays import open_arrays
from brickwork.data.decode import Decoder
from brickwork.data.digits import open_digits
from brickwork.data.folder import open_folder
from brickwork.data.found import counted
from brickwork.data.hub import open_hub
from brickwork.data.idx import idx_files, open_idx
from brickwork.data.names import clean_name, whole_text
from brickwork.data.regular import read_regular
from brickwork.data.source import SPLITS, Source
from brickwork.data.split import choose
from brickwork.errors import DataError
from brickwork.files.revision import HUB

PACKED_TAR = re.compile(r".*\.(tar\.\w+|t[abglx]z\d?|tzst)", re.IGNORECASE | re.DOTALL)
"""Names of packed tar archives."""
TAR_MARK = 257, b"ustar"
"""Place and bytes that tell a tar archive that is not packed, whatever its name."""


def open_source(
    spec: str | Path,
    split: str = "train",
    *,
    holdout: float = 0.05,
    captions: bool = True,
    decoder: Decoder | None = None,
) -> Source:
    """Open images by path or name.

    Args:
        spec: A folder of images, a folder of IDX files or one of them, a .zip, an .npz, "digits" (a folder of that name
            is "./digits"), or "hf:owner/name[:config][@revision]", a data set of the Hugging Face hub.
        split: "train", "validation", "test", "heldout" (test, else validation, else a share by hash) or "all".
        holdout: The share held out by hash where the source has no split of its own.
        captions: Read captions, where there are any.
        decoder: Decoder of image files; None for one with default limits.

    Raises:
        DataError: The source is missing, has no images, not that split, or captions for some images alone.
        MissingExtraError: It needs a package that is not installed.
    """
    return choose(open_whole(spec, captions=captions, decoder=decoder), split, holdout)


def open_whole(spec: str | Path, *, captions: bool = True, decoder: Decoder | None = None) -> Source:
    """Open all images of a source, of every split; the arguments are those of ``open_source``."""
    source = open_any(spec, captions, decoder or Decoder())
    source = replace(
        source,
        name=clean_name(source.name),
        classes=tuple(map(clean_name, source.classes)),
        captions=[whole_text(text) for text in source.captions] if captions and source.captions is not None else None,
    )
    return replace(source, found=found_line(source))


def found_line(source: Source) -> str:
    """Return "found 12 images, 12 captions, 3 classes, splits train 10, test 2; passed over: 1 ..." of all images."""
    parts = [counted(len(source), "image", "images")]
    parts += [] if source.captions is None else [counted(sum(map(bool, source.captions)), "caption", "captions")]
    parts += [counted(len(source.classes), "class", "classes") if source.classes else "no classes"]
    if source.splits is not None:
        counts = {name: int((source.splits == code).sum()) for name, code in SPLITS.items()}
        parts.append("splits " + ", ".join(f"{name} {count}" for name, count in counts.items() if count))
    over = f"; passed over: {', '.join(map(str, source.passed))}" if source.passed else ""
    return f"found {', '.join(parts)}{over}"


def open_any(spec: str | Path, captions: bool, decoder: Decoder) -> Source:
    """Open a source by its kind; without captions, files of captions beside images are not read and may be broken."""
    if spec == "digits":
        return open_digits()
    if isinstance(spec, str) and spec.startswith(HUB):
        return open_hub(spec.removeprefix(HUB), decoder)
    if not str(spec):
        raise DataError("an empty name of data; give a folder, .zip, .npz, IDX file, 'digits' or hf:owner/name")
    path = Path(spec).expanduser()
    if not path.exists():
        raise DataError(
            f"{spec}: no such folder or file; give a folder, .zip, .npz, IDX file, 'digits' or hf:owner/name"
        )
    if path.is_dir():
        return open_idx(path) if idx_files(path) else open_folder(path, captions=captions, decoder=decoder)
    if not path.is_file():
        raise DataError(f"{spec}: not a regular file, and no other is read; copy its content into one")
    if _is_tar(path):
        raise DataError(f"{spec}: a tar archive; unpack it (tar -xf {shlex.quote(str(path))}) and give the folder")
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return open_archive(path, captions=captions, decoder=decoder)
    if suffix == ".npz":
        return open_arrays(path, decoder)
    if suffix == ".gz" or "ubyte" in path.name:
        return open_idx(path)
    raise DataError(f"{spec}: a file of unknown kind; give a folder, .zip, .npz, IDX file, 'digits' or hf:owner/name")


def _is_tar(path: Path) -> bool:
    """Tell a tar archive by its name or its first bytes; nothing is unpacked, as that may take for ever."""
    place, mark = TAR_MARK
    return bool(PACKED_TAR.fullmatch(path.name)) or read_regular(path, path.name, place + len(mark))[place:] == mark
