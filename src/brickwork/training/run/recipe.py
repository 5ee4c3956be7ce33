"""Fields that every kind of training run shares: data, optimizer, average, precision, seed, budget, report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, Self

from brickwork.bounds import MOST_IMAGES, at_least, between, check_fields, up_to
from brickwork.data.config import DataConfig
from brickwork.errors import ConfigError
from brickwork.training.run.learning_rate import LrSchedule, budget_spent, learning_rate
from brickwork.training.run.statefile import Counters
from brickwork.training.run.trackers.names import TrackerName, check_trackers

BUDGETS = ("steps", "images", "minutes")
Beta = Annotated[float, up_to(0, below=1)]
"""A memory of the optimizer."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Log, measurements and saves of a run. Changes no weight; may differ when a run is resumed."""

    log_every: Annotated[int, at_least(1)] = 50
    """Steps between two lines of the log."""
    look_minutes: Annotated[float, at_least(0)] = 1.0
    """Minutes before the first sheet and held-out loss by the clock. Later ones come at twice the distance each time;
    all take at most a twentieth of the run, so they may be small. 0 for none by the clock."""
    eval_every: Annotated[int, at_least(0)] = 0
    """Steps between two whole measurements on held-out images; 0 for none by steps. The end always measures."""
    eval_images: Annotated[int, at_least(1)] = 128
    """Held-out images in a measurement."""
    save_minutes: Annotated[float, at_least(0)] = 5.0
    """Minutes between two saves; 0 for none by the clock."""
    save_every: Annotated[int, at_least(0)] = 0
    """Steps between two saves; 0 for none by steps. The end always saves."""
    trackers: tuple[TrackerName, ...] = ()
    """Services that also get numbers and pictures: tensorboard (events in the run folder), wandb, mlflow."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "trackers", check_trackers(self.trackers))  # a list will do
        check_fields(self, "report.")


@dataclass(frozen=True, kw_only=True)
class RunRecipe:
    """Settings of a training run of any kind. A kind of run adds what it trains, and may have defaults of its own."""

    data: DataConfig = field(default_factory=DataConfig)
    """Reading of the images."""
    batch: Annotated[int, between(0, MOST_IMAGES)] = 0
    """Images per optimizer step; 0 chooses 16 to 128, as many as leave the budget two thousand steps."""
    lr: Annotated[float, at_least(0)] = 1e-3
    """Largest learning rate of AdamW."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """AdamW's decay rates for the averages of the gradient and of its square."""
    weight_decay: Annotated[float, at_least(0)] = 0.01
    """AdamW's decay, on all parameters."""
    warmup: Annotated[float, at_least(0)] = 0.05
    """Rise of the learning rate from 0: below 1 a share of the budget, from 1 on a number of steps."""
    schedule: LrSchedule = "cosine"
    """Learning rate after the warm-up: constant, or a cosine that reaches 0 with the budget."""
    clip: Annotated[float, at_least(0)] = 1.0
    """Largest norm of the gradient; 0 for no clipping."""
    ema_half_life: Annotated[float, at_least(0)] = 500_000.0
    """Images after which half of the averaged weights is new; 0 for no average."""
    ema_rampup: Annotated[float, at_least(0)] = 0.05
    """Largest half-life as a share of the images seen so far; 0 for no ramp."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic inside the network; weights, loss and optimizer are always fp32. auto times a step in both."""
    deterministic: bool = False
    """Choose nothing by timing, so that two fresh runs on one machine are equal to the bit; often slower."""
    seed: Annotated[int, up_to(0, below=1 << 63)] = 0
    """Seed of everything that is drawn at random: weights, image order, noise."""
    steps: Annotated[int, at_least(0)] = 0
    """Budget in optimizer steps; 0 for none. Of several budgets the first reached ends the run."""
    images: Annotated[int, at_least(0)] = 0
    """Budget in images seen; 0 for none."""
    minutes: Annotated[float, at_least(0)] = 0.0
    """Budget in minutes by the clock; 0 for none."""
    epochs: Annotated[float, at_least(0)] = 0.0
    """Budget in passes over the training images, which a run keeps as images; 0 for none."""
    restart: Annotated[float, at_least(0)] = 0.0
    """Minutes by the clock at which warm-up and schedule began anew, after a finished run was given more of them."""
    report: RunReport = field(default_factory=RunReport)
    """Log, measurements and saves."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.restart and self.restart >= self.minutes:
            raise ConfigError(f"restart {self.restart:g} and minutes {self.minutes:g}: minutes must be above restart")

    @property
    def extendable(self) -> bool:
        """True where a longer run may go on from a shorter one, since the learning rate after the warm-up is constant.

        With a warm-up in steps it also begins exactly as the shorter one.
        """
        return self.schedule == "constant"

    @property
    def staged(self) -> bool:
        """True where parts of the network learn one after another, each in its share of the budget."""
        return False

    def require_budget(self) -> None:
        """Refuse a recipe that would never end, or one that must not look at the clock and ends by it.

        Raises:
            ConfigError: No budget is set, images in two ways, or minutes beside ``deterministic``.
        """
        if not any(getattr(self, name) for name in (*BUDGETS, "epochs")):
            raise ConfigError("no budget: set minutes, epochs, images or steps above 0")
        if self.epochs and self.images:
            raise ConfigError(f"epochs = {self.epochs:g} and images = {self.images}: both say how many images; set one")
        if self.deterministic and self.minutes:
            raise ConfigError(
                f"deterministic = true and minutes = {self.minutes:g}: a run that ends by the clock does not end twice "
                "at the same step; set steps or images, and minutes = 0"
            )

    def spent(self, *, step: int, images_seen: int, seconds: float) -> float:
        """Return the share of the budget that is spent; training ends at 1."""
        budgets: dict[str, Any] = {name: getattr(self, name) for name in BUDGETS}
        budgets["minutes"] -= self.restart
        return budget_spent(
            **budgets, step=step, images_seen=images_seen, seconds=max(0.0, seconds - 60 * self.restart)
        )

    def in_images(self, num_images: int) -> Self:
        """Return the recipe with a budget in epochs as one in images.

        Args:
            num_images: Images in a pass.
        """
        return replace(self, images=math.ceil(round(self.epochs * num_images, 6)), epochs=0.0) if self.epochs else self

    def learning_rate(self, largest: float, now: Counters, spent: float) -> float:
        """Return the learning rate of a step.

        Args:
            largest: Rate between warm-up and decay, as ``lr``.
            now: Position before the step.
            spent: Share that the decay goes by, 0 to 1: of the budget, or of a stage's.
        """
        reached = self.spent(step=now.step + 1, images_seen=now.images_seen + self.batch, seconds=now.seconds)
        how: dict[str, Any] = {"warmup": self.warmup, "schedule": self.schedule}
        return learning_rate(lr=largest, **how, step=now.step, spent=spent, reached=reached)


def differing_fields(old: RunRecipe, new: RunRecipe) -> list[str]:
    """List the result-changing fields in which two recipes differ, as "process.beta_max: 20.0 → 10.0".

    The report never counts. Budgets do not count where a longer run begins with the shorter one. The reading of images
    counts by its result, which the data's digest tells, and by mirroring, where both recipes say so.
    """
    ignored = {"report", "data", *(BUDGETS if old.extendable and new.extendable else ())}
    before, after = (dict(_leaves(recipe, ignored)) for recipe in (old, new))
    missing = "none"
    found = [
        f"{name}: {before.get(name, missing)} → {after.get(name, missing)}"
        for name in before | after
        if before.get(name, missing) != after.get(name, missing)
    ]
    if None not in (old.data.flip, new.data.flip) and old.data.flip != new.data.flip:
        found.append(f"data.flip: {old.data.flip} → {new.data.flip}")
    return found


def _leaves(config: Any, ignored: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of nested configs; a nested config's own name counts as a value."""
    for item in fields(config):
        if item.name in ignored:
            continue
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield f"{prefix}{item.name}", type(value).__name__
            yield from _leaves(value, set(), f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value
