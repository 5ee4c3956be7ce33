"""PNG files without the chunks that change no pixel: what is odd in those must not make a picture unreadable."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = (b"tRNS", b"iCCP", b"eXIf")
"""Ancillary chunks that a picture's look depends on: transparency, colour profile, orientation."""
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type exif")
"""Keywords of texts that hold an orientation."""
MAX_UNPACKED = 1 << 20
"""Largest text or profile that is kept, unpacked: 1 MiB, as Pillow refuses a file with a larger one."""


def needed_chunks(data: bytes) -> tuple[bytes, set[bytes]]:
    """Return a PNG without the ancillary chunks that nobody needs, are too large or damaged; and the types left out.

    Other files, and a PNG whose chunks do not follow each other to the end, come back as they are.
    """
    if not data.startswith(SIGNATURE):
        return data, set()
    view, place, room = memoryview(data), len(SIGNATURE), MAX_UNPACKED
    parts, dropped = [view[:place]], set()
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            break
        critical = not kind[0] & 0x20
        size = 0 if critical else unpacked_size(kind, view[place + 4 : end], room)
        if size is None:
            dropped.add(kind)
        else:
            room -= size if kind in TEXT_CHUNKS else 0
            parts.append(view[place:end])
        if kind == b"IEND":
            return (b"".join(parts) if dropped else data), dropped
        place = end
    return data, set()


def unpacked_size(kind: bytes, chunk: memoryview, room: int) -> int | None:
    """Return the unpacked size of an ancillary chunk to be kept; None for one that is left out.

    Args:
        kind: Its type.
        chunk: Its type, its content and its checksum.
        room: Largest size of a text that is kept.
    """
    if kind not in TEXT_CHUNKS + KEPT:
        return None
    if kind in TEXT_CHUNKS and not bytes(chunk[4:40]).startswith(tuple(word + b"\0" for word in TEXTS)):
        return None
    if struct.unpack(">I", chunk[-4:])[0] != zlib.crc32(chunk[:-4]):
        return None
    body = bytes(chunk[4:-4])
    after = body.partition(b"\0")[2]
    if kind == b"iCCP":
        return packed_size(after, MAX_UNPACKED)
    if kind == b"zTXt":
        return packed_size(after, room)
    if kind == b"iTXt" and after[:1] == b"\1":
        packed = after[2:].split(b"\0", 2)  # language, translated keyword, text
        return packed_size(after[1:2] + packed[-1], room)
    return len(body) if len(body) <= room or kind in KEPT else None


def packed_size(body: bytes, limit: int) -> int | None:
    """Return the unpacked size of a compressed body, a method (0: zlib) and a stream; None if too large or broken."""
    try:
        unpacker = zlib.decompressobj()
        size = len(unpacker.decompress(body[1:], limit + 1))
    except zlib.error:
        return None
    return size if body[:1] == b"\0" and unpacker.eof and size <= limit else None
