"""Files of torch tensors, read without torch's unpickler: formats of torch.save, plain pickles and safetensors.

The result is the tree of a pickle, with :class:`Stored` tensors in it, which are read from the file when asked for.

- torch.save since 1.6: a zip file of ``data.pkl`` and the bytes of each storage, ``data/0``, ``data/1``, ...
- torch.save before: one pickle after the other (a magic number, a version, facts of the machine, the object, the keys
  of its storages), then for each key the number of elements and the bytes.
- ``pickle.dump`` of modules: each storage is a byte string, itself a whole file of the second kind.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from brickwork.errors import CheckpointError
from brickwork.files.header import read_metadata
from brickwork.foreign.archive import read_entries
from brickwork.foreign.pickles import Budget, Constructor, Global, Machine, Record, fill, quote

MAX_NESTING = 2
"""Depth of files within files; storages in a plain pickle are one deep."""
MAX_AXES = 16

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001

_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
        *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128"),
    )
}
_STORAGES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}


@dataclass(eq=False, repr=False)
class Storage:
    """Numbers of one dtype in the file; ``data`` is None until their bytes are located."""

    dtype: torch.dtype
    numel: int
    data: memoryview | None = None

    @property
    def num_bytes(self) -> int:
        """Size of the numbers in bytes."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True, eq=False, repr=False)
class Stored:
    """A tensor in the file: a shape over a storage, which holds all of it.

    Attributes:
        offset: Position of the first element, in elements of ``dtype``.
        stride: Step from one element to the next along each axis.
    """

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size in bytes once it is read."""
        return _product(self.shape) * self.dtype.itemsize

    @property
    def span_bytes(self) -> int:
        """Bytes of the file from its first element to its last, which reading copies."""
        return (1 + _reach(self.shape, self.stride)) * self.dtype.itemsize if self.num_bytes else 0

    def read(self) -> Tensor:
        """Return a copy of its numbers alone, contiguous."""
        if not self.num_bytes:
            return torch.empty(self.shape, dtype=self.dtype)
        size, data = self.dtype.itemsize, self.storage.data
        assert data is not None
        count = 1 + _reach(self.shape, self.stride)
        # Bytes are copied before they are viewed as numbers: in the file these may be unaligned.
        raw = torch.frombuffer(data, dtype=torch.uint8, count=count * size, offset=self.offset * size).clone()
        return raw.view(self.dtype).as_strided(self.shape, self.stride).contiguous()


def read_tree(path: str | Path) -> Any:
    """Read a file of torch's: dicts, lists, tuples, text, numbers, byte strings, Records and Stored tensors.

    Nothing in the file is executed and nothing that it names is imported. The file is mapped, not loaded, and must not
    change while tensors are read from it.

    Raises:
        CheckpointError: Missing, no such file, not whole, or asking for more than a network needs.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no file {path}: give a file of published weights, as .pkl, .pth, .pt or .safetensors")
    try:
        with path.open("rb") as file:
            # Mapped copy-on-write, as torch wants writable memory; nothing is written.
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is empty"
        raise CheckpointError(f"cannot read {path}: {reason}; download it again") from error
    if bytes(view[5:10]) == b'\0\0\0{"':  # after the length of the header
        return _read_safetensors(path)
    try:
        if view[0] != 0x80 and bytes(view[:2]) != b"PK":
            raise CheckpointError(
                f"it begins with {bytes(view[:16])!r}, as no pickle, zip or safetensors file does: download or unpack "
                "the file itself"
            )
        return _parse(view, Budget(), 0)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _parse(view: memoryview, budget: Budget, nesting: int) -> Any:
    """Read a whole file of any of these formats."""
    constructors = {
        **_CONSTRUCTORS,
        ("torch.storage", "_load_from_bytes"): _nested(budget, nesting),
        ("collections", "OrderedDict"): _ordered(budget),
    }
    if bytes(view[:4]) == b"PK\x03\x04":
        return _read_zip(view, constructors, budget)
    first, at = Machine(view, constructors, _no_reference, budget).run(0)
    return _read_legacy(view, at, constructors, budget) if type(first) is int and first == _MAGIC else first


