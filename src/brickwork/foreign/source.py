"""Checked access to the tensors of another project's network, by name, axes and shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from math import isqrt

from torch import Tensor

from brickwork.backbone.base import Backbone, BackboneConfig
from brickwork.errors import CheckpointError
from brickwork.foreign.pickles import quote
from brickwork.foreign.torchfile import Stored
from brickwork.foreign.weights import Weights
from brickwork.nn.promised import building_no_more


class PublishedTensors:
    """Tensors and attributes of a file, by names without their prefix.

    Args:
        weights: Tensors and attributes of the file.
        prefix: Prefix of all names of the network; tensors without it are refused.
        design: Name of the design for messages, such as "LEGO".

    Raises:
        CheckpointError: A tensor's name lacks the prefix.
    """

    def __init__(self, weights: Weights, prefix: str, design: str) -> None:
        self.weights, self.prefix, self.design = weights, prefix, design
        self.names = tuple(name.removeprefix(prefix) for name in weights.tensors if name.startswith(prefix))
        self.refuse([name for name in weights.tensors if not name.startswith(prefix)])

    def refuse(self, strange: Iterable[str]) -> None:
        """Refuse tensors that the design does not have.

        Raises:
            CheckpointError: There are some.
        """
        if names := sorted(strange):
            raise CheckpointError(
                f"its tensor {quote(names[0])} is none of a {self.design} network's ({len(names)} such): another "
                "design?"
            )

    def stored(self, name: str, axes: int) -> Stored:
        """Return a tensor of real numbers with so many axes, none of them empty, not yet read.

        Raises:
            CheckpointError: It is missing, or has another dtype or shape.
        """
        stored = self.weights.tensors.get(self.prefix + name)
        if stored is None:
            raise CheckpointError(
                f"it lacks {name}, which every {self.design} network of its sizes has; download it again"
            )
        if len(stored.shape) != axes or not all(stored.shape) or not stored.dtype.is_floating_point:
            raise CheckpointError(
                f"its {name} is {stored.dtype} of shape {stored.shape}: it must be of {axes} axes and real numbers"
            )
        return stored

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Read a tensor of this shape, float32.

        Raises:
            CheckpointError: It is missing, of another shape, or holds numbers that are not finite.
        """
        stored = self.stored(name, len(shape))
        if stored.shape != shape:
            raise CheckpointError(
                f"its {name} is of shape {stored.shape}: by its other sizes it must be {shape}; another design?"
            )
        return self.numbers(stored, name)

    def numbers(self, stored: Stored, name: str) -> Tensor:
        """Read a tensor's numbers, float32.

        Raises:
            CheckpointError: A number is not finite.
        """
        tensor = stored.read().float()
        if not tensor.isfinite().all():
            raise CheckpointError(f"its {name} has numbers that are infinite or none: it cannot draw; get another file")
        return tensor

    def whole(self, name: str) -> int | None:
        """Return an attribute that is a whole number; None if there is none."""
        value = self.weights.attributes.get(self.prefix + name)
        return value if type(value) is int else None

    def count(self, start: str) -> int:
        """Count the children of a list of modules, by the numbers that follow ``start`` in names."""
        numbers = self._numbers.get(start, set())
        return next((n for n in range(len(numbers)) if str(n) not in numbers), len(numbers))

    @cached_property
    def _numbers(self) -> dict[str, set[str]]:
        """The numbers of children by what stands before them in names, as {"0", "1"} by "blocks."."""
        found: dict[str, set[str]] = {}
        for name in self.names:
            for match in re.finditer(r"(?<![^.])\d{1,4}(?=\.)", name):
                found.setdefault(name[: match.start()], set()).add(match[0])
        return found

    def build(self, config: BackboneConfig) -> Backbone:
        """Build the network of a config without memory.

        Raises:
            CheckpointError: It has more tensors than the file.
        """
        with building_no_more(len(self.names)):
            return config.build()

    def heads(self, attribute: str, width: int, known: Mapping[int, int], of: str = "it") -> int:
        """Return an attention's heads: a pickled module's attribute, or those known for the width; no shape tells them.

        Raises:
            CheckpointError: The attribute is missing and the width unknown.
        """
        heads = self.whole(attribute) or known.get(width)
        if heads is None:
            raise CheckpointError(
                f"{of} is {width} wide and nothing in the file says its heads: give the pickled network rather than "
                f"its state dict, whose heads are known for widths {', '.join(map(str, known))} alone"
            )
        return heads

    def side(self, name: str, places: int) -> int:
        """Return the side of a square of so many positions.

        Raises:
            CheckpointError: They make no square.
        """
        if places < 1 or isqrt(places) ** 2 != places:
            raise CheckpointError(f"its {name} has {places} places of an image: a {self.design} image is a square")
        return isqrt(places)


def renamed(ours: str, names: Mapping[str, str]) -> str:
    """Return a weight's name in the file, by the first pattern that matches all of ours but its last word."""
    stem, _, kind = ours.rpartition(".")
    for pattern, name in names.items():
        if match := re.fullmatch(pattern, stem):
            return f"{match.expand(name)}.{kind}"
    raise AssertionError(f"{ours} has no name in the published files")
