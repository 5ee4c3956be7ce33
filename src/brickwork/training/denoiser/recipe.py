"""Recipe: everything that changes the result of a training run, in one frozen value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.dit import Dit
from brickwork.backbone.lego import Lego
from brickwork.backbone.tldm import Tldm
from brickwork.backbone.unet import Unet
from brickwork.backbone.uvit import Uvit
from brickwork.codec.base import Codec, Pixels
from brickwork.codec.given import Given, Nothing
from brickwork.data.dataset import DataConfig, Dataset
from brickwork.diffusion.prediction import EdmF, Eps, Prediction, Velocity
from brickwork.diffusion.process import DiscreteVp, Edm, LinearFlow, NoiseProcess, Vp
from brickwork.errors import ConfigError
from brickwork.text.base import NoText, TextConfig
from brickwork.training.denoiser.loss import EdmWeight, Plain, Weighting
from brickwork.training.denoiser.parts import PartsConfig, check_parts_config
from brickwork.training.denoiser.times import LogitNormal, LogNormal, TimeSampling, Uniform
from brickwork.training.run.learning_rate import LrSchedule, budget_spent


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run writes while it goes on. Changes no weight; may differ when a run is resumed."""

    log_every: int = 50
    """Steps between two lines of the log."""
    eval_every: int = 1000
    """Steps between two held-out losses by noise level; 0 for one at the end."""
    eval_images: int = 128
    """Held-out images in that loss."""
    sample_every: int = 0
    """Steps between two sample sheets; 0 for one at the end."""
    sheet_seeds: int = 8
    """Pictures per class on a sheet."""
    sheet_steps: int = 50
    """Solver steps of a sheet; 0 for no sheets."""
    sheet_guidance: float = 1.0
    """Classifier-free guidance of a sheet; 1 is off."""
    save_minutes: float = 5.0
    """Minutes between two saves; 0 for none by the clock."""
    save_every: int = 0
    """Steps between two saves; 0 for none by steps. The end always saves."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folder."""

    def __post_init__(self) -> None:
        for name in ("log_every", "sheet_seeds", "eval_images"):
            _at_least(f"report.{name}", getattr(self, name), 1)
        for name in ("eval_every", "sample_every", "sheet_steps", "save_minutes", "save_every"):
            _at_least(f"report.{name}", getattr(self, name), 0)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that changes the result of a training run."""

    backbone: BackboneConfig
    """The network; its size, channels and classes are set from the data."""
    process: NoiseProcess = field(default_factory=LinearFlow)
    """How noise is added."""
    prediction: Prediction = field(default_factory=Velocity)
    """What the network's output estimates."""
    times: TimeSampling = field(default_factory=LogitNormal)
    """Which noise levels training looks at."""
    weighting: Weighting = field(default_factory=Plain)
    """How much an error counts at each level."""
    parts: PartsConfig = field(default_factory=PartsConfig)
    """How the bricks or blocks of the network are trained."""
    data: OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    """How images are read."""
    conditional: bool = True
    """Learn the data's classes, where it has some."""
    label_dropout: float = 0.1
    """Share of images whose label is hidden, so that guidance can be used; 0 to 1."""
    text: TextConfig = field(default_factory=NoText)
    """What reads captions; its vocabulary, if it has one, is taken from the data."""
    text_dropout: float = 0.1
    """Share of images whose caption is hidden, so that guidance can be used; 0 to 1."""
    given: Given = field(default_factory=Nothing)
    """A picture that is told beside x: coarse for super-resolution, grey for colourisation."""
    batch: int = 128
    """Images per optimizer step."""
    accumulation: int = 1
    """Parts that a batch is computed in; saves memory, changes the result by rounding only."""
    lr: float = 1e-3
    """Largest learning rate of AdamW."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's memories of the gradient and of its square."""
    weight_decay: float = 0.01
    """AdamW's decay, on all parameters."""
    warmup: int = 250
    """Steps over which the learning rate rises from 0."""
    schedule: LrSchedule = "cosine"
    """Learning rate after the warm-up: constant, or a cosine that reaches 0 with the budget."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 for no clipping."""
    ema_half_life: float = 500_000.0
    """Images after which half of the averaged weights is new; 0 for no average."""
    ema_rampup: float = 0.05
    """Largest half-life as a share of the images seen so far; 0 for no ramp."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic inside the backbone; weights, loss and optimizer are always fp32. auto times a step in both."""
    compile: bool = False
    """Compile the blocks with torch.compile; on a CPU this needs a C++ compiler."""
    seed: int = 0
    """Of weights, image order, noise, times and hidden labels."""
    steps: int = 0
    """Budget in optimizer steps; 0 for none. Of several budgets the first reached ends the run."""
    images: int = 0
    """Budget in images seen; 0 for none."""
    minutes: float = 0.0
    """Budget in minutes by the clock; 0 for none."""
    report: Report = field(default_factory=Report)
    """What is written while the run goes on."""

    def __post_init__(self) -> None:
        for name in ("batch", "accumulation"):
            _at_least(name, getattr(self, name), 1)
        for name in ("lr", "weight_decay", "warmup", "clip", "ema_half_life", "ema_rampup", "seed", *BUDGETS):
            _at_least(name, getattr(self, name), 0)
        if self.seed >= 1 << 63:
            raise ConfigError(f"seed is {self.seed}: it must be below 2^63")
        if self.batch % self.accumulation:
            raise ConfigError(
                f"batch {self.batch} cannot be computed in {self.accumulation} equal parts: "
                "let accumulation divide batch"
            )
        for name in ("label_dropout", "text_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it is a share, from 0 to 1")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}: it must be {' or '.join(known)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas are {self.betas}: each must be from 0 up to, not including, 1")

    def spent(self, *, step: int, images_seen: int, seconds: float) -> float:
        """The share of the budget that is spent; training ends at 1."""
        return budget_spent(
            steps=self.steps,
            images=self.images,
            minutes=self.minutes,
            step=step,
            images_seen=images_seen,
            seconds=seconds,
        )


def published_parts(backbone: BackboneConfig) -> dict[str, Any]:
    """Process, prediction, times and weighting that a design was published with, where these are not the recipe's own.

    Of Transformer-LDM they are not known; those of the latent diffusion that it is compared with stand for them, as for
    a U-Net (Rombach et al. 2022, arXiv 2112.10752, and its ImageNet configs).
    """
    if isinstance(backbone, Lego.Config):
        return {"process": Edm(), "prediction": EdmF(), "times": LogNormal(), "weighting": EdmWeight()}
    process: NoiseProcess | None = None
    if isinstance(backbone, Dit.Config):
        process = DiscreteVp(beta_start=1e-4, beta_end=0.02, even="beta", first_number=0.0)
    elif isinstance(backbone, Tldm.Config | Unet.Config):
        process = DiscreteVp(beta_start=0.0015, beta_end=0.0195)
    elif isinstance(backbone, Uvit.Config):
        process = Vp() if backbone.final_conv and not backbone.text_length else DiscreteVp()
    return {} if process is None else {"process": process, "prediction": Eps(), "times": Uniform()}


BUDGETS = ("steps", "images", "minutes")
CHOICES = {"schedule": ("constant", "cosine"), "precision": ("auto", "fp32", "bf16")}


def require_budget(recipe: Recipe) -> None:
    """Refuse a recipe that would never end.

    Raises:
        ConfigError: No budget is set.
    """
    if not any(getattr(recipe, name) for name in BUDGETS):
        raise ConfigError("no budget: set steps, images or minutes above 0")


def fit_to_data(recipe: Recipe, data: Dataset, *, guest: bool = False, codec: Codec | None = None) -> Recipe:
    """The recipe with the backbone made for these images: size, channels, classes, text; checked to be trainable.

    Args:
        recipe: As the user has it.
        data: Training images.
        guest: Whether a trained model serves as the brick before the backbone's first.
        codec: What turns pictures into the backbone's numbers; pixels unless told otherwise.

    Raises:
        ConfigError: No budget is set, images are not square or not of sides that the codec divides, text is asked for
            that the data has no captions for, or the backbone takes no guest.
    """
    require_budget(recipe)
    _, height, width, channels = data.images.shape
    if height != width:
        raise ConfigError(f"images are {width}x{height}: training needs squares; set data.size or data.crop")
    codec = Pixels(num_channels=channels) if codec is None else codec
    if channels != codec.picture_channels or height % codec.factor:
        raise ConfigError(
            f"images of {width}x{height}x{channels}: this autoencoder takes {codec.picture_channels} channels and "
            f"sides that {codec.factor} divides; set data.channels and data.size"
        )
    recipe.given.check(codec, height, width)
    text = _fitted_text(recipe, data)
    told = {} if isinstance(text, NoText) else {"text_length": text.num_tokens, "text_width": text.token_width}
    backbone = replace(
        recipe.backbone,
        size=height // codec.factor,
        channels=codec.channels,
        num_classes=len(data.classes) if recipe.conditional and data.labels is not None else 0,
        given_channels=recipe.given.channels(codec),
        **told,
    )
    backbone = backbone.with_guest() if guest else backbone
    check_parts_config(recipe.parts, backbone)
    return replace(recipe, backbone=backbone, text=text)


def _fitted_text(recipe: Recipe, data: Dataset) -> TextConfig:
    """The text encoder's config for the captions of the data."""
    if isinstance(recipe.text, NoText):
        if recipe.backbone.text_length:
            raise ConfigError(
                f"the backbone has {recipe.backbone.text_length} text tokens and nothing reads captions: name a text "
                "encoder (text words), or set backbone.text_length = 0 and text_width = 0"
            )
        return recipe.text
    if data.captions is None:
        raise ConfigError(
            f"{data.name} has no captions to learn text from: give NAME.txt beside each NAME.png, a captions.jsonl, or "
            "captions in an .npz; or leave the text encoder out"
        )
    return recipe.text.fitted(data.captions)


def differing_fields(old: Recipe, new: Recipe) -> list[str]:
    """Names of the result-changing fields in which two recipes differ, as "process.beta_max: 20.0 → 10.0".

    The report never counts. Budgets do not count where a longer run begins with the shorter one: while the learning
    rate is constant and bricks are not trained one after the other.
    """
    begins = all(r.schedule == "constant" and r.parts.supervision != "sequential" for r in (old, new))
    ignored = {"report", *(BUDGETS if begins else ())}
    before, after = (dict(_leaves(recipe, ignored)) for recipe in (old, new))
    missing = "none"
    return [
        f"{name}: {before.get(name, missing)} → {after.get(name, missing)}"
        for name in before | after
        if before.get(name, missing) != after.get(name, missing)
    ]


def _leaves(config: Any, ignored: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested configs; a nested config's own name counts as a value."""
    for item in fields(config):
        if item.name in ignored:
            continue
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield f"{prefix}{item.name}", type(value).__name__
            yield from _leaves(value, set(), f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name} is {value}: it must be {least} or more")
