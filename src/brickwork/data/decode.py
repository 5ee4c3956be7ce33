"""Decoding of image files into uint8 (H, W, C), grey or RGB, upright: as a viewer would show them on a white page."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin

from brickwork.data.found import counted
from brickwork.data.heif import HEAD, heif_factory, is_heif
from brickwork.data.memory import DECODING, FILES
from brickwork.data.png import needed_chunks
from brickwork.data.profile import in_srgb, wide_table
from brickwork.data.source import Changed, Pixels
from brickwork.errors import DataError

MAX_PIXELS = 89_478_485
"""Largest image that is decoded by default, in pixels: Pillow's own limit, 256 MiB as RGB. A small file can claim far
more."""
GREY_BITS = 16
"""Bits that files of 16-bit grey use by default: white is 65535."""

GREY_MODES = {"1", "L", "LA", "La"}
DIM = 1 << 14
"""Largest value of 16-bit grey that is remarkable: a quarter of white, as of files that hold 14 bits or fewer."""
BAND = 1 << 22
"""Pixels of 16-bit grey that are narrowed to 8 bits at once, so that wide numbers take little memory."""

PLAIN, CLEAR, GREY, WIDE = 16, 28, 8, 16
"""Bytes per pixel that decoding and resizing takes at most, as measured: of colour without transparency, of anything
with it, of grey with up to 16 bits, and of grey with 32; Pillow keeps 4 bytes of colour, and its copies count."""
OF_FORMAT = {"JPEG": 6, "MPO": 6, "JPEG2000": 20, "WEBP": 8, "AVIF": 12, "HEIF": 12}
"""Bytes per pixel more that the decoders of some formats need: coefficients, planes, a buffer of their own."""
LYING = (5, 6, 7, 8)
"""EXIF's orientations of pictures that a viewer turns by a quarter."""
WHOLE = {1: "B", 3: "H", 4: "I"}
"""EXIF's types of whole numbers, as struct names them."""


@final
class PlainJpeg(JpegImagePlugin.JpegImageFile):
    """JPEG, of several pictures in one file the first, whose EXIF data is not searched for a resolution.

    Pillow warns of what is odd there, and warnings can only be silenced for the whole process.
    """

    def _read_dpi_from_exif(self) -> None:
        pass


Image.init()
SAFE = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "TGA")
FORMATS = tuple(name for name in SAFE if name in Image.OPEN)
"""Formats that Pillow may read. EPS and the like are left out, as it would start another program for them."""


@final
@dataclass
class Remark:
    """A kind of thing that was odd in pictures that were read nevertheless: their names."""

    names: set[str] = field(default_factory=set)
    largest: int = 0

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.names)

    @property
    def first(self) -> str:
        """Name of the first by the alphabet, as threads find them in any order."""
        return min(self.names)


