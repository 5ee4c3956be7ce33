"""Evaluation of a model against a reference: held-out loss by noise level, Fréchet distance, class agreement.

Wherever brickwork says "quality", it means these three, measured by ``evaluate``. Everything that could change the
numbers is fixed or stated in the report: images, noise and levels of the loss; seeds and labels of the pictures; the
hashes of the feature network and the reference.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack, cast, final

import numpy as np

from brickwork.data.dataset import DataConfig, Dataset
from brickwork.diffusion.denoiser import Denoiser, Described, capabilities_of
from brickwork.doors import door
from brickwork.errors import ArgumentError, BrickworkError, ConfigError
from brickwork.files.plain import read_toml
from brickwork.files.schema import TOML
from brickwork.files.whole import write_whole
from brickwork.nn.floats import float32_default
from brickwork.quality.classifier import Agreement, agreement
from brickwork.quality.distance import Frechet, frechet
from brickwork.quality.features import features
from brickwork.quality.heldout import LevelLoss, Measurable, chosen, held_out_loss, image_condition_of, told_text
from brickwork.quality.reference import Reference
from brickwork.sampling.loop import sample
from brickwork.sampling.planned import Planned, planned
from brickwork.sampling.sampler import Changes, Sampler


@final
@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of an evaluation: the results, and how they were measured.

    Attributes:
        reference: Name of the reference.
        loss: Held-out loss by noise level.
        distance: Fréchet distance of the drawn pictures to the train split.
        real_distance: The same distance of equally many held-out images, by a fixed choice: what a perfect model would
            get. If fewer are held out, of all of them, and then too large to compare; its ``num_images`` tells. None
            with one image.
        agreement: Agreement of a classifier with the classes asked for; None where it has no meaning, see notes.
        settings: Settings that drew the pictures, and the model's sha256 if it has one. JSON-like.
        held_out_sha256: Digest of the held-out images, hex.
        seconds: Wall time.
        notes: Warnings about the numbers, one line each.
    """

    reference: str
    loss: tuple[LevelLoss, ...]
    distance: Frechet
    real_distance: Frechet | None
    agreement: Agreement | None
    settings: dict[str, Any]
    held_out_sha256: str
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "reference": self.reference,
            "loss": [level.to_dict() for level in self.loss],
            "distance": self.distance.to_dict(),
            "real_distance": self.real_distance and self.real_distance.to_dict(),
            "agreement": self.agreement and self.agreement.to_dict(),
            "settings": self.settings,
            "held_out_sha256": self.held_out_sha256,
            "seconds": round(self.seconds, 1),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """Return ``to_dict`` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write ``to_json`` into a file, atomically.

        Raises:
            OutputError: The file cannot be written.
        """
        write_whole(Path(path), self.to_json().encode())

    def __str__(self) -> str:
        """Return the report as a page of text."""
        d, real, agreed = self.distance, self.real_distance, self.agreement
        lines = [f"reference            {self.reference}"]
        if self.loss:
            lines.append(f"held-out loss        {self.loss[0].num_images} images; sigma, log-SNR, eps error, x0 error")
        lines += [
            f"{row.sigma:>25g} {row.log_snr:>8.2f} {row.eps_error:>9.4f} {row.x0_error:>9.5f}" for row in self.loss
        ]
        lines.append(f"Fréchet distance     {d.value:.3f} ({d.num_images} pictures against {d.num_reference} images)")
        if real is not None:
            few = "" if real.num_images == d.num_images else ", all there are; only equal numbers compare"
            lines.append(f"  of real images     {real.value:.3f} ({real.num_images} held-out images{few})")
        lines.append(f"  features           {d.net} network {d.net_sha256[:12]}, {d.num_features} features")
        if agreed is not None:
            stated = "" if agreed.stated_accuracy is None else f"; stated {agreed.stated_accuracy:.1%}"
            right = f"right on {agreed.accuracy:.1%} of {agreed.num_held_out} held-out images{stated}"
            lines.append(f"agreement            {agreed.share:.1%} of {agreed.num_images} pictures")
            lines.append(f"  classifier         {agreed.classifier}, {right}")
        lines.append("drawn with           " + ", ".join(f"{key} {value}" for key, value in self.settings.items()))
        return "\n".join([*lines, *(f"note                 {note}" for note in self.notes)])


