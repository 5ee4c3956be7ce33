"""Conditions of pictures (labels, texts, image conditions), checked against the model and made into a batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from brickwork.diffusion.arrays import Array, like, namespace
from brickwork.diffusion.denoiser import Condition, Denoiser, EmbedsText, KnowsWords, capabilities_of
from brickwork.diffusion.gaussian import Seed, Seeds
from brickwork.errors import ArgumentError, BrickworkWarning, short
from brickwork.sampling.options import class_number
from brickwork.sampling.wrapper import ability

TEXT_KINDS = "UO"
"""Kinds of numpy arrays that hold texts: of letters, or of objects."""
MAX_WORDS = 8
"""Most unknown words that a warning lists."""

Label: TypeAlias = int | str
"""Class by number or name."""
Labels: TypeAlias = Label | Sequence[Label] | Sequence[Sequence[Label]] | np.ndarray
"""Class for all pictures or one for each; on a canvas also (rows, columns) of regions, for all or for each."""
Texts: TypeAlias = str | Sequence[str] | np.ndarray
"""Caption for all pictures or one for each; or embedded tokens, (M, E) for all or (N, M, E)."""


def as_labels(
    labels: Labels | None,
    count: int,
    num_classes: int,
    *,
    classes: Sequence[str] = (),
    regions: bool = False,
) -> np.ndarray | None:
    """Check labels, and return class numbers for count images, int64 (count,); None for a model without classes.

    Args:
        labels: One class for all, or one for each, by number or name; -1 or None for no class.
        count: Number of images.
        num_classes: Number of the model's classes.
        classes: Names of the classes.
        regions: Take also a class per region, (rows, columns) for all or (count, rows, columns), and return the latter.

    Raises:
        ArgumentError: The model has no classes, a number is out of range, a name is unknown, or the count is wrong.
    """
    if labels is None:
        return None if num_classes == 0 else np.full(count, -1, dtype=np.int64)
    labels = _numbers(labels, classes) if num_classes else labels
    wanted = np.atleast_1d(_labels_array(labels))
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


def _labels_array(labels: Any) -> np.ndarray:
    """Return labels as an array."""
    try:
        return np.asarray(labels)
    except ValueError:
        raise ArgumentError(f"labels {short(labels)}: every row of regions must have as many as the first") from None


def _numbers(labels: Any, classes: Sequence[str]) -> Any:
    """Replace names of classes by their numbers, however nested."""
    if isinstance(labels, np.ndarray):
        return _numbers(labels.tolist(), classes) if labels.dtype.kind == "U" else labels
    if isinstance(labels, str):
        return class_number(labels, classes)
    return [_numbers(part, classes) for part in labels] if isinstance(labels, list | tuple) else labels


def seeds_for(seeds: Seed | Seeds, labels: Labels | None, text: Texts | None, image: np.ndarray | None) -> Seeds:
    """Return one seed for each picture; a single number becomes the seed of every picture.

    Args:
        seeds: A number, or one for each picture.
        labels: Labels as ``sample`` takes them; with text and image, they set the number of pictures of a single seed.
        text: Texts, likewise.
        image: Image conditions, likewise.
    """
    if not isinstance(seeds, int | np.integer):
        return seeds
    counts = [1]
    if labels is not None and _labels_array(labels).ndim in (1, 3):  # (rows, columns) are regions of one picture
        counts.append(len(labels))  # pyright: ignore[reportArgumentType]
    if isinstance(text, np.ndarray) and text.dtype.kind not in TEXT_KINDS:
        counts.append(len(text) if text.ndim == 3 else 1)
    elif text is not None and not isinstance(text, str):
        counts.append(len(np.atleast_1d(text)) if isinstance(text, np.ndarray) else len(text))
    if image is not None and np.ndim(image) == 4:
        counts.append(len(image))
    return [seeds] * max(counts)  # pyright: ignore[reportReturnType]  (checked by as_seeds)


def as_text(text: Texts | None, count: int, model: Denoiser) -> np.ndarray | None:
    """Return embedded text for count images, float32 (count, M, E); None for a model without text.

    Args:
        text: A caption, or one for each; or embedded, (M, E) or (1, M, E) for all, or (count, M, E). None stands for no
            text, as an empty caption does.
        count: Number of images.
        model: Model that reads the text; captions need one that can embed them, an ``EmbedsText``.

    Raises:
        ArgumentError: The model has no text, cannot embed captions, or shape or count are wrong.
    """
    can = capabilities_of(model)
    text_shape = can.text_shape
    if text_shape is None:
        if text is not None:
            what = repr(text) if isinstance(text, str) else f"of shape {np.shape(text)}"
            raise ArgumentError(f"text {what}: this model takes no text; leave the text out")
        return None
    if text is None:
        return np.zeros((count, *text_shape), dtype=np.float32)
    if not isinstance(text, np.ndarray) or text.dtype.kind in TEXT_KINDS:
        encoder = ability(model, EmbedsText) if can.reads_text else None
        if encoder is None:
            raise ArgumentError(
                f"text {text!r}: this model has no text encoder; give embedded tokens, an array of {text_shape}"
            )
        captions = _captions(text)
        _warn_of_unknown_words(model, captions)
        text = encoder.embed_text(captions)
    wanted = _real(text, "text")
    wanted = wanted[None] if wanted.ndim == 2 else wanted
    if wanted.shape[1:] != tuple(text_shape) or len(wanted) not in (1, count):
        raise ArgumentError(
            f"text of shape {wanted.shape}: this model takes {text_shape} per image; give one for all, or {count}"
        )
    return np.array(np.broadcast_to(wanted, (count, *text_shape)))


def _captions(text: Texts) -> list[str]:
    """Return captions as a list of at least one text."""
    captions = [text] if isinstance(text, str) else np.ravel(text).tolist() if isinstance(text, np.ndarray) else text
    if len(captions) == 0 or not all(isinstance(caption, str) for caption in captions):
        raise ArgumentError(f"text {short(text)}: give a caption, or a list of one for each seed")
    return list(captions)


def _real(values: np.ndarray, name: str) -> np.ndarray:
    """Return an array of numbers as float32."""
    if values.dtype.kind not in "fiu":
        raise ArgumentError(f"{name} of {values.dtype}: it must be an array of real numbers, such as float32")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ArgumentError(f"{name}: it holds NaN or infinity, or numbers beyond float32; every number must be finite")
    return values


def _warn_of_unknown_words(model: Denoiser, captions: Sequence[str]) -> None:
    """Say which words of captions mean nothing to a model."""
    knows = ability(model, KnowsWords)
    if knows is None or not (words := knows.unknown_words(captions)):
        return
    few = ", ".join(repr(word) for word in words[:MAX_WORDS]) + (", ..." if len(words) > MAX_WORDS else "")
    warnings.warn(f"text: the model never learned {few}; it draws by the other words", BrickworkWarning, stacklevel=2)


def as_image(image: np.ndarray | None, count: int, model: Denoiser) -> np.ndarray | None:
    """Return image conditions for count images, float32 (count, G, H, W); None for a model without one.

    Args:
        image: Image condition in model space, (G, H, W) or (1, G, H, W) for all, or (count, G, H, W).

    Raises:
        ArgumentError: The image condition is missing, not wanted, or of another shape.
    """
    channels = capabilities_of(model).condition_channels
    if channels == 0:
        if image is not None:
            raise ArgumentError(f"image condition of shape {np.shape(image)}: this model takes none; leave it out")
        return None
    shape = (channels, *model.shape[1:])
    if image is None:
        raise ArgumentError(
            f"no image condition: this model needs one; `brickwork edit MODEL PICTURE` makes it, or give {shape} in "
            "model space (model.as_image_condition)"
        )
    wanted = _real(image, "image condition")
    wanted = wanted[None] if wanted.ndim == 3 else wanted
    if wanted.shape[1:] != shape or len(wanted) not in (1, count):
        raise ArgumentError(
            f"image condition of shape {wanted.shape}: this model takes {shape} per image; give one for all, or {count}"
        )
    return np.array(np.broadcast_to(wanted, (count, *shape)))


def as_condition(
    model: Denoiser,
    count: int,
    *,
    labels: Labels | None,
    text: Texts | None,
    negative: Texts | None,
    image: np.ndarray | None,
    guidance: float,
) -> Condition:
    """Return the condition of count images, checked against the model, in numpy; arguments are those of ``sample``.

    Raises:
        ArgumentError: The model does not take one of them, or guidance has nothing to follow.
    """
    can = capabilities_of(model)
    classes = as_labels(labels, count, can.num_classes, classes=can.classes, regions=can.takes_regions)
    texts = as_text(text, count, model)
    if guidance != 1.0 and classes is None and texts is None:
        raise ArgumentError(f"guidance {guidance}: this model has neither classes nor text to follow; leave it at 1.0")
    if negative is not None and guidance == 1.0:
        raise ArgumentError("negative text at guidance 1.0, which is off: raise the guidance, or leave it out")
    return Condition(
        labels=classes,
        text=texts,
        image=as_image(image, count, model),
        negative=None if negative is None else as_text(negative, count, model),
    )


def _short(values: np.ndarray) -> str:
    return np.array2string(values, threshold=8, edgeitems=3, separator=", ")


def on_device(condition: Condition, x: Array) -> Condition:
    """Convert a condition in numpy into x's kind of array, on x's device."""

    def moved(part: Array | None) -> Array | None:
        return None if part is None else like(part, x)

    labels = condition.labels
    return Condition(
        labels=None if labels is None else namespace(x).asarray(labels, device=x.device),
        text=moved(condition.text),
        image=moved(condition.image),
        negative=moved(condition.negative),
    )
