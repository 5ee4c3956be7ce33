"""Devices by name."""

from __future__ import annotations

import torch

from brickwork.errors import ArgumentError


def choose_device(name: str) -> torch.device:
    """Return a device by name; "auto" takes cuda, then mps, then the CPU.

    Raises:
        ArgumentError: The device is not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(name.split(":")[0], False):
        raise ArgumentError(f"device {name!r}: this machine has {', '.join(k for k, v in present.items() if v)}")
    try:
        return torch.device(name)
    except RuntimeError:
        raise ArgumentError(f"device {name!r}: its number is none; cuda:0 is the first") from None
