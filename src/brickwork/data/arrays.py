"""NumPy .npz files: plain arrays of images, or encoded images one after the other with their offsets.

| key | layout "images" | layout "jpeg" |
| --- | --- | --- |
| images | uint8 (N, H, W) or (N, H, W, C), C = 1, 3 or 4 | |
| jpeg, offsets | | uint8 (total,), int (N+1,): image i is jpeg[offsets[i]:offsets[i+1]], of any format |

Both may have labels (N,), classes (K,), captions (N,), names (N,) and split (N,): 0 train, 1 validation, 2 test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from brickwork.data.decode import Decoder, on_white
from brickwork.data.folder import version_of
from brickwork.data.regular import believed
from brickwork.data.source import SPLITS, Images, Pixels, Rows, Source, checked_labels
from brickwork.errors import DataError
from brickwork.files.arrays import PickledError, read_npz

LAYOUTS = "images (N, H, W[, C]), or jpeg (total,) with offsets (N+1,)"
KEYS = ("images", "jpeg", "offsets", "labels", "classes", "captions", "names", "split")
Read = tuple[Callable[[int], Pixels], Callable[[int], bytes]]


def open_arrays(path: Path, decoder: Decoder | None = None) -> Source:
    """Open the images of an .npz in either layout.

    Raises:
        DataError: It is damaged, pickled, in neither layout, or its arrays do not fit each other.
    """
    arrays = read_arrays(path)
    name = str(path)
    if "images" in arrays:
        images = checked_images(name, arrays["images"])
        count, picture_of = len(images), from_pixels(images)
    else:
        jpeg, offsets = checked_offsets(name, arrays["jpeg"], arrays["offsets"])
        count, picture_of = len(offsets) - 1, None
    names = texts(name, arrays, "names", count) or [f"image {i}" for i in range(count)]
    image, identity = picture_of or from_bytes(jpeg, offsets, names, decoder or Decoder())  # pyright: ignore[reportPossiblyUnboundVariable]
    classes = tuple(str(c) for c in arrays["classes"].reshape(-1)) if "classes" in arrays else None
    labels, classes = checked_labels(name, arrays["labels"], count, classes) if "labels" in arrays else (None, ())
    captions = texts(name, arrays, "captions", count)
    return Source(
        name=name,
        image=image,
        identity=identity,
        names=names,
        labels=labels,
        classes=classes,
        captions=captions,
        splits=split_codes(name, arrays["split"], count) if "split" in arrays else None,
        mirrors=captions is None,
        encoded=picture_of is None,
        version=version_of(path.parent, [path.name]),
    )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz whose keys are in the table above; refuse pickled ones."""
    try:
        arrays, found = read_npz(path, KEYS, most=believed(path.stat().st_size))
    except PickledError as error:
        advice = "np.asarray(values, dtype=str) for texts, np.uint8 for images"
        raise DataError(f"{path}: {error}; save it with a plain dtype: {advice}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not an .npz that can be read ({_why_not(path, error)}); make it again") from error
    if "images" not in arrays and not {"jpeg", "offsets"} <= arrays.keys():
        raise DataError(f"{path}: has the keys {', '.join(found) or '(none)'}; needed is {LAYOUTS}")
    return arrays


def _why_not(path: Path, error: Exception) -> str:
    """Return why a file is no .npz, by its first bytes where they say so."""
    with suppress(OSError), path.open("rb") as file:
        start = file.read(6)
        if start == b"\x93NUMPY":
            return "it is a single array: save it with np.savez(path, images=array)"
        if start[:1] == b"\x80":
            return "it is pickled, and pickles are never opened"
    return str(error) or type(error).__name__


def checked_images(name: str, images: np.ndarray) -> Images:
    """Return images as (N, H, W, C); refuse another dtype or shape."""
    if images.dtype != np.uint8:
        raise DataError(f"{name}: images are {images.dtype}; they must be uint8, 0 to 255: scale and round them")
    if images.ndim == 3:
        images = images[:, :, :, None]
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4) or 0 in images.shape[1:]:
        raise DataError(
            f"{name}: images have shape {images.shape}; it must be (N, H, W) or (N, H, W, C) with C = 1, 3 or 4"
        )
    return images


def from_pixels(images: Images) -> Read:
    """Return two readers of rows of an array: the image, and its SHA-256."""

    def image(i: int) -> Pixels:
        if images.shape[3] == 4:
            return np.asarray(on_white(Image.fromarray(images[i]), "RGB"))
        return images[i]

    return image, lambda i: hashlib.sha256(images[i].tobytes()).digest()


def checked_offsets(name: str, jpeg: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, Rows]:
    """Return bytes (total,) and offsets (N+1,) where each image begins and the last one ends; refuse wrong ones."""
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1:
        raise DataError(f"{name}: jpeg is {jpeg.dtype} of shape {jpeg.shape}; it must be uint8 of shape (total,)")
    if offsets.dtype.kind not in "iu" or offsets.ndim != 1 or len(offsets) < 1:
        raise DataError(
            f"{name}: offsets are {offsets.dtype} of shape {offsets.shape}; they must be whole numbers, (N+1,)"
        )
    offsets = offsets.astype(np.int64)
    if offsets[0] < 0 or offsets[-1] > len(jpeg) or (np.diff(offsets) < 0).any():
        raise DataError(
            f"{name}: offsets go from {offsets.min()} to {offsets.max()}; they must rise from 0 to at "
            f"most {len(jpeg)}, the length of jpeg: make them with np.cumsum of the lengths"
        )
    return jpeg, offsets


def from_bytes(jpeg: np.ndarray, offsets: Rows, names: list[str], decoder: Decoder) -> Read:
    """Return two readers of encoded images in an array of bytes: the image, and its file's SHA-256."""

    def data(i: int) -> bytes:
        return jpeg[offsets[i] : offsets[i + 1]].tobytes()

    return lambda i: decoder.decode(data(i), names[i]), lambda i: hashlib.sha256(data(i)).digest()


def texts(name: str, arrays: Mapping[str, np.ndarray], key: str, count: int) -> list[str] | None:
    """Return an array of texts as a list; None if there is no such key."""
    if key not in arrays:
        return None
    array = arrays[key]
    if array.dtype.kind not in "US" or array.shape != (count,):
        raise DataError(f"{name}: {key} are {array.dtype} of shape {array.shape}; they must be str of shape ({count},)")
    return [t.decode("utf-8", "replace") for t in array.tolist()] if array.dtype.kind == "S" else array.tolist()


def split_codes(name: str, split: np.ndarray, count: int) -> Rows:
    """Convert splits, by number or by name, into int64 (N,)."""
    if split.shape != (count,):
        raise DataError(f"{name}: split has shape {split.shape}; it must be ({count},), one per image")
    if split.dtype.kind == "U":
        values, where = np.unique(split, return_inverse=True)
        codes = np.array([SPLITS.get(str(v), -1) for v in values], np.int64)[where]
    else:
        codes = split.astype(np.int64) if split.dtype.kind in "iu" else np.full(count, -1)
    if not np.isin(codes, list(SPLITS.values())).all():
        known = ", ".join(f"{code} {key}" for key, code in SPLITS.items())
        raise DataError(f"{name}: split holds {np.unique(split)[:5].tolist()}; it must be {known}")
    return codes
