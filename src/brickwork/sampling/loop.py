"""Sampling loop: seeds → noise → one step per pair of noise levels → pictures. It needs only a ``Denoiser``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isfinite, sqrt
from typing import Any, Protocol, TypeAlias, Unpack

import numpy as np

from brickwork.diffusion.arrays import Array, like, namespace, no_graph
from brickwork.diffusion.denoiser import Condition, Denoiser
from brickwork.diffusion.gaussian import Seed, Seeds, as_seeds, normals
from brickwork.doors import door
from brickwork.errors import ArgumentError
from brickwork.files.pictures import Pictures
from brickwork.sampling.conditions import Labels, Texts, as_condition, on_device, seeds_for
from brickwork.sampling.guidance import Guided
from brickwork.sampling.planned import planned
from brickwork.sampling.sampler import Changes, Sampler
from brickwork.sampling.solvers import Denoise, Memory, Noise, Solver

OnStep: TypeAlias = Callable[[int, Array, Array], None]
"""Function called after each step with its number (from 0), x at the new level, and the latest estimate of x0."""


class Task(Protocol):
    """Start and constraint of a run that begins with more than noise, such as an edit."""

    @property
    def repeats(self) -> int:
        """Number of times that each step is taken."""
        ...

    def levels(self, sigmas: np.ndarray) -> np.ndarray:
        """Return the last of the schedule's levels: those that the run visits."""
        ...

    def begin(self, rows: slice, noise: Array, denoise: Denoise) -> tuple[Array, Denoise]:
        """Return x at the first of these levels, and the function that estimates x0 from there on.

        Args:
            rows: Images of this batch.
            noise: First level times the seeds' draw 0, (B, C, H, W); the start of a run without a task.
            denoise: The model, guided, with its condition bound.
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
    """Integrate x from level sigmas[0] to level sigmas[-1], one step per pair of levels.

    Args:
        denoise: D(x, s), with the condition bound.
        x: Noisy images, (B, C, H, W); torch or numpy.
        sigmas: Falling noise levels; only the last may be 0.
        solver: Solver, bound to its run (``solver.bind``) if it needs to be.
        noise: Source of fresh standard normal numbers like x at each call.
        on_step: Function called after every step.
        repeats: Number of times that each step is taken; between, fresh noise leads back up, and a solver's memory of
            another path is cleared (RePaint: Lugmayr et al., 2201.09865, Alg. 1).
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
    """Turn a denoiser of batches into a function of x and one level."""

    def denoise(x: Array, s: float) -> Array:
        return denoiser(x, namespace(x).zeros_like(x[:, 0, 0, 0]) + s, condition)

    return denoise


def noise_source(seeds: Seeds, x: Array) -> Noise:
    """Return the noise source of a run after its start: draw 1, 2, ... of every seed, like x."""
    draw, shape = 0, tuple(x.shape[1:])
    kind = namespace(x).zeros_like(x[:0])  # a reference to x itself would keep it for the whole run

    def noise() -> Array:
        nonlocal draw
        draw += 1
        return like(normals(seeds, draw, shape), kind)

    return noise


def sample_x0(
    model: Denoiser,
    *,
    seeds: Seed | Seeds,
    labels: Labels | None = None,
    text: Texts | None = None,
    negative: Texts | None = None,
    image: np.ndarray | None = None,
    how: Sampler = Sampler(),
    progress: bool = False,
    on_step: OnStep | None = None,
    task: Task | None = None,
    **changes: Unpack[Changes],
) -> Array:
    """Draw images in model space, (N, C, H, W) of the model's kind of array.

    x starts as sigma_max * z, z the seed's draw 0: in a process's own space that is sigma(t_max) * z. A solver that
    needs noise takes draw 1, 2, ... No graph is kept, so that memory does not grow with the steps; a denoiser that
    needs gradients turns them on for itself. The arguments are those of ``sample``, and a task if the run starts from
    more than noise.
    """
    how, keys = how.but(**changes), as_seeds(seeds_for(seeds, labels, text, image))
    if len(keys) == 0:
        raise ArgumentError("seeds []: there is nothing to draw; give one seed per image")
    wanted = as_condition(
        model, len(keys), labels=labels, text=text, negative=negative, image=image, guidance=how.guidance
    )
    drawn_by = planned(model, how.plan)
    guided = drawn_by if how.guidance == 1.0 else Guided(drawn_by, how.guidance, how.guidance_interval)
    solver, sigmas, repeats = how.bound(model.process), how.sigmas(model.process), 1
    if task is not None:
        sigmas, repeats = task.levels(sigmas), task.repeats
    starts = range(0, len(keys), how.batch_size)
    done = []
    with no_graph(), _progress(progress, len(starts) * len(sigmas[1:])) as bar:

        def tick(i: int, x: Array, denoised: Array) -> None:
            bar.update()
            if on_step is not None:
                on_step(i, x, denoised)

        for i in starts:
            rows = slice(i, i + how.batch_size)
            x = model.asarray(float(sigmas[0]) * normals(keys[rows], 0, model.shape))
            denoise = bind_condition(guided, on_device(wanted[rows], x))
            if task is not None:
                x, denoise = task.begin(rows, x, denoise)
            done.append(integrate(denoise, x, sigmas, solver, noise_source(keys[rows], x), tick, repeats))
    return done[0] if len(done) == 1 else namespace(done[0]).concatenate(done)


