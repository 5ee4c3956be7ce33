"""Verb `train`, whose flags are the fields of the recipe that its first word names, or that suits its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

from tyro.conf import arg

import brickwork as bw
from brickwork.cli.arguments import DeviceName
from brickwork.cli.closing import closing_lines
from brickwork.cli.names import OURS, families
from brickwork.cli.page import HELP, page
from brickwork.cli.places import Names, data_of, names_of, new_run
from brickwork.cli.proposals import flags_in, proposed_again
from brickwork.cli.verbs import VERBS
from brickwork.cli.words import call, described
from brickwork.data.heldout import images_of_run
from brickwork.errors import UnknownNameError, UsageError
from brickwork.files.bars import tell
from brickwork.files.proposed import settled
from brickwork.files.recipes import recipe_names
from brickwork.files.streams import say
from brickwork.sampling.options import choose

if TYPE_CHECKING:
    from brickwork.codec.latents import Latents
    from brickwork.model.model import Model
    from brickwork.training.denoiser.recipe import Recipe

COUNTS = ("steps", "images", "epochs")
"""Budgets of which one is enough."""


@final
@dataclass(frozen=True, kw_only=True)
class Start:
    """Things that the first word stands for, taken where no flag says otherwise.

    Attributes:
        names: Kind of thing that the word names.
        recipe: Recipe whose fields are the flags.
        data: Images; None where a flag must name them.
        out: Run folder; None for a new one.
    """

    names: Names
    recipe: Recipe
    data: str | None = None
    out: Path | None = None


def train(words: Sequence[str]) -> int:
    """Train on images: a folder of photographs is enough.

    `brickwork train photos/` looks at the pictures, and chooses their size, a network and a budget of 30 minutes.
    `brickwork train NAME --data photos/` trains a preset or a recipe, and `brickwork train RUN` goes on with a run.
    Any field of the recipe can be set: `brickwork train NAME --help` lists them, since they depend on the backbone of
    the preset or recipe. --process, --prediction, --times, --weighting, --text and --image-condition take a name and
    come before their own fields.
    """
    words, name = list(words), words[0] if words and not words[0].startswith("-") else None
    if name is None and HELP & set(words):
        print(page("usage: brickwork train NAME [options]", _without_name(), VERBS["train"].examples))
        return 0
    rest = words if name is None else words[1:]
    start = _start(name, rest)
    start, code = replace(start, recipe=_take_parts(start.recipe, rest)), 0
    plain = replace(start.recipe, backbone=settled(start.recipe.backbone))

    def run(
        *,
        data: Annotated[str | None, arg(metavar="DATA")] = start.data,
        out: Path | None = start.out,
        more_minutes: float | None = None,
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
            out: Run folder to write; a new one under runs/ when left out.
            more_minutes: Minutes by which a finished run, whose folder is the first word, goes on.
            init: Model to start from; weights that do not fit are resized or left fresh, and listed.
            guest: Trained model as the brick before the first of LEGO bricks; it stays frozen, in the new model.
            codec: Autoencoder whose latents are learned: a file or run folder of `brickwork autoencoder`.
            latents: Folder where latents of the data are kept; by default the user's cache.
            device: Device that trains; auto takes the first accelerator.
            dry_run: Print the resolved recipe, where its numbers come from, the images and the cost, and stop.
            recipe: Settings that change the result; a budget that is given here replaces those of the recipe.
        """
        from brickwork.training.run.trackers.table import open_trackers

        recipe = replace(recipe, backbone=proposed_again(recipe.backbone, start.recipe.backbone, rest, "backbone."))
        recipe = _with_budget(recipe, rest)
        open_trackers(recipe.report.trackers)  # reports what is missing before images are read
        if data is None:
            raise UsageError(f"train {name}: no images are named: give --data, as in --data photos/")
        if more_minutes is not None:
            recipe = _lengthened(start, rest, more_minutes)
        autoencoder = bw.load_codec(codec) if codec else None
        if start.names is Names.IMAGES:
            from brickwork.training.denoiser.choices import chosen

            recipe, lines = chosen(recipe, data, flags_in(rest), device, autoencoder)
            tell("\n".join(lines))
        recipe.require_budget()
        old, before = (bw.load(name) if name else None for name in (init, guest))
        folder = out or new_run(name if name and start.names is Names.RECIPE else data)
        if dry_run:
            _foretell(recipe, data, folder, old, before, autoencoder, latents)
            return
        if not out:
            tell(f"into {folder} (--out names another folder)")
        model = bw.train(
            recipe,
            data,
            folder,
            device=device,
            init=old,
            guest=before,
            codec=autoencoder,
            latents=latents,
        )
        say(*closing_lines(model, data, folder))
        nonlocal code
        code = 0 if model.facts["finished"] else 130  # so that `train && sample` does not continue with half a model

    run.__annotations__["recipe"] = Annotated[bw.Recipe, arg(name="")]
    prog = f"brickwork train {name}" if name else "brickwork train"
    call(run, prog=prog, words=rest, examples=VERBS["train"].examples)
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


