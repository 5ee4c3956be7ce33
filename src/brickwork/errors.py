"""Errors that a user can cause, and no others.

BrickworkError
├── UnknownNameError     a name that is in no registry; the message lists similar ones
├── ConfigError          sizes or options that cannot be built together
├── ArgumentError        a value out of its range at a call: label, seed, shape
│   └── UsageError           words of a command that say none: an unknown verb or option, a value of another type
├── DataError            images that are missing, broken or of the wrong kind
│   └── MissingSplitError    a split that a set of images does not have
├── CheckpointError      a model file that is truncated, foreign or inconsistent
├── PackageError         a device package that is damaged, foreign, or that cannot run here
│   └── ParityError          a package whose pictures are too far from its model's; it was not kept
├── ExtensionError       a class of another package that is missing, broken or registered wrongly
├── OutputError          a place that cannot be written
├── PlaceError           a file or folder that the system does not let this process reach
├── MemoryLackError      memory that is not there
├── MissingExtraError    a feature whose optional dependency is not installed
└── TrainingError        a run that cannot go on

The command line prints each as one line and exits with code 1, or 2 for a UsageError; every message states the value,
the rule it broke and the way out. What a message echoes is shown by ``printable``: it cannot steer a terminal, and is
cut.
"""

from __future__ import annotations

import copyreg
import difflib
import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

MAX_WORD = 160
"""Longest run of letters without a space that a message shows whole, such as a path."""
MAX_MESSAGE = 600
"""Longest message that is shown whole."""
MAX_SHOWN = 80
"""Most characters of a value that a message shows."""
MAX_LISTED = 24
"""Most names that a message lists."""


def printable(text: object, most: int = MAX_WORD) -> str:
    """Return a text as it may stand in a line on a terminal.

    Control characters, marks that turn the direction of writing, line ends and lone surrogates are escaped; of a
    longer text both ends are kept.

    Args:
        text: The text, such as a file's name or a class's.
        most: Most letters.
    """
    said = str(text)
    if not said.isprintable():
        said = "".join(map(_escaped, said))
    if len(said) <= most:
        return said
    front = most * 2 // 3
    return f"{said[:front]}...{said[len(said) + front + 3 - most :]}"


def short(value: Any) -> str:
    """Return a value for a message of one line."""
    try:
        text = repr(value[: MAX_SHOWN + 1] if isinstance(value, str) else value)
    except (ValueError, RecursionError):  # thousands of digits or levels
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _escaped(letter: str) -> str:
    plain = letter.isprintable() or unicodedata.category(letter) == "Zs"  # Zs: spaces of other widths
    return letter if plain else letter.encode("unicode_escape").decode()


def first_line(error: object) -> str:
    """Return the first line of what an error of another library says, or its class's name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class BrickworkError(Exception):
    """Base of all errors that the user can fix.

    Attributes:
        exit_code: Exit code of a command that ends with the error.
    """

    exit_code = 1

    def __str__(self) -> str:
        """Return the message as one printable line; long words and a long line are cut in their middle."""
        words = re.sub(rf"\S{{{MAX_WORD},}}", lambda long: printable(long[0]), super().__str__())
        return printable(words, MAX_MESSAGE)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message, and not the arguments of a subclass: a pool of processes waits for ever without."""
        return copyreg.__newobj__, (type(self), *self.args)  # pyright: ignore[reportAttributeAccessIssue]


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
        more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(known[:MAX_LISTED])}{more}"
        super().__init__(f"no {kind} named {name!r}; {hint}")


class ConfigError(BrickworkError):
    """Options that cannot be built together."""


class ArgumentError(BrickworkError):
    """A value out of its range at a call."""


class UsageError(ArgumentError):
    """Words of a command that say none: an unknown verb or option, one that is missing, a value of another type."""

    exit_code = 2


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


class PlaceError(BrickworkError):
    """A file or folder that the system does not let this process reach.

    Args:
        error: The system's error; it names the file.
    """

    def __init__(self, error: OSError) -> None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else error.filename
        super().__init__(f"{name}: {error.strerror or error}; name another place, or change its permissions")


class MemoryLackError(BrickworkError):
    """Memory that is not there."""


class MissingExtraError(BrickworkError):
    """An optional dependency that is not installed.

    Args:
        extra: The extra that installs it, as in ``pip install "brickwork[extra]"``.
        package: The import that failed.
        purpose: The feature that needs it.
    """

    def __init__(self, extra: str, package: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs {package}: pip install "brickwork[{extra}]"')


TRAIN = frozenset({"einops", "filelock", "jaxtyping", "platformdirs", "tomli_w", "torch", "tqdm"})
"""Imports that the extra ``train`` installs."""


def without_training(error: ModuleNotFoundError, purpose: str) -> MissingExtraError | None:
    """Return the error for a user who lacks the extra ``train``; None if some other module is missing.

    Args:
        error: The import that failed.
        purpose: The feature that needs it.
    """
    name = (error.name or "").partition(".")[0]
    return MissingExtraError("train", name, purpose) if name in TRAIN else None


class TrainingError(BrickworkError):
    """A run that cannot go on."""


class BrickworkWarning(UserWarning):
    """A thing that the user should know and that stops nothing; the command line prints it as one line."""


class UndigestedWarning(BrickworkWarning):
    """A file without digests, as earlier versions wrote them: damage to it is not seen."""
