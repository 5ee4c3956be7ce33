"""An opened package as a denoiser, so that everything that draws from a model also draws from a package.

Graphs have fixed shapes: a batch is split into batches for which graphs exist, and a graph is opened when it is first
needed, after its files were checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.device.program import Program, open_program, runtime_of
from brickwork.device.stack import Blocks, CheckedOnce, Stack, open_stack
from brickwork.diffusion.denoiser import Capabilities, Condition, levels_like
from brickwork.diffusion.process import PROCESSES, NoiseProcess
from brickwork.doors import door
from brickwork.errors import ArgumentError, BrickworkError, PackageError
from brickwork.files.manifest import (
    CONDITION_PORTS,
    READER,
    Graph,
    Manifest,
    checked,
    located,
    manifest_digest,
    read_manifest,
)
from brickwork.files.schema import from_entry
from brickwork.files.tokenizers import TOKENIZERS, Tokenizer
from brickwork.files.whole import restore
from brickwork.sampling.options import class_number
from brickwork.sampling.sampler import Sampler


@final
@dataclass
class Files:
    """The files of a package, each checked once, and the graphs that were opened.

    Attributes:
        folder: The package.
        manifest: The package's manifest.
        threads: Threads for the runtime.
    """

    folder: Path
    manifest: Manifest
    threads: int | None = None
    programs: dict[str, Program] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    blocks: Blocks | None = None
    stacks: dict[str, Stack] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without the opened graphs, which no runtime copies; the copy opens its own."""
        return Files, (self.folder.absolute(), self.manifest, self.threads)

    def program(self, graph: Graph) -> Program:
        """Return a graph, ready to run."""
        if graph.file not in self.programs:
            later = [name for name in graph.weights if self.manifest.files[name].pieces]
            for name in (graph.file, *graph.weights):
                (located(self.folder, self.manifest, name) if name in later else self.check(name))
            program = open_program(self.folder, graph, self.manifest, self.threads)
            self.programs[graph.file] = CheckedOnce(program, self, later) if later else program
        return self.programs[graph.file]

    def check(self, name: str) -> None:
        """Compare a file's hash with the manifest, once."""
        if name not in self.seen:
            checked(self.folder, self.manifest, name)
            self.seen.add(name)


