"""Verb ``brickwork edit``: pictures drawn from a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from tyro.conf import OmitArgPrefixes, Positional, arg

from brickwork.cli.arguments import Drawing, ModelName
from brickwork.data.decode import Decoder, with_channels
from brickwork.data.fit import fit
from brickwork.data.regular import read_regular, regular_size
from brickwork.errors import ArgumentError, DataError
from brickwork.files.picture import enlargement, save_picture, save_png, sheet
from brickwork.files.streams import say
from brickwork.sampling.choices import Labels, Seeds
from brickwork.sampling.edit import RESAMPLE, remaining
from brickwork.sampling.edit import edit as draw_from
from brickwork.sampling.gallery import check_out, sheet_of
from brickwork.sampling.loop import sample

if TYPE_CHECKING:
    from brickwork.model.model import Model

STRENGTH = 0.4
"""Default strength of image to image; with a mask it is 1."""

GROUND = 208
"""Grey level behind a sheet, on which both halves of a mask are seen."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Strength, mask and texts of the edit."""

    strength: float | None = None
    """Share of the steps that are taken, 0 (the picture stays) to 1 (nothing of it stays); 0.4, or 1 with a mask."""
    mask: Path | None = None
    """Picture whose white region is drawn anew, of the shape of PICTURE; the rest stays exactly."""
    resample: int | None = None
    """Number of times that each step is taken: more fit the new region better to the old; 10 with a mask, else 1."""
    prompt: Annotated[str | None, arg(metavar="TEXT")] = None
    """Text, for a model that reads captions."""
    negative: Annotated[str | None, arg(metavar="TEXT")] = None
    """Text that guidance steers away from."""


def edit(
    model: Positional[ModelName],
    picture: Positional[Annotated[Path, arg(metavar="PICTURE")]],
    *,
    wish: OmitArgPrefixes[Wish] = Wish(),
    labels: Labels = (),
    seeds: Seeds = tuple(range(4)),
    out: Path = Path("edited.png"),
    drawing: OmitArgPrefixes[Drawing] = Drawing(),
) -> None:
    """Edit a picture: change, fill in, enlarge or colour it.

    A model with an image condition (super-resolution, colourisation) completes PICTURE; any other changes it by
    --strength, and with --mask only in the white region.

    Args:
        model: Model that draws.
        picture: Image file; cropped to its centre and resized to the model's size.
        wish: Strength, mask and texts of the edit.
        labels: Classes by number or name, one row each; no class when left out.
        seeds: Seeds and ranges, as in 0-7 12; one column each.
        out: PNG, JPEG or WebP file (.png, .jpg, .webp), or folder for all pictures. Each carries seed, model hash and
            settings; in JPEG and WebP they are the EXIF description.
        drawing: Solver, steps, guidance, plan, batch size, precision and device.
    """
    check_out(out)
    denoiser, columns = drawing.open(model), list(seeds)
    rows = [denoiser.class_index(label) for label in labels] or [None]
    asked: dict[str, Any] = {
        "seeds": columns * len(rows),
        "labels": [k for k in rows for _ in columns] if labels else None,
        "text": wish.prompt,
        "negative": wish.negative,
    }
    after = _after_condition if denoiser.condition_channels else _after_picture
    shown, drawn, facts = after(denoiser, picture, wish, drawing, asked)
    facts |= {"picture": picture.name, "prompt": wish.prompt, "negative": wish.negative}
    facts |= drawing.facts(model, denoiser)
    names = [denoiser.classes[k] for k in rows if k is not None] or None
    path = sheet_of(out)
    _save_sheet(path, shown, drawn, names, columns, facts | {"labels": rows if labels else [], "seeds": columns})
    say(f"{len(drawn)} pictures in {path}")
    if path != out:
        _save_each(out, shown, drawn, rows, columns, facts)