@door("drawing", "lower batch_size, the size of the pictures or the canvas's chunk")
def sample(
    model: Denoiser,
    *,
    seeds: Seed | Seeds,
    labels: Labels | None = None,
    text: Texts | None = None,
    negative: Texts | None = None,
    image: np.ndarray | None = None,
    how: Sampler = Sampler(),
    progress: bool = False,
    on_step: OnStep | None = None,
    **changes: Unpack[Changes],
) -> Pictures:
    """Draw pictures, uint8 (N, H, W, C). Picture i depends on its own seed, label, text and image condition alone.

    Args:
        model: Any denoiser.
        seeds: Seeds, one per picture, 0 to 2**64 - 1; a single number, as in 0, is the seed of every picture.
        labels: A class for all, or one per seed, by number or name ("Bag"); -1 or None for no class. On a ``Canvas``
            also classes of regions, (rows, columns) for all or (N, rows, columns).
        text: A caption for all, or one per seed; or embedded tokens, (M, E) for all or (N, M, E).
        negative: Text like ``text`` that guidance steers away from; None to steer away from no text.
        image: Image condition, for a model that takes one: (G, H, W) in model space for all, or
            (N, G, H, W); ``model.as_image_condition`` makes it from pictures.
        how: Steps, solver, schedule, guidance, plan and batch size.
        progress: Show a bar with rate and remaining time.
        on_step: Function called after every step of every batch.
        **changes: Fields of ``Sampler``, as in steps=25, solver="heun", schedule="karras:rho=5", guidance=1.5; given
            together with ``how`` they replace those of its fields.

    Raises:
        ArgumentError: The model or the sampler cannot take a seed, label, text or count.
    """
    how = how.but(**changes)
    x0 = sample_x0(
        model,
        seeds=seeds,
        labels=labels,
        text=text,
        negative=negative,
        image=image,
        how=how,
        progress=progress,
        on_step=on_step,
    )
    return decoded(model, x0, how)


def decoded(model: Denoiser, x0: Array, how: Sampler) -> Pictures:
    """Decode model space into pictures, uint8 (N, H, W, C), in batches of the sampler's size.

    Raises:
        ArgumentError: They hold NaN or infinity.
    """
    _check_finite(x0, how)
    with no_graph():
        images = [model.decode(x0[i : i + how.batch_size]) for i in range(0, len(x0), how.batch_size)]
    return Pictures.of(np.concatenate(images))


def _check_finite(drawn: Array, how: Sampler) -> None:
    """Refuse pictures that hold NaN or infinity, which would be decoded as black or white."""
    if not (isfinite(float(drawn.min())) and isfinite(float(drawn.max()))):
        raise ArgumentError(
            f"the pictures came out as NaN or infinity at guidance {how.guidance:g}: weights are not finite, or the "
            "guidance or a noise level is too large; lower these, or load the model again"
        )


class _Silent:
    """Progress bar that shows nothing and needs no package."""

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self) -> None:
        pass


def _progress(shown: bool, total: int) -> Any:
    if not shown:
        return _Silent()

    from brickwork.files.bars import Bar  # imported here, since a device that draws from a package may lack tqdm

    return Bar(total=total, unit="step", desc="sampling")
