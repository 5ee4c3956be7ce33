"""Verb ``brickwork workload``: the demands on hardware of the block that a model repeats."""

from __future__ import annotations

import json
from typing import Annotated

from tyro.conf import Positional, arg

import brickwork as bw
from brickwork.cli.arguments import SizeName
from brickwork.model.header import find_model


def print_workload(
    model: Positional[SizeName],
    *,
    size: int | None = None,
    batch: int = 1,
    number_bytes: int = 4,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """List the operators of the block that a model repeats.

    Each with its shapes, MACs, bytes moved, and FLOP per byte.

    Args:
        model: Preset, run folder or model file.
        size: Height and width of x, in pixels of model space; by default the model's own.
        batch: Rows of x at once.
        number_bytes: Bytes of every number: 4 for fp32, 2 for fp16, 1 for int8.
        as_json: Print JSON.
    """
    from brickwork.model.checkpoint import backbone_config, read_header
    from brickwork.package.workload import workload

    known = model in bw.list_presets() or not find_model(model).exists()
    config = bw.preset(model) if known else backbone_config(read_header(model))
    sheet = workload(config, size=size, batch=batch, number_bytes=number_bytes)
    print(json.dumps(sheet.to_dict(), indent=2) if as_json else sheet)
