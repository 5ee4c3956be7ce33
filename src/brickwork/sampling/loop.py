"""Seeds → noise → one loop over noise levels → pictures. Knows the waist and nothing behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf, isfinite, sqrt
from typing import Any, Protocol, TypeAlias

import numpy as np

from brickwork.diffusion.arrays import Array, like, namespace
from brickwork.diffusion.denoiser import Condition, Denoiser, core_of, takes_regions
from brickwork.diffusion.gaussian import Seeds, as_seeds, normals
from brickwork.diffusion.schedule import Karras, Schedule
from brickwork.errors import ArgumentError
from brickwork.sampling.guidance import Guided
from brickwork.sampling.solvers import Denoise, DpmSolverPP, Memory, Noise, Solver

Labels: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]] | np.ndarray
"""A class for all pictures or one for each; on a canvas also (rows, columns) of regions, for all or for each."""
Texts: TypeAlias = str | Sequence[str] | np.ndarray
"""A caption for all pictures or one for each; or embedded tokens, (M, E) for all or (N, M, E)."""
OnStep: TypeAlias = Callable[[int, Array, Array], None]
"""Called after each step with its number (from 0), x at the new level, and the latest estimate of x0."""


class Task(Protocol):
    """What a run starts from and holds on to, where that is not noise alone; ``edit`` has one."""

    @property
    def repeats(self) -> int:
        """How often each step is taken."""
        ...

    def levels(self, sigmas: np.ndarray) -> np.ndarray:
        """The last of the grid's levels: those that the run visits."""
        ...

    def begin(self, rows: slice, noise: Array, denoise: Denoise) -> tuple[Array, Denoise]:
        """x at the first of these levels, and what estimates x0 from there on.

        Args:
            rows: Which of the images are in this batch.
            noise: The first level times the seeds' draw 0, (B, C, H, W); where a run starts without a task.
            denoise: The model, guided, its condition bound.
        """
        ...


def integrate(
    denoise: Denoise,
    x: Array,
    sigmas: Sequence[float] | np.ndarray,
    solver: Solver,
    noise: Noise,
    on_step: OnStep | None = None,
    repeats: int = 1,
) -> Array:
    """x at level sigmas[0] → x at level sigmas[-1], one step per pair of levels.

    Args:
        denoise: D(x, s), the condition bound.
        x: (B, C, H, W); torch or numpy.
        sigmas: Falling waist levels; only the last may be 0.
        solver: Bound to its run (``solver.bind``) where it needs to be.
        noise: Fresh standard normal numbers like x at each call.
        on_step: Told of every step.
        repeats: How often each step is taken; between, fresh noise leads back up, and what a solver remembers of
            another path is forgotten (RePaint: Lugmayr et al., 2201.09865, Alg. 1).
    """
    latest = x

    def watched(at: Array, s: float) -> Array:
        nonlocal latest
        latest = denoise(at, s)
        return latest

    memory: Memory = ()
    for i, (s, s_next) in enumerate(pairwise(map(float, sigmas))):
        x, memory = solver.step(watched, x, s, s_next, noise, memory)
        for _ in range(repeats - 1):
            x = x + sqrt(s * s - s_next * s_next) * noise()
            x, memory = solver.step(watched, x, s, s_next, noise, ())
        if on_step is not None:
            on_step(i, x, latest)
    return x


def bind_condition(denoiser: Denoiser, condition: Condition) -> Denoise:
    """A denoiser of batches as a function of x and one level."""

    def denoise(x: Array, s: float) -> Array:
        return denoiser(x, namespace(x).zeros_like(x[:, 0, 0, 0]) + s, condition)

    return denoise


def noise_source(seeds: Seeds, x: Array) -> Noise:
    """The noise of a run after its start: draw 1, 2, ... of every seed, like x."""
    draw, shape = 0, tuple(x.shape[1:])
    kind = namespace(x).zeros_like(x[:0])  # x itself would be kept for the whole run

    def noise() -> Array:
        nonlocal draw
        draw += 1
        return like(normals(seeds, draw, shape), kind)

    return noise


