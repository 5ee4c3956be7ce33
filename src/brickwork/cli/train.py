"""The verb `train`, whose flags are the fields of the recipe that its first word names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from brickwork.cli.names import PRESETS
from brickwork.cli.words import call
from brickwork.errors import ArgumentError
from brickwork.sampling.options import choose

if TYPE_CHECKING:
    from brickwork.data.dataset import Dataset
    from brickwork.training.denoiser.recipe import Recipe


def train(words: Sequence[str]) -> int:
    """Train a preset or a recipe on images; any field of the recipe can be set.

    brickwork train NAME --help lists the fields, which depend on the backbone of the preset or recipe.
    --process, --prediction, --times, --weighting, --text and --given take a name and come before their own fields.
    """
    words, name = list(words), words[0] if words and not words[0].startswith("-") else None
    if name is None:
        if set(words) & {"-h", "--help"}:
            print(f"{train.__doc__}\n    Presets: {', '.join(PRESETS)}; or a recipe, as in recipes/*.toml.")
            return 0
        raise ArgumentError(
            f"train {' '.join(words)}: the first word must be a preset or a recipe, as in `brickwork train "
            f"stoic-small --data photos/ --out runs/a --minutes 30`; presets are {', '.join(PRESETS)}"
        )
    start, code = _take_parts(first_recipe(name), rest := words[1:]), 0

    def run(
        *,
        data: Annotated[str, arg(metavar="DATA")],
        out: Path,
        init: str | None = None,
        guest: str | None = None,
        codec: str | None = None,
        latents: Path | None = None,
        device: str = "auto",
        dry_run: bool = False,
        recipe: Annotated[Recipe, arg(name="")] = start,
    ) -> None:
        """Train; a run folder that holds an unfinished run of the same recipe is taken up where it was.

        Args:
            data: Images: folder, zip, npz, IDX, hf:owner/name or "digits".
            out: The run folder.
            init: A model to start from; what does not fit is resized or left fresh, and listed.
            guest: A trained model as the brick before the first of LEGO bricks; it stays as it is, in the new model.
            codec: An autoencoder whose latents are learned: a file or run folder of `brickwork autoencoder`.
            latents: The folder where latents of the data are kept; the user's cache when left out.
            device: auto, cpu, cuda or mps.
            dry_run: Print the resolved recipe and its cost, and stop.
            recipe: Everything that changes the result.
        """
        from brickwork.codec.file import load_codec
        from brickwork.data.dataset import load_dataset
        from brickwork.model.checkpoint import load
        from brickwork.training.denoiser.loop import train as run_training
        from brickwork.training.denoiser.recipe import fit_to_data
        from brickwork.training.denoiser.recipe_file import to_toml
        from brickwork.training.denoiser.run import known_codec, known_guest
        from brickwork.training.run.trackers.table import open_trackers

        open_trackers(recipe.report.trackers)  # says what is missing before images are read
        recipe.require_budget()
        images = load_dataset(data, recipe.data, progress=True)  # logs what it skips
        old, before = (load(name) if name else None for name in (init, guest))
        autoencoder = load_codec(codec) if codec else None
        if dry_run:
            from brickwork.model.cost import cost

            before = before or known_guest(recipe, out, old)
            space = autoencoder or known_codec(out, old)
            fitted = fit_to_data(recipe, images, guest=before is not None, codec=space)
            counted = cost(fitted.backbone, guests=before.configs if before else ())
            print(f"{to_toml(fitted)}\n{len(images)} images, digest {images.digest[:12]}\n{counted}")
            return
        heldout = _held_out(data, recipe, images)
        model = run_training(
            recipe,
            images,
            out,
            heldout,
            device=device,
            init=old,
            guest=before,
            codec=autoencoder,
            latents=latents,
        )
        state = "finished" if model.facts["finished"] else "stopped; the same command goes on"
        print(f"{state}: model, recipe, log, curve and samples are in {out}")
        nonlocal code
        code = 0 if model.facts["finished"] else 130  # so that `train && sample` does not go on with half a model

    from brickwork.training.denoiser.recipe import Recipe

    run.__annotations__["recipe"] = Annotated[Recipe, arg(name="")]
    call(run, prog=f"brickwork train {name}", words=rest)
    return code


def _held_out(data: str, recipe: Recipe, images: Dataset) -> Dataset | None:
    """Images that this run never trains on, made alike; None, and a line that says so, where there are none."""
    from brickwork.data.dataset import load_heldout
    from brickwork.errors import MissingSplitError

    split, (side, _, channels) = recipe.data.split, images.shape
    overlap = f"no held-out loss: split {split!r} trains on the held-out images; split 'train' keeps them apart"
    if split in ("all", "test", "heldout"):
        print(overlap, file=sys.stderr)
        return None
    try:
        heldout = load_heldout(data, replace(recipe.data, size=side, channels=channels))
    except MissingSplitError as error:
        print(f"no held-out loss: {error}", file=sys.stderr)
        return None
    if heldout.digest == images.digest:  # validation, where there is no test
        print(overlap, file=sys.stderr)
        return None
    return heldout


def first_recipe(name: str) -> Recipe:
    """The recipe in a file, or the default one around a preset."""
    from brickwork.backbone.presets import preset
    from brickwork.training.denoiser.recipe import Recipe, published_parts
    from brickwork.training.denoiser.recipe_file import load_recipe
    from brickwork.training.run.folder import RECIPE_FILE

    if Path(name, RECIPE_FILE).is_file():  # a run folder
        return load_recipe(Path(name, RECIPE_FILE))
    if name.endswith(".toml"):
        return load_recipe(name)
    backbone = preset(name)
    return Recipe(backbone=backbone, **published_parts(backbone))


def _take_parts(recipe: Recipe, words: list[str]) -> Recipe:
    """Exchange the parts that the words name, and take these words away."""
    from brickwork.training.denoiser.recipe_file import NAMED

    for kind, registry in NAMED.items():
        for place, word in enumerate(words):
            flag, equals, name = word.partition("=")
            if flag == f"--{kind}":
                length = 1 if equals else 2
                name = name if equals else "".join(words[place + 1 : place + 2])
                recipe = replace(recipe, **{kind: choose(kind, name, registry)})
                del words[place : place + length]
                break
    return recipe
