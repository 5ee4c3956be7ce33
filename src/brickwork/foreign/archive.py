"""Zip files read in place: torch.save stores its entries uncompressed, so an entry is a slice of the file."""

from __future__ import annotations

import struct

from brickwork.errors import CheckpointError
from brickwork.foreign.pickles import Budget, quote

MAX_ENTRIES = 100_000
ENTRY_STEPS = 8
"""Steps of the budget that an entry costs; reading it takes as long."""

_END = struct.Struct("<4s4H2LH")  # signature, this disk, first disk, entries here, entries, bytes, offset, comment
_END64 = struct.Struct("<4sQ2H2L4Q")  # signature, size, versions, disks, entries here, entries, bytes, offset
_LOCATOR64 = struct.Struct("<4sLQL")  # signature, disk, offset of END64, disks
_ENTRY = struct.Struct("<4s2H2H2H3L3H2HLL")
_LOCAL = struct.Struct("<4s3H2H3L2H")


def read_entries(view: memoryview, budget: Budget) -> dict[str, memoryview]:
    """Return every entry's bytes by name, uncopied. Source: PKWARE's APPNOTE, sections 4.3 and 4.5.3.

    Args:
        view: The file.
        budget: An entry costs steps, and its name costs text.

    Raises:
        CheckpointError: The file is truncated, compressed or encrypted, an entry points beyond its end, or the budget
            is spent.
    """
    count, at = _directory(view)
    if count > MAX_ENTRIES:
        raise CheckpointError(f"it has {count:,} entries, more than {MAX_ENTRIES:,}: no network needs as many")
    budget.step(ENTRY_STEPS * count)
    entries: dict[str, memoryview] = {}
    for _ in range(count):
        head = _unpack(_ENTRY, view, at, b"PK\x01\x02")
        flags, method, packed, size = head[3], head[4], head[8], head[9]
        name_length, extra_length, comment_length, offset = head[10], head[11], head[12], head[16]
        budget.read(name_length)
        at += _ENTRY.size
        name = bytes(_slice(view, at, name_length)).decode("utf-8", "replace")
        extra = _slice(view, at + name_length, extra_length)
        size, packed, offset = _widen(extra, size, packed, offset)
        at += name_length + extra_length + comment_length
        if method or flags & 1 or size != packed:
            raise CheckpointError(
                f"its entry {quote(name)} is compressed or encrypted, which torch.save never does: pack it anew"
            )
        local = _unpack(_LOCAL, view, offset, b"PK\x03\x04")
        entries[name] = _slice(view, offset + _LOCAL.size + local[9] + local[10], size)
    return entries


def _directory(view: memoryview) -> tuple[int, int]:
    """Return the number of entries and the first one's offset, found at the end of the file; 64-bit where present."""
    start = max(0, len(view) - _END.size - 0xFFFF)  # a comment of up to 65535 bytes may follow
    found = bytes(view[start:]).rfind(b"PK\x05\x06")
    if found < 0:
        raise CheckpointError(
            "it is a zip file without its directory, which is at the end: it is not whole; download it again"
        )
    end = _unpack(_END, view, start + found, b"PK\x05\x06")
    count, offset = end[4], end[6]
    if count == 0xFFFF or offset == 0xFFFFFFFF:
        locator = _unpack(_LOCATOR64, view, start + found - _LOCATOR64.size, b"PK\x06\x07")
        end = _unpack(_END64, view, locator[2], b"PK\x06\x06")
        count, offset = end[7], end[9]
    return count, offset


def _widen(extra: memoryview, *numbers: int) -> list[int]:
    """Return size, packed size and offset; those of all ones are replaced, in order, from the extra field of kind 1."""
    at, wide = 0, list(numbers)
    while at + 4 <= len(extra):
        kind, length = struct.unpack("<2H", extra[at : at + 4])
        if kind == 1:
            field = bytes(extra[at + 4 : at + 4 + length])
            places = [k for k, number in enumerate(numbers) if number == 0xFFFFFFFF]
            for k, (number,) in zip(places, struct.iter_unpack("<Q", field[: len(field) // 8 * 8]), strict=False):
                wide[k] = number
        at += 4 + length
    return wide


def _unpack(form: struct.Struct, view: memoryview, at: int, signature: bytes) -> tuple[int, ...]:
    values = form.unpack(_slice(view, at, form.size))
    if values[0] != signature:
        raise CheckpointError(f"its directory is damaged at byte {at}: download it again")
    return values


def _slice(view: memoryview, at: int, length: int) -> memoryview:
    if at < 0 or length < 0 or at + length > len(view):
        raise CheckpointError(
            f"its directory points beyond its end ({length} bytes at {at}): it is not whole; download it again"
        )
    return view[at : at + length]