def _read_safetensors(path: Path) -> dict[str, Stored]:
    """Read the tensors of a safetensors file that is no model of brickwork's.

    Raises:
        CheckpointError: The file is not whole, or a model or an autoencoder of brickwork's.
    """
    if any(key.startswith("brickwork") for key in read_metadata(path)[0]):
        raise CheckpointError(
            f"{path} is a file of brickwork's own, which needs no import: `brickwork sample` draws from a model, and "
            "--codec takes an autoencoder"
        )
    return {name: _in_memory(tensor) for name, tensor in load_file(path).items()}


def _in_memory(tensor: Tensor) -> Stored:
    """Return a tensor in memory as one of a file."""
    data = tensor.reshape(-1).view(torch.uint8).numpy().data
    return Stored(Storage(tensor.dtype, tensor.numel(), data), tensor.dtype, 0, tuple(tensor.shape), tensor.stride())


def _read_zip(view: memoryview, constructors: dict[tuple[str, str], Constructor], budget: Budget) -> Any:
    """Read the format of torch.save since 1.6."""
    entries = read_entries(view, budget)
    names = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(names) != 1:
        raise CheckpointError(
            f"it is a zip file with {len(names)} data.pkl: one of torch.save has one; unpack it and give what is in it"
        )
    prefix = names[0].removesuffix("data.pkl")
    if bytes(entries.get(f"{prefix}byteorder", b"little")[:8]) != b"little":
        raise CheckpointError("it was written on a big-endian machine: load and save it on a little-endian one")

    def storage(reference: Any) -> Storage:
        key, found = _storage_of(reference)
        name = f"{prefix}data/{key}"
        if name not in entries:
            raise CheckpointError(f"it lacks the storage {quote(key)} that its tensors are in; download it again")
        found.data = entries[name]
        return _filled(found, key)

    return Machine(entries[names[0]], constructors, storage, budget).run(0)[0]


def _read_legacy(view: memoryview, at: int, constructors: dict[tuple[str, str], Constructor], budget: Budget) -> Any:
    """Read the format of torch.save before 1.6, after its magic number."""
    storages: dict[str, Storage] = {}

    def storage(reference: Any) -> Storage | Global:
        match reference:
            case ("module", Global() as kind, *_):  # a pickled module: its class, and its source code
                return kind
        key, found = _storage_of(reference)
        known = storages.setdefault(key, found)
        if (known.dtype, known.numel) != (found.dtype, found.numel):
            raise CheckpointError(
                f"its storage {quote(key)} is said to be two things: it is damaged; download it again"
            )
        return known

    def run() -> Any:
        nonlocal at
        result, at = Machine(view, constructors, storage, budget).run(at)
        return result

    if (version := run()) != _VERSION:
        raise CheckpointError(
            f"it is of torch's old format in version {quote(version)}; {_VERSION} is known: save it with newer torch"
        )
    facts = run()
    if isinstance(facts, dict) and facts.get("little_endian") is False:
        raise CheckpointError("it was written on a big-endian machine: load and save it on a little-endian one")
    tree, keys = run(), run()
    for key in keys if isinstance(keys, list) else []:
        found = storages.get(key) if isinstance(key, str) else None
        count = int.from_bytes(view[at : at + 8], "little")
        if found is None or count != found.numel or found.data is not None:
            raise CheckpointError(
                f"its storage {quote(key)} is none that its tensors are in: it is damaged; download it again"
            )
        found.data = view[at + 8 : at + 8 + found.num_bytes]
        at += 8 + found.num_bytes
    for key, found in storages.items():
        if found.data is None:
            raise CheckpointError(f"it lacks the storage {quote(key)} that its tensors are in; download it again")
        _filled(found, key)
    return tree


def _storage_of(reference: Any) -> tuple[str, Storage]:
    """Return key and storage of a persistent id; its bytes are located later."""
    match reference:
        case ("storage", Global(_, name), str(key), _, int(numel), *view) if name in _STORAGES and numel >= 0:
            if any(part is not None for part in view):
                raise CheckpointError(
                    f"its storage {quote(key)} is a part of another, as of torch before 0.4: save it with newer torch"
                )
            return key, Storage(_STORAGES[name], numel)
    raise CheckpointError("it refers to something outside that is no storage of numbers: only such are read")


def _filled(storage: Storage, key: str) -> Storage:
    if storage.data is None or len(storage.data) != storage.num_bytes:
        raise CheckpointError(
            f"its storage {quote(key)} is not of the {storage.num_bytes} bytes it should be; download it again"
        )
    return storage


def _no_reference(reference: Any) -> Any:
    raise CheckpointError("it refers to something outside itself: a plain pickle has all in it")


