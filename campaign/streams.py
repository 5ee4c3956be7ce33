"""Commands with closed, full and broken streams, and terminals that know ASCII alone, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import brickwork as bw
from campaign.mutations import scratch
from campaign.report import Counts
from campaign.subjects.models import FILE, small
from campaign.trial import Outcome

COMMANDS: dict[str, list[str]] = {
    "list": ["list"],
    "help": ["eval", "--help"],
    "info": ["info", FILE],
    "sample": ["sample", FILE, "--seeds", "0", "--steps", "1", "--out", "a.png"],
    "wrong": ["sample", FILE, "--steps", "none"],
    "train": [
        "train",
        "stoic-tiny",
        "--data",
        "digits",
        "--steps",
        "1",
        "--batch",
        "2",
        "--out",
        "run",
        "--device",
        "cpu",
    ],
}
SHELLS: dict[str, str] = {
    "stdout closed": "{} >&-",
    "stderr closed": "{} 2>&-",
    "all closed": "{} <&- >&- 2>&-",
    "stdout full": "{} >/dev/full",
    "stderr full": "{} 2>/dev/full",
    "broken pipe": "{} | true",
    "ASCII": "PYTHONIOENCODING=ascii LC_ALL=C PYTHONUTF8=0 {}",
}
SECONDS = 180.0


def streamed(only: str, counts: Counts) -> None:
    """Run every command with every kind of streams."""
    if only and only not in "streams":
        return
    place, start = scratch(), time.perf_counter()
    bw.save(small(), place / FILE)
    for command, words in COMMANDS.items():
        for kind, shell in SHELLS.items():
            counts.add("streams", stream(place, shell, words), f"{command}, {kind}")
    counts.row("streams", time.perf_counter() - start)


def stream(place: Path, shell: str, words: list[str]) -> Outcome:
    """Run one command; a traceback anywhere, a signal or a hang is a fault."""
    said = place / "said"
    line = shell.format(" ".join([sys.executable, "-m", "brickwork", *words]))
    script = f"set -o pipefail; ( {line} ) 2>>{said}"
    said.write_text("")
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=place,
            timeout=SECONDS,
            check=False,
            stdout=subprocess.DEVNULL,
            env=dict(os.environ),
        )
    except subprocess.TimeoutExpired:
        return Outcome("hang", line, line)
    text = said.read_text(errors="replace")
    if "Traceback" in text or "Exception ignored" in text:
        return Outcome("traceback", f"{line}: {text[-300:]}", text.strip().splitlines()[-1][:80], text)
    if done.returncode not in (0, 1, 2):
        return Outcome("crash", f"{line}: exit code {done.returncode}", str(done.returncode))
    return Outcome("same" if done.returncode == 0 else "refused", text[-200:])
