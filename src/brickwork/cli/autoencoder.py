"""The verb `autoencoder`: train one, take a published one, or say what one is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from brickwork.cli.autoencoder_import import import_autoencoder
from brickwork.cli.words import call
from brickwork.errors import ArgumentError, UnknownNameError

if TYPE_CHECKING:
    from brickwork.data.dataset import DataConfig, Dataset
    from brickwork.training.autoencoder.recipe import AutoencoderRecipe


def autoencoder(words: Sequence[str]) -> int:
    """Train an autoencoder whose latents a model learns, take a published one, or show what one is.

    brickwork autoencoder train --data DATA --out RUN --minutes 15     or with a recipe: autoencoder train RECIPE.toml
    brickwork autoencoder import FOLDER --data DATA --out FILE      a folder or a Hub name, as diffusers writes it
    brickwork autoencoder info RUN
    """
    if not words or words[0] in ("-h", "--help"):
        print(autoencoder.__doc__)
        return 0
    if words[0] not in SUB_VERBS:
        raise UnknownNameError("autoencoder verb", words[0], SUB_VERBS)
    return SUB_VERBS[words[0]](list(words[1:]))


def train(words: Sequence[str]) -> int:
    """Train on images; any field of the recipe can be set."""
    from brickwork.training.autoencoder.recipe import AutoencoderRecipe

    words, name = list(words), words[0] if words and not words[0].startswith("-") else None
    start, code = _first_recipe(name), 0

    def run(
        *,
        data: Annotated[str, arg(metavar="DATA")],
        out: Path,
        size: int | None = None,
        device: str = "auto",
        dry_run: bool = False,
        recipe: Annotated[AutoencoderRecipe, arg(name="")] = start,
    ) -> None:
        """Train; a run folder that holds an unfinished run of the same recipe is taken up where it was.

        Args:
            data: Images: folder, zip, npz, IDX, hf:owner/name or "digits".
            out: The run folder.
            size: Side in pixels that images are resized to; short for --data.size.
            device: auto, cpu, cuda or mps.
            dry_run: Print the resolved recipe and its size, and stop.
            recipe: Everything that changes the result.
        """
        from brickwork.codec.file import read_codec_header
        from brickwork.data.dataset import load_dataset
        from brickwork.training.autoencoder.loop import train_autoencoder
        from brickwork.training.autoencoder.recipe import autoencoder_toml, fit_autoencoder
        from brickwork.training.run.trackers.table import open_trackers

        open_trackers(recipe.report.trackers)  # says what is missing before images are read
        recipe.require_budget()
        if size is not None:
            recipe = replace(recipe, data=replace(recipe.data, size=size))
        images = load_dataset(data, recipe.data, progress=True)
        if dry_run:
            fitted = fit_autoencoder(recipe, images)
            network = fitted.autoencoder.build()
            count = sum(weight.numel() for weight in network.parameters())
            print(f"{autoencoder_toml(fitted)}\n{len(images)} images, digest {images.digest[:12]}")
            print(f"{count / 1e6:.4g} M parameters; a pixel depends on latents up to {network.halo} places away")
            return
        heldout = _held_out(data, recipe.data, images)
        train_autoencoder(recipe, images, out, heldout, device=device)
        facts = read_codec_header(out)["training"]
        state = "finished" if facts["finished"] else "stopped; the same command goes on"
        psnr = f", {facts['held_out_psnr']:.2f} dB PSNR on held-out images" if "held_out_psnr" in facts else ""
        print(f"{state}{psnr}: autoencoder, recipe, log, curve and samples are in {out}")
        nonlocal code
        code = 0 if facts["finished"] else 130

    run.__annotations__["recipe"] = Annotated[AutoencoderRecipe, arg(name="")]
    call(run, prog="brickwork autoencoder train", words=words[1:] if name else words)
    return code


def info(words: Sequence[str]) -> int:
    """What an autoencoder is and what it was trained on."""

    def run(autoencoder: Positional[str], *, as_json: Annotated[bool, arg(name="json")] = False) -> None:
        """Show an autoencoder: run folder or file.

        Args:
            autoencoder: Which.
            as_json: Print the header as JSON.
        """
        from brickwork.codec.file import load_codec, read_codec_header

        header = read_codec_header(autoencoder)
        if as_json:
            print(json.dumps(header, indent=2))
            return
        codec, facts = load_codec(autoencoder), header["training"]
        count = sum(weight.numel() for weight in codec.autoencoder.parameters())
        kind, fields = header["codec"][1]["autoencoder"]
        print(f"{kind}: {', '.join(f'{key} {value}' for key, value in fields.items())}")
        print(f"{count / 1e6:.4g} M parameters, digest {codec.digest[:12]}")
        print(f"{codec.channels} channels, {codec.factor} pixels a place; posterior {codec.config.posterior}")
        print(f"mean {' '.join(f'{value:.3g}' for value in codec.config.mean)}")
        print(f"std  {' '.join(f'{value:.3g}' for value in codec.config.std)}")
        for key, value in facts.items():
            if key != "recipe":
                print(f"{key:<14} {value}")

    call(run, prog="brickwork autoencoder info", words=words)
    return 0


SUB_VERBS: dict[str, Callable[[Sequence[str]], int]] = {"train": train, "info": info, "import": import_autoencoder}


def _first_recipe(name: str | None) -> AutoencoderRecipe:
    """The recipe in a file or a run folder, or the default one."""
    from brickwork.training.autoencoder.recipe import AutoencoderRecipe, load_autoencoder_recipe

    if name is None:
        return AutoencoderRecipe()
    path = Path(name, "recipe.toml") if Path(name).is_dir() else Path(name)
    if path.suffix != ".toml":
        raise ArgumentError(
            f"autoencoder train {name}: the first word may be a recipe, a .toml file or a run folder; give the images "
            "as --data DATA"
        )
    return load_autoencoder_recipe(path)


def _held_out(data: str, config: DataConfig, images: Dataset) -> Dataset | None:
    """Images that this run never trains on, made alike; None, and a line that says so, where there are none."""
    from brickwork.data.dataset import load_heldout
    from brickwork.errors import MissingSplitError

    (side, _, channels), overlap = images.shape, f"split {config.split!r} trains on them; split 'train' does not"
    try:
        heldout = load_heldout(data, replace(config, size=side, channels=channels))
        reason = overlap if config.split != "train" or heldout.digest == images.digest else ""
    except MissingSplitError as error:
        heldout, reason = None, str(error)
    if reason:
        print(f"no PSNR of held-out images: {reason}", file=sys.stderr)
        return None
    return heldout
