"""Tensors in another project's file, by dotted names as in a state dict, and the simple attributes beside them.

A module is recognised by its tables of parameters, buffers and modules, which every torch module keeps. One of NVIDIA's
"persistent" classes is pickled as a table of its source code, its class name and this state; the code is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from brickwork.errors import CheckpointError
from brickwork.foreign.pickles import Global, Record, quote
from brickwork.foreign.torchfile import Stored, read_tree

PREFERRED = ("ema", "ema_model", "model_ema", "G_ema", "state_dict", "model", "net")
"""Keys under which a file of several entries has its network, in order: averaged weights before others."""
MAX_NODES = 200_000
MAX_DEPTH = 32
MAX_NAME = 512

Attribute = bool | int | float | str


@dataclass(frozen=True, eq=False, repr=False)
class Weights:
    """Tensors of one network, not yet read, and its simple attributes.

    Attributes:
        tensors: Tensors by name, such as "blocks.0.attn.qkv.weight".
        attributes: Numbers and text of modules, by name, such as "blocks.0.attn.num_heads"; none in a state dict.
        key: Key in the file under which they were, such as "ema"; "" for the file itself.
    """

    tensors: dict[str, Stored] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """Facts that a file does not say and that are assumed as published, as phrases; "" for those that it says.

    Attributes:
        process: The noise process.
        prediction: What the network's output means.
        rest: Everything else.
    """

    process: str = ""
    prediction: str = ""
    rest: str = ""


def read_weights(path: str | Path) -> Weights:
    """Read the network in a file: a state dict or modules, alone or under one of the ``PREFERRED`` keys.

    Raises:
        CheckpointError: The file is none of torch's, truncated, or without tensors.
    """
    tree = read_tree(path)
    try:
        chosen, key = _choose(tree)
        weights = Weights(key=key)
        _collect(chosen, weights)
        if not weights.tensors:
            raise CheckpointError("it holds no tensors by name: give a network or its state dict")
        # Many tensors may share one storage, so that a small file could expand without bound.
        room = 4 * Path(path).stat().st_size
        if (total := sum(max(stored.num_bytes, stored.span_bytes) for stored in weights.tensors.values())) > room:
            raise CheckpointError(
                f"its tensors add up to {total / 1e6:.0f} MB, four times what it holds: no network repeats so much"
            )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return weights


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the network in a file as a plain state dict, in memory, in the file's dtypes.

    Raises:
        CheckpointError: ``read_weights`` would raise it.
    """
    return {name: stored.read() for name, stored in read_weights(path).tensors.items()}


def _choose(tree: Any) -> tuple[Any, str]:
    """Step into tables of several entries until there are tensors or a module; return that and its dotted key."""
    keys: list[str] = []
    while len(keys) < 4:
        items = _items(tree)
        if any(isinstance(value, Stored) for value in items.values()):
            break
        key = next((key for key in PREFERRED if isinstance(items.get(key), dict | Record)), None)
        if key is None:
            break
        tree = items[key]
        keys.append(key)
    return tree, ".".join(keys)


def _items(node: Any) -> Mapping[str | int, Any]:
    """Return the items of a table; nothing for a module or anything else."""
    if isinstance(node, Record):
        return {} if _module_state(node) else node.items
    return node if isinstance(node, dict) else {}


def _module_state(record: Record) -> Mapping[Any, Any]:
    """Return a module's own table, wherever its kind of pickling put it; empty for anything else."""
    state = record.state
    if isinstance(record.kind, Global) and record.kind.name == "_reconstruct_persistent_obj":
        meta = record.args[0] if isinstance(record.args, tuple) and record.args else None
        state = meta.get("state") if isinstance(meta, dict) else None
    return state if isinstance(state, dict) and isinstance(state.get("_modules"), dict) else {}


def _collect(root: Any, weights: Weights) -> None:
    """Walk modules and tables, in order; a shared module is walked again under each name, as in a state dict."""
    waiting: list[Iterator[tuple[str, Any]]] = [iter([("", root)])]
    nodes = 0
    while waiting:
        name, node = next(waiting[-1], (None, None))
        if name is None:
            waiting.pop()
            continue
        nodes += 1
        if nodes > MAX_NODES or len(waiting) > MAX_DEPTH or len(name) > MAX_NAME:
            raise CheckpointError(
                f"it nests modules deeper than {MAX_DEPTH}, or has more than {MAX_NODES:,} parts, or names longer than "
                f"{MAX_NAME} letters: no network does"
            )
        if isinstance(node, Stored):
            weights.tensors[name] = node
        elif isinstance(node, bool | int | float | str):
            weights.attributes[name] = node
        elif isinstance(node, dict | Record):
            nodes += _size(node)
            waiting.append(_parts(name, node))


def _size(node: dict[Any, Any] | Record) -> int:
    """Return the number of values that are looked at to find the children of a module, each time it is met."""
    state = _module_state(node) if isinstance(node, Record) else {}
    tables = (_table(state, key) for key in ("_parameters", "_buffers", "_modules"))
    return len(state) + sum(map(len, tables)) + len(_listed(state.get("_non_persistent_buffers_set")))


def _parts(name: str, node: dict[Any, Any] | Record) -> Iterator[tuple[str, Any]]:
    """Yield the direct children of a module or a table, by full name."""
    state = _module_state(node) if isinstance(node, Record) else {}
    tables: list[Mapping[Any, Any]] = [_items(node)]
    if state:
        plain = {
            k: v for k, v in state.items() if isinstance(v, bool | int | float | str) and not str(k).startswith("_")
        }
        parameters, buffers, modules = (_table(state, k) for k in ("_parameters", "_buffers", "_modules"))
        temporary = _names(state.get("_non_persistent_buffers_set"))
        kept = {k: v for k, v in buffers.items() if k not in temporary}
        tables = [plain, parameters, kept, modules]
    prefix = f"{name}." if name else ""
    for table in tables:
        for key, value in table.items():
            if len(str(key)) > MAX_NAME:
                raise CheckpointError(
                    f"it has a name of {len(str(key))} letters, {quote(key)}: no network has one longer than {MAX_NAME}"
                )
            yield prefix + str(key), value


def _table(state: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    table = state.get(key)
    return table if isinstance(table, dict) else {}


def _names(pickled: Any) -> frozenset[str]:
    """Return the names in a pickled set."""
    return frozenset(name for name in _listed(pickled) if type(name) is str)


def _listed(pickled: Any) -> list[Any]:
    """Return a pickled set as a list; newer pickles have an opcode for sets, older ones a call."""
    if isinstance(pickled, Record) and isinstance(pickled.args, tuple) and pickled.args:
        pickled = pickled.args[0]
    return pickled if isinstance(pickled, list) else []
