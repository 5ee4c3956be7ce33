"""The folder of a training run: what every run writes while it goes on, and how it is taken up again.

recipe.toml          the resolved recipe
state.safetensors    all that is needed to go on exactly
log.jsonl            loss, learning rate, speed, what was measured; one JSON object per line
curve.png            the same as a picture
.lock                held by the run that writes here (lock.py)

What is measured and drawn beside these, and the model's own file, each kind of run adds.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

import brickwork
from brickwork.data.dataset import Dataset
from brickwork.errors import CheckpointError, ConfigError, TrainingError
from brickwork.files.whole import remove_leftovers, write_whole
from brickwork.training.run.fitting import reading_differences
from brickwork.training.run.journal import Journal
from brickwork.training.run.recipe import RunRecipe
from brickwork.training.run.statefile import Counters, StateKind, read_header, read_state

STATE_FILE = "state.safetensors"
RECIPE_FILE = "recipe.toml"
LOG_FILE = "log.jsonl"
CURVE_FILE = "curve.png"
MAX_FAILURES = 3
"""Returns to the same saved state before a run gives up."""


class RunState(Protocol):
    """What a run moves forward, saves and restores."""

    counters: Counters

    @property
    def spent(self) -> float:
        """The share of the budget that is spent."""
        ...

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        ...

    def is_finite(self) -> bool:
        """Whether every loss since the last line of the log was a number."""
        ...

    def save(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write everything as one file, atomically."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Go on from what was saved, exactly."""
        ...


R = TypeVar("R", bound=RunRecipe)
S = TypeVar("S", bound=RunState)


def check_folder(out: Path, model_file: str, *, resume: bool) -> None:
    """Refuse a folder that holds what a run would overwrite.

    Raises:
        ConfigError: It holds a model without the state to go on from, or a run and resume is not set.
    """
    if (out / STATE_FILE).exists():
        if not resume:
            raise ConfigError(f"{out} already holds a run: choose another out folder, or let it resume")
    elif (out / model_file).exists():
        raise ConfigError(f"{out} holds {model_file} without {STATE_FILE} to go on from: choose another out folder")


def saved_recipe(out: Path, kind: StateKind, parse: Callable[[str], R]) -> R | None:
    """The recipe of the run in a folder; None where it holds none to go on with.

    Raises:
        CheckpointError: The saved state is broken, or its recipe cannot be read.
    """
    path = out / STATE_FILE
    if not path.exists():
        return None
    return _recipe_of(path, read_header(path, kind), parse)


def _recipe_of(path: Path, header: Mapping[str, Any], parse: Callable[[str], R]) -> R:
    try:
        return parse(header["recipe"])
    except (ConfigError, KeyError) as error:
        reason = f"a recipe that cannot be read ({error})"
        raise CheckpointError(f"{path} holds {reason}: choose another out folder") from error


