"""Verb ``brickwork serve``: browser packages on this machine."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from brickwork.device.serve import serve as listen
from brickwork.errors import ArgumentError


def serve(packages: Positional[tuple[Path, ...]], *, port: int = 8000, host: str = "127.0.0.1") -> None:
    """Open browser packages on this machine.

    Prints the address, and serves until it is interrupted.

    Args:
        packages: Folders that `brickwork pack --target browser` wrote; several are each served under their name.
        port: Port to listen on; 0 takes a free one.
        host: Interface to listen on; browsers open the page at localhost or behind https only.
    """
    if not packages:
        raise ArgumentError("no package: give a folder that `brickwork pack --target browser` wrote")
    listen(packages, port, host)
