"""Layout "stack" on a device: one graph of a block runs once for each block, over weights that stay in a mapped file.

The denoiser is three graphs: stem (x, sigma, conditions → rows and the shared conditioning), block (rows, shared
conditioning, the weights of one block → rows) and head (rows, x, sigma, conditions → x0). The file of weights is never
held in memory: the block's program reads the mapped pages, and the system may drop them again. A block's bytes are
checked when it is first read, in a thread that is one block ahead. ``brickwork.package`` writes these files.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from brickwork.device.program import Program, refused, runtime_of
from brickwork.errors import BrickworkError, MissingExtraError, PackageError
from brickwork.files.manifest import File, Graph, Piece, check_piece, located
from brickwork.files.plain import read_json

BLOCKS = "blocks.safetensors"
HEADER = "header"
NUMBER_BYTES = 4
MAX_HEADER_BYTES = 100_000_000  # the format's limit


def name_of(block: int, weight: str = "") -> str:
    """Return the name of a block's weight in the file, or of the block itself."""
    return f"blocks.{block}.{weight}" if weight else f"blocks.{block}"


class Place(NamedTuple):
    """A tensor's place in the file, in bytes from its start."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> tuple[int, dict[str, Place]]:
    """Read the header of a safetensors file; return the byte at which tensors start, and each tensor's place by name.

    Raises:
        PackageError: It is no such file.
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(MAX_HEADER_BYTES, path.stat().st_size - 8):
                raise ValueError(f"a header of {length:,} bytes")
            values = read_json(file.read(length))
        start = 8 + length
        return start, {
            name: Place(str(entry["dtype"]), tuple(entry["shape"]), *(start + int(at) for at in entry["data_offsets"]))
            for name, entry in values.items()
            if name != "__metadata__"
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PackageError(f"{path}: it is no whole safetensors file ({error}); copy or pack it again") from None


@final
class Blocks:
    """The weights of all blocks, in one mapped file.

    Args:
        path: The file.
        file: Its entry in the manifest: a piece for the header, and one for each block.
        parts: Number of the model's blocks; the file has as many, or one whose weights all share.
    """

    def __init__(self, path: Path, file: File, parts: int) -> None:
        check_tiled(path, file)
        self.path, self.pieces = path, {piece.name: piece for piece in file.pieces}
        self.map = mapped(path)
        if file.pieces[0].name != HEADER:
            raise PackageError(f"{path}: its manifest does not name its header; pack it again")
        check_piece(path, file.pieces[0], memoryview(self.map)[: file.pieces[0].length])
        self.places = read_header(path)[1]
        self.count = len(file.pieces) - 1
        if self.count not in (1, parts) or any(name_of(k) not in self.pieces for k in range(self.count)):
            raise PackageError(f"{path}: its manifest names {self.count} blocks for {parts} parts; pack it again")
        self.reader = ThreadPoolExecutor(1, "read-ahead")
        self.checks: dict[int, Future[None]] = {}

    def index(self, part: int) -> int:
        """Return the index in the file of the block that runs at a position of the model."""
        return part % self.count

    def view(self, block: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return a weight as a view of the mapped file, without a copy.

        Raises:
            PackageError: The file has no such weight within this block, or another shape of it.
        """
        piece, place = self.pieces[name_of(block)], self.places.get(name_of(block, name))
        whole = NUMBER_BYTES * prod(shape)
        if place is None or place.dtype != "F32" or place.shape != shape or place.end - place.start != whole:
            raise PackageError(f"{self.path}: block {block} has no {name} of {shape}; pack it again")
        if not piece.start <= place.start <= place.end <= piece.start + piece.length or place.start % NUMBER_BYTES:
            raise PackageError(f"{self.path}: {name} lies outside block {block}; pack it again")
        return np.frombuffer(self.map, np.float32, prod(shape), place.start).reshape(shape)

    def ready(self, block: int, following: int) -> None:
        """Wait until a block is checked, and start reading the following one.

        Raises:
            PackageError: The block's bytes are not those that were packed.
        """
        check = self._checked(block)
        if following != block and self._checked(following).done():
            self._will_need(following)
        check.result()

    def _checked(self, block: int) -> Future[None]:
        if block not in self.checks:
            piece = self.pieces[name_of(block)]
            try:
                self.checks[block] = self.reader.submit(self._check, piece)
            except RuntimeError:  # no memory for another thread's stack
                self._check(piece)
                self.checks[block] = done = Future[None]()
                done.set_result(None)
        return self.checks[block]

    def _check(self, piece: Piece) -> None:
        check_piece(self.path, piece, memoryview(self.map)[piece.start : piece.start + piece.length])

    def _will_need(self, block: int) -> None:
        """Ask the system to load a block's dropped pages again, without waiting for them."""
        piece = self.pieces[name_of(block)]
        start = piece.start // mmap.PAGESIZE * mmap.PAGESIZE
        self.map.madvise(mmap.MADV_WILLNEED, start, piece.start + piece.length - start)


@final
class Stack:
    """The programs of stem, block and head, for one size of x and one batch.

    Rows go from one of two buffers to the other, so that all inputs and outputs of a block are bound once.

    Args:
        files: Files of the package, see ``brickwork.device.runner``.
        graphs: Entries of stem, block and head in the manifest.
        blocks: Weights of all blocks.
    """

    def __init__(self, files: Any, graphs: tuple[Graph, Graph, Graph], blocks: Blocks) -> None:
        from onnxruntime import OrtValue

        self.files, self.blocks = files, blocks
        self.stem_graph, self.block_graph, self.head_graph = graphs
        self.stem, self.block, self.head = (self._open(graph) for graph in graphs)
        rows, *told = self.stem_graph.outputs
        self.rows = [np.zeros(rows.shape, np.float32) for _ in range(2)]
        self.values = [OrtValue.ortvalue_from_numpy(buffer) for buffer in self.rows]
        self.told = {port.name: OrtValue.ortvalue_from_numpy(np.zeros(port.shape, np.float32)) for port in told}
        self.weights = [p for p in self.block_graph.inputs if p.name not in self.told and p.name != rows.name]
        self.bindings: dict[int, tuple[Any, list[Any]]] = {}

    def __call__(self, inputs: Mapping[str, np.ndarray], parts: int) -> tuple[np.ndarray, ...]:
        """Estimate x0 by the first blocks of the model.

        Args:
            inputs: Arrays by the names of the stem's inputs, of exactly their shapes and dtypes.
            parts: Number of blocks that run.
        """
        with self._running(self.stem_graph):
            given = {port.name: inputs[port.name] for port in self.stem_graph.inputs}
            binding = self.stem.io_binding()
            for name, value in given.items():
                binding.bind_cpu_input(name, value)
            for port, value in zip(self.stem_graph.outputs, (self.values[0], *self.told.values()), strict=True):
                binding.bind_ortvalue_output(port.name, value)
            self.stem.run_with_iobinding(binding)
        for part in range(parts):
            self.blocks.ready(self.blocks.index(part), self.blocks.index((part + 1) % parts))
            with self._running(self.block_graph):
                self.block.run_with_iobinding(self._binding(part))
        with self._running(self.head_graph):
            names = [port.name for port in self.head_graph.inputs]
            fed = {name: given[name] if name in given else self.rows[parts % 2] for name in names}
            return tuple(self.head.run([port.name for port in self.head_graph.outputs], fed))

    def _binding(self, part: int) -> Any:
        """Return a block's inputs and outputs, bound to their memory once."""
        if part not in self.bindings:
            from onnxruntime import OrtValue

            binding, block, held = self.block.io_binding(), self.blocks.index(part), []
            binding.bind_ortvalue_input(self.block_graph.inputs[0].name, self.values[part % 2])
            for name, value in self.told.items():
                binding.bind_ortvalue_input(name, value)
            for port in self.weights:
                held.append(OrtValue.ortvalue_from_numpy(self.blocks.view(block, port.name, port.shape)))
                binding.bind_ortvalue_input(port.name, held[-1])
            binding.bind_ortvalue_output(self.block_graph.outputs[0].name, self.values[(part + 1) % 2])
            self.bindings[part] = binding, held
        return self.bindings[part][0]

    def _open(self, graph: Graph) -> Any:
        from brickwork.device.onnx import session

        for name in (graph.file, *graph.weights):
            if name != BLOCKS:
                self.files.check(name)
        # Threads of stem and head must not spin while they wait: blocks run next and need the cores.
        entries = {} if graph.role == "block" else {"session__force_spinning_stop": "1"}
        with self._running(graph, "open"):
            return session(self.files.folder / graph.file, self.files.threads, **entries)

    @contextmanager
    def _running(self, graph: Graph, verb: str = "run") -> Iterator[None]:
        """Turn the runtime's exceptions into a ``PackageError`` of one line."""
        try:
            yield
        except BrickworkError:
            raise
        except Exception as error:  # runtimes raise errors of many classes, none of them ours
            raise refused(self.files.folder / graph.file, graph, self.files.manifest, error, verb) from error


def open_stack(files: Any, *, height: int, width: int, batch: int) -> Stack:
    """Open the denoiser of one size and batch; it is called with its inputs and the number of blocks that run.

    Args:
        files: Files of the package, see ``brickwork.device.runner``.
        height, width, batch: Sizes of its graphs, in model space.

    Raises:
        PackageError: A file is missing or damaged, or the runtime cannot open a graph.
        MissingExtraError: The runtime is not installed.
    """
    manifest, runtime = files.manifest, runtime_of(files.manifest.target)
    if runtime.PACKAGE != "onnxruntime" or BLOCKS not in manifest.files:
        raise PackageError(f"a stack for {manifest.target} without {BLOCKS} is not known here; pack it again")
    where = {"height": height, "width": width, "batch": batch}
    graphs = tuple(manifest.graph(role, **where) for role in ("stem", "block", "head"))
    try:
        runtime.start()
    except ImportError as error:
        raise MissingExtraError(runtime.EXTRA, runtime.PACKAGE, f"a package for {manifest.target}") from error
    if files.blocks is None:
        path = located(files.folder, manifest, BLOCKS)
        files.blocks = Blocks(path, manifest.files[BLOCKS], manifest.num_parts)
    return Stack(files, graphs, files.blocks)


@final
class CheckedOnce:
    """A program whose large weight files are checked before its first call, not when it is opened.

    Args:
        program: Opened graph.
        files: Files of the package, see ``brickwork.device.runner``.
        names: Names of the files whose pieces are to be checked.
    """

    def __init__(self, program: Program, files: Any, names: list[str]) -> None:
        self.program, self.files, self.names = program, files, names

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Run the graph; see ``brickwork.device.program.Program``."""
        for name in self.names:
            if name not in self.files.seen:
                check_pieces(self.files.folder / name, self.files.manifest.files[name])
                self.files.seen.add(name)
        return self.program(inputs)


def check_pieces(path: Path, file: File) -> None:
    """Check all pieces of a file, on all cores.

    Raises:
        PackageError: Some bytes are not those that were packed.
    """
    check_tiled(path, file)
    data = memoryview(mapped(path))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(lambda p: check_piece(path, p, data[p.start : p.start + p.length]), file.pieces):
            pass


def check_tiled(path: Path, file: File) -> None:
    """Refuse pieces that leave bytes of a file unchecked.

    Raises:
        PackageError: There are gaps, or no pieces.
    """
    ends = [0, *(piece.start + piece.length for piece in file.pieces)]
    if [piece.start for piece in file.pieces] != ends[:-1] or ends[-1] != file.length or not file.pieces:
        raise PackageError(f"{path}: the pieces in its manifest do not cover it; pack it again")


def mapped(path: Path) -> mmap.mmap:
    """Map a file's bytes for reading; the system decides which pages stay in memory.

    The file may be replaced meanwhile, but not truncated: reading missing bytes ends the process.
    """
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
