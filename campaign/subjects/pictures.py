"""Image files of every format, in folders, zips and as pictures of the command line."""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

import brickwork as bw
from brickwork.cli import main
from brickwork.data.decode import FORMATS
from brickwork.errors import BrickworkError
from brickwork.files.picture import read_facts
from campaign.subject import Subject
from campaign.subjects.models import FILE, small

SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2", "PPM": "ppm", "HEIF": "heic"}
MEMORY = 3 << 29
"""Growth that pictures may need: the pixels of one picture at their limit, and what decoding takes beside."""


def photo(side: int = 24) -> Image.Image:
    """Return a colour gradient."""
    y, x = np.mgrid[:side, :side]
    return Image.fromarray(np.stack([x * 9 % 256, y * 9 % 256, (x + y) * 4 % 256], axis=-1).astype(np.uint8))


def save(kind: str, place: Path) -> None:
    """Write a picture of a format between two plain ones."""
    for name in ("a", "z"):
        Image.new("RGB", (8, 8), (10, 200, 30)).save(place / f"{name}.ppm")
    path = place / f"tried.{SUFFIXES.get(kind, kind.lower())}"
    if kind == "MPO":
        photo().save(path, "MPO", save_all=True, append_images=[photo()])
    elif kind == "GIF":
        photo().convert("P").save(path, kind, save_all=True, append_images=[photo().convert("P")], transparency=3)
    elif kind == "TIFF":
        photo().save(path, kind, compression="tiff_lzw")
    elif kind == "PNG":
        facts = PngImagePlugin.PngInfo()
        facts.add_itxt("prompt", "a cat " * 20, zip=True)
        photo().convert("RGBA").save(path, kind, pnginfo=facts)
    else:
        photo().save(path, kind)


def grey16(place: Path) -> None:
    """Write 16-bit grey as PNG and TIFF."""
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    Image.fromarray(grey).save(place / "tried.png")
    Image.fromarray(grey).save(place / "tried.tif")


def opened(place: Path) -> Any:
    """Open a folder of pictures; what is left out is listed."""
    data = bw.load_dataset(place, bw.DataConfig(size=8, channels=3, holdout=0.0))
    return data.images, data.skipped


def zipped(place: Path) -> None:
    """Write a zip of two classes with captions."""
    save("PNG", place)
    with zipfile.ZipFile(place / "set.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(4):
            file.write(place / "a.ppm", f"{'cats' if i % 2 else 'dogs'}/{i}.ppm")
        file.write(place / "tried.png", "cats/tried.png")
        file.writestr("cats/tried.txt", "a gradient")
        for i in range(4):
            file.writestr(f"{'cats' if i % 2 else 'dogs'}/{i}.txt", "a colour")


def opened_zip(place: Path) -> Any:
    """Open a zip; also its held-out half."""
    config = bw.DataConfig(size=8, channels=3, holdout=0.3)
    data = bw.load_dataset(place / "set.zip", config)
    return data.images, data.labels, data.classes, data.captions, data.skipped


def drawn(place: Path) -> None:
    """Draw a picture whose settings are stored in it."""
    bw.save(small(), place / FILE)
    words = ["sample", str(place / FILE), "--seeds", "0", "--steps", "1", "--out", str(place / "drawn.png")]
    assert main(words) == 0


def settings(place: Path) -> Any:
    """Read the settings stored in a picture, and make a sampler of them."""
    facts = read_facts(place / "drawn.png")
    try:
        sampler = bw.Sampler.from_facts(facts) if hasattr(bw.Sampler, "from_facts") else None
    except BrickworkError:
        sampler = "refused"
    return facts, sampler


def to_edit(place: Path) -> None:
    """Write a model, a picture and a mask."""
    bw.save(small(), place / FILE)
    photo(8).save(place / "picture.png")
    mask = Image.new("L", (8, 8))
    mask.paste(255, (0, 0, 4, 8))
    mask.save(place / "mask.png")


def edited(place: Path) -> Any:
    """Edit a picture by the command line."""
    words = ["edit", str(place / FILE), str(place / "picture.png"), "--mask", str(place / "mask.png")]
    code = main([*words, "--steps", "1", "--resample", "1", "--seeds", "0", "--out", str(place / "out.png")])
    assert code in (0, 1), f"exit code {code}"
    return np.asarray(Image.open(place / "out.png")) if code == 0 else code


SUBJECTS = (
    *(
        Subject(
            name=f"picture {kind}",
            make=functools.partial(save, kind),
            read=opened,
            files="tried.*",
            share=0.6,
            memory=MEMORY,
        )
        for kind in FORMATS
        if kind in Image.SAVE
    ),
    Subject(name="picture of 16 bits", make=grey16, read=opened, share=0.5, memory=MEMORY),
    Subject(name="zip", make=zipped, read=opened_zip, files="*.zip", share=1.5, memory=MEMORY),
    Subject(name="settings in a picture", make=drawn, read=settings, files="*.png", share=0.7),
    Subject(name="edit", make=to_edit, read=edited, files="*.png", share=0.5, memory=MEMORY),
)
