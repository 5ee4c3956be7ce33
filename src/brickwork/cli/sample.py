"""``brickwork sample``: pictures drawn from seeds."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from tyro.conf import OmitArgPrefixes, Positional

from brickwork.cli.arguments import Drawing, ModelName, Surface, check_png, parse_seeds
from brickwork.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np

    from brickwork.model import Model


def draw(
    model: Positional[ModelName],
    *,
    labels: tuple[str, ...] = (),
    prompt: tuple[str, ...] = (),
    negative: str | None = None,
    seeds: tuple[str, ...] = ("0-7",),
    out: Path = Path("samples.png"),
    surface: OmitArgPrefixes[Surface] = Surface(),
    drawing: OmitArgPrefixes[Drawing] = Drawing(),
) -> None:
    """Draw pictures: a sheet when --out ends in .png, else a folder with the sheet and every picture.

    Args:
        model: What draws.
        labels: Classes by number or name, one row each; the first ten when left out.
        prompt: Texts, one row each, for a model that reads captions; quote each one.
        negative: A text that guidance leads away from.
        seeds: Seeds and ranges, as in 0-7 12; one column each.
        out: Where to; PNG file or folder. Each PNG carries seed, model hash and settings.
        surface: On what.
        drawing: How.
    """
    from brickwork.sampling.canvas import DEFAULT_MODE
    from brickwork.sampling.loop import sample

    check_png(out)
    denoiser, columns = drawing.open(model), parse_seeds(seeds)
    drawn_by = drawing.planned(denoiser)
    canvas = surface.around(drawn_by)
    regions = surface.classes(denoiser, canvas) if canvas else []
    rows = _rows(denoiser, labels, prompt, regions, surface)
    images = sample(
        canvas or drawn_by,
        seeds=columns * max(len(rows), len(prompt), 1),
        labels=regions or [k for k in rows for _ in columns] or None,
        text=[text for text in prompt for _ in columns] if len(prompt) > 1 else prompt[0] if prompt else None,
        negative=negative,
        progress=True,
        **drawing.options(),
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
    _save(out, images, names, rows, columns, len(prompt), facts)


def _rows(
    denoiser: Model, labels: tuple[str, ...], prompt: tuple[str, ...], regions: list[list[int]], surface: Surface
) -> list[int]:
    """The class of each row; none where rows are texts, or the one row is of regions."""
    if regions and labels:
        raise ArgumentError(f"labels {' '.join(labels)} with regions {surface.regions}: give one or the other")
    if labels and len(prompt) > 1:
        raise ArgumentError(f"{len(labels)} labels with {len(prompt)} prompts: give one prompt, or no labels")
    if regions or (prompt and not labels):
        return []
    return [denoiser.class_index(label) for label in labels] or list(range(denoiser.num_classes))[:10]


def _save(
    out: Path,
    images: np.ndarray,
    names: list[str] | None,
    rows: list[int],
    columns: list[int],
    num_prompts: int,
    facts: dict[str, Any],
) -> None:
    """The sheet; in a folder, also every picture by itself."""
    from brickwork.sampling.picture import save_png, sheet

    scale = max(1, 48 // max(images.shape[1:3]))
    picture = sheet(images, len(columns), scale=scale, row_captions=names, column_captions=[str(n) for n in columns])
    path = out if out.suffix.lower() == ".png" else out / "sheet.png"
    save_png(picture, path, facts | {"labels": rows, "seeds": columns})
    print(f"{len(images)} pictures in {path}")
    if path == out:
        return
    for index, image in enumerate(images):
        label, seed = rows[index // len(columns)] if rows else None, columns[index % len(columns)]
        row = f"label{label}_" if label is not None else f"prompt{index // len(columns)}_" if num_prompts else ""
        save_png(image, out / f"{row}seed{seed}.png", facts | {"label": label, "seed": seed})