def as_labels(labels: Labels | None, count: int, num_classes: int, *, regions: bool = False) -> np.ndarray | None:
    """Class numbers for count images, int64 (count,); None where the model has no classes.

    Args:
        labels: One number for all, or one for each; -1 or None ask for no class.
        count: Images.
        num_classes: Of the model.
        regions: Take also a class per region, (rows, columns) for all or (count, rows, columns), and return the latter.

    Raises:
        ArgumentError: For a model without classes, a number out of range, or a wrong count.
    """
    if labels is None:
        return None if num_classes == 0 else np.full(count, -1, dtype=np.int64)
    try:
        wanted = np.atleast_1d(np.asarray(labels))
    except ValueError:
        raise ArgumentError(f"labels {labels!r}: every row of regions must have as many as the first") from None
    if num_classes == 0:
        raise ArgumentError(f"labels {_short(wanted)}: this model has no classes; leave the labels out")
    if wanted.ndim == 2 and regions:
        wanted = wanted[None]
    if wanted.ndim > 1 and not regions:
        raise ArgumentError(f"labels {_short(wanted)}: give one, or one per seed; classes of regions need a Canvas")
    if wanted.ndim not in (1, 3) or wanted.size == 0 or not np.issubdtype(wanted.dtype, np.integer):
        raise ArgumentError(f"labels {_short(wanted)}: labels are whole numbers; give one, or one per seed")
    for label in wanted[(wanted < -1) | (wanted >= num_classes)][:1]:
        raise ArgumentError(
            f"label {label}: this model knows classes 0 to {num_classes - 1}; choose one, or -1 for none"
        )
    if len(wanted) not in (1, count):
        raise ArgumentError(f"{len(wanted)} labels for {count} seeds: give one label for all, or one for each seed")
    return np.broadcast_to(wanted, (count, *wanted.shape[1:])).astype(np.int64)


def as_text(text: Texts | None, count: int, model: Denoiser) -> np.ndarray | None:
    """Embedded text for count images, float32 (count, M, E); None where the model takes none.

    Args:
        text: A caption, or one for each; or embedded, (M, E) or (1, M, E) for all, or (count, M, E). None asks for no
            text, as an empty caption does.
        count: Images.
        model: Whose text it is; captions need one that can embed them, by a method ``embed_text``.

    Raises:
        ArgumentError: For a model without text, a wrong shape or count, or captions that it cannot embed.
    """
    text_shape = model.text_shape
    if text_shape is None:
        if text is not None:
            what = repr(text) if isinstance(text, str) else f"of shape {np.shape(text)}"
            raise ArgumentError(f"text {what}: this model takes no text; leave the text out")
        return None
    if text is None:
        return np.zeros((count, *text_shape), dtype=np.float32)
    if not isinstance(text, np.ndarray):
        embed = getattr(core_of(model), "embed_text", None)
        if embed is None:
            raise ArgumentError(
                f"text {text!r}: this model has no text encoder; give embedded tokens, an array of {text_shape}"
            )
        text = embed([text] if isinstance(text, str) else text)
    wanted = np.asarray(text, dtype=np.float32)
    wanted = wanted[None] if wanted.ndim == 2 else wanted
    if wanted.shape[1:] != tuple(text_shape) or len(wanted) not in (1, count):
        raise ArgumentError(
            f"text of shape {wanted.shape}: this model takes {text_shape} per image; give one for all, or {count}"
        )
    return np.array(np.broadcast_to(wanted, (count, *text_shape)))


