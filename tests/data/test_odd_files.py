"""Files that a folder may hold besides plain pictures: profiles, odd chunks, wide greys, pipes, bombs."""

import gzip
import io
import logging
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from profiles import ADOBE, SRGB, cmyk, gamma, grey, rgb, srgb_curve

from brickwork.data.config import DataConfig
from brickwork.data.dataset import load_dataset
from brickwork.data.decode import Decoder, decode_image
from brickwork.data.heif import is_heif
from brickwork.data.memory import MemoryBudget
from brickwork.data.opening import open_source
from brickwork.errors import DataError, MissingExtraError

Write = Callable[..., Path]
ALL = DataConfig(split="all")


def packed(image: Image.Image, format: str = "PNG", **options) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


# ---- colour profiles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_adobe_rgb_comes_out_as_a_viewer_shows_it(format: str) -> None:  # noqa: A002
    options = {"lossless": True} if format == "WEBP" else {}
    data = packed(Image.new("RGB", (8, 8), (60, 160, 90)), format, icc_profile=rgb(ADOBE, gamma(563 / 256)), **options)
    assert decode_image(data)[0, 0].tolist() == [0, 161, 85]


def test_srgb_in_other_words_changes_no_bit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    data = packed(Image.fromarray(noise), icc_profile=rgb(SRGB, srgb_curve()))
    np.testing.assert_array_equal(decode_image(data), noise)


def test_transparency_is_kept_beside_a_profile() -> None:
    data = packed(Image.new("RGBA", (2, 2), (60, 160, 90, 0)), icc_profile=rgb(ADOBE, gamma(2.2)))
    assert decode_image(data)[0, 0].tolist() == [255, 255, 255]


def test_linear_grey_of_8_and_16_bits() -> None:
    """Half of white's light is 188 of 255 in sRGB: 255 * (1.055 * 0.5^(1/2.4) - 0.055)."""
    narrow = decode_image(packed(Image.new("L", (2, 2), 128), icc_profile=grey(gamma(1.0))))
    wide = decode_image(packed(Image.fromarray(np.full((2, 2), 32768, np.uint16)), icc_profile=grey(gamma(1.0))))
    assert narrow.tolist() == wide.tolist() == [[[188]] * 2] * 2
    dark = decode_image(packed(Image.fromarray(np.full((2, 2), 100, np.uint16)), icc_profile=grey(gamma(1.0))))
    assert dark[0, 0, 0] == 5  # 255 * 12.92 * 100 / 65535; of 8 bits it would be 0


def test_grey_under_a_profile_for_rgb_stays_grey() -> None:
    assert (
        decode_image(packed(Image.new("L", (2, 2), 77), icc_profile=rgb(SRGB, srgb_curve()))).tolist()
        == [[[77]] * 2] * 2
    )
    assert decode_image(packed(Image.new("L", (2, 2), 128), icc_profile=rgb(SRGB, gamma(1.0))))[0, 0].tolist() == [188]


def test_cmyk_by_its_profile() -> None:
    """The press shows K alone, and 128 of it is a lightness of 49.8, which is grey 118."""
    data = packed(Image.new("CMYK", (8, 8), (200, 100, 0, 128)), "TIFF", icc_profile=cmyk())
    assert np.abs(decode_image(data)[0, 0].astype(int) - 118).max() <= 1


@pytest.mark.parametrize(
    "profile", [b"", b"junk", rgb(ADOBE, gamma(2.2))[:200], cmyk(), grey(gamma(1.0)), bytes(5 << 20)]
)
def test_a_profile_that_cannot_be_used_is_passed_over_and_counted(profile: bytes) -> None:
    decoder = Decoder()
    for name in ("a.png", "b.png"):
        data = packed(Image.new("RGB", (2, 2), (1, 2, 3)), icc_profile=profile)
        assert decoder.decode(data, name)[0, 0].tolist() == [1, 2, 3]
    assert [line.startswith("2 colour profiles passed over") for line in decoder.remarks()] == [True] * bool(profile)


# ---- chunks of PNG --------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def with_chunk(extra: bytes, before: bytes = b"IDAT") -> bytes:
    data = packed(Image.new("RGB", (4, 2), (10, 20, 30)))
    place = data.index(before) - 4
    return data[:place] + extra + data[place:]


BIG = zlib.compress(b"A" * (1 << 21), 9)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"workflow\0\0" + BIG),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + BIG),
        chunk(b"tEXt", b"workflow\0" + b"A" * (1 << 21)),
        chunk(b"tEXt", b"prompt\0a cat") * 100,
        chunk(b"tEXt", b"prompt\0a cat", crc=1),
        chunk(b"gAMA", b"\1"),
        chunk(b"zTXt", b"prompt\0\0broken"),
        chunk(b"eXIf", b"MM\0*" + bytes(2), crc=1),
        chunk(b"iCCP", b"big\0\0" + BIG),
        chunk(b"iCCP", b"odd\0\7" + BIG),
    ],
    ids=["zTXt", "iTXt", "tEXt", "many", "crc", "gamma", "broken", "exif", "profile", "method"],
)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_what_changes_no_pixel_makes_no_png_unreadable(extra: bytes, before: bytes) -> None:
    assert (decode_image(with_chunk(extra, before)) == [10, 20, 30]).all()


