"""Canvases of any height and width from a denoiser of fixed size: estimates of overlapping windows are averaged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeAlias, final

import numpy as np

from brickwork.diffusion.arrays import Array, like, namespace
from brickwork.diffusion.denoiser import Capabilities, Condition, Denoiser, capabilities_of
from brickwork.diffusion.gaussian import CANVAS, integers
from brickwork.errors import ArgumentError
from brickwork.registry import Registry
from brickwork.sampling.wrapper import Wrapper

Words: TypeAlias = tuple[int, int]
"""Two 64-bit numbers, for rows and columns, that set the shift of the grid of windows."""
Part: TypeAlias = tuple[int, int, slice]
"""Window i down and j across, for some images of the batch."""


class Mode(ABC):
    """Rule that divides a canvas into windows, along one axis at a time."""

    @property
    @abstractmethod
    def moves(self) -> bool:
        """True if the windows lie elsewhere at every noise level."""

    @abstractmethod
    def side(self, length: int, trained: int, multiple: int | None) -> int:
        """Return the side of the windows, in pixels; a side above the canvas's makes the canvas longer.

        Args:
            length: Side of the canvas, in pixels.
            trained: Side of the denoiser's own x.
            multiple: Divisor of the other sides that the denoiser takes; None if it takes no other.
        """

    @abstractmethod
    def starts(self, length: int, side: int, word: int = 0) -> list[int]:
        """Return the first pixels of the windows, from 0 to length - side; together the windows cover the canvas.

        Args:
            length: Side of the canvas, at least the window's.
            side: Side of a window.
            word: Number that sets the shift, for a moving grid; any number from 0.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Windows(Mode):
    """Windows of the trained size on an even grid; those that would leave the canvas are moved inside.

    Source: Bar-Tal et al., "MultiDiffusion", 2302.08113, Eq. 5, for joining overlapping windows.

    A denoiser that divides its square itself, as LEGO's small bricks do, has borders of its own within a window. They
    average out if the stride is no multiple of them, as with the default overlap, or if the grid moves.

    Attributes:
        overlap: Share of a window's side that the next one covers too, from 0 to below 1.
        shift: Move the grid at every noise level, so that borders lie elsewhere each time.
    """

    overlap: float = 0.4
    shift: bool = False

    def __post_init__(self) -> None:
        """Refuse a grid that does not advance."""
        if not 0 <= self.overlap < 1:
            raise ArgumentError(
                f"overlap {self.overlap}: the share must be 0 (none) or more, and below 1; 0.4 is usual"
            )

    @property
    def moves(self) -> bool:
        """True if the grid is shifted."""
        return self.shift

    def side(self, length: int, trained: int, multiple: int | None) -> int:
        """Return the trained side."""
        return trained

    def starts(self, length: int, side: int, word: int = 0) -> list[int]:
        """Return multiples of the stride, less the shift."""
        stride = max(1, round(side * (1 - self.overlap)))
        last, first = length - side, -(word % stride) if self.shift else 0
        return sorted({min(max(k, 0), last) for k in range(first, last + stride, stride)})