def as_given(given: np.ndarray | None, count: int, model: Denoiser) -> np.ndarray | None:
    """What is given beside x for count images, float32 (count, G, H, W); None where the model is given nothing.

    Args:
        given: In model space, (G, H, W) or (1, G, H, W) for all, or (count, G, H, W).

    Raises:
        ArgumentError: It is missing, not wanted, or of another shape.
    """
    channels = getattr(core_of(model), "given_channels", 0)
    if channels == 0:
        if given is not None:
            raise ArgumentError(f"given of shape {np.shape(given)}: this model is given no picture; leave it out")
        return None
    shape = (channels, *model.shape[1:])
    if given is None:
        raise ArgumentError(
            f"nothing given: this model draws after a picture; `brickwork edit MODEL PICTURE` does, or give {shape} in "
            "model space (model.give)"
        )
    wanted = np.asarray(given, dtype=np.float32)
    wanted = wanted[None] if wanted.ndim == 3 else wanted
    if wanted.shape[1:] != shape or len(wanted) not in (1, count):
        raise ArgumentError(
            f"given of shape {wanted.shape}: this model takes {shape} per image; give one for all, or {count}"
        )
    return np.array(np.broadcast_to(wanted, (count, *shape)))


def as_condition(
    model: Denoiser,
    count: int,
    *,
    labels: Labels | None,
    text: Texts | None,
    negative: Texts | None,
    given: np.ndarray | None,
    guidance: float,
) -> Condition:
    """What count images should show, checked against the model, in numpy; the arguments are those of ``sample``.

    Raises:
        ArgumentError: Something that the model does not take, or guidance with nothing to follow.
    """
    classes = as_labels(labels, count, model.num_classes, regions=takes_regions(model))
    texts = as_text(text, count, model)
    if guidance != 1.0 and classes is None and texts is None:
        raise ArgumentError(f"guidance {guidance}: this model has neither classes nor text to follow; leave it at 1.0")
    if negative is not None and guidance == 1.0:
        raise ArgumentError("negative text at guidance 1.0, which is off: raise the guidance, or leave it out")
    return Condition(
        labels=classes,
        text=texts,
        given=as_given(given, count, model),
        negative=None if negative is None else as_text(negative, count, model),
    )


def _short(values: np.ndarray) -> str:
    return np.array2string(values, threshold=8, edgeitems=3, separator=", ")


def sample_x0(
    model: Denoiser,
    *,
    seeds: Seeds,
    labels: Labels | None = None,
    text: Texts | None = None,
    negative: Texts | None = None,
    given: np.ndarray | None = None,
    steps: int = 50,
    solver: Solver | None = None,
    grid: Schedule | None = None,
    guidance: float = 1.0,
    guidance_interval: tuple[float, float] = (0.0, inf),
    batch_size: int = 64,
    progress: bool = False,
    on_step: OnStep | None = None,
    task: Task | None = None,
) -> Array:
    """Draw images in model space, (N, C, H, W) of the model's kind of array.

    x starts as sigma_max * z, z the seed's draw 0: in a process's own space that is sigma(t_max) * z. A solver that
    needs noise takes draw 1, 2, ... The arguments are those of ``sample``, and a task where the run starts from more
    than noise.
    """
    keys = as_seeds(seeds)
    if len(keys) == 0:
        raise ArgumentError("seeds []: there is nothing to draw; give one seed per image")
    if batch_size < 1:
        raise ArgumentError(f"batch size {batch_size}: a batch holds at least 1 image")
    low, high = guidance_interval
    if not isfinite(guidance):
        raise ArgumentError(f"guidance {guidance}: it must be a finite number; 1.0 is off")
    if not low < high:  # nan is not below anything
        raise ArgumentError(
            f"guidance interval {low} to {high}: its first level must be below its second; 0 inf is all"
        )
    wanted = as_condition(model, len(keys), labels=labels, text=text, negative=negative, given=given, guidance=guidance)
    solver = (solver if solver is not None else DpmSolverPP()).bind(model.process, steps)
    sigmas = (grid if grid is not None else Karras()).sigmas(model.process, steps)
    sigmas, repeats = (sigmas, 1) if task is None else (task.levels(sigmas), task.repeats)
    guided = model if guidance == 1.0 else Guided(model, guidance, guidance_interval)
    starts = range(0, len(keys), batch_size)
    done = []
    with _progress(progress, len(starts) * len(sigmas[1:])) as bar:

        def tick(i: int, x: Array, denoised: Array) -> None:
            bar.update()
            if on_step is not None:
                on_step(i, x, denoised)

        for i in starts:
            rows = slice(i, i + batch_size)
            x = model.asarray(float(sigmas[0]) * normals(keys[rows], 0, model.shape))
            denoise = bind_condition(guided, on_device(wanted[rows], x))
            if task is not None:
                x, denoise = task.begin(rows, x, denoise)
            done.append(integrate(denoise, x, sigmas, solver, noise_source(keys[rows], x), tick, repeats))
    return done[0] if len(done) == 1 else namespace(done[0]).concatenate(done)


