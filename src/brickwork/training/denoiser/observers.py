"""Observers of a denoiser's run: held-out loss by level, sample sheets, the curve, the averaged model's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

import brickwork
from brickwork.data.dataset import Dataset
from brickwork.errors import ArgumentError
from brickwork.files.picture import enlargement, save_png, sheet
from brickwork.model.checkpoint import save
from brickwork.model.header import MODEL_FILE
from brickwork.model.model import Model
from brickwork.quality.heldout import LEVELS, held_out_loss
from brickwork.quality.nearest import MAX_TRAINED, nearest_ratios
from brickwork.sampling.loop import sample
from brickwork.sampling.sampler import Sampler
from brickwork.training.denoiser.recipe import Report
from brickwork.training.run.curve import Curve, draw_curve
from brickwork.training.run.learned import NEAREST, rise, told_rise
from brickwork.training.run.observer import Findings, Observer, RunView

QUICK_STEPS = 10
"""Solver steps of a sheet by the clock."""
LEAST = 4
"""Images and pictures below which a measurement by the clock says nothing, and is left out."""
HELD_OUT_SHARE = 1 / 3
"""Share of a look by the clock that goes into the held-out loss; sheets take the rest."""


def own_observers(report: Report, heldout: Dataset | None) -> list[Observer[Any]]:
    """Return the observers that a recipe's report asks for, in the order in which a run calls them."""
    return [
        HeldOutLoss(heldout, report.eval_every, report.eval_images),
        Watch(report.eval_every),
        Sheets(heldout, report),
        Curve(draw_curve, report.eval_every, report.sample_every),
        ModelFile(),
    ]


@final
class HeldOutLoss(Observer[Model]):
    """Observer that measures the loss by noise level on a fixed choice of held-out images.

    Args:
        heldout: Images never trained on; None to measure nothing.
        every: Steps between two measurements; 0 for none by steps.
        num_images: Held-out images to take; by the clock fewer, and first those.
    """

    by_clock = True

    def __init__(self, heldout: Dataset | None, every: int, num_images: int) -> None:
        self.heldout, self.every, self.num_images = heldout, every, num_images

    def measure(self, run: RunView[Model]) -> Findings | None:
        """Return the held-out loss by level; nothing if the log has it, as when a finished run is started again."""
        if self.heldout is None or len(self.heldout.images) == 0:
            return None
        if any("held_out" in line and line["step"] == run.step for line in run.lines()):
            return None
        wanted = min(self.num_images, len(self.heldout))
        count = run.afford(wanted, len(LEVELS), least=LEAST, share=HELD_OUT_SHARE)
        if not count:
            return None
        batch_size = at_once(run.average)
        losses = held_out_loss(run.average, self.heldout, num_images=count, batch_size=batch_size, on_batch=run.check)
        return {"held_out": {f"{level.sigma:.3g}": level.share for level in losses}, "held_out_images": count}


@final
class Watch(Observer[Model]):
    """Observer that says once in a sitting that the held-out loss rises; it comes behind the one that measures it.

    Args:
        every: Steps between two measurements; 0 for none by steps.
    """

    by_clock = True

    def __init__(self, every: int) -> None:
        self.every, self.said = every, False

    def measure(self, run: RunView[Model]) -> None:
        """Say that the held-out loss has risen, and what to do."""
        if not self.said and (risen := rise(run.lines())):
            self.said = True
            run.say(f"{told_rise(*risen)}; more pictures, a smaller network or a shorter run help")


