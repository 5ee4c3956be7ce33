"""Nodes of an ONNX graph exchanged for others, and the constants that they need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import numpy as np


@final
class Rewrite:
    """Collects what shall replace what; ``done`` does it.

    Args:
        model: onnx.ModelProto with its weights inside.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.made: set[str] = set()
        self._instead: dict[int, list[Any]] = {}

    def constant(self, name: str, values: np.ndarray) -> str:
        """A constant of the graph, made once; returns its name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def first(self, tensor: str) -> bool:
        """Whether this is asked of a tensor for the first time: several nodes may need the same one."""
        fresh = tensor not in self.made
        self.made.add(tensor)
        return fresh

    def put(self, node: Any, nodes: Iterable[Any]) -> None:
        """Put nodes in the place of one."""
        self._instead[id(node)] = list(nodes)

    def done(self) -> Any:
        """The graph with its new nodes, without constants that nothing reads any more."""
        graph = self.model.graph
        nodes = [made for node in graph.node for made in self._instead.get(id(node), [node])]
        kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        constants = [tensor for name, tensor in self.constants.items() if name in used]
        fresh = type(graph)()
        fresh.initializer.extend(constants)
        del graph.initializer[:]
        graph.initializer.MergeFrom(fresh.initializer)
        del graph.value_info[:]  # names of what is no more, and types that have changed
        return self.model