@pytest.mark.parametrize("kind", ["XML:com.adobe.xmp", "Raw profile type exif"])
def test_an_orientation_in_a_text_is_kept(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp, raw = 'tiff:Orientation="6"', f"\nexif\n{len(exif.tobytes())}\n{exif.tobytes().hex()}"
    text = xmp if kind.startswith("XML") else raw
    extra = chunk(b"tEXt", b"workflow\0" + b"A" * (1 << 21)) + chunk(
        b"zTXt", kind.encode() + b"\0\0" + zlib.compress(text.encode())
    )
    assert decode_image(with_chunk(extra)).shape == (4, 2, 3)


def test_a_crc_error_in_the_pixels_is_an_error() -> None:
    data = bytearray(packed(Image.new("RGB", (4, 2), (10, 20, 30))))
    data[data.index(b"IDAT") + 8] ^= 1
    with pytest.raises(DataError):
        decode_image(bytes(data))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_odd_exif_data_warns_of_nothing(format: str) -> None:  # noqa: A002
    """Warnings are errors here, and no filter of the process silences them."""
    data = packed(
        Image.new("RGB", (8, 8), (10, 20, 30)), format, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09\1\x12\0\3\0\0\0\1\0\1"
    )
    assert decode_image(data).shape == (8, 8, 3)


# ---- wide greys -----------------------------------------------------------------------------------------------------


def grey_alpha_16(value: int, alpha: int) -> bytes:
    head = struct.pack(">IIBBBBB", 2, 1, 16, 4, 0, 0, 0)
    rows = zlib.compress(b"\0" + struct.pack(">4H", value, alpha, value, alpha))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_16_bit_grey_with_transparency_stays_grey() -> None:
    assert decode_image(grey_alpha_16(257 * 90, 65535)).tolist() == [[[90], [90]]]
    assert decode_image(grey_alpha_16(257 * 90, 0)).tolist() == [[[255], [255]]]


def test_12_bits_in_16_are_warned_of_once_and_read_with_the_option(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(3):
        Image.fromarray(np.full((4, 4), 4095 - i, np.uint16)).save(tmp_path / f"{i}.tif")
    with caplog.at_level(logging.WARNING):
        dark = load_dataset(tmp_path, ALL)
    assert dark.images.max() == 16
    (line,) = [record.getMessage() for record in caplog.records if "16-bit" in record.getMessage()]
    assert "3 pictures of 16-bit grey" in line
    assert "12 bits in use, dark for that: values up to 4095 of 65535; first: 0.tif" in line
    assert "--grey-bits 12" in line
    bright = load_dataset(tmp_path, DataConfig(split="all", grey_bits=12))
    assert bright.images[:, 0, 0, 0].tolist() == [255, 255, 255]
    with pytest.raises(DataError, match=r"grey values from 4095 to 4095 are not of 10 bits"):
        load_dataset(tmp_path, DataConfig(split="all", grey_bits=10, strict=True))


@pytest.mark.parametrize(("value", "count"), [(4095, 1), (40000, 0)])
def test_12_bits_in_16_of_colour_are_warned_of(value: int, count: int) -> None:
    head, row = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0), b"\0" + struct.pack(">3H", value, 0, value)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    decoder = Decoder()
    assert decoder.decode(data, "a.png").tolist() == [[[value >> 8, 0, value >> 8]]]
    assert [line[:27] for line in decoder.remarks()] == ["1 picture of 16-bit colour "] * count


def test_true_16_bits_are_not_warned_of() -> None:
    decoder = Decoder()
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(decoder.decode(packed(Image.fromarray(wide)))[..., 0], np.floor(wide / 257 + 0.5))
    decoder.decode(packed(Image.fromarray(np.zeros((2, 2), np.uint16))))
    assert decoder.remarks() == ()


# ---- limits ---------------------------------------------------------------------------------------------------------


def test_the_limit_of_pixels_can_be_raised(tmp_path: Path) -> None:
    Image.new("1", (12000, 9000)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"12000x9000 is more than 89478485 pixels; --max-pixels"):
        load_dataset(tmp_path, DataConfig(split="all", size=4, strict=True))
    assert len(load_dataset(tmp_path, DataConfig(split="all", size=4, max_pixels=200_000_000))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders")
@pytest.mark.timeout(20)
def test_only_regular_files_of_a_sensible_size_are_read(folder: Write) -> None:
    root = folder({"a.png": 7})
    os.mkfifo(root / "b.png")
    (root / "c.png").symlink_to(root / "b.png")
    (root / "d.png").symlink_to("/dev/zero")
    with (root / "e.png").open("wb") as file:
        file.truncate(20 << 30)
    (root / "f.png").symlink_to("nowhere")
    data = load_dataset(root, ALL)
    assert data.images[:, 0, 0, 0].tolist() == [7]
    assert [line.split(":")[0] for line in data.skipped] == ["b.png", "c.png", "d.png", "e.png", "f.png"]
    assert "not a regular file" in data.skipped[0]
    assert "21474836480 bytes, and up to" in data.skipped[3]
    with pytest.raises(DataError, match="not a regular file"):
        load_dataset(root, DataConfig(split="all", strict=True))
    for name in ("x.zip", "x.npz", "train-images-idx3-ubyte.gz"):
        os.mkfifo(root / name)
        with pytest.raises(DataError, match="not a regular file"):
            open_source(root / name)


def test_a_packed_file_that_claims_too_much_is_not_unpacked(tmp_path: Path, monkeypatch) -> None:
    bomb = tmp_path / "train-images-idx3-ubyte.gz"
    bomb.write_bytes(gzip.compress(struct.pack(">4BIII", 0, 0, 8, 3, 3 << 20, 28, 28) + bytes(1 << 16)))
    with pytest.raises(DataError, match=r"claim to unpack to 2466250752; .* unpack it"):
        open_source(bomb)
    monkeypatch.setattr("brickwork.data.regular.BELIEVED", 1 << 16)
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((1000, 28, 28), np.uint8))
    with pytest.raises(DataError, match=r"images: an array of 784,000 bytes, and at most 65,536 are read"):
        open_source(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", images=np.zeros((1000, 28, 28), np.uint8))
    assert len(open_source(tmp_path / "b.npz", "all")) == 1000


def test_a_budget_is_never_overdrawn_and_a_large_need_is_met_alone() -> None:
    budget, used, peaks = MemoryBudget(100), [0], []
    lock = threading.Lock()

    def work(need: int) -> None:
        for _ in range(20):
            with budget.shared():
                budget.claim(need)
                with lock:
                    used[0] += need
                    peaks.append((used[0], need))
                with lock:
                    used[0] -= need

    threads = [threading.Thread(target=work, args=(need,)) for need in (30, 40, 50, 100, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(peaks) == 100
    assert all(total <= 100 or total == need for total, need in peaks)
    assert budget._used == 0


MEASURED = """
import resource, sys
from brickwork.data.config import DataConfig
from brickwork.data import dataset, memory
memory.DECODING.total = 60 << 20
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = dataset.load_dataset(sys.argv[1], DataConfig(size=8, split="all"))
assert len(data) == 12, data.skipped
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted in other units")
def test_the_peak_of_all_threads_stays_near_the_budget(tmp_path: Path) -> None:
    """12 pictures of 6.25 million 16-bit greys claim 50 MB each, and have 150 MB at once without a budget."""
    Image.fromarray(np.zeros((2500, 2500), np.uint16)).save(tmp_path / "0.png")
    for i in range(1, 12):
        (tmp_path / f"{i}.png").write_bytes((tmp_path / "0.png").read_bytes())
    run = [sys.executable, "-c", MEASURED, str(tmp_path)]
    told = subprocess.run(
        run, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
    )
    assert int(told.stdout) < 75


def test_threads_leave_the_filters_of_warnings_alone(folder: Write) -> None:
    root = folder({f"{i}.png": i for i in range(40)})
    before = list(warnings.filters)
    threads = [threading.Thread(target=load_dataset, args=(root, ALL)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


# ---- HEIC -----------------------------------------------------------------------------------------------------------

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_without_its_package_is_said_before_anything_is_decoded(folder: Write, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Decoder, "decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(
        MissingExtraError, match=r'b\.heic, a HEIC picture, needs pillow-heif: pip install "brickwork\[heif\]"'
    ):
        open_source(folder({"a.png": 1, "b.heic": HEIC}))
    other = folder({"a.png": 1, "b.heic": packed(Image.new("L", (8, 8)))}, name="other")
    assert len(open_source(other, "all")) == 2


def test_heic_is_told_by_its_content() -> None:
    assert is_heif(HEIC)
    assert is_heif(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf")
    assert not is_heif(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf")


def test_a_heic_picture(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 40))).save(tmp_path / "a.heic", quality=100)
    seen = decode_image((tmp_path / "a.heic").read_bytes())
    assert seen.shape == (48, 64, 3)
    assert np.abs(seen.astype(int) - [200, 30, 40]).max() <= 3
    assert "HEIF" not in Image.OPEN
