"""Weights of one model as the start of another with other classes, size, text or shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from brickwork.errors import ConfigError
from brickwork.files.tensors import is_finite
from brickwork.model.model import Model

CLASS_TABLE = "classes.table.weight"
POSITION_TABLE = "position.table"


@final
@dataclass(frozen=True, kw_only=True)
class Transfer:
    """The fate of every tensor in a transfer of weights, by name."""

    loaded: list[str] = field(default_factory=list)
    """Tensors copied as they were."""
    resized: list[str] = field(default_factory=list)
    """Tables resized to another number of classes or positions; each entry says how."""
    fresh: list[str] = field(default_factory=list)
    """Tensors left as initialised: new, or of another shape."""
    unused: list[str] = field(default_factory=list)
    """Tensors of the old model without a place in the new one."""

    def __str__(self) -> str:
        """Describe the transfer, one line per kind."""
        lines = [f"{len(self.loaded)} tensors loaded"]
        for kind in ("resized", "fresh", "unused"):
            if names := getattr(self, kind):
                lines.append(f"{kind}: {', '.join(names)}")
        return "; ".join(lines)


@torch.no_grad()
def transfer(source: Model, model: Model) -> Transfer:
    """Copy another model's weights into a model, in place, as far as they fit.

    Tensors of equal name and shape are copied. Rows of a class table are copied for classes of equal name, "no class"
    always; a learned position table is resized with bicubic interpolation. All else stays as it was.

    Args:
        source: The model to copy from.
        model: The model to fill.

    Raises:
        ConfigError: A weight of the source is NaN or infinite.
    """
    for name, tensor in source.own_backbone.state_dict().items():
        if not is_finite(tensor):
            raise ConfigError(f"the model to start from (init) holds NaN or infinity in {name}: start from another one")
    result = Transfer()
    old, new = source.own_backbone.state_dict(), model.own_backbone.state_dict()
    for name, tensor in new.items():
        given = old.get(name)
        if name == CLASS_TABLE and given is not None and given.shape[1] == tensor.shape[1]:
            _copy_classes(given, source.classes, tensor, model.classes, name, result)
        elif given is None:
            result.fresh.append(f"{name} (new)")
        elif given.shape == tensor.shape:
            tensor.copy_(given)
            result.loaded.append(name)
        elif name == POSITION_TABLE and given.shape[-1] == tensor.shape[-1]:
            tensor.copy_(resize_positions(given, tensor.shape[1]))
            result.resized.append(f"{name} ({given.shape[1]} → {tensor.shape[1]} places)")
        else:
            result.fresh.append(f"{name} ({_shape(given)} → {_shape(tensor)})")
    result.unused.extend(sorted(old.keys() - new.keys()))
    return result


def resize_positions(table: Tensor, places: int) -> Tensor:
    """Resize a table of a square grid, (1, T, L), to a square grid of another size, (1, places, L); bicubic."""
    side, new_side = math.isqrt(table.shape[1]), math.isqrt(places)
    grid = table[0].unflatten(0, (side, side)).permute(2, 0, 1)[None].float()
    # antialias=True also selects Keys' kernel with a = -1/2, the one that keeps slopes.
    grid = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", antialias=True)
    return grid[0].permute(1, 2, 0).flatten(0, 1)[None].to(table.dtype)


def _copy_classes(
    old: Tensor, old_names: tuple[str, ...], new: Tensor, new_names: tuple[str, ...], name: str, result: Transfer
) -> None:
    """Copy rows by class name; the last row of each table is "no class"."""
    shared = [k for k in new_names if k in old_names]
    new[-1] = old[-1].to(new)
    for label in shared:
        new[new_names.index(label)] = old[old_names.index(label)].to(new)
    if old_names == new_names:
        result.loaded.append(name)
        return
    strange = [k for k in new_names if k not in old_names]
    what = f"{name} ({len(shared)} classes kept by name"
    result.resized.append(what + (f", fresh: {', '.join(strange)})" if strange else ")"))


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