def sample(
    model: Denoiser,
    *,
    seeds: Seeds,
    labels: Labels | None = None,
    text: Texts | None = None,
    negative: Texts | None = None,
    given: np.ndarray | None = None,
    steps: int = 50,
    solver: Solver | None = None,
    grid: Schedule | None = None,
    guidance: float = 1.0,
    guidance_interval: tuple[float, float] = (0.0, inf),
    batch_size: int = 64,
    progress: bool = False,
    on_step: OnStep | None = None,
) -> np.ndarray:
    """Draw pictures, uint8 (N, H, W, C). Picture i depends on its own seed, label, text and given picture alone.

    Args:
        model: Any denoiser.
        seeds: One per picture, 0 to 2**64 - 1.
        labels: A class for all, or one per seed; -1 or None for no class. On a ``Canvas`` also classes of regions,
            (rows, columns) for all or (N, rows, columns).
        text: A caption for all, or one per seed; or embedded tokens, (M, E) for all or (N, M, E).
        negative: What guidance leads away from, like text; no text unless told otherwise.
        given: What is drawn after, where the model is given a picture: (G, H, W) in model space for all, or
            (N, G, H, W); ``model.give`` makes it of pictures.
        steps: Steps of the solver; the model is called ``solver.evaluations(steps)`` times per batch.
        solver: DpmSolverPP() unless told otherwise.
        grid: Karras() unless told otherwise.
        guidance: 1.0 is off; larger follows the condition more.
        guidance_interval: Waist levels (low, high] that are guided.
        batch_size: Pictures at a time; changes speed and memory, not pictures.
        progress: Show a bar with rate and remaining time.
        on_step: Told of every step of every batch.

    Raises:
        ArgumentError: For a seed, label, text or count that the model or the sampler cannot take.
    """
    x0 = sample_x0(
        model,
        seeds=seeds,
        labels=labels,
        text=text,
        negative=negative,
        given=given,
        steps=steps,
        solver=solver,
        grid=grid,
        guidance=guidance,
        guidance_interval=guidance_interval,
        batch_size=batch_size,
        progress=progress,
        on_step=on_step,
    )
    return np.concatenate([model.decode(x0[i : i + batch_size]) for i in range(0, len(x0), batch_size)])


def on_device(condition: Condition, x: Array) -> Condition:
    """A condition in numpy as x's kind of array, where x is."""

    def moved(part: Array | None) -> Array | None:
        return None if part is None else like(part, x)

    labels = condition.labels
    return Condition(
        labels=None if labels is None else namespace(x).asarray(labels, device=x.device),
        text=moved(condition.text),
        given=moved(condition.given),
        negative=moved(condition.negative),
    )


class _Silent:
    """A bar that is not shown, and needs no package to show it."""

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self) -> None:
        pass


def _progress(shown: bool, total: int) -> Any:
    if not shown:
        return _Silent()
    from tqdm import tqdm  # here: a device that draws from a package may not have it

    return tqdm(total=total, unit="step", desc="sampling")
