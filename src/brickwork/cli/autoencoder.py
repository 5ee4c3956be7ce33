"""Verbs ``brickwork autoencoder train`` and ``info``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

import brickwork as bw
from brickwork.cli.arguments import DeviceName
from brickwork.cli.proposals import proposed_again
from brickwork.cli.verbs import VERBS
from brickwork.cli.words import call
from brickwork.data.heldout import images_of_run
from brickwork.errors import ArgumentError
from brickwork.files.proposed import settled
from brickwork.files.recipes import recipe_names
from brickwork.files.streams import say

if TYPE_CHECKING:
    from brickwork.training.autoencoder.recipe import AutoencoderRecipe


def train(words: Sequence[str]) -> int:
    """Train an autoencoder, whose latents a model learns.

    An unfinished run of the same recipe in the run folder is resumed. A recipe may be the first word; any of its fields
    can be set.
    """
    words, name = list(words), words[0] if words and not words[0].startswith("-") else None
    start, code = _first_recipe(name), 0
    plain = replace(start, autoencoder=settled(start.autoencoder))

    def run(
        *,
        data: Annotated[str, arg(metavar="DATA")],
        out: Path,
        size: int | None = None,
        device: DeviceName = "auto",
        dry_run: bool = False,
        recipe: Annotated[AutoencoderRecipe, arg(name="")] = plain,
    ) -> None:
        """Train an autoencoder, whose latents a model learns.

        An unfinished run of the same recipe in the run folder is resumed. The first word may be a recipe, as in
        `brickwork autoencoder train clothing-f4c4 --data fashion-mnist/ --out runs/latents`.

        Args:
            data: Images: folder, zip, npz, IDX, hf:owner/name or "digits".
            out: Run folder to write.
            size: Side in pixels that images are resized to; short for --data.size.
            device: Device that trains; auto takes the first accelerator.
            dry_run: Print the resolved recipe, where its numbers come from, the images and the size, and stop.
            recipe: Settings that change the result.
        """
        from brickwork.codec.file import read_codec_header
        from brickwork.training.run.trackers.table import open_trackers

        recipe = replace(recipe, autoencoder=proposed_again(recipe.autoencoder, start.autoencoder, words))
        open_trackers(recipe.report.trackers)  # reports what is missing before images are read
        recipe.require_budget()
        if size is not None:
            if recipe.data.size not in (start.data.size, size):
                raise ArgumentError(f"--size {size} and --data.size {recipe.data.size}: one setting; leave one out")
            recipe = replace(recipe, data=replace(recipe.data, size=size))
        if dry_run:
            _foretell(recipe, data)
            return
        bw.train_autoencoder(recipe, data, out, device=device)
        facts = read_codec_header(out)["training"]
        state = "finished" if facts["finished"] else "stopped; the same command goes on"
        psnr = f", {facts['held_out_psnr']:.2f} dB PSNR on held-out images" if "held_out_psnr" in facts else ""
        say(f"{state}{psnr}: autoencoder, recipe, log, curve and samples are in {out}")
        nonlocal code
        code = 0 if facts["finished"] else 130

    run.__annotations__["recipe"] = Annotated[bw.AutoencoderRecipe, arg(name="")]
    examples = VERBS["autoencoder train"].examples
    call(run, prog="brickwork autoencoder train", words=words[1:] if name else words, examples=examples)
    return code


def info(autoencoder: Positional[str], *, as_json: Annotated[bool, arg(name="json")] = False) -> None:
    """Describe an autoencoder and its training.

    Says its design, size and quality.

    Args:
        autoencoder: Run folder or file.
        as_json: Print the header as JSON.
    """
    from brickwork.codec.file import read_codec_header

    header = read_codec_header(autoencoder)
    if as_json:
        print(json.dumps(header, indent=2))
        return
    codec, facts = bw.load_codec(autoencoder), header["training"]
    count = sum(weight.numel() for weight in codec.autoencoder.parameters())
    kind, fields = header["codec"][1]["autoencoder"]
    say(f"{kind}: {', '.join(f'{key} {value}' for key, value in fields.items())}")
    say(f"{count / 1e6:.4g} M parameters, digest {codec.digest[:12]}")
    say(f"{codec.channels} channels, {codec.factor} pixels a place; posterior {codec.config.posterior}")
    say(f"mean {' '.join(f'{value:.3g}' for value in codec.config.mean)}")
    say(f"std  {' '.join(f'{value:.3g}' for value in codec.config.std)}")
    for key, value in facts.items():
        if key != "recipe":
            say(f"{key:<14} {value}")


def _first_recipe(name: str | None) -> AutoencoderRecipe:
    """Return the recipe of a name, in a file or a run folder, or the default one."""
    from brickwork.training.autoencoder.recipe import load_autoencoder_recipe

    if name is None:
        return bw.AutoencoderRecipe()
    shipped = recipe_names("autoencoder")
    if Path(name).suffix != ".toml" and not Path(name).is_dir() and name not in shipped:
        raise ArgumentError(
            f"autoencoder train {name}: the first word may be a recipe ({', '.join(shipped)}), a .toml file or a run "
            "folder; give the images as --data DATA"
        )
    return load_autoencoder_recipe(name)


def _foretell(recipe: AutoencoderRecipe, data: str) -> None:
    """Print the recipe that a run would use, the sources of its numbers, its images and its size."""
    from brickwork.training.autoencoder.recipe import autoencoder_toml, fit_autoencoder, idle_settings
    from brickwork.training.run.acting import refuse_idle
    from brickwork.training.run.fitting import told_images, told_origins

    images, heldout, missing = images_of_run(data, recipe.data, progress=True)
    fitted = fit_autoencoder(recipe, images)
    refuse_idle(idle_settings(fitted))
    network = fitted.autoencoder.build()
    count = sum(weight.numel() for weight in network.parameters())
    print(autoencoder_toml(fitted))
    say(told_origins("autoencoder", recipe.autoencoder, fitted.autoencoder, ("picture_channels",)))
    say(*told_images(images, heldout, missing).split("\n"))
    say(f"{count / 1e6:.4g} M parameters; a pixel depends on latents up to {network.halo} places away")
