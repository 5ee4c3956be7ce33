"""Verb ``brickwork import``: published weights as a model."""

from __future__ import annotations

import shlex
from pathlib import Path

from tyro.conf import Positional

import brickwork as bw
from brickwork.diffusion.process import Edm
from brickwork.errors import ArgumentError
from brickwork.files.streams import say


def import_weights(file: Positional[Path], *, out: Path, codec: str | None = None) -> None:
    """Import published weights of other projects as a model; nothing in their file is executed.

    Args:
        file: Weights as their authors published them: .pkl, .pth or .pt.
        out: Model file to write, .safetensors.
        codec: Autoencoder of a network of latents, from `brickwork autoencoder import`.
    """
    if out.exists() and file.exists() and out.samefile(file):
        raise ArgumentError(f"out {out}: it is the file to import; name another one")
    model = bw.import_weights(file, bw.load_codec(codec) if codec else None)
    config, (C, H, W) = model.backbone.config, model.shape
    name = next((f" with the sizes of {name}" for name in bw.list_presets() if bw.preset(name) == config), "")
    say(f"{model.facts['design']}{name}: {config.num_parts} parts, {H}x{W}x{C}, {config.num_classes} classes")
    bw.save(model, out)
    count = sum(weight.numel() for weight in model.parameters())
    say(f"{count / 1e6:.4g} M parameters in {out} ({out.stat().st_size / 1e6:.4g} MB)")
    if "assumed" in model.facts:
        say(model.facts["assumed"])
    how = " --solver heun --steps 18" if isinstance(model.process, Edm) else " --steps 50"
    guidance = " --guidance 1.5" if model.num_classes else ""
    say(f"draw: brickwork sample {shlex.quote(str(out))}{how}{guidance}")
