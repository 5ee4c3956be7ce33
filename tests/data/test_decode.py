"""Every kind of image file comes out as a viewer on a white page shows it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from brickwork.data.decode import decode_image, with_channels
from brickwork.errors import DataError


def packed(image: Image.Image, format: str = "PNG", **options) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def flat(mode: str, colour, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new(mode, size, colour)


@pytest.mark.parametrize(
    ("image", "format", "expected"),
    [
        (flat("1", 1), "PNG", [255]),
        (flat("L", 77), "PNG", [77]),
        (flat("LA", (0, 0)), "PNG", [255]),
        (flat("LA", (0, 128)), "PNG", [127]),
        (flat("RGB", (1, 2, 3)), "PNG", [1, 2, 3]),
        (flat("RGBA", (255, 0, 0, 0)), "PNG", [255, 255, 255]),
        (flat("RGBA", (255, 0, 0, 255)), "PNG", [255, 0, 0]),
        (flat("RGBA", (255, 0, 0, 51)), "PNG", [255, 204, 204]),
        (flat("CMYK", (0, 255, 255, 0)), "TIFF", [255, 0, 0]),
        (flat("I;16", 32768), "PNG", [128]),
        (flat("I;16", 65535), "PNG", [255]),
        (flat("I;16", 257), "TIFF", [1]),
        (flat("I", 65535), "TIFF", [255]),
        (flat("RGBA", (0, 0, 255, 0)), "WEBP", [255, 255, 255]),
        (flat("RGB", (9, 9, 9)), "BMP", [9, 9, 9]),
    ],
)  # fmt: skip
def test_modes(image: Image.Image, format: str, expected: list[int]) -> None:  # noqa: A002
    array = decode_image(packed(image, format))
    assert array.dtype == np.uint8
    assert array.shape == (8, 8, len(expected))
    assert np.abs(array.astype(int) - expected).max() <= (0 if format != "WEBP" else 2)


def test_cmyk_jpeg_red_comes_out_red() -> None:
    pixel = decode_image(packed(flat("CMYK", (0, 255, 255, 0)), "JPEG"))[4, 4].astype(int)
    assert np.abs(pixel - [255, 0, 0]).max() <= 3


def test_every_16_bit_grey_is_rounded_to_nearest() -> None:
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    array = decode_image(packed(Image.fromarray(wide)))
    np.testing.assert_array_equal(array[:, :, 0], np.floor(wide / 257 + 0.5))


def test_16_bit_grey_with_a_clear_value() -> None:
    wide = np.array([[0, 1000], [65535, 30000]], np.uint16)
    data = packed(Image.fromarray(wide))
    body = b"tRNS" + struct.pack(">H", 1000)
    chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    at = data.index(b"IDAT") - 4
    assert decode_image(data[:at] + chunk + data[at:])[:, :, 0].tolist() == [[0, 255], [255, 117]]


def test_palette_with_a_transparent_entry() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 30, 40, 250])
    image.putpixel((1, 0), 1)
    assert decode_image(packed(image))[0].tolist() == [[200, 10, 20], [30, 40, 250]]
    assert decode_image(packed(image, transparency=0))[0].tolist() == [[255, 255, 255], [30, 40, 250]]
    half = decode_image(packed(image, transparency=bytes([255, 51])))[0].tolist()
    assert half == [[200, 10, 20], [210, 212, 254]]


def test_palette_of_greys_is_grey() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([7, 7, 7, 250, 250, 250])
    image.putpixel((1, 0), 1)
    assert decode_image(packed(image)).tolist() == [[[7], [250]]]


def test_clear_colour_of_rgb_and_grey() -> None:
    assert decode_image(packed(flat("RGB", (5, 6, 7)), transparency=(5, 6, 7)))[0, 0].tolist() == [255, 255, 255]
    assert decode_image(packed(flat("L", 5), transparency=5))[0, 0].tolist() == [255]
    assert decode_image(packed(flat("1", 0), transparency=0))[0, 0].tolist() == [255]


# What each EXIF orientation says of where the stored first row and first column are seen (EXIF 2.3, tag 0x0112).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_exif_orientation(orientation: int, format: str) -> None:  # noqa: A002
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8] = 255, 0, 0
    stored[8:, 16:] = 0, 0, 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    seen = decode_image(packed(Image.fromarray(stored), format, exif=exif, **options))
    expected = UPRIGHT[orientation](stored)
    assert seen.shape == expected.shape
    assert np.abs(seen.astype(int) - expected).max() <= 4


def test_orientation_6_of_16_bit_grey() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.array([[0, 257 * 10, 257 * 20]], np.uint16)
    assert decode_image(packed(Image.fromarray(wide), exif=exif))[:, :, 0].tolist() == [[0], [10], [20]]


def test_broken_exif_does_not_matter() -> None:
    data = packed(flat("RGB", (10, 20, 30)), exif=b"Exif\0\0MM\0*nonsense")
    assert decode_image(data)[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(format: str) -> None:  # noqa: A002
    frames = [flat("RGB", c) for c in ((255, 0, 0), (0, 255, 0))]
    options = {"lossless": True} if format == "WEBP" else {}
    data = packed(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert decode_image(data)[0, 0].tolist() == [255, 0, 0]


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(format: str, share: float) -> None:  # noqa: A002
    data = packed(noise(), format)
    with pytest.raises(DataError, match=r"^cat\.x: "):
        decode_image(data[: int(share * len(data))], "cat.x")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"hello, I am a text", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not an image"),
    ],
)
def test_no_image(data: bytes, why: str) -> None:
    with pytest.raises(DataError, match=why):
        decode_image(data)


def test_floating_point_is_refused_with_advice() -> None:
    with pytest.raises(DataError, match="8 or 16 bits"):
        decode_image(packed(flat("F", 0.5), "TIFF"))


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (10_000, 10_000)])
def test_a_bomb_is_refused_before_it_is_unpacked(width: int, height: int) -> None:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    with pytest.raises(DataError, match=r"pixels"):
        decode_image(data + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))


def test_with_channels() -> None:
    grey = np.array([[[10], [200]]], np.uint8)
    assert with_channels(grey, 3).tolist() == [[[10] * 3, [200] * 3]]
    assert with_channels(with_channels(grey, 3), 1).tolist() == grey.tolist()
    red = np.array([[[255, 0, 0]]], np.uint8)
    assert with_channels(red, 1).tolist() == [[[76]]]  # 0.299 * 255
