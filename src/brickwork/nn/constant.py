"""Functions whose result torch's compiler takes as a constant, without an import of the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def constant_in_graphs(function: Function) -> Function:
    """Mark a function, so that torch.compile calls it once and keeps its result in the graph.

    The mark is that of ``torch.compiler.assume_constant_result``, which imports ``torch._dynamo`` to set it: that is
    longer than a model takes to load. A test compares both marks.
    """
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function
