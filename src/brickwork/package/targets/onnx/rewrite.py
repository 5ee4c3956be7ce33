"""Replacement of nodes in an ONNX graph, with the constants that new nodes need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import numpy as np


@final
class Rewrite:
    """Replacements of nodes, collected first; ``done`` makes them.

    Args:
        model: onnx.ModelProto with its weights inside.

    Attributes:
        constants: The graph's constants by name, new ones too.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
        self._fresh: list[Any] = []
        self._made: set[str] = set()
        self._instead: dict[str, list[Any]] = {}

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant to the graph unless it has one of this name; return the name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(values, name)
            self._fresh.append(self.constants[name])
        return name

    def first(self, tensor: str) -> bool:
        """Return True on the first call for a tensor: several nodes may need the same one."""
        fresh = tensor not in self._made
        self._made.add(tensor)
        return fresh

    def use(self, domain: str) -> None:
        """Allow operators of a domain other than ONNX's own in the graph."""
        from onnx import helper

        if all(entry.domain != domain for entry in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(domain, 1))

    def put(self, node: Any, nodes: Iterable[Any]) -> None:
        """Replace a node by others."""
        self._instead[node.output[0]] = list(nodes)

    def done(self) -> Any:
        """Return the graph with its new nodes, without unused constants."""
        graph = self.model.graph
        fresh = type(graph)()
        for node in graph.node:
            fresh.node.extend(self._instead.get(node.output[0], [node]))
        del graph.node[:]
        graph.node.MergeFrom(fresh.node)
        graph.initializer.extend(self._fresh)
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        for place in reversed(range(len(graph.initializer))):
            if graph.initializer[place].name not in used:
                del graph.initializer[place]
        del graph.value_info[:]  # some of these tensors are gone, and others have new types
        return self.model