@final
@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The rows of a sheet: their names, none for one row without a condition, and what each asks for."""

    names: Sequence[str]
    """Text beside each row."""
    asked: Mapping[str, Sequence[Any]]
    """A label, a caption, an image condition for each row, by the name that ``sample`` has for them."""

    @property
    def count(self) -> int:
        """Number of rows."""
        return max(len(self.names), 1)

    @property
    def labels(self) -> list[int]:
        """Class of each row."""
        return list(self.asked.get("labels", ()))

    def first(self, count: int) -> Wishes:
        """Return the first rows."""
        return Wishes(names=self.names[:count], asked={key: values[:count] for key, values in self.asked.items()})

    def for_each(self, columns: int) -> dict[str, Any]:
        """Return the conditions of all pictures, row by row, as ``sample`` takes them."""
        wishes: dict[str, Any] = {
            key: [one for one in rows for _ in range(columns)] for key, rows in self.asked.items()
        }
        return wishes | ({"image": np.stack(wishes["image"])} if "image" in wishes else {})


@final
class Sheets(Observer[Model]):
    """Observer that draws sheets of pictures of the averaged model: a row per class or caption, a column per seed.

    By the clock they are smaller: fewer steps, and as many columns, or rows of one, as the time allows.

    Args:
        heldout: Images whose captions and image conditions are asked for; None for the training images.
        report: Says how often and how sheets are drawn.
    """

    by_clock = True

    def __init__(self, heldout: Dataset | None, report: Report) -> None:
        self.heldout, self.report, self.every = heldout, report, report.sample_every

    def measure(self, run: RunView[Model]) -> Findings | None:
        """Draw a sheet into ``samples/``."""
        report, model = self.report, run.average
        if not report.sheet_steps:
            return None
        wishes = self._wishes(run)
        guidance = report.sheet_guidance if wishes.asked.keys() & {"labels", "text"} else 1.0
        steps = min(report.sheet_steps, QUICK_STEPS) if run.by_clock else report.sheet_steps
        how = Sampler(steps=steps, guidance=guidance, batch_size=at_once(model))
        wishes, seeds = self._affordable(run, wishes, steps * (1 if guidance == 1 else 2))
        if not seeds:
            return None
        asked = wishes.for_each(len(seeds))
        if "text" in asked:  # embedded here: that held-out captions have unknown words needs no warning at each sheet
            asked["text"] = model.embed_text(asked["text"])
        try:
            images = sample(model, seeds=seeds * wishes.count, how=how, on_step=run.check, **asked)
        except ArgumentError as error:  # a young model may overflow, and learn all the same
            run.say(f"no sheet at step {run.step}: {error}")
            return None
        facts = how.to_facts() | {"step": run.step, "seeds": seeds, "labels": wishes.labels}
        facts |= {"precision": model.precision, "version": brickwork.__version__, "data_sha256": run.data.digest}
        scale = enlargement(images.shape[1])
        picture = sheet(images, columns=len(seeds), scale=scale, row_captions=wishes.names or None)
        save_png(picture, sheet_path(run.folder, run.step), facts)
        return {"samples": picture, **self._likeness(run, images)}

    def _likeness(self, run: RunView[Model], images: np.ndarray) -> dict[str, float]:
        """Return how near the pictures of the last sheet are to training pictures, where that is soon known."""
        trained = run.data.images
        if not run.finished or not 2 <= len(trained) <= MAX_TRAINED or images.shape[1:] != trained.shape[1:]:
            return {}
        return {NEAREST: float(np.median(nearest_ratios(images, trained, mirrored=run.data.flip)))}

    def _affordable(self, run: RunView[Model], wishes: Wishes, each: int) -> tuple[Wishes, list[int]]:
        """Return the rows and the seeds of the columns that a sheet may have now; no seeds for no sheet.

        Args:
            run: The run.
            wishes: The rows of a whole sheet.
            each: Evaluations that one picture needs.
        """
        if columns := run.afford(self.report.sheet_seeds, each * wishes.count):
            return wishes, list(range(columns))
        rows = run.afford(wishes.count, each, least=min(wishes.count, LEAST))
        return wishes.first(rows), [0] if rows else []

    def _wishes(self, run: RunView[Model]) -> Wishes:
        """Return what the rows of a whole sheet ask for."""
        model, data = run.average, self.heldout if self.heldout is not None else run.data
        labels, names = list(range(min(model.num_classes, 10))), []
        asked: dict[str, Sequence[Any]] = {}
        if labels:
            names = [model.classes[k] for k in labels]
            asked["labels"] = labels
        few = np.linspace(0, len(data) - 1, len(labels) or min(len(data), 8)).astype(np.int64)
        if model.reads_text and data.captions is not None:
            names = [data.captions[i] for i in few]
            asked["text"] = names
        if model.condition_channels:
            asked["image"] = list(model.as_image_condition(data.batch(few)))
            names = names or [f"picture {i}" for i in few]
        return Wishes(names=names, asked=asked)


@final
class ModelFile(Observer[Model]):
    """Observer that writes the averaged model whenever the state is saved."""

    def on_save(self, run: RunView[Model]) -> None:
        """Write ``model.safetensors``, with the facts of its training."""
        digests = {name: run.ingredients[name].digest for name in ("init", "codec")}
        run.average.facts = run.facts() | {f"{name}_sha256": digest for name, digest in digests.items() if digest}
        save(run.average, run.folder / MODEL_FILE)


def at_once(model: Model) -> int:
    """Return the images that a measurement evaluates at once: few on a CPU, so that a signal never waits for long."""
    return 16 if model.device.type == "cpu" else 64


def sheet_path(folder: Path, step: int) -> Path:
    """Return the path of a step's sheet."""
    return folder / "samples" / f"step_{step:08d}.png"
