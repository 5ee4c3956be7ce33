"""Verb ``brickwork sample``: pictures drawn from seeds."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from brickwork.cli.arguments import Drawing, ModelName, Surface
from brickwork.errors import ArgumentError
from brickwork.files.streams import say
from brickwork.sampling.canvas import DEFAULT_MODE
from brickwork.sampling.choices import Labels, Seeds
from brickwork.sampling.gallery import check_out, save_gallery
from brickwork.sampling.loop import sample

if TYPE_CHECKING:
    from brickwork.model.model import Model


def draw(
    model: Positional[ModelName],
    *,
    labels: Labels = (),
    prompt: Annotated[tuple[str, ...], arg(metavar="TEXT ...")] = (),
    negative: Annotated[str | None, arg(metavar="TEXT")] = None,
    seeds: Seeds = tuple(range(8)),
    out: Path = Path("samples.png"),
    surface: OmitArgPrefixes[Surface] = Surface(),
    drawing: OmitArgPrefixes[Drawing] = Drawing(),
) -> None:
    """Draw pictures from seeds, of classes or after texts.

    Args:
        model: Model that draws.
        labels: Classes by number or name, one row each; the first ten when left out.
        prompt: Texts, one row each, for a model that reads captions; quote each one.
        negative: Text that guidance steers away from.
        seeds: Seeds and ranges, as in 0-7 12; one column each.
        out: PNG, JPEG or WebP file (.png, .jpg, .webp), or folder for all pictures. Each carries seed, model hash and
            settings; in JPEG and WebP they are the EXIF description.
        surface: Size and canvas of the pictures, if not the model's own square.
        drawing: Solver, steps, guidance, plan, batch size, precision and device.
    """
    check_out(out)
    denoiser, columns = drawing.open(model), list(seeds)
    how, canvas = drawing.sampler_of(denoiser), surface.around(denoiser)
    regions = surface.classes(denoiser, canvas) if canvas else []
    rows = _rows(denoiser, labels, prompt, regions, surface)
    images = sample(
        canvas or denoiser,
        seeds=columns * max(len(rows), len(prompt), 1),
        labels=regions or [k for k in rows for _ in columns] or None,
        text=[text for text in prompt for _ in columns] if len(prompt) > 1 else prompt[0] if prompt else None,
        negative=negative,
        how=how,
        progress=True,
    )
    facts = drawing.facts(model, denoiser)
    if prompt:
        facts |= {"prompt": list(prompt), "negative": negative}
    if canvas:
        facts |= {"height": images.shape[1], "width": images.shape[2], "canvas": surface.canvas or DEFAULT_MODE}
        facts |= {"regions": regions or None}
    names = [denoiser.classes[k] for k in rows] or [fill(text, 24) for text in prompt] or None
    if regions:
        names = ["\n".join(" ".join(denoiser.classes[k] for k in row) for row in regions)]
    path = save_gallery(out, images, names=names, rows=rows, seeds=columns, num_prompts=len(prompt), facts=facts)
    say(f"{len(images)} pictures in {path}")


def _rows(
    denoiser: Model, labels: tuple[str, ...], prompt: tuple[str, ...], regions: list[list[int]], surface: Surface
) -> list[int]:
    """Return the class of each row; empty if rows are texts, or the one row is of regions."""
    if regions and labels:
        raise ArgumentError(f"labels {' '.join(labels)} with regions {surface.regions}: give one or the other")
    if labels and len(prompt) > 1:
        raise ArgumentError(f"{len(labels)} labels with {len(prompt)} prompts: give one prompt, or no labels")
    if regions or (prompt and not labels):
        return []
    return [denoiser.class_index(label) for label in labels] or list(range(denoiser.num_classes))[:10]
