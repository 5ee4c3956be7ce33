"""Errors that a user can cause, and no others.

BrickworkError
├── UnknownNameError     a name that is in no registry; the message lists similar ones
├── ConfigError          sizes or options that cannot be built together
├── ArgumentError        a value out of its range at a call: label, seed, shape
├── DataError            images that are missing, broken or of the wrong kind
│   └── MissingSplitError    a split that a set of images does not have
├── CheckpointError      a model file that is truncated, foreign or inconsistent
├── PackageError         a device package that is damaged, foreign, or that cannot run here
│   └── ParityError          a package whose pictures are too far from its model's; it was not kept
├── ExtensionError       a class of another package that is missing, broken or registered wrongly
├── OutputError          a place that cannot be written
├── MissingExtraError    a feature whose optional dependency is not installed
└── TrainingError        a run that cannot go on

The command line prints each as one line and exits with code 1; every message states the value, the rule it broke
and the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BrickworkError(Exception):
    """Base of all errors that the user can fix."""


class UnknownNameError(BrickworkError):
    """A name that is not in the registry asked.

    Args:
        kind: Kind of thing: "preset", "solver", ...
        name: The unknown name.
        known: The names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        near = near or [k for k in known if k.startswith(name[:4])][:3]
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(known)}"
        super().__init__(f"no {kind} named {name!r}; {hint}")


class ConfigError(BrickworkError):
    """Options that cannot be built together."""


class ArgumentError(BrickworkError):
    """A value out of its range at a call."""


class DataError(BrickworkError):
    """Images that are missing, broken or of the wrong kind."""


class MissingSplitError(DataError):
    """A split that a set of images does not have."""


class CheckpointError(BrickworkError):
    """A model file that is truncated, foreign or inconsistent."""


class PackageError(BrickworkError):
    """A device package that is damaged, foreign, or that cannot run here."""


class ParityError(PackageError):
    """A package whose pictures, or whose quality, are too far from its model's."""


class ExtensionError(BrickworkError):
    """A class of another package that is missing, broken or registered wrongly."""


class OutputError(BrickworkError):
    """A place that cannot be written."""


class MissingExtraError(BrickworkError):
    """An optional dependency that is not installed.

    Args:
        extra: The extra that installs it, as in ``pip install "brickwork[extra]"``.
        package: The import that failed.
        purpose: The feature that needs it.
    """

    def __init__(self, extra: str, package: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs {package}: pip install "brickwork[{extra}]"')


class TrainingError(BrickworkError):
    """A run that cannot go on."""