class RunFolder(ABC, Generic[R, S]):
    """A training run and its folder.

    Args:
        recipe: Resolved.
        state: Fresh; where the folder holds a saved state, it goes on from there.
        data: Training images.
        out: The folder, which passed :func:`check_folder`.
        progress: Show a bar and messages.
        tensorboard: Also write TensorBoard events.

    Raises:
        ConfigError: The saved run has another recipe or other data.
        CheckpointError: The saved state is broken.
        OutputError: The folder cannot be written.
    """

    KIND: ClassVar[StateKind]
    MODEL_FILE: ClassVar[str]

    def __init__(
        self,
        recipe: R,
        state: S,
        data: Dataset,
        out: Path,
        *,
        progress: bool,
        tensorboard: bool = False,
    ) -> None:
        self.recipe, self.state, self.data, self.out, self.progress = recipe, state, data, out, progress
        self.failures = 0
        self.resumed = (out / STATE_FILE).exists()
        if self.resumed:
            self._resume()
        self._sweep()
        write_whole(out / RECIPE_FILE, self._to_toml().encode())
        step = state.counters.step if self.resumed else -1
        self.journal = Journal(out / LOG_FILE, step=step, tensorboard=tensorboard)
        self.bar = tqdm(
            total=1.0,
            initial=min(state.spent, 1.0),
            disable=not progress,
            bar_format="{percentage:3.0f}%|{bar:20}|{postfix} [{elapsed}<{remaining}]",
        )
        self._clock = time.perf_counter() - state.counters.seconds
        self._saved_at = time.perf_counter()
        self._logged = (state.counters.images_seen, state.counters.seconds)

    # ---- what each kind of run adds -------------------------------------------------------------------------------

    @abstractmethod
    def _to_toml(self) -> str:
        """The recipe."""

    @abstractmethod
    def _parse(self, text: str) -> R:
        """A saved recipe."""

    @abstractmethod
    def _differences(self, before: R) -> list[str]:
        """Result-changing fields in which a saved recipe differs from this run's."""

    @abstractmethod
    def _due(self, due: Callable[[int], bool]) -> list[Callable[[], object]]:
        """What is to be measured and drawn after a step that is not the last one.

        Args:
            due: Whether a number of steps has passed; never for 0.
        """

    @abstractmethod
    def _gauges(self, steps: int) -> tuple[str, dict[str, float]]:
        """What the bar and the log say of the last steps, whose sums are set back."""

    @abstractmethod
    def _draw_curve(self) -> None:
        """The log as a picture."""

    def _own_record(self) -> dict[str, Any]:
        """What is saved beside recipe and data."""
        return {}

    def _check(self, header: Mapping[str, Any]) -> None:
        """Refuse a saved run that began with something else."""

    def _save_model(self) -> None:
        """What is written whenever the state is."""

    # ---- while it goes on -----------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.state.spent >= 1

    def after_step(self) -> None:
        """Write what is due after a step; go back to the saved state if the loss is no longer a number."""
        now, report = self.state.counters, self.recipe.report
        now.seconds = time.perf_counter() - self._clock
        self.bar.update(min(self.state.spent, 1.0) - self.bar.n)

        def due(steps: int) -> bool:
            return steps > 0 and now.step % steps == 0

        minutes = (time.perf_counter() - self._saved_at) / 60
        saving = due(report.save_every) or 0 < report.save_minutes <= minutes
        log, measures = due(report.log_every), self._due(due)
        if not (saving or log or measures or self.finished):
            return
        if not self.state.is_finite():
            self.roll_back()
            return
        if log:
            self._log()
        if self.finished:  # the end writes all of these
            return
        for measure in measures:
            measure()
        if measures:
            self._draw_curve()
        if saving:
            self.save()

    def save(self) -> None:
        """Write the state, and the model where it is kept beside it, each atomically.

        Raises:
            OutputError: The place cannot be written; the previous files are whole.
        """
        record = {"recipe": self._to_toml(), "data": self.data.digest, **self._own_record(), **self._place()}
        self.state.save(self.out / STATE_FILE, record)
        self._save_model()
        self._saved_at = time.perf_counter()
        self.failures = 0

    def roll_back(self) -> None:
        """Go on from the saved state with other noise.

        Raises:
            TrainingError: It came to this from the same state too often.
        """
        self.failures += 1
        bad = self.state.counters.step
        if self.failures >= MAX_FAILURES:
            raise TrainingError(self._advice(bad))
        tensors, header = read_state(self.out / STATE_FILE, self.KIND)
        seconds, rollbacks = self.state.counters.seconds, self.state.counters.rollbacks
        self.state.restore(tensors, header)
        now = self.state.counters
        now.seconds, now.rollbacks = seconds, rollbacks + 1
        self.journal.rewind(now.step)
        self.journal.write({"step": now.step, "event": "rolled back", "from_step": bad, "rollbacks": now.rollbacks})
        failures = self.failures
        self.save()
        self.failures = failures
        self.say(f"loss is not finite by step {bad}: back to step {now.step}, with other noise")

    def close(self) -> None:
        """Close log and bar."""
        self.journal.close()
        self.bar.close()

    def say(self, message: str) -> None:
        """A line for the user, beside the bar."""
        if self.progress:
            tqdm.write(message, file=sys.stderr)

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        path = self.out / STATE_FILE
        tensors, header = read_state(path, self.KIND)
        before = _recipe_of(path, header, self._parse)
        if changed := self._differences(before):
            raise ConfigError(
                f"{self.out} holds a run with another recipe ({'; '.join(changed[:3])}): resume it with its own "
                f"{RECIPE_FILE}, or choose another out folder{self._other_way()}"
            )
        if header["data"] != self.data.digest:
            raise ConfigError(
                f"{self.out} holds a run on other data{reading_differences(before, self.recipe)}: give the same data, "
                "or choose another out folder"
            )
        self._check(header)
        self.state.restore(tensors, header)
        self.say(f"resuming {self.out} at step {self.state.counters.step}")
        for name, value in self._place().items():
            if header[name] != value:
                self.say(f"{name} {header[name]} before, {value} now: the result may differ by rounding")

    def _other_way(self) -> str:
        """What else can be done with a run of another recipe."""
        return ""

    def _sweep(self) -> None:
        """Remove what a kill in the middle of writing left behind."""
        for name in (STATE_FILE, self.MODEL_FILE):
            remove_leftovers(self.out / name)
        for leftover in (*self.out.glob(".*.part"), *self.out.glob("samples/.*.part")):
            leftover.unlink(missing_ok=True)

    def _log(self) -> None:
        state, now = self.state, self.state.counters
        words, gauges = self._gauges(max(now.since_log, 1))
        now.since_log = 0
        images, seconds = self._logged
        rate = (now.images_seen - images) / max(now.seconds - seconds, 1e-9)
        self._logged = (now.images_seen, now.seconds)
        self.bar.set_postfix_str(f"step {now.step}  {words}  {rate:,.0f} images/s", refresh=False)
        record: dict[str, Any] = {"step": now.step, "images": now.images_seen, "seconds": round(now.seconds, 3)}
        self.journal.write(record | gauges | {"lr": state.lr, "images_per_second": round(rate, 1)})

    def _place(self) -> dict[str, Any]:
        """What the last bits of a result depend on, beside the recipe."""
        return {"device": self.state.device.type, "threads": torch.get_num_threads()}

    def _facts(self) -> dict[str, Any]:
        """What a model's file says of its training."""
        now = self.state.counters
        return {
            "finished": self.finished,
            "steps": now.step,
            "images": now.images_seen,
            "minutes": round(now.seconds / 60, 2),
            "data": self.data.name,
            "data_images": len(self.data),
            "data_sha256": self.data.digest,
            **self._place(),
            "torch": torch.__version__,
            "brickwork": brickwork.__version__,
            "recipe": self._to_toml(),
        }

    def _advice(self, step: int) -> str:
        r = self.recipe
        advice = [f"a lower lr (now {r.lr:g})"]
        if not 0 < r.clip <= 1:
            advice.append(f"clip 1 (now {r.clip:g})")
        advice.append(f"a longer warmup (now {r.warmup})")
        if r.precision != "fp32":
            advice.append("precision fp32")
        return (
            f"the loss was not finite {self.failures} times in a row, at last by step {step}: start again with "
            f"{', '.join(advice)}, in another out folder; the last good state stays in {self.out}"
        )
