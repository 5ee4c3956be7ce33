"""Verb ``brickwork doctor``: why a run draws bad pictures, and what to change."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from brickwork.files.streams import say


def examine(
    run: Positional[Annotated[Path, arg(metavar="RUN", help="Run folder of `brickwork train`.")]],
    *,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Say why a run draws bad pictures, and what to change.

    Log, recipe, model file and last sheet are read; nothing is drawn or trained. The most important reason comes first.

    Args:
        run: Run folder.
        as_json: Print JSON.
    """
    from brickwork.training.denoiser.doctor import examine_run, told

    case, remedies = examine_run(run)
    if as_json:
        print(
            json.dumps({"run": str(run), "sheet": case.seen, "findings": [asdict(one) for one in remedies]}, indent=1)
        )
        return
    say(*told(case))
    for number, one in enumerate(remedies, 1):
        say(f"{number}. {one.reason[:1].upper()}{one.reason[1:]}.", f"   Change: {one.change}.")
    if not remedies:
        say("Nothing wrong was found: longer training makes better pictures.")