@final
class Decoder:
    """Decoder of image files under one set of limits, for any number of threads; it counts what it passes over.

    Args:
        max_pixels: Largest image that is decoded, in pixels.
        grey_bits: Bits that files of 16-bit grey use, 9 to 16: white is 2^bits - 1.
    """

    def __init__(self, *, max_pixels: int = MAX_PIXELS, grey_bits: int = GREY_BITS) -> None:
        self.max_pixels, self.grey_bits = max_pixels, grey_bits
        self._lock = threading.Lock()
        self._remarks: dict[str, Remark] = {}

    @property
    def max_bytes(self) -> int:
        """Size of the largest file that is read: 8 bytes per pixel, four channels of 16 bits, and 1 MiB."""
        return 8 * self.max_pixels + (1 << 20)

    def decode(self, data: bytes, name: str = "image") -> Pixels:
        """Decode the bytes of one image file.

        Transparent parts become white, 16-bit grey is scaled to 8 bits, a colour profile and the EXIF orientation are
        applied, and of an animation the first frame is taken. Grey files (and palettes that show only greys) give one
        channel, all others three. Pixels without a profile stay as they are.

        Args:
            data: The whole file; its format is recognised by its content, not its name.
            name: Its name in an error.

        Raises:
            DataError: It is no image, truncated, or has more than max_pixels pixels.
            MissingExtraError: It is HEIC, and pillow-heif is not installed.
        """
        if is_heif(data[:HEAD]):
            heif_factory(f"{name}, a HEIC picture,")
        needed, dropped = needed_chunks(data)
        with DECODING.shared(), named(name), self._opened(needed, bool(data)) as image:
            if b"iCCP" in dropped:
                self.remark("profile", name)
            return self._pixels_of(image, name)

    def decode_file(self, size: int, read: Callable[[], bytes], name: str) -> Pixels:
        """Decode one image file that is not read yet, within the memory for files.

        Args:
            size: Its size in bytes, as the file system or an archive says.
            read: Function that reads so many bytes.
            name: Its name in an error.

        Raises:
            DataError: ``decode`` or ``read`` would raise it, or the file is larger than max_bytes.
            MissingExtraError: It is HEIC, and pillow-heif is not installed.
        """
        if size > self.max_bytes:
            raise DataError(f"{name}: {size} bytes, and up to {self.max_bytes} are read; --max-pixels raises the limit")
        with FILES.shared():
            FILES.claim(size)
            return self.decode(read(), name)

    def sides_of(self, data: bytes, name: str = "image") -> tuple[int, int]:
        """Return (width, height) of an image file as a viewer shows it, by its header; nothing is decoded.

        Args:
            data: The file, or its beginning.
            name: Its name in an error.

        Raises:
            DataError: It is no image, or its header is not in these bytes.
            MissingExtraError: It is HEIC, and pillow-heif is not installed.
        """
        if is_heif(data[:HEAD]):
            heif_factory(f"{name}, a HEIC picture,")
        with named(name), self._opened(data, bool(data)) as image:
            exif = image.info.get("exif") if image.format != "TIFF" else None  # Pillow turns the sides of a TIFF itself
            lies = isinstance(exif, bytes) and orientation_of(exif) in LYING
            return (image.height, image.width) if lies else (image.width, image.height)

    def pixels_of(self, image: Image.Image, name: str = "image") -> Pixels:
        """Convert an opened picture into uint8 (H, W, 1) if it is grey, else (H, W, 3); ``decode`` says how.

        Raises:
            DataError: It cannot be read, or has more than max_pixels pixels.
        """
        with DECODING.shared(), named(name):
            return self._pixels_of(image, name)

    def _pixels_of(self, image: Image.Image, name: str) -> Pixels:
        if image.width * image.height > self.max_pixels:
            raise DataError(
                f"{image.width}x{image.height} is more than {self.max_pixels} pixels; --max-pixels raises the limit"
            )
        DECODING.claim(memory_of(image))
        deep = image.format != "JPEG" and any(";16" in str(tile) for tile in getattr(image, "tile", ()))
        two_greys = deep and image.format == "PNG" and "LA;16B" in str(getattr(image, "tile", ()))
        profile = image.info.get("icc_profile")
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F":
            raise DataError("floating-point pixels have no agreed white; save it with 8 or 16 bits per channel")
        if image.mode.startswith("I"):
            return self._narrowed(image, profile, name)
        grey = image.mode in GREY_MODES or two_greys
        palette = image.mode in ("P", "PA")
        if profile:
            image = self._viewed(image, profile, grey, name)
        array = flattened(image, "L" if grey else "RGB")
        if deep and not grey and int(array.max()) < DIM >> 8:
            self.remark("deep", name)
        if palette and (array == array[:, :, :1]).all():
            return np.ascontiguousarray(array[:, :, :1])
        return array

    def remark(self, kind: str, name: str, largest: int = 0) -> None:
        """Count something odd of a picture. kind: a key of ``REMARKS``."""
        with self._lock:
            known = self._remarks.setdefault(kind, Remark())
            known.names.add(name)
            known.largest = max(known.largest, largest)

    def remarks(self) -> tuple[str, ...]:
        """Return a line for each kind of thing that was odd so far: how many pictures, and the first."""
        with self._lock:
            return tuple(REMARKS[kind](self._remarks[kind]) for kind in sorted(self._remarks))

    def _opened(self, data: bytes, some: bool) -> Any:
        """Open a file by its first format that takes it; ``Image.open`` would apply a limit of the whole process."""
        factories: list[tuple[str, Any]] = [(name, Image.OPEN[name]) for name in FORMATS]
        if is_heif(data[:HEAD]):
            factories = [("HEIF", (heif_factory("HEIC"), None))]
        for name, (factory, accept) in factories:
            try:
                if accept is None or accept(data[:16]) is True:
                    image = (PlainJpeg if name == "JPEG" else factory)(io.BytesIO(data), "")
                    break
            except (SyntaxError, IndexError, TypeError, struct.error):  # as Image.open does: the next may take it
                continue
        else:
            raise DataError("not an image, or of a format that Pillow cannot read" if some else "the file is empty")
        tidy(image)
        return image

    def _viewed(self, image: Image.Image, profile: bytes, grey: bool, name: str) -> Image.Image:
        """Convert a picture into sRGB; pass over a profile that cannot be used."""
        base = "CMYK" if image.mode == "CMYK" else "L" if grey else "RGB"
        if image.has_transparency_data:
            base += "A"
        try:
            return in_srgb(clear_modes(image).convert(base), profile)
        except ValueError:
            self.remark("profile", name)
            return image

    def _narrowed(self, image: Image.Image, profile: bytes | None, name: str) -> Pixels:
        """Convert 16-bit grey into uint8 (H, W, 1): value * 255 / white, rounded to nearest."""
        wide = np.asarray(image)
        white = (1 << self.grey_bits) - 1
        low, high = int(wide.min()), int(wide.max())
        if low < 0 or high > white:
            raise DataError(
                f"grey values from {low} to {high} are not of {self.grey_bits} bits; save it with 8 or 16 bits per "
                "channel"
            )
        if 0 < high < DIM and self.grey_bits == GREY_BITS:
            self.remark("dim", name, high)
        try:
            table = wide_table(profile, white)
        except ValueError:
            self.remark("profile", name)
            table = wide_table(None, white)
        narrow = np.empty(wide.shape, np.uint8)
        rows = max(1, BAND // wide.shape[1])
        for top in range(0, len(wide), rows):
            narrow[top : top + rows] = table[wide[top : top + rows]]
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            narrow[wide == clear] = 255
        return narrow[:, :, None]


REMARKS: dict[str, Callable[[Remark], str]] = {
    "deep": lambda r: (
        f"{counted(r.count, 'picture', 'pictures')} of 16-bit colour with 14 bits or fewer in use, dark for that; "
        f"first: {r.first}; save them with values up to 65535, or with 8 bits per channel"
    ),
    "dim": lambda r: (
        f"{counted(r.count, 'picture', 'pictures')} of 16-bit grey with {r.largest.bit_length()} bits in use, dark for "
        f"that: values up to {r.largest} of 65535; first: {r.first}; if white is less, say of how many bits it is "
        f"(--grey-bits {max(9, r.largest.bit_length())})"
    ),
    "profile": lambda r: (
        f"{counted(r.count, 'colour profile', 'colour profiles')} passed over, broken or of no use for the pictures; "
        f"first: {r.first}"
    ),
}
"""Texts of remarks by kind."""


def decode_image(data: bytes, name: str = "image") -> Pixels:
    """Decode the bytes of one image file by default limits; errors and result are those of ``Decoder.decode``."""
    return Decoder().decode(data, name)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turn any error of decoding into a DataError of one line that begins with the file's name."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except Exception as error:  # broken bytes make Pillow's readers raise errors of many kinds
        said = (str(error).strip() or "its content breaks the rules of its format").splitlines()[0]
        raise DataError(f"{name}: {said}") from error


def memory_of(image: Image.Image) -> int:
    """Return the bytes that decoding and resizing an opened picture takes at most, by what it says of itself."""
    tags = getattr(image, "tag_v2", {})
    tile = tags.get(322, 0) * tags.get(323, 0) if image.format == "TIFF" else 0
    if image.mode in ("1", "L", "P", "I;16", "I;16B", "I;16L") and not image.has_transparency_data:
        each = GREY if image.mode != "P" else PLAIN
    elif image.has_transparency_data:
        each = CLEAR
    else:
        each = WIDE if image.mode in ("I", "F") else PLAIN
    if image.info.get("icc_profile"):
        each += 8
    return (each + OF_FORMAT.get(image.format or "", 0)) * max(image.width * image.height, int(tile))


def tidy(image: Any) -> None:
    """Leave in an opened file's EXIF data the orientation alone, and keep Pillow from applying its own limit later."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        del image.info["exif"]
        if turned := orientation_of(exif):
            kept = Image.Exif()
            kept[ExifTags.Base.Orientation] = turned
            image.info["exif"] = kept.tobytes()
    if image.format == "TIFF" and image.width * image.height > MAX_PIXELS:
        image.im = Image.core.new(image.mode, image._tile_size)


def orientation_of(exif: bytes) -> int | None:
    """Return the orientation in EXIF data, 1 to 8; None if there is none or the data is broken."""
    body, found = exif.removeprefix(b"Exif\0\0"), None
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(f"{order}I", body, 4)
        (count,) = struct.unpack_from(f"{order}H", body, first)
        for place in range(first + 2, first + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", body, place)
            if tag == ExifTags.Base.Orientation and kind in WHOLE:
                (found,) = struct.unpack_from(order + WHOLE[kind], body, place + 8)
    except struct.error:  # what came before the break counts
        pass
    return found if found in range(1, 9) else None


def flattened(image: Image.Image, mode: str) -> Pixels:
    """Convert a picture into uint8 (H, W, C), on a white page. mode: "L" or "RGB"."""
    if image.has_transparency_data:
        image = on_white(image, mode)
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    return array[:, :, None] if mode == "L" else array


def on_white(image: Image.Image, mode: str) -> Image.Image:
    """Lay a picture with transparency on a white page. mode: "L" or "RGB"."""
    image = clear_modes(image).convert("LA" if mode == "L" else "RGBA")
    alpha = image.getchannel("A")
    return Image.composite(image.convert(mode), Image.new(mode, image.size, "white"), alpha)


def clear_modes(image: Image.Image) -> Image.Image:
    """Return a picture whose colours were multiplied by its transparency with its own colours; others unchanged."""
    return image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode]) if image.mode in ("La", "RGBa") else image


def with_channels(image: Pixels, channels: int) -> Changed:
    """Convert grey into three equal channels, or colour into luma (ITU-R BT.601, Pillow's "L"). channels: 1 or 3."""
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
