"""Doors of the library: public functions, which take arguments of any kind from anybody.

A mistake in an argument's type is one line before any work, and memory that is not there is one line in its midst.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar, get_type_hints

from brickwork.bounds import broken_rule
from brickwork.errors import ArgumentError, PlaceError, short
from brickwork.memory import within_memory

P = ParamSpec("P")
T = TypeVar("T")
ELSEWHERE = "close other programs, or use a machine with more"
"""Advice where no setting needs less memory."""


def door(work: str, lower: str = ELSEWHERE) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator of a public function.

    The function raises ArgumentError for an argument that is not of its annotation, MemoryLackError where memory is not
    there, and PlaceError for a file or folder that the system does not let it reach.

    Args:
        work: What the function does, as "training", for messages.
        lower: Settings that need less memory, as "lower batch".
    """

    def opened(function: Callable[P, T]) -> Callable[P, T]:
        signature, said = inspect.signature(function), function.__qualname__.removesuffix(".__init__")

        @wraps(function)
        def call(*values: P.args, **options: P.kwargs) -> T:
            hints = _hints(function)
            try:
                given = signature.bind(*values, **options).arguments
            except TypeError:
                return function(*values, **options)  # which says it with the function's name
            for name, value in given.items():
                if name in hints and (rule := broken_rule(value, hints[name])):
                    raise ArgumentError(f"{said}: {name} {short(value)}: it must be {rule}")
            try:
                with within_memory(work, lower):
                    return function(*values, **options)
            except OSError as error:  # where a name is only looked up; readers and writers have lines of their own
                if error.filename is None:
                    raise
                raise PlaceError(error) from error

        return call

    return opened


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function's named parameters."""
    named = {name for name, one in inspect.signature(function).parameters.items() if one.kind is not one.VAR_KEYWORD}
    return {name: hint for name, hint in get_type_hints(function, include_extras=True).items() if name in named}
