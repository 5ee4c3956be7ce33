"""Published autoencoders by way of diffusers: from a local folder, from the Hub, or from brickwork's own files.

Weights are read from safetensors files alone, and no code that comes with them is run. For a model of one's own the
statistics of the latents are measured per channel (``Latents.measure``); a published denoiser needs its authors'
scaling, the one factor in diffusers' config.json (``scaled_as_published``).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import nn

from brickwork.codec.base import FirstStage, FirstStageConfig, Latent
from brickwork.codec.latents import Latents, weights_digest
from brickwork.errors import BrickworkError, CheckpointError, ConfigError, MissingExtraError, first_line
from brickwork.files.plain import read_json, read_small
from brickwork.files.revision import asked_for, split_revision
from brickwork.nn.floats import float32_default
from brickwork.nn.shapes import Image

WIDTHS = {
    "AutoencoderKL": ("block_out_channels", "block_out_channels"),
    "VQModel": ("block_out_channels", "block_out_channels"),
    "AutoencoderDC": ("encoder_block_out_channels", "decoder_block_out_channels"),
    "AutoencoderTiny": ("encoder_block_out_channels", "decoder_block_out_channels"),
}
"""Settings that list the channels of each level, encoder's and decoder's; each after the first halves the size."""
WEIGHTS = "diffusion_pytorch_model"
LARGEST, MOST_LAYERS = 1 << 16, 256
"""Bounds of any number, and of a count of layers or blocks, in settings that come from a file."""


@final
@dataclass(frozen=True, kw_only=True)
class PublishedConfig(FirstStageConfig):
    """Config of a published autoencoder, ``Published.Config``."""

    design: Literal["AutoencoderKL", "VQModel", "AutoencoderDC", "AutoencoderTiny"]
    """Name of its class in diffusers."""
    settings: str
    """Arguments of that class, as the JSON text of diffusers' config.json."""

    def __post_init__(self) -> None:
        if self.design not in WIDTHS:
            raise ConfigError(f"design {self.design!r}: must be one of {', '.join(WIDTHS)}")
        settings = self.arguments
        for name in ("in_channels", "latent_channels", *WIDTHS[self.design]):
            if name not in settings:
                raise ConfigError(f"settings without {name}: give the whole config.json as diffusers writes it")
        _check_sizes(settings)
        if settings.get("out_channels", settings["in_channels"]) != settings["in_channels"]:
            raise ConfigError(
                f"an autoencoder of {settings['in_channels']} channels in and {settings['out_channels']} out: it must "
                "give back what it takes"
            )
        up = settings.get("upsampling_scaling_factor", 2) ** (len(settings[WIDTHS[self.design][1]]) - 1)
        if up != self.factor:
            raise ConfigError(f"a factor of {self.factor} down and {up} up: it must give back as many pixels")

    @property
    def arguments(self) -> dict[str, Any]:
        """The settings as a table, without diffusers' notes about the file itself.

        Raises:
            ConfigError: The text is no JSON object.
        """
        try:
            settings = read_json(self.settings)
        except ValueError as error:
            raise ConfigError(f"settings that are no JSON ({error}): give the text of a config.json") from error
        if not isinstance(settings, dict):
            raise ConfigError(f"settings {self.settings[:40]!r}: give the text of a config.json, a JSON object")
        return {name: value for name, value in settings.items() if not name.startswith("_")}

    @property
    def factor(self) -> int:
        """Pixels per latent place, each way: twice as many with each level after the first."""
        return 2 ** (len(self.arguments[WIDTHS[self.design][0]]) - 1)

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        settings = self.arguments
        return (self.design == "VQModel" and settings.get("vq_embed_dim")) or settings["latent_channels"]

    @property
    def picture_channels(self) -> int:
        """Channels of the pictures."""
        return self.arguments["in_channels"]

    @float32_default()
    def build(self) -> Published:
        """Return an autoencoder with fresh weights.

        Raises:
            ConfigError: diffusers cannot build it.
            MissingExtraError: diffusers is not installed.
        """
        with _quiet() as diffusers:
            kind = getattr(diffusers, self.design)
            known = inspect.signature(kind.__init__).parameters
            try:
                net = kind(**{name: value for name, value in self.arguments.items() if name in known})
            except BrickworkError:
                raise
            except Exception as error:  # wrong settings make the library raise errors of many kinds
                raise ConfigError(f"settings that make no {self.design} ({first_line(error)})") from error
        return Published(self, net)


