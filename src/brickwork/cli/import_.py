"""Verb ``brickwork import``: published weights as a model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

import brickwork as bw
from brickwork.cli.names import FORMATS
from brickwork.diffusion.prediction import PREDICTIONS
from brickwork.diffusion.process import PROCESSES, Edm
from brickwork.errors import ArgumentError
from brickwork.files.choices import one_of
from brickwork.files.streams import say
from brickwork.registry import Registry
from brickwork.sampling.choices import named_in
from brickwork.sampling.options import choose


def import_weights(
    file: Positional[Path],
    *,
    out: Path,
    codec: Annotated[str | None, arg(metavar="CODEC")] = None,
    format: Annotated[str | None, one_of("format of weights", FORMATS)] = None,  # noqa: A002
    process: Annotated[str | None, named_in(PROCESSES)] = None,
    prediction: Annotated[str | None, named_in(PREDICTIONS)] = None,
) -> None:
    """Import published weights of other projects as a model.

    Nothing in their file is executed.

    Args:
        file: Weights as their authors published them: .pkl, .pth, .pt or .safetensors.
        out: Model file to write, .safetensors.
        codec: Autoencoder of a network of latents, from `brickwork autoencoder import`.
        format: Format, where several have the same names; by default the first that fits.
        process: Noise process that the network was trained with, where it is not the published one, as in
            discrete-vp:even=beta,beta_start=1e-4,beta_end=0.02.
        prediction: What the output means, where it is not as published.
    """
    if out.exists() and file.exists() and out.samefile(file):
        raise ArgumentError(f"out {out}: it is the file to import; name another one")
    stated = bw.Stated(
        format=format,
        process=_chosen("process", process, PROCESSES),
        prediction=_chosen("prediction", prediction, PREDICTIONS),
    )
    model = bw.import_weights(file, bw.load_codec(codec) if codec else None, stated=stated)
    config, (C, H, W) = model.backbone.config, model.shape
    name = next((f" with the sizes of {name}" for name in bw.list_presets() if bw.preset(name) == config), "")
    say(f"{model.facts['design']}{name}: {config.num_parts} parts, {H}x{W}x{C}, {config.num_classes} classes")
    bw.save(model, out)
    count = sum(weight.numel() for weight in model.parameters())
    say(f"{count / 1e6:.4g} M parameters in {out} ({out.stat().st_size / 1e6:.4g} MB)")
    if "assumed" in model.facts:
        say(f"assumed: {model.facts['assumed']} (--format, --process and --prediction state otherwise)")
    if "stated" in model.facts:
        say(f"as stated: {model.facts['stated']}")
    how = " --solver heun --steps 18" if isinstance(model.process, Edm) else " --steps 50"
    guidance = " --guidance 1.5" if model.num_classes else ""
    say(f"draw: brickwork sample {shlex.quote(str(out))}{how}{guidance}")


def _chosen(kind: str, word: str | None, registry: Registry[Any]) -> Any:
    """Return the value of a word; None for none."""
    return None if word is None else choose(kind, word, registry)