def _start(name: str | None, words: Sequence[str]) -> Start:
    """Return what a command begins with, by its first word.

    Raises:
        UsageError: There is no word and no data, both name images, or a path that is not there.
        BrickworkError: The word names nothing that can be read.
    """
    flags = flags_in(words)
    if name is None and "data" not in flags:
        raise UsageError(
            f"train {' '.join(words)}: the first word must be images, a preset, a recipe or its file, as in `brickwork "
            "train photos/` or `brickwork train stoic-small --data photos/ --minutes 30`; `brickwork list` names "
            "presets and recipes"
        )
    kind = Names.IMAGES if name is None else names_of(name)
    if kind is Names.IMAGES:
        from brickwork.training.denoiser.choices import BEGINNING

        if name is not None and "data" in flags:
            raise UsageError(f"{name} and --data both name images: give one of them")
        return Start(names=kind, recipe=bw.load_recipe(BEGINNING), data=name)
    assert name is not None
    if kind is Names.RUN and "out" not in flags:
        return _of_run(Path(name), None if "data" in flags else data_of(Path(name)))
    try:
        recipe = bw.load_recipe(name)
    except UnknownNameError:
        if "/" not in name and not Path(name).suffix:
            raise
        raise UsageError(
            f"{name}: no such folder or file, and no preset or recipe has this name; `brickwork list` names those"
        ) from None
    return Start(names=Names.RECIPE, recipe=recipe, data=name if name == "digits" else None)


def _of_run(folder: Path, data: str | None) -> Start:
    """Return the start of what goes on with a run: its own recipe, images and folder."""
    from brickwork.training.denoiser.run import DENOISER
    from brickwork.training.run.folder import RunFolder

    run = RunFolder(folder, DENOISER)
    recipe = run.read()[2] if run.holds_run else bw.load_recipe(folder)
    assert isinstance(recipe, bw.Recipe)
    return Start(names=Names.RUN, recipe=recipe, data=data, out=folder)


def _with_budget(recipe: Recipe, words: Sequence[str]) -> Recipe:
    """Return a recipe in which budgets of the command line replace all others.

    Raises:
        UsageError: Two budgets count the same thing.
    """
    said = {name: getattr(recipe, name) for name in (*COUNTS, "minutes") if name in flags_in(words)}
    counts = [f"--{name} {said[name]:g}" for name in COUNTS if said.get(name)]
    if len(counts) > 1:
        raise UsageError(
            f"{' and '.join(counts)} both say how long to train: give one of them; --minutes beside it is a limit"
        )
    return (
        replace(recipe, **{name: type(getattr(recipe, name))(0) for name in (*COUNTS, "minutes") if name not in said})
        if said
        else recipe
    )


def _lengthened(start: Start, words: Sequence[str], minutes: float) -> Recipe:
    """Give the finished run of the first word more minutes, and return its recipe.

    Raises:
        UsageError: The first word is no run, or other flags would change its recipe.
        BrickworkError: The run takes no more minutes.
    """
    from brickwork.training.denoiser.run import DENOISER
    from brickwork.training.run.longer import lengthen_run

    if start.names is not Names.RUN or start.out is None:
        raise UsageError(
            f"more-minutes {minutes:g}: a finished run goes on; name its folder, and no --out, as in `brickwork train "
            f"runs/a --more-minutes {minutes:g}`"
        )
    if others := sorted(flags_in(words) - {"more_minutes", "data", "device", "latents"}):
        raise UsageError(f"--{others[0]} beside --more-minutes: the run goes on with its own recipe; leave it out")
    recipe = lengthen_run(start.out, DENOISER, minutes)
    again = " The learning rate rises and falls once more." if recipe.restart else ""
    tell(f"{start.out} goes on for {minutes:g} minutes, with its weights, average and moments.{again}")
    return recipe


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
    from brickwork.training.denoiser.choices import of_one_size
    from brickwork.training.denoiser.recipe import fit_to_data
    from brickwork.training.denoiser.recipe_file import to_toml
    from brickwork.training.denoiser.run import known_codec, known_guest
    from brickwork.training.run.budget import foretold_batch
    from brickwork.training.run.fitting import told_images, told_origins

    guest = guest or known_guest(recipe, out, init)
    codec = codec or known_codec(out, init)
    recipe, sized = of_one_size(recipe, data, codec)
    images, heldout, missing = images_of_run(data, recipe.data, progress=True)  # logs skipped images
    fitted = fit_to_data(recipe, images, guest=guest is not None, codec=codec)
    check_acting(fitted, out, codec, latents)
    print(to_toml(fitted))
    say(*told_origins("backbone", recipe.backbone, fitted.backbone, FROM_DATA).split("\n"))
    say(*sized, *told_images(images, heldout, missing).split("\n"))
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
