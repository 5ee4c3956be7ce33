"""Verb ``brickwork export``: a model as a folder of another library."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

import brickwork as bw
from brickwork.cli.arguments import ModelName
from brickwork.files.streams import say


def export(model: Positional[ModelName], *, out: Path, to: Literal["diffusers"] = "diffusers") -> None:
    """Export a model as a folder that another library opens.

    Args:
        model: Model to export.
        out: Folder to write; an existing one is replaced as a whole.
        to: Library that opens it.
    """
    bw.export_to_diffusers(bw.load(model), out)
    say(f"{out}: open it with DiffusionPipeline.from_pretrained; {shlex.quote(str(out / 'README.md'))} says how")