@final
@dataclass(frozen=True, eq=False)
class Runner:
    """A package as a ``brickwork.Denoiser``.

    Attributes:
        files: The package's files.
        parts: Number of the model's blocks that run.
        height, width: Size of x in model space.
    """

    files: Files = field(repr=False)
    parts: int
    height: int
    width: int

    @property
    def manifest(self) -> Manifest:
        """Manifest of the package."""
        return self.files.manifest

    @property
    def process(self) -> NoiseProcess:
        """Noise process of the model."""
        return from_entry(PROCESSES, self.manifest.process, "process", READER)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one x."""
        return self.manifest.shape[0], self.height, self.width

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.manifest.classes

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 when the model takes no label."""
        return len(self.manifest.classes)

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """Shape (M, E) of one text, or None."""
        text = self.manifest.text
        return None if text is None else (text.length, text.width)

    @property
    def condition_channels(self) -> int:
        """Channels of the image condition; 0 for none."""
        return self.manifest.condition_channels

    @property
    def capabilities(self) -> Capabilities:
        """Declaration of what the package takes."""
        return Capabilities(
            shape=self.shape,
            num_classes=self.num_classes,
            classes=self.classes,
            text_shape=self.text_shape,
            reads_text=self.manifest.text is not None and self.manifest.text.tokenizer is not None,
            condition_channels=self.condition_channels,
            factor=self.manifest.factor,
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the manifest, which names every other file."""
        return manifest_digest(self.files.folder)

    @property
    def num_parts(self) -> int:
        """Largest number of blocks that the package can run."""
        return max(self.counts)

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of blocks that the package can run, rising."""
        if self.manifest.layout == "stack":
            return tuple(range(1, self.manifest.num_parts + 1))
        return tuple(sorted({graph.parts for graph in self.manifest.of_role("denoiser")}))

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Sizes (height, width) of x in model space that the package can run, the model's own first."""
        own, role = self.manifest.shape[1:], "stem" if self.manifest.layout == "stack" else "denoiser"
        found = {(graph.height, graph.width) for graph in self.manifest.of_role(role)}
        return tuple(sorted(found, key=lambda size: (size != own, size)))

    def first(self, n: int) -> Runner:
        """Return the denoiser of the first n blocks.

        Raises:
            ArgumentError: The package has no graph for this number.
        """
        if n not in self.counts:
            raise ArgumentError(
                f"{n} parts: this package runs {', '.join(map(str, self.counts))} parts; pack it with {n}"
            )
        return replace(self, parts=n)

    def at(self, height: int, width: int) -> Runner:
        """Return the denoiser for another size of x, in model space.

        Raises:
            ArgumentError: The package has no graph of this size.
        """
        if (height, width) not in self.sizes:
            factor = self.manifest.factor
            known = ", ".join(f"{h * factor}x{w * factor}" for h, w in self.sizes)
            raise ArgumentError(
                f"pictures of {height * factor}x{width * factor}: this package draws {known}; pack it with this size"
            )
        return replace(self, height=height, width=width)

    def __call__(self, x: np.ndarray, sigma: np.ndarray | float, condition: Condition | None = None) -> np.ndarray:
        """Estimate x0; see ``brickwork.Denoiser``. Sigma may be one number; None is no condition.

        Raises:
            ArgumentError: No condition, but the package needs an image condition.
        """
        condition = self.capabilities.nothing(x) if condition is None else condition
        told = {"x": x, "sigma": levels_like(sigma, x), **self._told(condition, len(x))}
        found = []
        for rows, batch in batches(len(x), self._batches):
            inputs = {name: _padded(value[rows], batch) for name, value in told.items()}
            found.append(self._program(batch)(inputs)[0][: rows.stop - rows.start])
        return found[0] if len(found) == 1 else np.concatenate(found)

    def prepare(self, rows: int) -> None:
        """Open the graphs that a call with this many rows needs, ahead of time."""
        for _, batch in batches(rows, self._batches):
            self._program(batch)

    @property
    def _batches(self) -> tuple[int, ...]:
        role = "stem" if self.manifest.layout == "stack" else "denoiser"
        wanted = [
            graph.batch
            for graph in self.manifest.of_role(role)
            if (graph.height, graph.width) == (self.height, self.width) and graph.parts in (self.parts, 0)
        ]
        if not wanted:
            raise PackageError(
                f"the package has no graph of {self.parts} parts at {self.height}x{self.width}; pack one"
            )
        return tuple(sorted(set(wanted)))

    def _program(self, batch: int) -> Program:
        where = {"height": self.height, "width": self.width, "batch": batch}
        if self.manifest.layout != "stack":
            return self.files.program(self.manifest.graph("denoiser", parts=self.parts, **where))
        key = f"{self.height}x{self.width}-b{batch}"
        if key not in self.files.stacks:
            self.files.stacks[key] = open_stack(self.files, **where)
        return _First(self.files.stacks[key], self.parts)

    def _told(self, condition: Condition, count: int) -> dict[str, np.ndarray]:
        """Return the graphs' inputs besides x and sigma; missing conditions get their value for "nothing"."""
        told: dict[str, np.ndarray] = {}
        if self.num_classes:
            labels = condition.labels
            told["labels"] = np.full(count, -1, np.int64) if labels is None else np.asarray(labels, np.int64)
        if self.text_shape is not None:
            text = condition.text
            told["text"] = (
                np.zeros((count, *self.text_shape), np.float32) if text is None else np.asarray(text, np.float32)
            )
        if self.condition_channels:
            shape = (count, self.condition_channels, self.height, self.width)
            image = condition.image
            told[CONDITION_PORTS["image"]] = (
                np.zeros(shape, np.float32) if image is None else np.asarray(image, np.float32)
            )
        return told

    def asarray(self, values: np.ndarray) -> np.ndarray:
        """Return the values as float32."""
        return np.ascontiguousarray(values, dtype=np.float32)

    def decode(self, x0: np.ndarray) -> np.ndarray:
        """Turn model space into pictures, uint8 (B, H, W, C)."""
        pixels = self.pixels(x0)
        return np.clip(np.rint((pixels + 1) * np.float32(127.5)), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()

    def pixels(self, x0: np.ndarray) -> np.ndarray:
        """Turn model space into pictures in [-1, 1], float32 (B, C, H, W), not clamped."""
        if not self.manifest.of_role("decoder"):
            return x0
        decode = self.files.program(self.manifest.graph("decoder", height=x0.shape[2], width=x0.shape[3]))
        return np.concatenate([decode({"x0": row[None]})[0] for row in x0])

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Tokenizer of the text encoder in the package, or None."""
        text = self.manifest.text
        return (
            None
            if text is None or text.tokenizer is None
            else from_entry(TOKENIZERS, text.tokenizer, "text.tokenizer", READER)
        )

    def embed_text(self, captions: Sequence[str]) -> np.ndarray:
        """Return captions as embedded tokens, float32 (N, M, E).

        Raises:
            ArgumentError: The package has no text encoder.
        """
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise ArgumentError("captions for a package without a text encoder: give embedded tokens")
        encode = self.files.program(self.manifest.graph("text"))
        return np.concatenate([encode({"tokens": row[None]})[0] for row in tokenizer.tokenize(captions)])

    def unknown_words(self, captions: Sequence[str]) -> list[str]:
        """Return the words of captions that its text encoder never learned, each once, in order."""
        return [] if self.tokenizer is None else self.tokenizer.unknown_words(captions)

    def class_index(self, name: str) -> int:
        """Return the index of a class, from its name or its number.

        Raises:
            ArgumentError: There is no such class.
        """
        return class_number(name, self.classes)

    @property
    def sampler(self) -> Sampler:
        """Sampler of the manifest; pass it to ``brickwork.sample`` as ``how``."""
        return Sampler.from_entry(asdict(self.manifest.sampling))


@final
class _First:
    """A stack of blocks that runs the first n only."""

    def __init__(self, stack: Any, parts: int) -> None:
        self.stack, self.parts = stack, parts

    def __call__(self, inputs: Any) -> tuple[np.ndarray, ...]:
        return self.stack(inputs, self.parts)


@door("opening a package")
def open_package(path: str | Path, *, expect: str = "", threads: int | None = None) -> Runner:
    """Open a package to draw with; its manifest is checked now, each other file before it is first used.

    Args:
        path: The folder that ``brickwork pack`` wrote.
        expect: Expected SHA-256 (hex) of ``manifest.json``; pins the package to one exact version.
        threads: Processor threads; by default the runtime's own choice.

    Raises:
        PackageError: No package, a damaged one, or one that cannot run here.
    """
    runner = read_package(path, expect=expect, threads=threads)
    runtime_of(runner.manifest.target)
    return runner


def read_package(path: str | Path, *, expect: str = "", threads: int | None = None) -> Runner:
    """Open a package to inspect it, even if it cannot draw on this kind of machine; see ``open_package``.

    Raises:
        PackageError: No package, or a damaged one.
    """
    folder = Path(path)
    if threads is not None and threads < 1:
        raise ArgumentError(f"threads {threads}: at least 1 computes")
    if not folder.exists():
        restore(folder)
    manifest = read_manifest(folder, expect)
    _, height, width = manifest.shape
    try:
        runner = Runner(Files(folder, manifest, threads), 0, height, width)
        runner = replace(runner, parts=max(runner.counts, default=0))
        assert runner.process is not None
        if runner.parts == 0 or not runner.sizes:
            raise PackageError("its manifest names no graph that denoises; pack it again")
        return runner if (height, width) in runner.sizes else runner.at(*runner.sizes[0])
    except BrickworkError as error:
        raise PackageError(f"{folder}: {error}") from None


def batches(count: int, sizes: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """Split rows into batches that have graphs: the largest that they fill, then the smallest for the rest."""
    start = 0
    while start < count:
        left = count - start
        size = max((n for n in sizes if n <= left), default=min(sizes))
        yield slice(start, start + min(size, left)), size
        start += size


def _padded(rows: np.ndarray, batch: int) -> np.ndarray:
    """Fill rows up to a batch with copies of the last."""
    missing = batch - len(rows)
    return np.ascontiguousarray(np.concatenate([rows, rows[-1:].repeat(missing, axis=0)]) if missing else rows)