def _after_picture(
    model: Model, path: Path, wish: Wish, drawing: Drawing, asked: dict[str, Any]
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    """Edit a picture: return pictures for the sheet by name, uint8 (H, W, C), results (N, H, W, C), and facts."""
    side = model.shape[1] * model.codec.factor
    picture, size = _read(path, (side,), model.codec.picture_channels)
    shown, mask = {"picture": picture}, None
    if wish.mask is not None:
        mask = _read_mask(wish.mask, size, side)
        shown["mask"] = np.where(mask[..., None], np.uint8(255), np.uint8(0)).repeat(picture.shape[2], axis=2)
    strength = wish.strength if wish.strength is not None else 1.0 if wish.mask is not None else STRENGTH
    how = drawing.sampler_of(model)
    drawn = draw_from(
        model,
        picture,
        strength=strength,
        mask=mask,
        resample=wish.resample,
        how=how,
        progress=True,
        **asked,
    )
    levels = remaining(how.sigmas(model.process), strength)
    say(f"strength {strength}: the last {len(levels) - 1} of {how.steps} steps, from noise level {levels[0]:.4g}")
    facts = {"strength": strength, "mask": wish.mask.name if wish.mask else None}
    facts |= {"resample": wish.resample or (RESAMPLE if wish.mask else 1)}
    return shown, drawn, facts


def _after_condition(
    model: Model, path: Path, wish: Wish, drawing: Drawing, asked: dict[str, Any]
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    """Draw with the picture as image condition; returns the same as ``_after_picture``."""
    import torch

    from brickwork.codec.image_condition import IMAGE_CONDITIONS

    kind = next(name for name, known in IMAGE_CONDITIONS.items() if isinstance(model.image_condition, known))
    if wish.mask is not None or wish.strength is not None or wish.resample is not None:
        raise ArgumentError(
            f"--mask, --strength or --resample with a model whose image condition is a {kind} picture: it draws all of "
            "it anew after PICTURE; leave them out"
        )
    side = model.shape[1] * model.codec.factor
    picture, _ = _read(path, model.image_condition.sides(side), model.codec.picture_channels)
    shown = model.image_condition.prepare(torch.from_numpy(picture[None]), side, side).numpy()[0]
    drawn = sample(
        model, image=model.as_image_condition(picture[None]), how=drawing.sampler_of(model), progress=True, **asked
    )
    return {kind: shown}, drawn, {"image_condition": kind}


def _read(path: Path, sides: tuple[int, ...], channels: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image as a square of the largest of these sides that it fills; also return its (height, width) before.

    Raises:
        DataError: The file is missing or no image.
    """
    image = with_channels(_decoded(path), channels)
    height, width = image.shape[:2]
    side = next((side for side in sides if side <= min(height, width)), sides[-1])
    if (height, width) != (side, side):
        cropped = "" if height == width else "its centre "
        say(f"{path}: {width}x{height} pixels; {cropped}resized to {side}x{side}")
    fitted = fit(image, size=side, crop="centre", box=None, filter="lanczos", name=str(path))
    return fitted.copy(), (height, width)  # Pillow's own pixels are not writable, as torch needs


def _read_mask(path: Path, size: tuple[int, int], side: int) -> np.ndarray:
    """Read a mask, bool (side, side): true where any part of a pixel is white, that is at least half bright.

    Raises:
        DataError: The file is missing, no image, not of the picture's shape, or has no white.
    """
    from PIL import Image

    mask = np.where(with_channels(_decoded(path), 1) >= 128, np.uint8(255), np.uint8(0))
    height, width = mask.shape[:2]
    if height * size[1] != width * size[0] and (height, width) != (side, side):
        raise DataError(
            f"{path}: {width}x{height} pixels for a picture of {size[1]}x{size[0]}; give a mask of the same shape"
        )
    fitted = fit(mask, size=None, crop="centre", box=None, filter="box", name=str(path))[..., 0]
    anew = np.asarray(Image.fromarray(fitted).resize((side, side), Image.Resampling.BOX)) > 0
    if not anew.any():
        raise DataError(f"{path}: nothing is white, so nothing would be drawn; paint white what shall be drawn anew")
    return anew


def _decoded(path: Path) -> np.ndarray:
    """Decode an image file.

    Raises:
        DataError: It is missing or no image.
    """
    size = regular_size(path, f"{path}: cannot be read; give an image file")
    return Decoder().decode_file(size, lambda: read_regular(path, str(path), size), str(path))


def _save_sheet(
    path: Path,
    shown: dict[str, np.ndarray],
    drawn: np.ndarray,
    names: list[str] | None,
    seeds: list[int],
    facts: dict[str, Any],
) -> None:
    """Write the sheet: a row per label, with the source pictures, then a column per seed."""
    first, rows = list(shown.values()), drawn.reshape(-1, len(seeds), *drawn.shape[1:])
    images = np.stack([image for row in rows for image in (*first, *row)])
    captions = [*shown, *map(str, seeds)]
    scale = enlargement(max(images.shape[1:3]))
    laid = sheet(images, len(captions), scale=scale, row_captions=names, column_captions=captions, background=GROUND)
    save_picture(laid, path, facts)


def _save_each(
    folder: Path,
    shown: dict[str, np.ndarray],
    drawn: np.ndarray,
    labels: list[int] | list[None],
    seeds: list[int],
    facts: dict[str, Any],
) -> None:
    """Write every result and the source pictures as separate files."""
    for name, image in shown.items():
        save_png(image, folder / f"{name}.png", facts)
    for index, image in enumerate(drawn):
        label, seed = labels[index // len(seeds)], seeds[index % len(seeds)]
        name = f"seed{seed}.png" if label is None else f"label{label}_seed{seed}.png"
        save_png(image, folder / name, facts | {"label": label, "seed": seed})
