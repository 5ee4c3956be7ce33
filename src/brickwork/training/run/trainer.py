"""The trainer: yields the batches of a run, and does everything that is due between two steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, final

import numpy as np
from torch import Tensor

from brickwork.errors import OutputError, TrainingError
from brickwork.files.bars import Bar, tell
from brickwork.memory import is_memory_lack
from brickwork.training.run.folder import LOG_FILE, STATE_FILE, Ingredient, RunFolder
from brickwork.training.run.group import Group
from brickwork.training.run.interrupt import Interrupt, Stopped
from brickwork.training.run.journal import Journal, read_journal
from brickwork.training.run.looks import Looks, first_look
from brickwork.training.run.observer import Findings, Observer, RunView, Watched
from brickwork.training.run.statefile import StateHeader, read_state

if TYPE_CHECKING:
    from brickwork.data.dataset import Dataset
    from brickwork.model.model import Precision

MAX_FAILURES = 3
"""Rollbacks to one saved state before training stops with an error."""
TELL_SECONDS = 15.0
"""Seconds after which a line of the log is written, where none came by steps."""
OWN_KEYS = ("step", "images")
"""Keys that the trainer writes into each line of the log."""


class RunState(Watched[Any], Protocol):
    """The state that a run updates, saves and restores."""

    def set_precision(self, precision: Precision) -> None:
        """Train in this precision from now on, and record it in the recipe."""
        ...

    def set_batch(self, batch: int) -> None:
        """Train with so many images a step from now on, and record it in the recipe."""
        ...

    def gauges(self) -> dict[str, float]:
        """Return means over the steps since the last sums began."""
        ...

    def begin_sums(self) -> None:
        """Begin new sums."""
        ...

    def is_finite(self) -> bool:
        """Return True if every loss since the last sums began was finite."""
        ...

    def holds_finite(self) -> bool:
        """Return True if all weights, averages and moments are finite."""
        ...

    def save(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the whole state as one file, atomically."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], header: StateHeader) -> None:
        """Load a saved state, to resume exactly."""
        ...


B = TypeVar("B")


@final
class Trainer(Generic[B]):
    """A run in its folder: iterate over it for batches, and update the state from each.

    ::

        with Trainer(state, folder, draw, data, observers=[Curve(), *mine]) as trainer:
            for batch in trainer:
                state.update(accumulate_gradient(state, batch))

    Between two steps it writes the log, lets observers measure, saves, and goes back to the saved state with other
    noise where the loss is no longer finite. Only states whose every number is finite are saved. The iteration ends
    when the budget is spent or at SIGINT, SIGTERM or SIGHUP, after a last save; what takes long before, between and
    after the steps ends early, too. Where the folder holds a saved run, the state continues from there.

    Args:
        state: A fresh state.
        folder: Checked and locked.
        draw: Makes the batch of the state's next step; a pure function of seed and position.
        data: Training images.
        observers: They watch the run, called in this order.
        ingredients: Models that the run begins with, by name.
        group: The processes that train together; the first one alone writes and has observers.
        progress: Show a bar and messages.

    Raises:
        ConfigError: The saved run has another recipe, other data or other ingredients.
        CheckpointError: The saved state is broken.
        OutputError: The folder cannot be written.
        TrainingError: The loss is not finite again and again, weights are not from the start, or an observer raised.
    """

    def __init__(
        self,
        state: RunState,
        folder: RunFolder,
        draw: Callable[[], B],
        data: Dataset,
        observers: Sequence[Observer[Any]] = (),
        *,
        ingredients: Mapping[str, Ingredient] = {},
        group: Group = Group(),
        progress: bool = False,
    ) -> None:
        self.state, self.folder, self.draw, self.group, self.progress = state, folder, draw, group, progress
        refusal = "on other data{reading}: give the same data"
        self.ingredients = {"data": Ingredient(digest=data.digest, refusal=refusal), **ingredients}
        self.failures, self.resumed = 0, folder.holds_run
        self.observers = list(observers) if group.writes else []
        self._opened = tuple(self.observers)
        recipe = state.recipe
        first = first_look(recipe.report.look_minutes, recipe.minutes - recipe.restart)
        self.interrupt, self.looks = Interrupt(), Looks(first)
        self.view = RunView[Any](
            state,
            folder.path,
            data,
            self.ingredients,
            to_toml=folder.kind.to_toml,
            lines=lambda: read_journal(folder.path / LOG_FILE),
            say=self.say,
            resumed=self.resumed,
            looks=self.looks,
            check=self.interrupt.check,
        )
        if self.resumed:
            self._resume()
        if not state.holds_finite():
            source = f"the state saved in {folder.path}" if self.resumed else "the start of the run"
            raise TrainingError(f"{source} holds numbers that are not finite: begin anew in another out folder")
        if group.writes:
            folder.sweep()
            self.journal = Journal(folder.path / LOG_FILE, step=state.counters.step if self.resumed else -1)
            if self.resumed and (passed_over := self.journal.passed_over):
                self.say(f"{LOG_FILE}: {passed_over} lines that cannot be read were left out")
        self.bar = Bar(
            total=1.0,
            initial=min(state.spent, 1.0),
            disable=not (progress and group.writes),
            bar_format="{percentage:3.0f}%|{bar:20}|{postfix} [{elapsed}<{remaining}]",
            miniters=0,
        )
        self._began_at, self._headline = state.counters.step, ""
        self._clock = time.perf_counter() - state.counters.seconds
        self._saved_at = self._told_at = time.perf_counter()
        self._logged = (state.counters.images_seen, state.counters.seconds)
        self._next: list[B] = []
        self.looks.start(seconds=state.counters.seconds, images=state.counters.images_seen)

    def __enter__(self) -> Trainer[B]:
        """Take over the signals that end a run."""
        self.interrupt.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the signal handlers, and close bar and observers."""
        self.interrupt.__exit__(kind, error, traceback)
        self.bar.close()
        failed: list[TrainingError] = []
        for observer in self._opened:
            try:
                observer.close()
            except Exception as reason:
                failed.append(TrainingError(_blame(observer, observer.close, reason, self.state.counters.step)))
        if failed and error is None:
            raise failed[0]

    def __iter__(self) -> Iterator[B]:
        """Yield the batch of each step until the run ends; then save and let observers finish."""
        if self.group.writes:
            self.folder.write_recipe(self.state.recipe)
        for observer in list(self.observers):
            self._call(observer, observer.on_start)
        if not self.resumed:
            self.save()
        while not self.finished and not self.interrupt.asked:
            batch = self.first_batch()
            self._next.clear()
            yield batch
            self.after_step()
        self._end()

    @property
    def finished(self) -> bool:
        """True once the budget is spent."""
        return self.state.spent >= 1

    def first_batch(self) -> B:
        """Return the batch of the next step; it is drawn only once."""
        if not self._next:
            self._next.append(self.draw())
        return self._next[0]

    def prepare(self, act: Callable[[], Iterable[str]]) -> None:
        """Do what comes before the first step, and show its lines; a signal ends it, and then the run."""
        try:
            for line in act():
                self.say(line)
        except Stopped:
            self._next.clear()

    def doing(self, what: str) -> None:
        """Show on the bar what goes on before the first step; end it here if a signal asked for it.

        Raises:
            Stopped: A signal asked the run to end.
        """
        self.interrupt.check()
        self.bar.set_postfix_str(what)

    def say(self, message: str) -> None:
        """Show a line to the user, beside the bar."""
        if self.progress and self.group.writes:
            tell(message)

    # ---- between two steps ------------------------------------------------------------------------------------------

    def after_step(self) -> None:
        """Write the files due after a step; roll back if the loss is no longer finite."""
        now, report = self.state.counters, self.state.recipe.report
        now.seconds = time.perf_counter() - self._clock
        self.bar.set_postfix_str(f"step {now.step}  {self._headline}", refresh=False)
        self.bar.update(min(self.state.spent, 1.0) - self.bar.n)
        for observer in list(self.observers):
            self._call(observer, observer.on_step)
        minutes = (time.perf_counter() - self._saved_at) / 60
        saving = _due(report.save_every, now.step) or 0 < report.save_minutes <= minutes
        log, measuring = _due(report.log_every, now.step), [o for o in self.observers if o.due(now.step)]
        telling = log or time.perf_counter() - self._told_at >= TELL_SECONDS
        looking = self.looks.due(now.seconds)
        if not (saving or telling or measuring or looking or self.finished):
            return
        if not self._is_good(saving or self.finished):
            self.roll_back()
            return
        if telling:
            self._log()
        if log:  # lines by the clock begin no sums: saved states have the same bits without them
            self.state.begin_sums()
        if self.finished:  # the end of the run writes all of these
            return
        for observer in measuring:
            self._call(observer, self._note, observer.measure)
        if looking:
            self._look([one for one in self.observers if one.by_clock and one not in measuring])
        if saving:
            self.save()

    def save(self) -> None:
        """Write the state, and let observers write beside it.

        Raises:
            OutputError: The place cannot be written; the previous files are whole.
        """
        if self.group.writes:
            record = {"recipe": self.folder.kind.to_toml(self.state.recipe)}
            record |= {name: one.digest for name, one in self.ingredients.items()}
            self.state.save(self.folder.path / STATE_FILE, record | self.view.place())
        for observer in list(self.observers):
            self._call(observer, observer.on_save)
        self._saved_at = time.perf_counter()
        self.failures = 0

    def roll_back(self) -> None:
        """Return to the saved state and continue with other noise.

        Raises:
            TrainingError: The same state was restored too often.
        """
        self.failures += 1
        bad = self.state.counters.step
        if self.failures >= MAX_FAILURES:
            raise TrainingError(self._advice(bad))
        tensors, header = read_state(self.folder.path / STATE_FILE, self.folder.kind.state)
        seconds, rollbacks = self.state.counters.seconds, self.state.counters.rollbacks
        self.state.restore(tensors, header)
        now = self.state.counters
        now.seconds, now.rollbacks = seconds, rollbacks + 1
        if self.group.writes:
            self.journal.rewind(now.step)
        self._write({"step": now.step, "event": "rolled back", "from_step": bad, "rollbacks": now.rollbacks})
        failures = self.failures
        self.save()
        self.failures = failures
        self.say(f"loss is not finite by step {bad}: back to step {now.step}, with other noise")

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _is_good(self, whole: bool) -> bool:
        """Return True if the state is finite: losses and gradients, and every number of it where it is to be saved."""
        return self.state.is_finite() and (not whole or self.state.holds_finite())

    def _look(self, observers: Sequence[Observer[Any]]) -> None:
        """Let observers measure by the clock, within the share of the run that a look may take."""
        now, began = self.state.counters, time.perf_counter()
        self.looks.begin(now.images_seen)
        for observer in observers:
            self._call(observer, self._note, observer.measure)
        self.looks.end(now.seconds, time.perf_counter() - began)

    def _resume(self) -> None:
        tensors, header, before = self.folder.read()
        if self.state.recipe.precision == "auto" and before.precision != "auto":
            self.state.set_precision(before.precision)
        if not self.state.recipe.batch:
            self.state.set_batch(before.batch)
        self.folder.check_beginning(before, self.state.recipe, header, self.ingredients)
        for name, one in self.ingredients.items():  # the run's view shows the models that the run began with
            self.ingredients[name] = replace(one, digest=getattr(header, name))
        self.state.restore(tensors, header)
        self.say(f"resuming {self.folder.path} at step {self.state.counters.step}")
        for name, value in self.view.place().items():
            if (before := getattr(header, name)) != value:
                self.say(f"{name} {before} before, {value} now: the result may differ by rounding")

    def _log(self) -> None:
        state, now = self.state, self.state.counters
        gauges = state.gauges()
        images, seconds = self._logged
        rate = (now.images_seen - images) / max(now.seconds - seconds, 1e-9)
        self._logged = (now.images_seen, now.seconds)
        words = self.folder.kind.headline.format(**gauges)
        self._headline, self._told_at = f"{words}  {rate:,.0f} images/s", time.perf_counter()
        self.bar.set_postfix_str(f"step {now.step}  {self._headline}", refresh=False)
        line: dict[str, Any] = {"step": now.step, "images": now.images_seen, "seconds": round(now.seconds, 3)}
        self._write(line | gauges | {"lr": state.lr, "images_per_second": round(rate, 1)})

    def _write(self, line: dict[str, Any]) -> None:
        """Append a line to the log, and show it to the observers."""
        if self.group.writes:
            self.journal.write(line)
        for observer in list(self.observers):
            self._call(observer, observer.on_log, line)

    def _end(self) -> None:
        """Save, and let observers finish; what a signal ends early is left out."""
        if not self._is_good(True):
            self.roll_back()
        self.save()
        for observer in list(self.observers):
            self._call(observer, self._note, observer.on_end)
        if not self.finished:
            self.say(f"saved at step {self.state.counters.step}, from where the run can go on")

    def _note(self, run: RunView[Any], look: Callable[[RunView[Any]], Findings | None]) -> None:
        """Write the numbers that an observer found to the log, and show its pictures to all."""
        found = look(run) or {}
        pictures = {name: value for name, value in found.items() if isinstance(value, np.ndarray) and value.ndim > 1}
        numbers = {name: _plain(value) for name, value in found.items() if name not in pictures}
        if taken := [name for name in found if name in OWN_KEYS]:
            raise ValueError(f"{taken[0]!r} is written by the trainer: choose another name")
        if numbers and not self._written(numbers):
            self._write({"step": run.step, "images": run.images_seen, **numbers})
        for name, picture in pictures.items():
            for observer in list(self.observers):
                self._call(observer, observer.on_picture, name, picture)

    def _written(self, numbers: Mapping[str, Any]) -> bool:
        """Return True if the log already has these numbers, as when a finished run is started again."""
        if self.state.counters.step != self._began_at:
            return False
        return any(numbers.keys() <= line.keys() for line in self.view.lines() if line["step"] == self._began_at)

    def _call(self, observer: Observer[Any], act: Callable[..., object], *arguments: Any) -> None:
        """Call a method of an observer; if it raises, save without that observer and end the run.

        Raises:
            OutputError: It could not write; nor could the state be saved, then.
            TrainingError: It raised something else.
        """
        try:
            act(self.view, *arguments)
        except Stopped:  # the run ends next
            return
        except (OutputError, TrainingError):
            raise
        except Exception as error:
            self.observers.remove(observer)
            if self._is_good(True):
                self.save()
            if is_memory_lack(error):
                raise
            method = arguments[0] if act == self._note else act
            raise TrainingError(_blame(observer, method, error, self.state.counters.step)) from error

    def _advice(self, step: int) -> str:
        r = self.state.recipe
        advice = [f"a lower lr (now {r.lr:g})"]
        if not 0 < r.clip <= 1:
            advice.append(f"clip 1 (now {r.clip:g})")
        advice.append(f"a longer warmup (now {r.warmup:g})")
        if r.precision != "fp32":
            advice.append("precision fp32")
        return (
            f"the loss was not finite {self.failures} times in a row, at last by step {step}: start again with "
            f"{', '.join(advice)}, in another out folder; the last good state stays in {self.folder.path}"
        )


def _due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def _plain(value: Any) -> Any:
    """Turn a number, also one of torch or numpy, or a table of numbers into a JSON value."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return value if isinstance(value, int | float) else float(value)


def _blame(observer: Observer[Any], method: Any, error: Exception, step: int) -> str:
    reason = " ".join(str(error).split()) or "no reason given"
    return (
        f"the observer {type(observer).__name__} failed in {method.__name__} at step {step} "
        f"({type(error).__name__}: {reason}); mend it or leave it out, and the same call goes on from the saved state"
    )
