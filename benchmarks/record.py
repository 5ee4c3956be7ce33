"""What every result file must say: hardware, versions, date, command."""

from __future__ import annotations

import datetime
import json
import platform
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy
import torch

import brickwork

RESULTS = Path(__file__).parent / "results"


def facts_of_this_machine() -> dict[str, Any]:
    """Hardware, versions, date and command."""
    return {
        "hardware": hardware(),
        "cores": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "brickwork": brickwork.__version__,
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": "python " + shlex.join(sys.argv),
    }


def hardware() -> str:
    """The accelerator's name, or else the processor's."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    features = torch.backends.cpu.get_cpu_capability()
    amx = " AMX" if torch.cpu._is_amx_tile_supported() else ""
    return f"{found.group(1) if found else platform.machine()} ({features}{amx})"


def write_result(question: str, result: dict[str, Any]) -> Path:
    """Write ``results/<question>_<hardware>_<date>.json``."""
    slug = re.sub(r"[^a-z0-9]+", "-", result["hardware"].lower()).strip("-")
    path = RESULTS / f"{question}_{slug}_{result['date']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path
