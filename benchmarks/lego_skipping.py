"""What does skipping bricks cost in quality, and what does it save in time? t_break from 0 to 1, for PG and PR.

Each plan draws the same seeds and classes; quality is the Fréchet distance to the training images and the agreement of
a classifier with the asked class. Time is taken apart from quality: every plan draws the same few pictures again and
again, in turn, and the median counts; so does a guided drawing, for some plans. All in one run.

    python benchmarks/lego_skipping.py --pg runs/lego-pg --pr runs/lego-pr \
        --reference ../shared/data/flowers128_jpeg.npz
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import facts_of_this_machine, write_result

from brickwork.files.picture import save_png, sheet
from brickwork.model.checkpoint import load
from brickwork.model.cost import plan_macs
from brickwork.model.model import Model
from brickwork.quality.evaluate import class_shares, compare_classes, data_of, evaluate, picture_shape, proportional
from brickwork.quality.heldout import held_out_loss
from brickwork.quality.reference import Reference
from brickwork.sampling.levels import evaluated_levels
from brickwork.sampling.loop import sample
from brickwork.sampling.plan import Plan
from brickwork.sampling.planned import Planned
from brickwork.training.run.panel import Line, panel

COLOURS = {"pg": (20, 90, 180), "pr": (200, 90, 20)}
BREAKS = tuple(k / 10 for k in range(11))


def plan_of(kind: str, t_break: float, model: Model) -> Plan:
    """PG or PR at a break."""
    return (Plan.pg if kind == "pg" else Plan.pr)(t_break, model.num_parts)


def quality(model: Model, plan: Plan, reference: Reference, arguments: argparse.Namespace) -> dict[str, Any]:
    """Distance and agreement of the pictures that a plan draws."""
    report = evaluate(
        Planned.of(model, plan),
        reference,
        num_images=arguments.images,
        steps=arguments.steps,
        guidance=arguments.guidance,
        batch_size=arguments.batch,
        num_loss_images=2,
    )
    agreed = report.agreement
    return {
        "distance": report.distance.value,
        "real_distance": report.real_distance.value if report.real_distance else None,
        "agreement": agreed.share if agreed else None,
    }


def seconds(model: Model, plan: Plan, arguments: argparse.Namespace, guidance: float) -> float:
    """Drawing a few pictures by a plan; on a CPU in processor time, so that other work does not count."""
    clock = time.process_time if arguments.device == "cpu" else time.perf_counter
    began = clock()
    sample(
        Planned.of(model, plan),
        seeds=range(arguments.timing_images),
        labels=0 if model.num_classes else None,
        steps=arguments.steps,
        guidance=guidance,
        batch_size=arguments.timing_images,
    )
    return clock() - began


def times(models: dict[str, Model], arguments: argparse.Namespace, guidance: float, breaks: tuple[float, ...]) -> Any:
    """Median seconds per picture by kind and break, every case measured in turn."""
    cases = [(kind, t, plan_of(kind, t, model)) for kind, model in models.items() for t in breaks]
    taken: dict[tuple[str, float], list[float]] = {(kind, t): [] for kind, t, _ in cases}
    for repeat in range(arguments.repeats + 1):
        for kind, t, plan in cases:
            spent = seconds(models[kind], plan, arguments, guidance)
            if repeat:  # the first round chooses kernels and fills caches
                taken[kind, t].append(spent / arguments.timing_images)
        print(f"times at guidance {guidance}: round {repeat} of {arguments.repeats}", flush=True)
    return {case: float(np.median(values)) for case, values in taken.items()}


def macs(model: Model, plan: Plan, steps: int, guidance: float) -> int:
    """Of one picture."""
    calls = evaluated_levels(model.process, steps=steps, guidance=guidance)
    return plan_macs(model.backbone.config, plan, calls)


def losses(model: Model, reference: Reference, count: int) -> dict[str, dict[str, float]]:
    """Held-out loss by noise level of every first n bricks; why skipping costs where it costs."""
    found = {}
    for n in range(1, model.num_parts + 1):
        rows = held_out_loss(model.first(n), reference.held_out, num_images=count)
        found[str(n)] = {f"{row.sigma:g}": row.share for row in rows}
    return found


def draw(rows: list[dict[str, Any]]) -> np.ndarray:
    """Distance, time and the two against each other, over t_break."""

    def lines(key: str, over: str = "t_break") -> list[Line]:
        kinds = dict.fromkeys(row["kind"] for row in rows)
        return [
            Line(points=[(row[over], row[key]) for row in rows if row["kind"] == kind], colour=COLOURS[kind])
            for kind in kinds
        ]

    return np.concatenate(
        [
            panel(lines("distance"), title="Frechet distance (blue PG, orange PR)", axis="t_break", log_x=False),
            panel(lines("milliseconds"), title="milliseconds per picture", axis="t_break", log_x=False),
            panel(lines("saved_ratio"), title="time saved / MACs saved", axis="t_break", log_x=False),
        ],
        axis=1,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pg")
    parser.add_argument("--pr")
    parser.add_argument("--reference", required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--timing-images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    names = {kind: name for kind in ("pg", "pr") if (name := getattr(arguments, kind))}
    models = {kind: load(name, torch.device(arguments.device)) for kind, name in names.items()}
    for model in models.values():
        model.precision = arguments.precision
    first = next(iter(models.values()))
    reference = Reference.open(arguments.reference, data_of(first, picture_shape(first)))

    plain = times(models, arguments, arguments.guidance, BREAKS)
    guided = times(models, arguments, 2.0, (0.0, 0.5, 1.0))
    path, rows = Path(), list[dict[str, Any]]()
    facts = facts_of_this_machine() | {"threads": torch.get_num_threads(), "arguments": vars(arguments)}
    facts |= {"models": {kind: model.digest for kind, model in models.items()}}
    facts |= {"losses": {kind: losses(model, reference, 512) for kind, model in models.items()}}
    for kind, model in models.items():
        whole = macs(model, plan_of(kind, 0.0, model), arguments.steps, arguments.guidance)
        for t in BREAKS:
            plan = plan_of(kind, t, model)
            cost = macs(model, plan, arguments.steps, arguments.guidance)
            row: dict[str, Any] = {
                "kind": kind,
                "t_break": t,
                "plan": str(plan),
                "milliseconds": 1000 * plain[kind, t],
                "giga_macs": cost / 1e9,
                "time_saved": 1 - plain[kind, t] / plain[kind, 0.0],
                "macs_saved": 1 - cost / whole,
                **quality(model, plan, reference, arguments),
            }
            row["saved_ratio"] = row["time_saved"] / row["macs_saved"] if row["macs_saved"] else None
            if (kind, t) in guided:
                row["guided_milliseconds"] = 1000 * guided[kind, t]
            rows.append(row)
            ratio = f"{row['saved_ratio']:.2f}" if row["saved_ratio"] is not None else "-"
            print(
                f"{kind} t_break {t:.1f}  distance {row['distance']:7.3f}  agreement {row['agreement'] or 0:.1%}  "
                f"{row['milliseconds']:7.2f} ms  {row['giga_macs']:6.2f} GMAC  time saved / MACs saved {ratio}",
                flush=True,
            )
            path = write_result("lego-skipping", facts | {"rows": rows})
            drawable = [row | {"saved_ratio": row["saved_ratio"] or 0.0} for row in rows]
            save_png(draw(drawable), path.with_suffix(".png"))
    save_png(pictures(models, reference, arguments), path.with_name(f"{path.stem}_pictures.png"))
    print(path)


def pictures(models: dict[str, Model], reference: Reference, arguments: argparse.Namespace) -> np.ndarray:
    """A sheet: a row for each kind and some breaks, the same seeds in all."""
    shown, columns, captions = [], 16, []
    for kind, model in models.items():
        places, _ = compare_classes(model, reference)
        labels = proportional(class_shares(model, reference, places), columns) if model.num_classes else None
        for t in (0.0, 0.3, 0.5, 0.7, 1.0):
            planned = Planned.of(model, plan_of(kind, t, model))
            shown.append(sample(planned, seeds=range(columns), labels=labels, steps=arguments.steps, guidance=1.5))
            captions.append(f"{kind} {t}")
    scale = max(1, 64 // shown[0].shape[1])
    return sheet(np.concatenate(shown), columns, scale=scale, row_captions=captions)


if __name__ == "__main__":
    main()
