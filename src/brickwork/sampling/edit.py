"""Edited pictures from a model that is not trained for it: image to image, and inpainting."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Unpack, final

import numpy as np

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.denoiser import Denoiser, Encodes
from brickwork.diffusion.gaussian import Seed, Seeds, as_seeds
from brickwork.doors import door
from brickwork.errors import ArgumentError
from brickwork.files.pictures import Pictures
from brickwork.sampling.conditions import Labels, Texts, seeds_for
from brickwork.sampling.loop import OnStep, decoded, sample_x0
from brickwork.sampling.sampler import Changes, Sampler
from brickwork.sampling.solvers import Denoise
from brickwork.sampling.wrapper import ability, innermost

RESAMPLE = 10
"""Default number of times that each step is taken with a mask; the number of RePaint's authors."""


@door("editing", "lower batch_size or the size of the pictures")
def edit(
    model: Denoiser,
    pictures: np.ndarray,
    *,
    seeds: Seed | Seeds,
    strength: float,
    mask: np.ndarray | None = None,
    resample: int | None = None,
    labels: Labels | None = None,
    text: Texts | None = None,
    negative: Texts | None = None,
    image: np.ndarray | None = None,
    how: Sampler = Sampler(),
    progress: bool = False,
    on_step: OnStep | None = None,
    **changes: Unpack[Changes],
) -> Pictures:
    """Draw pictures that start from pictures, uint8 (N, H, W, C); with a mask, only a region of each is drawn anew.

    Image to image (SDEdit): of the schedule's steps only the last floor(strength * steps) are taken, from
    x = x0 + sigma * z at the level where they begin; x0 is the picture in model space and z the seed's draw 0. The
    level depends on schedule and process: ``remaining`` gives it. At strength 0, or if no step is left, the
    pictures come back unchanged; at strength 1 nothing of them is used, and without a mask the result is that of
    ``sample`` with the same seeds, bit for bit.

    Inpainting (replacement): at every evaluation the denoiser's estimate of the known pixels is replaced by x0. They
    stay at x0 + sigma * z all the way, with the noise that the seed began with, or the solver's own if that
    draws fresh noise; and a solver of several steps or stages sees one smooth path. This is not the conditional
    distribution: of Gaussian pixels of correlation 0.9 a drawn one follows its known neighbour by 0.46, and by 0.85
    where each step is taken 10 times (``resample``). The known pixels of the result are the input's own. Of latents a
    place is known only if all its pixels are, and latents beside the mask may hold something of what was under it.

    Source: Meng et al., "SDEdit", 2108.01073, Alg. 1; Song et al., 2011.13456, App. I.2 (replacement); Lugmayr et al.,
    "RePaint", 2201.09865, Alg. 1 (resampling).

    Args:
        model: Any denoiser, guided, under a plan or on a canvas, whose innermost one has ``encode``: uint8 → x0.
        pictures: uint8 (H, W, C) or (1, H, W, C) for all seeds, or (N, H, W, C), of the size that the model draws.
        seeds: Seeds, one per result, 0 to 2**64 - 1; a single number is the seed of every result.
        strength: Share of the steps that are taken, 0 to 1.
        mask: Region to draw anew: bool, or uint8 with 0 for known pixels; (H, W) for all, or (N, H, W).
        resample: Number of times that each step is taken, with fresh noise back up between (RePaint's U); by default 10
            with a mask and 1 without. Multiplies the evaluations.
        labels: Labels as ``sample`` takes them.
        text: Texts as ``sample`` takes them.
        negative: Texts as ``sample`` takes them.
        image: Image condition as ``sample`` takes it.
        how: Sampler; its steps are those of the whole schedule, of which strength takes a share.
        progress: Show a bar with rate and remaining time.
        on_step: Function called after every step of every batch.
        **changes: Fields of ``how`` to replace, as ``sample`` takes them.

    Raises:
        ArgumentError: Pictures, mask, strength or an option do not fit the model or each other, or the model
            cannot encode.
    """
    pictures = np.asarray(pictures)
    if pictures.ndim == 4 and len(pictures) > 1 and isinstance(seeds, int | np.integer):
        seeds = [seeds] * len(pictures)
    seeds = as_seeds(seeds_for(seeds, labels, text, image))
    count = len(seeds)
    images, anew = _as_pictures(pictures, count), _as_mask(None if mask is None else np.asarray(mask), count, pictures)
    repeats = _as_repeats(resample, 1 if anew is None else RESAMPLE)
    task = _Task(model=model, pictures=images, anew=anew, strength=_as_strength(strength), repeats=repeats)
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
        task=task,
    )
    if _taken(how.steps, strength) == 0:
        return Pictures.of(np.broadcast_to(images, (count, *images.shape[1:])).copy())
    drawn = decoded(model, x0, how)
    return drawn if anew is None else Pictures.of(np.where(anew[..., None], drawn, images))