@door("measuring", "lower num_images or batch_size")
@float32_default()
def evaluate(
    model: Measurable | Planned,
    reference: str | Path | Reference,
    *,
    num_images: int = 1000,
    first_seed: int = 0,
    how: Sampler = Sampler(),
    num_loss_images: int = 512,
    data: DataConfig | None = None,
    progress: bool = False,
    **changes: Unpack[Changes],
) -> Report:
    """Measure a model against real images.

    Args:
        model: A denoiser that can encode pictures, or such a one under a plan: then the plan draws the pictures, and
            the loss is the full model's.
        reference: Path or name of the images, or a ``Reference`` to use for several models.
        num_images: Pictures to draw; they have seeds first_seed, first_seed + 1, ...
        first_seed: Seed of the first picture.
        how: Settings that draw the pictures. The loss is measured without guidance and plan, in the same batch size.
        num_loss_images: Most held-out images for the loss.
        data: Preparation of the reference's images; by default that of the model's training, at its size.
        progress: Show bars.
        **changes: Fields of ``how`` to replace, as ``sample`` takes them.

    Raises:
        ArgumentError: A number is out of its range, or the reference's images are not of the model's shape.
        DataError: The reference cannot be read, or holds nothing out.
    """
    began, how = time.monotonic(), how.but(**changes)
    if num_images < 2:
        raise ArgumentError(f"{num_images} pictures: a Fréchet distance needs at least 2, a useful one hundreds")
    drawn_by, model = model, cast(Measurable, model.full) if isinstance(model, Planned) else model
    reference = fitting(model, reference, data, progress)
    places, notes = compare_classes(model, reference)
    notes += trained_on(model, reference)
    matched = places is not None
    loss = held_out_loss(
        model,
        relabelled(reference.held_out, places),
        num_images=num_loss_images,
        labelled=matched,
        batch_size=how.batch_size,
        progress=progress,
    )
    drawn_by = planned(drawn_by, how.plan)
    seeds = range(first_seed, first_seed + num_images)
    labels = proportional(class_shares(model, reference, places), num_images) if model.num_classes else None
    wishes = wishes_of(model, reference, num_images)
    pictures = sample(drawn_by, seeds=seeds, labels=labels, how=how.but(plan=None), progress=progress, **wishes)
    rows = features(pictures, progress=progress)
    distance = frechet(reference.statistics_of(rows), reference.statistics)
    if distance.rank_deficient:
        notes.append(f"the distance is of little use: it needs more than {distance.num_features} images on both sides")
    real = reference.real_distance_of(num_images)
    if real is not None and real.rank_deficient and not distance.rank_deficient:
        notes.append(
            f"the distance of real images is of little use: {real.num_images} are held out, and it needs more than "
            f"{real.num_features}"
        )
    judge = reference.classifier if matched else None
    asked = np.argsort(places)[labels] if places is not None and labels is not None else None
    return Report(
        reference=reference.train.name,
        loss=loss,
        distance=distance,
        real_distance=real,
        agreement=agreement(judge, rows, asked) if judge is not None and asked is not None else None,
        settings=settings_of(model, seeds, how, drawn_by),
        held_out_sha256=reference.held_out.digest,
        seconds=time.monotonic() - began,
        notes=tuple(notes),
    )


def wishes_of(model: Measurable, reference: Reference, num: int) -> dict[str, Any]:
    """Return the conditions of as many pictures: captions of training images, image conditions from held-out ones."""
    wishes: dict[str, Any] = {}
    can = capabilities_of(model)
    if can.text_shape is not None and can.reads_text and reference.train.captions is not None:
        rows = np.resize(chosen(len(reference.train), num), num)
        wishes["text"] = told_text(model, reference.train, rows)
    if can.condition_channels:
        wishes["image"] = image_condition_of(model, reference.held_out.batch(np.arange(num) % len(reference.held_out)))
    return wishes


def fitting(model: Measurable, reference: str | Path | Reference, data: DataConfig | None, progress: bool) -> Reference:
    """Return the reference, opened if it is a path or name; its images must have the shape of the model's pictures."""
    shape = picture_shape(model)
    if not isinstance(reference, Reference):
        reference = Reference.open(reference, data if data is not None else data_of(model, shape), progress=progress)
    if reference.train.shape != shape:
        raise ArgumentError(
            f"reference of {reference.train.shape} (H, W, C): the model's pictures are {shape}; resize it"
        )
    return reference


def data_of(model: Measurable, shape: tuple[int, int, int]) -> DataConfig:
    """Return how to read images for a model: as in its training, where known, in the shape (H, W, C) of its pictures.

    The share held out in training is kept, so that no training image counts as held out.
    """
    recipe = facts_of(model).get("recipe")
    known = training_data(recipe) if recipe else DataConfig()
    return replace(known, size=shape[0] if shape[0] == shape[1] else None, channels=shape[2], split="train")