# ---- what a pickle may make -----------------------------------------------------------------------------------------


def _nested(budget: Budget, nesting: int) -> Constructor:
    """Return a constructor for storages in byte strings that are files of their own."""

    def load(args: tuple[Any, ...]) -> Storage:
        if not (len(args) == 1 and isinstance(args[0], memoryview)):
            raise CheckpointError("a storage in it is no byte string: save it again with pickle protocol 3 or higher")
        if nesting >= MAX_NESTING:
            raise CheckpointError(f"it nests files in files more than {MAX_NESTING} deep: no network does")
        storage = _parse(args[0], budget, nesting + 1)
        if not isinstance(storage, Storage):
            raise CheckpointError("a byte string in it holds no storage of numbers: it is damaged; download it again")
        return storage

    return load


def _tensor(args: tuple[Any, ...]) -> Stored:
    """Rebuild a tensor as torch._utils._rebuild_tensor and its v2 do, from storage, offset, size, stride only."""
    match args:
        case (Storage() as storage, int(offset), tuple() as shape, tuple() as stride, *_):
            return _stored(storage, storage.dtype, offset, shape, stride)
    raise CheckpointError(
        "a tensor in it is not made of a storage, an offset, a size and a stride: it is damaged; download it again"
    )


def _tensor_of_dtype(args: tuple[Any, ...]) -> Stored:
    """Rebuild a tensor as v3 does, with the dtype beside an untyped storage."""
    match args:
        case (Storage() as storage, int(offset), tuple() as shape, tuple() as stride, _, _, Global("torch", name), *_):
            if name in _DTYPES:
                return _stored(storage, _DTYPES[name], offset, shape, stride)
    raise CheckpointError("a tensor in it is of a dtype that is not known: save it as float32")


def _stored(
    storage: Storage, dtype: torch.dtype, offset: int, shape: tuple[Any, ...], stride: tuple[Any, ...]
) -> Stored:
    """Return a tensor after checking that it lies within its storage, and is no larger than it."""
    axes = len(shape) == len(stride) <= MAX_AXES
    if not axes or not all(type(n) is int and n >= 0 for n in (offset, *shape, *stride)):
        raise CheckpointError(
            "a tensor in it has a size, stride or offset that none can have: it is damaged; download it again"
        )
    numel, room = _product(shape), storage.num_bytes // dtype.itemsize
    if numel and (numel > room or offset + _reach(shape, stride) >= room):
        raise CheckpointError(
            f"a tensor of size {quote(str(shape))} in it reaches beyond its storage of {room} numbers"
        )
    return Stored(storage, dtype, offset, shape, stride)


def _parameter(args: tuple[Any, ...]) -> Any:
    """Return a Parameter's tensor."""
    if not (args and isinstance(args[0], Stored)):
        raise CheckpointError("a parameter in it is no tensor: it is damaged; download it again")
    return args[0]


def _typed(args: tuple[Any, ...]) -> Any:
    """Rebuild as torch._tensor._rebuild_from_type_v2: a constructor, a class, the arguments, a state of attributes."""
    match args:
        case (Global(module, name), Global(), tuple() as inner, *_) if (module, name) in _TENSORS:
            return _TENSORS[module, name](inner)
    return Record(Global("torch._tensor", "_rebuild_from_type_v2"), args)


def _ordered(budget: Budget) -> Constructor:
    """Return a constructor of collections.OrderedDict, empty or from pairs; each pair costs a step, as it is copied."""

    def build(args: tuple[Any, ...]) -> dict[str | int, Any]:
        made: dict[str | int, Any] = {}
        if args and isinstance(args[0], list):
            budget.step(len(args[0]))
            fill(made, (tuple(pair) for pair in args[0] if isinstance(pair, list | tuple) and len(pair) == 2))
        return made

    return build


def _size(args: tuple[Any, ...]) -> Any:
    """Return a torch.Size as a tuple."""
    return args[0] if len(args) == 1 and isinstance(args[0], tuple) else Record(Global("torch", "Size"), args)


_TENSORS: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}
_CONSTRUCTORS: dict[tuple[str, str], Constructor] = {
    **_TENSORS,
    ("torch._tensor", "_rebuild_from_type_v2"): _typed,
    ("torch", "Size"): _size,
}


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for n in shape:
        product *= n
    return product


def _reach(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Return the number of elements from the first to the last, for a tensor that is not empty."""
    return sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
