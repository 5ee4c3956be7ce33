"""Verb `train`, whose flags are the fields of the recipe that its first word names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

import brickwork as bw
from brickwork.cli.arguments import DeviceName
from brickwork.cli.names import OURS, families
from brickwork.cli.page import UNFOLD, page
from brickwork.cli.proposals import proposed_again
from brickwork.cli.verbs import VERBS
from brickwork.cli.words import call, described
from brickwork.data.heldout import images_of_run
from brickwork.errors import UsageError
from brickwork.files.proposed import settled
from brickwork.files.recipes import recipe_names
from brickwork.files.streams import say
from brickwork.sampling.options import choose

if TYPE_CHECKING:
    from brickwork.codec.latents import Latents
    from brickwork.model.model import Model
    from brickwork.training.denoiser.recipe import Recipe


def train(words: Sequence[str]) -> int:
    """Train a preset or a recipe on images.

    Any field of the recipe can be set: `brickwork train NAME --help` lists them, since they depend on the backbone of
    the preset or recipe. --process, --prediction, --times, --weighting, --text and --image-condition take a name and
    come before their own fields.
    """
    words, name = list(words), words[0] if words and not words[0].startswith("-") else None
    if name is None:
        if set(words) & {"-h", "--help", UNFOLD}:
            print(page("usage: brickwork train NAME [options]", _without_name(), VERBS["train"].examples))
            return 0
        raise UsageError(
            f"train {' '.join(words)}: the first word must be a preset, a recipe or its file, as in `brickwork train "
            f"stoic-small --data photos/ --out runs/a --minutes 30`; `brickwork list` names both"
        )

    start, code = _take_parts(bw.load_recipe(name), rest := words[1:]), 0
    plain = replace(start, backbone=settled(start.backbone))

    def run(
        *,
        data: Annotated[str, arg(metavar="DATA")],
        out: Path,
        init: str | None = None,
        guest: str | None = None,
        codec: str | None = None,
        latents: Path | None = None,
        device: DeviceName = "auto",
        dry_run: bool = False,
        recipe: Annotated[Recipe, arg(name="")] = plain,
    ) -> None:
        """Train a model; an unfinished run of the same recipe in the run folder is resumed.

        Args:
            data: Images: folder, zip, npz, IDX, hf:owner/name or "digits".
            out: Run folder to write.
            init: Model to start from; weights that do not fit are resized or left fresh, and listed.
            guest: Trained model as the brick before the first of LEGO bricks; it stays frozen, in the new model.
            codec: Autoencoder whose latents are learned: a file or run folder of `brickwork autoencoder`.
            latents: Folder where latents of the data are kept; by default the user's cache.
            device: Device that trains; auto takes the first accelerator.
            dry_run: Print the resolved recipe, where its numbers come from, the images and the cost, and stop.
            recipe: Settings that change the result.
        """
        from brickwork.training.run.trackers.table import open_trackers

        recipe = replace(recipe, backbone=proposed_again(recipe.backbone, start.backbone, rest, "backbone."))
        open_trackers(recipe.report.trackers)  # reports what is missing before images are read
        recipe.require_budget()
        old, before = (bw.load(name) if name else None for name in (init, guest))
        autoencoder = bw.load_codec(codec) if codec else None
        if dry_run:
            _foretell(recipe, data, out, old, before, autoencoder, latents)
            return
        model = bw.train(
            recipe,
            data,
            out,
            device=device,
            init=old,
            guest=before,
            codec=autoencoder,
            latents=latents,
        )
        state = "finished" if model.facts["finished"] else "stopped; the same command goes on"
        say(f"{state}: model, recipe, log, curve and samples are in {out}")
        nonlocal code
        code = 0 if model.facts["finished"] else 130  # so that `train && sample` does not continue with half a model

    run.__annotations__["recipe"] = Annotated[bw.Recipe, arg(name="")]
    call(run, prog=f"brickwork train {name}", words=rest, examples=VERBS["train"].examples)
    return code


def _without_name() -> str:
    """Return the paragraphs of help on training for which no recipe needs to be read."""
    sizes = ", ".join(f"{family} ({len(names)})" for family, names in families().items())
    return "\n\n".join(
        [
            described(train),
            f"Presets: {', '.join(OURS)}; of published sizes, which `brickwork list presets` names: {sizes}.",
            f"Recipes: {', '.join(recipe_names())}.",
        ]
    )


def _foretell(
    recipe: Recipe,
    data: str,
    out: Path,
    init: Model | None,
    guest: Model | None,
    codec: Latents | None,
    latents: Path | None,
) -> None:
    """Print the recipe that a run would use, the sources of its numbers, its images and its cost."""
    from brickwork.backbone.base import FROM_DATA
    from brickwork.model.hosted import HostedConfig
    from brickwork.training.denoiser.acting import check_acting
    from brickwork.training.denoiser.recipe import fit_to_data
    from brickwork.training.denoiser.recipe_file import to_toml
    from brickwork.training.denoiser.run import known_codec, known_guest
    from brickwork.training.run.budget import foretold_batch
    from brickwork.training.run.fitting import told_images, told_origins

    images, heldout, missing = images_of_run(data, recipe.data, progress=True)  # logs skipped images
    guest = guest or known_guest(recipe, out, init)
    codec = codec or known_codec(out, init)
    fitted = fit_to_data(recipe, images, guest=guest is not None, codec=codec)
    check_acting(fitted, out, codec, latents)
    print(to_toml(fitted))
    say(*told_origins("backbone", recipe.backbone, fitted.backbone, FROM_DATA).split("\n"))
    say(*told_images(images, heldout, missing).split("\n"))
    if not fitted.batch:
        say(foretold_batch(fitted, len(images), fitted.accumulation))
    network = fitted.backbone
    print(bw.cost(network if guest is None else HostedConfig(bricks=network, guest=guest.backbone.config)))


def _take_parts(recipe: Recipe, words: list[str]) -> Recipe:
    """Replace the recipe's components that the words name, and remove these words."""
    from brickwork.training.denoiser.recipe_file import NAMED

    for kind, registry in NAMED.items():
        for place, word in enumerate(words):
            flag, equals, name = word.partition("=")
            if flag.replace("_", "-") == f"--{kind.replace('_', '-')}":
                length = 1 if equals else 2
                name = name if equals else "".join(words[place + 1 : place + 2])
                recipe = replace(recipe, **{kind: choose(registry.kind, name, registry)})
                del words[place : place + length]
                break
    return recipe