def training_data(recipe: str) -> DataConfig:
    """Read from a recipe's TOML how its images were prepared.

    Raises:
        ConfigError: It is no TOML, a setting does not exist, or a value has another type.
    """
    try:
        table = read_toml(recipe)
    except ValueError as error:
        raise ConfigError(f"the model's recipe cannot be read ({error}): copy or train it again") from None
    return TOML.config(DataConfig, table.get("data", {}), "data")


def settings_of(model: Measurable, seeds: range, how: Sampler, drawn_by: Denoiser) -> dict[str, Any]:
    """Return the settings that draw the pictures, ready for JSON; objects without a JSON form by their repr."""
    settings: dict[str, Any] = {"num_images": len(seeds), "seeds": f"{seeds.start}-{seeds.stop - 1}"}
    settings |= {"steps": how.steps, "solver": repr(how.solver), "grid": repr(how.schedule)}
    settings |= {"guidance": how.guidance, "guidance_interval": repr(how.guidance_interval)}
    if isinstance(drawn_by, Planned):
        settings["plan"] = str(drawn_by.plan)
    elif how.plan is not None:
        settings["plan"] = str(how.plan)
    return settings | {"model_sha256": model.digest if isinstance(model, Described) else ""}


def facts_of(model: Measurable) -> Mapping[str, Any]:
    """Return what a model was trained on and how, as far as it says so."""
    return model.facts if isinstance(model, Described) else {}


def picture_shape(model: Measurable) -> tuple[int, int, int]:
    """Return the shape (H, W, C) of the pictures that a model draws, found by decoding one."""
    height, width, channels = model.decode(model.asarray(np.zeros((1, *model.shape), np.float32))).shape[1:]
    return height, width, channels


def compare_classes(model: Measurable, reference: Reference) -> tuple[np.ndarray | None, list[str]]:
    """Return the model's class for each class of the reference, (K,) int64, or None; and notes for the report.

    Classes are matched by name, in any order; by place where one side has mere numbers.
    """
    notes = []
    can = capabilities_of(model)
    if can.text_shape is not None and not (can.reads_text and reference.train.captions is not None):
        notes.append("the model was given no text")
    known = reference.train.classes if reference.train.labels is not None else ()
    count = model.num_classes
    numbers = tuple(map(str, range(count)))
    own = can.classes
    if not known and not count:
        return None, notes
    if len(known) != count:
        notes.append(f"no agreement: the model has {count} classes and the reference {len(known)}")
        return None, notes
    if own == known:
        return np.arange(count), notes
    if len(set(own)) == count and set(own) == set(known):
        return np.array([own.index(name) for name in known], np.int64), notes
    if numbers in (own, known):
        notes.append("classes are matched by place, as the model's or the reference's are mere numbers")
        return np.arange(count), notes
    first = next(i for i in range(count) if own[i] != known[i])
    notes.append(
        f"no agreement, and the loss is without labels: the model's class {first} is {own[first]!r}, the reference's "
        f"{known[first]!r}, and the names are not the same in another order"
    )
    return None, notes


def relabelled(data: Dataset, places: np.ndarray | None) -> Dataset:
    """Return the data with its labels replaced by the model's classes."""
    return data if places is None or data.labels is None else replace(data, labels=places[data.labels])


def trained_on(model: Measurable, reference: Reference) -> list[str]:
    """Return a note for the report if training saw the images that are now held out."""
    facts = facts_of(model)
    same = facts.get("data", reference.train.name) == reference.train.name
    seen = facts.get("data_sha256") == reference.held_out.digest
    split = "train"
    if facts.get("recipe"):
        with suppress(BrickworkError):
            split = training_data(facts["recipe"]).split
    if not seen and not (same and split in ("all", "test", "heldout")):
        return []
    return [f"the model was trained on the held-out images (data.split {split!r}): its loss and distance flatter it"]


def class_shares(model: Measurable, reference: Reference, places: np.ndarray | None) -> np.ndarray:
    """Return the share of each of the model's classes, (K,): the reference's own shares, or equal ones."""
    labels = relabelled(reference.train, places).labels
    if places is None or labels is None:
        return np.full(model.num_classes, 1 / model.num_classes)
    counts = np.bincount(labels, minlength=model.num_classes)
    return counts / counts.sum()


def proportional(shares: np.ndarray, num: int) -> np.ndarray:
    """Return labels in given shares, (num,) int64; deterministic, and each prefix is as close to the shares as can be.

    The next label is always the class that is furthest behind its share; the first of equals.
    """
    given, labels = np.zeros(len(shares)), np.empty(num, np.int64)
    for i in range(num):
        labels[i] = int(np.argmax(shares * (i + 1) - given))
        given[labels[i]] += 1
    return labels
