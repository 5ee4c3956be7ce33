"""Recipe: everything that changes the result of a training run, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.dit import Dit
from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.backbone.tldm import Tldm
from brickwork.backbone.unet import Unet
from brickwork.backbone.uvit import Uvit
from brickwork.bounds import at_least, between
from brickwork.codec.base import Codec, Pixels
from brickwork.codec.image_condition import ImageCondition, Nothing
from brickwork.data.dataset import DataConfig, Dataset
from brickwork.diffusion.prediction import EdmF, Eps, Prediction, Velocity
from brickwork.diffusion.process import DiscreteVp, Edm, LinearFlow, NoiseProcess, Vp
from brickwork.errors import ConfigError
from brickwork.files.proposed import filled
from brickwork.text.base import NoText, TextConfig
from brickwork.training.denoiser.loss import EdmWeight, Plain, Weighting
from brickwork.training.denoiser.parts import PartsConfig, check_parts_config
from brickwork.training.denoiser.times import LogitNormal, LogNormal, TimeSampling, Uniform
from brickwork.training.run.fitting import reading_of
from brickwork.training.run.recipe import RunRecipe, RunReport

NARROW = 256
"""Largest width of a STOIC that learns at twice the default rate."""


@dataclass(frozen=True, kw_only=True)
class Report(RunReport):
    """Log, measurements, saves and sheets of a run. Changes no weight; may differ when a run is resumed."""

    sample_every: Annotated[int, at_least(0)] = 0
    """Steps between two whole sample sheets; 0 for none by steps. The end always draws one."""
    sheet_seeds: Annotated[int, between(1, 1000)] = 8
    """Pictures per class on a sheet."""
    sheet_steps: Annotated[int, at_least(0)] = 25
    """Solver steps of a sheet; 0 for no sheets."""
    sheet_guidance: float = 1.0
    """Classifier-free guidance of a sheet; 1 is off."""


@dataclass(frozen=True, kw_only=True)
class Recipe(RunRecipe):
    """Settings of a training run: everything that changes its result."""

    backbone: BackboneConfig
    """The network; its size, channels and classes are set from the data."""
    process: NoiseProcess = field(default_factory=LinearFlow)
    """Noise process: the way noise is added."""
    prediction: Prediction = field(default_factory=Velocity)
    """Quantity that the network's output estimates."""
    times: TimeSampling = field(default_factory=LogitNormal)
    """Distribution of the noise levels in training."""
    weighting: Weighting = field(default_factory=Plain)
    """Weight of an error at each noise level."""
    parts: PartsConfig = field(default_factory=PartsConfig)
    """Training of the network's bricks or blocks."""
    data: OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    """Reading of the images."""
    conditional: bool = True
    """Learn the data's classes, where it has some."""
    label_dropout: Annotated[float, between(0, 1)] = 0.1
    """Share of images whose label is hidden, so that guidance can be used; 0 to 1."""
    text: TextConfig = field(default_factory=NoText)
    """Encoder of captions; its vocabulary, if it has one, is taken from the data."""
    text_dropout: Annotated[float, between(0, 1)] = 0.1
    """Share of images whose caption is hidden, so that guidance can be used; 0 to 1."""
    image_condition: ImageCondition = field(default_factory=Nothing)
    """Image condition: coarse for super-resolution, grey for colourisation."""
    accumulation: Annotated[int, at_least(1)] = 1
    """Chunks in which a batch is computed; more save memory, and change the result by rounding only."""
    compile: bool = False
    """Compile the blocks with torch.compile; on a CPU this needs a C++ compiler."""
    report: Report = field(default_factory=Report)
    """Log, measurements, saves and sheets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch % self.accumulation:
            raise ConfigError(
                f"batch {self.batch} cannot be computed in {self.accumulation} equal parts: "
                "let accumulation divide batch"
            )

    @property
    def extendable(self) -> bool:
        """True where a longer run begins exactly as the shorter one: a constant rate, and all bricks learn at once."""
        return super().extendable and not self.staged

    @property
    def staged(self) -> bool:
        """True where bricks learn one after another, each in its share of the budget."""
        return self.parts.supervision == "sequential"


def published_parts(backbone: BackboneConfig) -> dict[str, Any]:
    """Return a design's published process, prediction, times and weighting, where they are not the recipe's defaults.

    Transformer-LDM's are unknown; it gets those of latent diffusion, to which it is compared, as does a U-Net (Rombach
    et al. 2022, arXiv 2112.10752, and its ImageNet configs).
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


def preset_rate(backbone: BackboneConfig) -> float:
    """Return the learning rate of a preset: narrow STOICs bear twice the default, and short runs need it (log)."""
    narrow = isinstance(backbone, Stoic.Config) and backbone.width <= NARROW
    return 2e-3 if narrow else Recipe.lr


def fit_to_data(recipe: Recipe, data: Dataset, *, guest: bool = False, codec: Codec | None = None) -> Recipe:
    """Return the recipe made for these images: size, channels, classes, text, and how they were read.

    Args:
        recipe: The user's recipe.
        data: Training images.
        guest: True if a trained model serves as the brick before the backbone's first.
        codec: Turns pictures into the backbone's input; pixels by default.

    Raises:
        ConfigError: No budget is set, images are not square or not of sides that the codec divides, text is asked for
            that the data has no captions for, the backbone takes no guest, or the user set a number or a way of reading
            that the data contradict.
    """
    recipe.require_budget()
    _, height, width, channels = data.images.shape
    if height != width:
        raise ConfigError(f"images are {width}x{height}: training needs squares; set data.size or data.crop")
    codec = Pixels(num_channels=channels) if codec is None else codec
    if channels != codec.picture_channels or height % codec.factor:
        raise ConfigError(
            f"images of {width}x{height}x{channels}: this autoencoder takes {codec.picture_channels} channels and "
            f"sides that {codec.factor} divides; set data.channels and data.size"
        )
    recipe.image_condition.check(codec, height, width)
    text = _fitted_text(recipe, data)
    facts = {
        "size": height // codec.factor,
        "channels": codec.channels,
        "num_classes": len(data.classes) if recipe.conditional and data.labels is not None else 0,
        "text_length": text.num_tokens,
        "text_width": text.token_width,
        "condition_channels": recipe.image_condition.channels(codec),
    }
    backbone = filled(recipe.backbone, facts, section="backbone", advice=_ways_out(recipe, codec))
    backbone = backbone.with_guest() if guest else backbone
    check_parts_config(recipe.parts, backbone)
    fitted = replace(recipe, backbone=backbone, text=text, data=reading_of(recipe.data, data))
    return fitted.in_images(len(data))


def _ways_out(recipe: Recipe, codec: Codec) -> dict[str, str]:
    """Return for each number that the user may set on the backbone the advice on how to make the data agree."""
    space = "" if codec.factor == 1 else f", of which the autoencoder makes {codec.factor} pixels each"
    text = ", or change the text encoder's own length and width (text)"
    return {
        "size": f", or resize the images: data.size = {recipe.backbone.size * codec.factor}{space}",
        "channels": ", or set data.channels (1 grey, 3 colour)" if codec.factor == 1 else "",
        "num_classes": "; conditional = false leaves the classes out",
        "text_length": text,
        "text_width": text,
        "condition_channels": ", and choose an image condition by image_condition",
    }


def _fitted_text(recipe: Recipe, data: Dataset) -> TextConfig:
    """Return the text encoder's config for the captions of the data."""
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