@final
class Published(FirstStage):
    """Autoencoder of diffusers as a ``FirstStage``.

    Source: AutoencoderKL and VQModel, Rombach et al. 2022 (2112.10752); AutoencoderDC, Chen et al. 2024 (2410.10733);
    AutoencoderTiny, https://github.com/madebyollin/taesd, MIT.

    Args:
        config: Its class and settings.
        net: An instance of the design's class.
    """

    Config = PublishedConfig

    def __init__(self, config: PublishedConfig, net: nn.Module) -> None:
        super().__init__()
        self._config = config
        self.net: Any = net
        self._halo = _reach(config.arguments) if config.design == "AutoencoderTiny" else None

    @classmethod
    def open(cls, source: str | Path, subfolder: str | None = None) -> Published:
        """Open a published autoencoder, float32, on the CPU.

        Args:
            source: A folder as diffusers saves it (config.json and safetensors), or owner/name[@revision] on the
                Hub.
            subfolder: Its subfolder in there, such as "vae" in a pipeline.

        Raises:
            CheckpointError: It is missing, of an unknown class, a pickle, or its weights are incomplete.
            ConfigError: Its pictures have other channels or pixels than those it takes.
            MissingExtraError: diffusers is not installed.
        """
        folder = Path(source).expanduser()
        folder = (folder if folder.is_dir() else _from_hub(str(source), subfolder)) / (subfolder or "")
        design = _design_in(folder)
        variant = _variant_of(folder)
        with _quiet() as diffusers:
            try:
                net, told = getattr(diffusers, design).from_pretrained(
                    folder,
                    variant=variant,
                    use_safetensors=True,
                    local_files_only=True,
                    torch_dtype=torch.float32,
                    low_cpu_mem_usage=False,
                    output_loading_info=True,
                )
            except Exception as error:  # a broken file makes the library raise errors of many kinds
                raise CheckpointError(
                    f"{folder} cannot be read ({first_line(error)}): copy or fetch it again"
                ) from error
        if odd := [*told["missing_keys"], *told["unexpected_keys"], *map(str, told.get("mismatched_keys", ()))]:
            raise CheckpointError(
                f"{folder}: {odd[0]} and {len(odd) - 1} other weights do not fit its config.json: fetch it again"
            )
        settings = {name: value for name, value in net.config.items() if not name.startswith("_")}
        try:
            config = PublishedConfig(design=design, settings=json.dumps(settings, sort_keys=True))  # pyright: ignore[reportArgumentType]
        except BrickworkError as error:
            raise CheckpointError(f"{folder}: {error}") from error
        return cls(config, net)

    @property
    def config(self) -> PublishedConfig:
        """The config that it was built from."""
        return self._config

    @property
    def halo(self) -> int | None:
        """Latent places that AutoencoderTiny's convolutions reach; None for classes with attention or group norms."""
        return self._halo

    def posterior(self, pixels: Image) -> tuple[Latent, Latent | None]:
        """Return AutoencoderKL's mean and standard deviation; for others the latent (unquantised) and None."""
        out = self.net.encode(pixels)
        if self._config.design == "AutoencoderKL":
            return out.latent_dist.mean, out.latent_dist.std
        return out.latent if self._config.design == "AutoencoderDC" else out.latents, None

    def decode(self, z: Latent) -> Image:
        """Decode latents into pictures in [-1, 1]; VQModel quantises, AutoencoderTiny bends latents beyond ±3."""
        return self.net.decode(z).sample


def scaled_as_published(autoencoder: Published, posterior: Literal["mode", "sample"] = "mode") -> Latents:
    """Return the codec with latents (z - shift) * scale, the factors of its config.json, as published denoisers expect.

    Raises:
        ConfigError: The config states no scaling_factor.
    """
    settings = autoencoder.config.arguments
    scale, shift = settings.get("scaling_factor"), settings.get("shift_factor") or 0.0
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not scale > 0:
        raise ConfigError(
            f"scaling_factor {scale!r} in the autoencoder's config.json: there is no published scale; measure it on "
            "images instead (--scale measured)"
        )
    config = Latents.Config(
        autoencoder=autoencoder.config,
        mean=(float(shift),) * autoencoder.config.channels,
        std=(1 / scale,) * autoencoder.config.channels,
        weights=weights_digest(autoencoder),
        posterior=posterior,
    )
    return Latents(config, autoencoder)


def _check_sizes(settings: dict[str, Any]) -> None:
    """Refuse numbers too large to build, and counts of levels or channels below 1.

    Raises:
        ConfigError: A setting is out of bounds; the first such one is named.
    """
    for name, value in settings.items():
        counted = "layers" in name or name.endswith("_blocks")
        parts = value if isinstance(value, list) else [value]
        if len(parts) > MOST_LAYERS:
            raise ConfigError(f"settings with {len(parts)} values of {name}: at most {MOST_LAYERS}")
        for part in parts:
            if isinstance(part, int) and part > (MOST_LAYERS if counted else LARGEST):
                raise ConfigError(f"settings with {name} {part}: at most {MOST_LAYERS if counted else LARGEST}")
    for name in ("in_channels", "latent_channels", "upsampling_scaling_factor"):
        if name in settings and not (type(settings[name]) is int and settings[name] >= 1):
            raise ConfigError(f"settings with {name} {settings[name]!r}: it must be a whole number, at least 1")
    for name in ("block_out_channels", "encoder_block_out_channels", "decoder_block_out_channels"):
        if name in settings and not (isinstance(settings[name], list) and 1 <= len(settings[name]) <= 16):
            raise ConfigError(f"settings with {name} {settings[name]!r}: it must be a list of channels, one per level")


