"""What pictures should show, checked against the model and made into the condition of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from brickwork.diffusion.arrays import Array, like, namespace
from brickwork.diffusion.denoiser import Condition, Denoiser, core_of, takes_regions
from brickwork.errors import ArgumentError

Labels: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]] | np.ndarray
"""A class for all pictures or one for each; on a canvas also (rows, columns) of regions, for all or for each."""
Texts: TypeAlias = str | Sequence[str] | np.ndarray
"""A caption for all pictures or one for each; or embedded tokens, (M, E) for all or (N, M, E)."""


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
