"""The recipe of an autoencoder, and its TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes

from brickwork.codec.autoencoder import Autoencoder, AutoencoderConfig
from brickwork.data.dataset import DataConfig, Dataset
from brickwork.errors import ConfigError
from brickwork.files.schema import checked_fields
from brickwork.training.denoiser.recipe_file import lines_of
from brickwork.training.run.learning_rate import LrSchedule, budget_spent, learning_rate

BUDGETS = ("steps", "images", "minutes")
POSITIVE = ("batch", "adversary_width", "revive_after")
NOT_NEGATIVE = ("l1", "kl", "commitment", "adversarial", "adversarial_start", "adversary_lr")
NOT_NEGATIVE += ("lr", "weight_decay", "warmup", "clip", "ema_half_life", "ema_rampup", "seed", *BUDGETS)


@dataclass(frozen=True, kw_only=True)
class AutoencoderReport:
    """What a run writes while it goes on. Changes no weight; may differ when a run is resumed."""

    log_every: int = 50
    """Steps between two lines of the log."""
    eval_every: int = 1000
    """Steps between two measurements on held-out images, with a sheet of some; 0 for one at the end."""
    eval_images: int = 256
    """Held-out images in these; the end takes all."""
    sheet_images: int = 16
    """Held-out images on a sheet; 0 for no sheets."""
    save_minutes: float = 5.0
    """Minutes between two saves; 0 for none by the clock."""
    save_every: int = 0
    """Steps between two saves; 0 for none by steps. The end always saves."""

    def __post_init__(self) -> None:
        for name in ("log_every", "eval_images"):
            _at_least(f"report.{name}", getattr(self, name), 1)
        for name in ("eval_every", "sheet_images", "save_minutes", "save_every"):
            _at_least(f"report.{name}", getattr(self, name), 0)


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """Everything that changes the result of training an autoencoder."""

    autoencoder: OmitArgPrefixes[AutoencoderConfig] = field(default_factory=Autoencoder.Config)
    """The network; the channels of its pictures are set from the data."""
    data: DataConfig = field(default_factory=DataConfig)
    """How images are read."""
    l1: float = 0.05
    """Weight of the mean absolute error beside the mean squared error, which has 1."""
    kl: float = 3e-5
    """Of kind kl: weight of the divergence from the standard normal, in nats per latent number."""
    commitment: float = 0.25
    """Of kind vq: weight of the squared distance that draws latents to their codes; that of codes to latents has 1."""
    revive_after: int = 200
    """Of kind vq: steps in which no latent chose a code, after which it becomes a latent of the batch at random."""
    adversarial: float = 0.0
    """Weight of the adversary's loss: sharper pictures at a lower PSNR. 0 for no adversary."""
    adversarial_start: int = 2000
    """Steps before the adversary takes part."""
    adversary_lr: float = 2e-4
    """The adversary's learning rate, times the same warm-up and schedule."""
    adversary_width: int = 32
    """Channels of the adversary's first layer."""
    batch: int = 16
    """Images per optimizer step."""
    lr: float = 2e-3
    """Largest learning rate of AdamW."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's memories of the gradient and of its square."""
    weight_decay: float = 0.0
    """AdamW's decay, on all parameters."""
    warmup: int = 100
    """Steps over which the learning rate rises from 0."""
    schedule: LrSchedule = "cosine"
    """Learning rate after the warm-up: constant, or a cosine that reaches 0 with the budget."""
    clip: float = 0.25
    """Largest norm of the gradient; 0 for no clipping."""
    ema_half_life: float = 3000.0
    """Images after which half of the averaged weights is new; 0 for no average."""
    ema_rampup: float = 0.05
    """Largest half-life as a share of the images seen so far; 0 for no ramp."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic inside the networks while they are trained; weights, losses and optimizer are always fp32. auto times
    a step in both."""
    seed: int = 0
    """Of weights, image order and noise."""
    steps: int = 0
    """Budget in optimizer steps; 0 for none. Of several budgets the first reached ends the run."""
    images: int = 0
    """Budget in images seen; 0 for none."""
    minutes: float = 0.0
    """Budget in minutes by the clock; 0 for none."""
    report: AutoencoderReport = field(default_factory=AutoencoderReport)
    """What is written while the run goes on."""

    def __post_init__(self) -> None:
        for name in POSITIVE:
            _at_least(name, getattr(self, name), 1)
        for name in NOT_NEGATIVE:
            _at_least(name, getattr(self, name), 0)
        if self.seed >= 1 << 63:
            raise ConfigError(f"seed is {self.seed}: it must be below 2^63")
        for name, known in (("schedule", ("constant", "cosine")), ("precision", ("auto", "fp32", "bf16"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}: it must be {' or '.join(known)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas are {self.betas}: each must be from 0 up to, not including, 1")

    def spent(self, *, step: int, images_seen: int, seconds: float) -> float:
        """The share of the budget that is spent; training ends at 1."""
        budgets = {"steps": self.steps, "images": self.images, "minutes": self.minutes}
        return budget_spent(**budgets, step=step, images_seen=images_seen, seconds=seconds)

    def learning_rate(self, largest: float, step: int, spent: float) -> float:
        """That of a step, whose largest is ``lr`` or ``adversary_lr``."""
        return learning_rate(lr=largest, warmup=self.warmup, schedule=self.schedule, step=step, spent=spent)


def require_budget(recipe: AutoencoderRecipe) -> None:
    """Refuse a recipe that would never end.

    Raises:
        ConfigError: No budget is set.
    """
    if not any(getattr(recipe, name) for name in BUDGETS):
        raise ConfigError("no budget: set steps, images or minutes above 0")


def fit_autoencoder(recipe: AutoencoderRecipe, data: Dataset) -> AutoencoderRecipe:
    """The recipe with the channels of these images; checked to be trainable on them.

    Raises:
        ConfigError: No budget is set, or the factor does not divide the images' sides.
    """
    require_budget(recipe)
    height, width, channels = data.shape
    factor = recipe.autoencoder.factor
    if height % factor or width % factor:
        raise ConfigError(
            f"images are {width}x{height}: the autoencoder's factor {factor} must divide both sides; set data.size or "
            "another factor"
        )
    return replace(recipe, autoencoder=replace(recipe.autoencoder, picture_channels=channels))


def load_autoencoder_recipe(path: str | Path) -> AutoencoderRecipe:
    """The recipe in a TOML file.

    Raises:
        ConfigError: The file is missing, no TOML, or has keys or values that a recipe does not know.
    """
    try:
        return parse_autoencoder_recipe(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {getattr(error, 'strerror', None) or error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


SECTIONS: dict[str, type] = {"autoencoder": AutoencoderConfig, "data": DataConfig, "report": AutoencoderReport}


def parse_autoencoder_recipe(text: str) -> AutoencoderRecipe:
    """The recipe in a TOML text; what it leaves out has the default."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not a TOML file: {error}") from error
    values: dict[str, Any] = {}
    for section, config in SECTIONS.items():
        if section in table:
            part = table.pop(section)
            if not isinstance(part, dict):
                raise ConfigError(f"{section} is {part!r}: write it as a table, [{section}]")
            values[section] = config(**checked_fields(config, part, section))
    return AutoencoderRecipe(**values, **checked_fields(AutoencoderRecipe, table, ""))


def autoencoder_toml(recipe: AutoencoderRecipe) -> str:
    """The recipe as TOML with every field written out; :func:`parse_autoencoder_recipe` gives an equal one."""
    lines = lines_of(recipe, skip=set(SECTIONS))
    for section in SECTIONS:
        lines += ["", f"[{section}]", *lines_of(getattr(recipe, section))]
    return "\n".join(lines) + "\n"


def changed_fields(old: AutoencoderRecipe, new: AutoencoderRecipe) -> list[str]:
    """Result-changing fields in which two recipes differ, as "kl: 0.0 → 3e-05".

    The report never counts, and budgets do not while the learning rate is constant.
    """
    constant = old.schedule == new.schedule == "constant"
    ignored = {"report", *(BUDGETS if constant else ())}
    return [f"{name}: {was} → {now}" for name, was, now in _pairs(old, new, ignored) if was != now]


def _pairs(old: Any, new: Any, ignored: set[str], prefix: str = "") -> list[tuple[str, Any, Any]]:
    pairs: list[tuple[str, Any, Any]] = []
    for item in fields(old):
        was, now = getattr(old, item.name), getattr(new, item.name)
        if item.name in ignored:
            continue
        if is_dataclass(was):
            pairs += _pairs(was, now, set(), f"{prefix}{item.name}.")
        else:
            pairs.append((f"{prefix}{item.name}", was, now))
    return pairs


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name} is {value}: it must be {least} or more")