@final
@dataclass(frozen=True, kw_only=True)
class Whole(Mode):
    """One window, the canvas itself, enlarged to a multiple that the denoiser takes: attention sees all of it."""

    @property
    def moves(self) -> bool:
        """False: the one window never moves."""
        return False

    def side(self, length: int, trained: int, multiple: int | None) -> int:
        """Return the next multiple.

        Raises:
            ArgumentError: The denoiser takes its own size alone.
        """
        if multiple is None:
            raise ArgumentError(
                "canvas mode 'whole': this model takes images of its own size alone; take one of "
                f"{', '.join(name for name in MODES if name != 'whole')}"
            )
        return -(-length // multiple) * multiple

    def starts(self, length: int, side: int, word: int = 0) -> list[int]:
        """Return 0 alone."""
        return [0]


MODES = Registry[Callable[..., Mode]](
    "canvas mode",
    Mode,
    {
        "tile": partial(Windows, overlap=0.0, shift=False),
        "overlap": partial(Windows, shift=False),
        "shift": partial(Windows, overlap=0.0, shift=True),
        "overlap+shift": partial(Windows, shift=True),
        "whole": Whole,
    },
)
"""Canvas modes: side by side; overlapping and averaged; side by side on a moving grid; both; no windows."""

DEFAULT_MODE = "overlap+shift"


@final
@dataclass(frozen=True)
class _Axis:
    """Rows or columns of a canvas.

    Attributes:
        wanted: Side of the pictures.
        side: Side of a window.
        mode: Rule that places the windows.
    """

    wanted: int
    side: int
    mode: Mode

    @property
    def length(self) -> int:
        """Side of x."""
        return max(self.wanted, self.side)

    @property
    def margin(self) -> int:
        """Pixels of x before those that the pictures show."""
        return (self.length - self.wanted) // 2

    def starts(self, word: int = 0) -> list[int]:
        """Return the first pixels of the windows."""
        return self.mode.starts(self.length, self.side, word)

    def borders(self) -> list[int]:
        """Return the pixels of the pictures where a window begins or has ended, without a shift."""
        edges = {k - self.margin for start in self.starts() for k in (start, start + self.side)}
        return sorted(k for k in edges if 0 < k < self.wanted)

    def regions(self, starts: list[int], count: int) -> list[int]:
        """Return the region, of count equal ones, in which each window's centre lies."""
        return [min((2 * k + self.side) * count // (2 * self.length), count - 1) for k in starts]


@final
@dataclass(frozen=True)
class Canvas(Wrapper):
    """Denoiser of height x width pixels: each call averages the estimates of a denoiser of fixed size in windows.

    Each window is a separate picture to the wrapped denoiser. Estimates of x0 of overlapping windows are
    averaged with weights that fall smoothly towards a window's border (a raised cosine, never 0), made to add up to 1
    at every pixel. A canvas that is one window is the wrapped denoiser, bit for bit.

    The shift is a pure function of sigma: with its 32 bits as float32 for seed, it is the first two
    ``integers`` of stream CANVAS, modulo the stride, for rows and columns. No state is kept from call to call.

    Labels may differ by region: (B, rows, columns) divides the canvas evenly, and a window takes the class of
    the region in which its centre lies.

    Wrap guidance around a canvas, ``Guided(Canvas(denoise, ...), scale)``, and put plans inside.

    Attributes:
        inner: Denoiser of the windows, at its own shape.
        height: Height of the pictures, in pixels of x; any from 1. Below a window's height, the canvas is a window high
            and ``decode`` returns its middle.
        width: Width of the pictures, likewise.
        mode: Rule that places the windows; a name in MODES, or a ``Mode`` with other options.
        chunk: Windows evaluated at once, over all images of a batch; memory grows with it and not with the canvas.
    """

    inner: Denoiser
    height: int
    width: int
    mode: Mode | str = DEFAULT_MODE
    chunk: int = 8

    def __post_init__(self) -> None:
        """Refuse a canvas that cannot be drawn.

        Raises:
            ArgumentError: A side or chunk is no whole number above 0, or the denoiser cannot do the mode.
            UnknownNameError: No mode has this name.
        """
        for name in ("height", "width", "chunk"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                unit = "windows" if name == "chunk" else "pixels"
                raise ArgumentError(f"canvas {name} {value!r}: it must be a whole number of {unit}, at least 1")
        if isinstance(self.mode, str):
            MODES.find(self.mode)
        _ = self._axes  # the mode refuses here what it cannot do

    @cached_property
    def _axes(self) -> tuple[_Axis, _Axis]:
        """Rows and columns of the canvas."""
        mode = MODES[self.mode]() if isinstance(self.mode, str) else self.mode
        own = capabilities_of(self.inner)
        (_, high, wide), multiple = own.shape, own.multiple
        return (
            _Axis(self.height, mode.side(self.height, high, multiple), mode),
            _Axis(self.width, mode.side(self.width, wide, multiple), mode),
        )

    @property
    def capabilities(self) -> Capabilities:
        """Declaration of the wrapped denoiser, at the canvas's own shape; labels may be of regions."""
        rows, columns = self._axes
        own = capabilities_of(self.inner)
        return replace(own, shape=(own.shape[0], rows.length, columns.length), multiple=None, takes_regions=True)

    def check_regions(self, down: int, across: int) -> None:
        """Refuse regions of which some would have no window.

        Raises:
            ArgumentError: No window's centre lies in some region, without a shift.
        """
        rows, columns = self._axes
        for axis, count in ((rows, down), (columns, across)):
            if count < 1 or len(set(axis.regions(axis.starts(), count))) < count:
                raise ArgumentError(
                    f"{down}x{across} regions: a canvas of {rows.length}x{columns.length} pixels has "
                    f"{len(rows.starts())}x{len(columns.starts())} windows here, and some region holds no window's "
                    "centre; give fewer regions or a larger canvas"
                )

    def borders(self) -> tuple[list[int], list[int]]:
        """Return the rows and columns of the pictures where a window begins or has ended, without a shift."""
        rows, columns = self._axes
        return rows.borders(), columns.borders()

    def estimate(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Estimate x0 as the average over windows; see ``Denoiser``.

        Raises:
            ArgumentError: x is not of this canvas's shape, or some region has no window.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ArgumentError(f"x of {tuple(x.shape[1:])}: this canvas takes {self.shape}; make x of its shape")
        if not self._axes[0].mode.moves:
            return self._joined(x, sigma, condition, (0, 0))
        levels = np.asarray(sigma.tolist(), dtype=np.float32)
        if len(np.unique(levels)) == 1:
            return self._joined(x, sigma, condition, _words(levels[0]))
        out = namespace(x).zeros_like(x)
        for level in np.unique(levels):
            rows = np.flatnonzero(levels == level).tolist()
            out[rows] = self._joined(x[rows], sigma[rows], condition[rows], _words(level))
        return out

    def _joined(self, x: Array, sigma: Array, condition: Condition, words: Words) -> Array:
        """Average the estimates of all windows, the grid shifted by the words."""
        xp, (rows, columns) = namespace(x), self._axes
        tops, lefts = rows.starts(words[0]), columns.starts(words[1])
        asked = self._conditions(condition, tops, lefts)
        if len(tops) == len(lefts) == 1:
            return self.inner(x, sigma, asked(0, 0))
        down = like(weights(tops, rows.length, rows.side), x)
        across = like(weights(lefts, columns.length, columns.side), x)
        out = xp.zeros_like(x)
        for parts in _chunks(len(tops), len(lefts), len(x), self.chunk):
            areas = [
                (images, slice(None), slice(tops[i], tops[i] + rows.side), slice(lefts[j], lefts[j] + columns.side))
                for i, j, images in parts
            ]
            first, *others = (asked(i, j)[images] for i, j, images in parts)
            estimates = self.inner(
                xp.concatenate([x[area] for area in areas]),
                xp.concatenate([sigma[images] for _, _, images in parts]),
                first.joined(*others),
            )
            row = 0
            for (i, j, images), area in zip(parts, areas, strict=True):
                count = images.stop - images.start
                out[area] += estimates[row : row + count] * (down[i][:, None] * across[j])
                row += count
        return out

    def _conditions(self, condition: Condition, tops: list[int], lefts: list[int]) -> Callable[[int, int], Condition]:
        """Return the conditions by window, i down and j across: the class of the region in which its centre lies."""
        if condition.image is not None:
            raise ArgumentError("a canvas takes no image condition: draw at the model's own size")
        labels = condition.labels
        if labels is None or labels.ndim == 1:
            return lambda i, j: condition
        (_, down, across), (rows, columns) = labels.shape, self._axes
        self.check_regions(down, across)
        ups, sides = rows.regions(tops, down), columns.regions(lefts, across)
        return lambda i, j: replace(condition, labels=labels[:, ups[i], sides[j]])

    def decode(self, x0: Array) -> np.ndarray:
        """Decode as the wrapped denoiser does; of a canvas larger than height and width, only the middle."""
        pictures, (rows, columns) = self.inner.decode(x0), self._axes
        scale = pictures.shape[1] // rows.length  # pictures of latents are larger than x
        top, left = rows.margin * scale, columns.margin * scale
        return pictures[:, top : top + self.height * scale, left : left + self.width * scale]


def weights(starts: list[int], length: int, side: int) -> np.ndarray:
    """Return the share of each window in each of its pixels along one axis, float64 (len(starts), side).

    A raised cosine over the window, 1 - cos(2 pi (k + 1/2) / side), divided by the sum over all windows.

    Args:
        starts: First pixels of windows that cover the canvas.
        length: Side of the canvas.
        side: Side of a window.
    """
    bump = 1 - np.cos(2 * np.pi * (np.arange(side) + 0.5) / side)
    total = np.zeros(length)
    for start in starts:
        total[start : start + side] += bump
    return np.stack([bump / total[start : start + side] for start in starts])


def _words(level: np.float32) -> Words:
    """Return the numbers that set the shift at a noise level."""
    down, across = integers(int(level.view(np.uint32)), 0, 2, stream=CANVAS)
    return int(down), int(across)


def _chunks(num_down: int, num_across: int, batch: int, chunk: int) -> Iterator[list[Part]]:
    """Yield all windows of all images, window by window, in chunks."""
    total = num_down * num_across * batch
    for begin in range(0, total, chunk):
        end, parts = min(begin + chunk, total), []
        for window in range(begin // batch, (end - 1) // batch + 1):
            images = slice(max(begin - window * batch, 0), min(end - window * batch, batch))
            parts.append((*divmod(window, num_across), images))
        yield parts
