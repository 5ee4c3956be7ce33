"""Networks that a file's header promises, compared with the file's tensors before memory or time is spent on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from brickwork.errors import CheckpointError

FLOATS = ("F64", "F32", "F16", "BF16")
"""Storage dtypes of weights, by their names in safetensors; loading converts them to the network's dtype."""
LIMITS = ("max_words",)
"""Whole numbers in configs that may exceed the size of every weight."""
SPARE = 1000
"""Parameters that a network may register beyond twice the file's tensors: some are set anew while it is built."""
MAX_TABLES = 1 << 30
"""Bytes of all tables that a network computes by itself, as of positions."""

Kind = tuple[str, tuple[int, ...]]
"""Storage dtype and shape of a tensor in a file."""


def check_sizes(config: Any, shapes: Iterable[Sequence[int]]) -> None:
    """Refuse a config with numbers far beyond any size in the file.

    Raises:
        CheckpointError: A whole number is above 4096, the number of tensors and every side of a tensor.
    """
    shapes = list(shapes)
    largest = max(4096, len(shapes), *(n for shape in shapes for n in shape))
    for field, value in _whole_numbers(asdict(config)):
        if value > largest and field not in LIMITS:
            raise CheckpointError(
                f"its header says {field}={value} and no weight in the file is that large: copy or train it again"
            )


def _whole_numbers(value: Any, field: str = "") -> Iterator[tuple[str, int]]:
    """Yield every whole number in a config's fields, nested configs included, with its field's name."""
    if isinstance(value, int):
        yield field, value
    elif isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else ((field, inner) for inner in value):
            yield from _whole_numbers(inner, key)


@contextmanager
def building_no_more(tensors: int) -> Iterator[None]:
    """Build networks without memory inside the context, and stop as soon as they have more than a file of tensors.

    Args:
        tensors: Number of tensors in the file.

    Raises:
        CheckpointError: A network registers too many parameters, or computes tables of too many bytes.
    """
    thread, parameters, tables = get_ident(), 0, 0

    def count_parameter(module: nn.Module, name: str, parameter: Tensor) -> None:
        nonlocal parameters
        parameters += get_ident() == thread
        if parameters > 2 * tensors + SPARE:
            raise CheckpointError(
                f"its header promises a network of more than {parameters - 1:,} tensors and the file holds "
                f"{tensors:,}: header and weights are of different networks"
            )

    def count_table(module: nn.Module, name: str, table: Tensor) -> None:
        nonlocal tables
        tables += table.nbytes if get_ident() == thread else 0
        if tables > MAX_TABLES:
            raise CheckpointError(
                f"its header promises a network with tables of {tables / 1e9:.1f} GB, as of positions: at most "
                f"{MAX_TABLES / 1e9:.1f} GB are built; copy or train it again"
            )

    hooks = [
        register_module_parameter_registration_hook(count_parameter),
        register_module_buffer_registration_hook(count_table),
    ]
    try:
        with torch.device("meta"):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def compare(wanted: Mapping[str, Tensor], found: Mapping[str, Kind]) -> dict[str, torch.dtype]:
    """Return the dtype that each tensor must have, after comparing shapes with those in the file.

    Args:
        wanted: The network's tensors by name.
        found: Storage dtype and shape of the file's tensors by name.

    Raises:
        CheckpointError: A name or shape differs, or numbers are stored as other than floating-point ones.
    """
    for name in sorted(wanted.keys() | found.keys()):
        promised = tuple(wanted[name].shape) if name in wanted else "none"
        dtype, shape = found.get(name, ("", "none"))
        if promised != shape:
            raise CheckpointError(
                f"its header promises {name} of shape {promised} and the file holds {shape}: "
                "header and weights are of different networks"
            )
        if dtype not in FLOATS and wanted[name].is_floating_point():
            raise CheckpointError(
                f"its {name} is stored as {dtype}: weights must be one of {', '.join(FLOATS)}; convert them to F32"
            )
    return {name: tensor.dtype for name, tensor in wanted.items()}
