"""Verb ``brickwork eval``: the quality of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

import brickwork as bw
from brickwork.cli.arguments import Drawing, ModelName
from brickwork.files.streams import say
from brickwork.files.whole import check_place


def evaluate(
    model: Positional[ModelName],
    *,
    reference: Annotated[str, arg(metavar="DATA")],
    num_images: int = 1000,
    first_seed: int = 0,
    out: Path | None = None,
    drawing: OmitArgPrefixes[Drawing] = Drawing(),
) -> None:
    """Measure the quality of a model against a reference.

    Prints the held-out loss by noise level, the Fréchet distance, and the class agreement.

    Args:
        model: Run folder, model file, or a shipped model by name.
        reference: Images with a held-out split: folder, zip, npz, IDX, hub set or "digits".
        num_images: Pictures drawn for distance and agreement.
        first_seed: Seed of the first picture; the others follow. Another one repeats with other pictures.
        out: JSON file to write with the report.
        drawing: Solver, steps, guidance, plan, batch size, precision and device.
    """
    if out is not None:
        check_place(out)
    drawn_by = drawing.open(model)
    how = drawing.sampler_of(drawn_by)
    report = bw.evaluate(drawn_by, reference, num_images=num_images, first_seed=first_seed, how=how, progress=True)
    say(*str(report).split("\n"))
    if out is not None:
        report.save(out)
        say(f"report in {out}")
