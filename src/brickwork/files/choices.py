"""Words of the command line that name one thing of several: its help lists them, and another word is refused at once.

The rules annotate fields and arguments of which the command line makes options: ``Annotated[str, one_of(...)]``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from tyro.constructors import PrimitiveConstructorSpec

from brickwork.errors import BrickworkError, UnknownNameError


def one_of(kind: str, names: Collection[str], then: str = "") -> PrimitiveConstructorSpec[str | None]:
    """Return the rule of words that are one of some names.

    Args:
        kind: Kind of thing, for the message.
        names: The names.
        then: What may follow a name, behind a mark of one letter: ":N".
    """

    def check(text: str) -> None:
        name = text.partition(then[0])[0] if then else text
        if name not in names:
            raise UnknownNameError(kind, text, names)

    return named(names, f"[{then}]" if then else "", check)


def named(names: Collection[str], then: str, check: Callable[[str], Any]) -> PrimitiveConstructorSpec[str | None]:
    """Return the rule of words that a check lets through.

    Args:
        names: Names with which such a word begins, for the page of help.
        then: What may follow them there.
        check: Raises a BrickworkError for another word.
    """

    def read(words: list[str]) -> str:
        parsed(check, words[0])
        return words[0]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(names)}}}{then}",
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [str(value)],
    )


def parsed(read: Callable[[Any], Any], words: str | list[str]) -> Any:
    """Read words; an error of the library becomes one of the parser.

    Raises:
        ValueError: The words cannot be read.
    """
    try:
        return read(words)
    except BrickworkError as error:
        raise ValueError(str(error)) from None
