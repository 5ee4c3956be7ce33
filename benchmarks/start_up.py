"""How long does a command take to start, next to ``import torch`` alone?

Each number is the median over fresh processes, which take turns, so that other work on the machine hits all alike;
ratios are medians of the ratios within a turn. Byte code is compiled before, as pip does for an installed package.

    python benchmarks/start_up.py --repeats 9
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from record import facts_of_this_machine, write_result

COMMAND = "from brickwork.cli import main; raise SystemExit(main({words}))"
SAMPLE = "import torch, brickwork.cli, brickwork.cli.words, brickwork.cli.sample, brickwork.model.checkpoint, "
SUBJECTS = {
    "import torch": "import torch",
    "import brickwork.model.checkpoint": "import brickwork.model.checkpoint",
    "imports of brickwork sample": SAMPLE + "brickwork.sampling.loop",
    "brickwork --help": COMMAND.format(words=["--help"]),
    "brickwork list": COMMAND.format(words=["list"]),
    "brickwork info digits": COMMAND.format(words=["info", "digits"]),
    "brickwork sample --help": COMMAND.format(words=["sample", "--help"]),
}
"""Python that a process runs, by what it is called in the result."""


def seconds(code: str, environment: dict[str, str]) -> float:
    """Wall time of one process, its interpreter's start included."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def main() -> None:
    """Every subject in turn, once uncounted and then as often as asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:  # byte code of all, whether this process may write it or not
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        turns = [
            {name: seconds(code, environment) for name, code in SUBJECTS.items()} for _ in range(options.repeats + 1)
        ]
    rows = {
        name: {
            "seconds": round(statistics.median(turn[name] for turn in turns[1:]), 3),
            "of_import_torch": round(statistics.median(turn[name] / turn["import torch"] for turn in turns[1:]), 3),
        }
        for name in SUBJECTS
    }
    for name, row in rows.items():
        print(f"{name:<36} {row['seconds']:7.3f} s  {row['of_import_torch']:6.3f} of import torch")
    print(write_result("start-up", {**facts_of_this_machine(), "repeats": options.repeats, "results": rows}))


if __name__ == "__main__":
    main()
