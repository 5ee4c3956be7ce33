"""Colour profiles (ICC.1:2001-04) made by hand: so many bytes, each of a known meaning."""

import struct
from itertools import product

D50 = (0.9642, 1.0, 0.8249)
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""Red, green and blue of Adobe RGB (1998), adapted to D50."""
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
"""Those of sRGB."""


def fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """Header of 128 bytes, the table of tags, the tags."""
    tags = {b"desc": text(), b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz(D50), **tags}
    place, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", place + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"none", 0x02100000, kind, space, pcs)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(map(fixed, D50))
    return head.ljust(128, b"\0") + table + body


def text() -> bytes:
    return b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67)


def rgb(primaries: tuple[tuple[float, float, float], ...], curve: bytes) -> bytes:
    tags = {name + b"XYZ": xyz(place) for name, place in zip((b"r", b"g", b"b"), primaries, strict=True)}
    return profile(b"RGB ", tags | {name + b"TRC": curve for name in (b"r", b"g", b"b")})


def grey(curve: bytes) -> bytes:
    return profile(b"GRAY", {b"kTRC": curve})


def srgb_curve() -> bytes:
    """The curve of IEC 61966-2-1, as a table of 1,024 values."""
    places = [i / 1023 for i in range(1024)]
    values = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in places]
    return b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(round(65535 * v) for v in values))


def cmyk() -> bytes:
    """A press whose only ink is black: Lab lightness is 100 without K, 0 with it, and C, M, Y leave no trace."""
    identity = bytes(range(256))
    grid = b"".join(bytes([0 if k else 255, 128, 128]) for _, _, _, k in product((0, 1), repeat=4))
    matrix = b"".join(map(fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + identity * 4 + grid + identity * 3
    return profile(b"CMYK", {b"A2B0": table}, pcs=b"Lab ", kind=b"prtr")