def _reach(settings: dict[str, Any]) -> int | None:
    """Return how many latent places on each side AutoencoderTiny's decoded pixels depend on.

    Followed back from the pixels of one place: a 3x3 convolution reaches one place farther, a nearest upsampling by s
    maps place p to floor(p / s). None where the upsampling is of another kind.
    """
    s, blocks = settings.get("upsampling_scaling_factor", 2), settings.get("num_decoder_blocks")
    if settings.get("upsample_fn", "nearest") != "nearest" or not isinstance(blocks, list):
        return None
    first = 0
    last = s ** (len(blocks) - 1) - 1
    for level, count in reversed(list(enumerate(blocks))):
        first, last = first - 1, last + 1  # the convolution at the end of a level
        if level < len(blocks) - 1:
            first, last = first // s, last // s
        first, last = first - 3 * count, last + 3 * count  # three convolutions in a block
    return max(1 - first, last + 1)  # and the first convolution


def _design_in(folder: Path) -> str:
    """Return the class of diffusers that a folder's config.json names.

    Raises:
        CheckpointError: The file is missing, or names no autoencoder that brickwork opens.
    """
    path = folder / "config.json"
    if not path.is_file():
        inside = next((name for name in ("vae", "vqvae", "vqmodel") if (folder / name / "config.json").is_file()), None)
        way_out = (
            f"it is in {inside}: give subfolder {inside}" if inside else "give what diffusers' save_pretrained wrote"
        )
        raise CheckpointError(f"{folder} holds no config.json; {way_out}")
    try:
        design = read_json(read_small(path))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({first_line(error)}): copy or fetch it again") from error
    if not isinstance(design, str) or design not in WIDTHS:
        raise CheckpointError(f"{path} is of {str(design)[:60]}: brickwork opens {', '.join(WIDTHS)}")
    return design


def _variant_of(folder: Path) -> str | None:
    """Return the variant of weights to read: None for the plain file, else the folder's one other, such as "fp16".

    Raises:
        CheckpointError: The folder has pickles alone, no weights, or several variants.
    """
    files = sorted(path.name for path in folder.glob(f"{WEIGHTS}*.safetensors"))
    if f"{WEIGHTS}.safetensors" in files or (folder / f"{WEIGHTS}.safetensors.index.json").is_file():
        return None
    variants = {name.split(".")[1].split("-")[0] for name in files}
    if len(variants) == 1:
        return variants.pop()
    if not variants and (pickles := sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")])):
        raise CheckpointError(
            f"{folder} holds {pickles[0].name}, which is a pickle, and brickwork unpickles nothing: save it as "
            f"{WEIGHTS}.safetensors (diffusers' save_pretrained does), or take a source that has one"
        )
    raise CheckpointError(f"{folder} lacks {WEIGHTS}.safetensors{' of one kind' if variants else ''}: copy it there")


def _from_hub(source: str, subfolder: str | None) -> Path:
    """Return the folder in the Hub's own cache; download it if it is not there.

    Raises:
        CheckpointError: No such folder or repository exists.
    """
    place, revision = split_revision(source)
    owner, _, name = place.partition("/")
    if not (owner and name) or "/" in name or owner.startswith((".", "~")):
        raise CheckpointError(f"no folder {source}: give one that is there, or owner/name on the Hub")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("peers", "huggingface_hub", "an autoencoder of the Hub") from error
    prefix = f"{subfolder}/" if subfolder else ""
    wanted = [f"{prefix}config.json", f"{prefix}{WEIGHTS}*.safetensors", f"{prefix}{WEIGHTS}*.safetensors.index.json"]
    try:
        return Path(snapshot_download(place, **asked_for(revision), allow_patterns=wanted))
    except Exception as error:  # the client raises its own errors, the network's and its library's
        raise CheckpointError(f"no folder {source}, and the Hub: {first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[Any]:
    """Import diffusers and silence its log inside the context.

    Raises:
        MissingExtraError: diffusers is not installed.
    """
    try:
        import diffusers
        from diffusers.utils import logging
    except ImportError as error:
        raise MissingExtraError("peers", "diffusers", "a published autoencoder") from error
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield diffusers
    finally:
        logging.set_verbosity(before)
