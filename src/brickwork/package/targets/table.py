"""The table of all targets, and the choice of one by its name or by the suffix of a package's name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from brickwork.errors import ArgumentError, UnknownNameError

if TYPE_CHECKING:
    from brickwork.package.targets.base import Target

TARGETS = {
    "onnx": "brickwork.package.targets.onnx.target",
    "executorch": "brickwork.package.targets.executorch",
    "openvino": "brickwork.package.targets.openvino",
    "litert": "brickwork.package.targets.litert",
    "coreml": "brickwork.package.targets.coreml",
    "browser": "brickwork.package.targets.browser.target",
}
"""Modules of the targets by name; their ``TARGET`` is a ``brickwork.package.targets.base.Target``."""
DEFAULT = "onnx"
"""Target of a package for which neither a word nor a suffix names one."""


def target_of(name: str) -> Target:
    """Return a target by its name.

    Raises:
        UnknownNameError: There is no such target.
    """
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    return import_module(TARGETS[name]).TARGET


def choose_target(name: str | None, out: Path | None) -> Target:
    """Return the target that a word names, or else the suffix of the package's name, or else the default.

    Args:
        name: Name of the target; None to go by the suffix.
        out: Place of the package; None where that is not chosen yet.

    Raises:
        UnknownNameError: There is no such target.
        ArgumentError: Word and suffix name two targets, or the suffix names none and there is no word.
    """
    suffix = "" if out is None else out.suffix.removeprefix(".")
    if name is None:
        if suffix and suffix not in TARGETS:
            raise ArgumentError(
                f"{out}: .{suffix} is the suffix of no target; there are {', '.join(f'.{word}' for word in TARGETS)}; "
                "take one of these, or name the target"
            )
        return target_of(suffix or DEFAULT)
    target = target_of(name)
    if suffix in TARGETS and suffix != name:
        raise ArgumentError(
            f"{out} for target {name}: its suffix says {suffix}; name it {out.with_suffix(target.suffix).name}, "  # pyright: ignore[reportOptionalMemberAccess]
            "or leave the target out"
        )
    return target