def remaining(sigmas: np.ndarray, strength: float) -> np.ndarray:
    """Return the levels of a schedule that are left at a strength: those of the last floor(strength * steps) steps.

    Args:
        sigmas: All levels, (steps + 1,).
        strength: 0 to 1.
    """
    steps = len(sigmas) - 1
    return sigmas[steps - _taken(steps, strength) :]


def _taken(steps: int, strength: float) -> int:
    return floor(strength * steps + 1e-6)  # 0.58 of 50 is 28.999... as a product of floats


@final
@dataclass(frozen=True, kw_only=True)
class _Task:
    """Task of an edit; see ``loop.Task``.

    Attributes:
        model: Denoiser that draws.
        pictures: Pictures, uint8 (1 or N, H, W, C).
        anew: Mask, bool (1 or N, H, W), true for pixels to draw; None for all.
        strength: Share of the steps.
        repeats: Number of times that each step is taken.
    """

    model: Denoiser
    pictures: np.ndarray
    anew: np.ndarray | None
    strength: float
    repeats: int

    def levels(self, sigmas: np.ndarray) -> np.ndarray:
        """Return the levels that remain."""
        return remaining(sigmas, self.strength)

    def begin(self, rows: slice, noise: Array, denoise: Denoise) -> tuple[Array, Denoise]:
        """Return x0 + noise, and the denoiser with the known pixels replaced."""
        x0 = self._encoded(_rows(self.pictures, rows))
        begun = noise if self.strength == 1 else x0 + noise
        if self.anew is None:
            return begun, denoise
        xp, known = namespace(noise), _places(~_rows(self.anew, rows), x0.shape[2:])
        known = xp.asarray(known[:, None], device=noise.device)

        def estimate(x: Array, s: float) -> Array:
            return xp.where(known, x0, denoise(x, s))

        return xp.where(known, x0 + noise, begun), estimate

    def _encoded(self, pictures: np.ndarray) -> Array:
        encoder = ability(self.model, Encodes)
        if encoder is None:
            raise ArgumentError(
                f"{type(innermost(self.model)).__name__} cannot encode pictures: editing needs a denoiser with a "
                "method encode, uint8 (B, H, W, C) to x0; a Model has one"
            )
        x0 = encoder.encode(pictures)
        if tuple(x0.shape[1:]) != tuple(self.model.shape):
            raise ArgumentError(
                f"pictures of {_size(pictures)} pixels are {tuple(x0.shape[1:])} in model space, and this model draws "
                f"{tuple(self.model.shape)}: crop or resize them, or draw on a Canvas of their size"
            )
        return x0


def _rows(values: np.ndarray, rows: slice) -> np.ndarray:
    """Return the rows of a batch; one row for all stays one."""
    return values if len(values) == 1 else values[rows]


def _places(known: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert pixels (B, H, W) → places of model space (B, h, w): true where all pixels of a place are."""
    h, w = size
    H, W = known.shape[1:]
    return np.logical_and.reduce(known.reshape(len(known), h, H // h, w, W // w), axis=(2, 4))


def _as_pictures(pictures: np.ndarray, count: int) -> np.ndarray:
    """Check pictures, and return them as uint8 (1 or count, H, W, C)."""
    images = pictures[None] if pictures.ndim == 3 else pictures
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) not in (1, count):
        raise ArgumentError(
            f"pictures of {pictures.dtype} {pictures.shape}: give uint8 (H, W, C) for all, or ({count}, H, W, C), one "
            "for each seed"
        )
    return images if images.flags.writeable else images.copy()  # torch takes only writable arrays


def _as_mask(mask: np.ndarray | None, count: int, pictures: np.ndarray) -> np.ndarray | None:
    """Check a mask, and return it as bool (1 or count, H, W), or None."""
    if mask is None:
        return None
    masks, size = mask[None] if mask.ndim == 2 else mask, pictures.shape[-3:-1]
    if mask.dtype not in (np.bool_, np.uint8) or masks.ndim != 3 or len(masks) not in (1, count):
        raise ArgumentError(
            f"mask of {mask.dtype} {mask.shape}: give bool or uint8 (H, W) for all, or ({count}, H, W), one for each "
            "seed; true is drawn anew"
        )
    if masks.shape[1:] != size:
        raise ArgumentError(
            f"mask of {'x'.join(map(str, masks.shape[1:]))} pixels for pictures of {_size(pictures)}: make it of "
            "their size"
        )
    return np.array(masks, dtype=np.bool_)


def _as_strength(strength: float) -> float:
    if not 0 <= strength <= 1:  # nan fails this
        raise ArgumentError(f"strength {strength}: it is a share of the steps, 0 (the picture stays) to 1 (all anew)")
    return strength


def _as_repeats(resample: int | None, usual: int) -> int:
    if resample is None:
        return usual
    if isinstance(resample, bool) or not isinstance(resample, int | np.integer) or resample < 1:
        raise ArgumentError(f"resample {resample!r}: each step is taken a whole number of times, at least once")
    return int(resample)


def _size(pictures: np.ndarray) -> str:
    return "x".join(map(str, pictures.shape[-3:-1]))
