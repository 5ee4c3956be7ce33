"""A mark for functions whose result torch's compiler keeps as a constant, set without importing the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def constant_in_graphs(function: Function) -> Function:
    """Mark a function, so that torch.compile calls it once and keeps its result in the graph.

    ``torch.compiler.assume_constant_result`` sets the same mark, but imports ``torch._dynamo``, which takes longer than
    loading a model. A test compares both marks.
    """
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function
