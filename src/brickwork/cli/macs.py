"""Verb ``brickwork macs``: the cost of a model and of one image."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

import brickwork as bw
from brickwork.cli.arguments import Sampling, SizeName
from brickwork.diffusion.process import PROCESSES
from brickwork.files.schema import from_entry
from brickwork.model.header import find_model
from brickwork.sampling.levels import evaluated_levels


def print_macs(
    model: Positional[SizeName],
    *,
    size: int | None = None,
    sampling: OmitArgPrefixes[Sampling] = Sampling(),
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Count parameters, MACs and bytes of a preset or a model.

    1 MAC = 2 FLOP; the bytes are those of activations.

    Args:
        model: Preset, run folder or model file.
        size: Side of the image, in pixels; by default that of the preset or model.
        sampling: Solver, steps, noise levels and guidance, for the cost of a whole image.
        as_json: Print JSON.
    """
    from brickwork.model.checkpoint import backbone_config, read_header
    from brickwork.model.cost import plan_macs

    if model in bw.list_presets() or not find_model(model).exists():
        config, process = bw.preset(model), bw.load_recipe(model).process
    else:
        header = read_header(model)
        config = backbone_config(header)
        process = from_entry(PROCESSES, header["process"], "process")
    how = sampling.sampler()
    calls = evaluated_levels(process, how)
    planned = None if how.plan is None else how.plan.of_parts(config.num_parts)
    result = bw.cost(config, size=size)
    macs = result.macs * sum(call.rows for call in calls)
    image: dict[str, Any] = {"steps": how.steps, "solver": sampling.solver, "guidance": how.guidance}
    image |= {"evaluations": len(calls), "macs": macs}
    lines = [
        f"one image: {len(calls)} evaluations ({how.steps} steps of {sampling.solver}"
        f"{', guided' if how.guidance != 1 else ''}), "
        f"{macs / 1e9:.4g} GMAC"
    ]
    if planned is not None:
        less = plan_macs(config, planned, calls, size=size)
        times = Counter(planned.parts_at(c.sigma) for c in calls)
        image["plan"] = {"plan": str(planned), "evaluations": dict(times), "macs": less, "saved": 1 - less / macs}
        ran = ", ".join(f"{n} parts in {count}" for n, count in times.items())
        lines.append(f"by plan {planned}: {ran}, {less / 1e9:.4g} GMAC, {1 - less / macs:.1%} saved")
    print(json.dumps(result.to_dict() | {"image": image}, indent=2) if as_json else "\n".join([str(result), *lines]))
