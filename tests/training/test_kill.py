"""Training killed 20 times ends with the very bits of a run that never stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from brickwork.files.tensors import read_tensors
from brickwork.training.run.journal import read_journal

DRIVER = Path(__file__).with_name("kill_driver.py")
PLACES = ("half", "before-fsync", "before-replace", "after-replace")
STEPS = 240
POINTS = [f"{file}:{place}" for file in ("state", "model") for place in PLACES]


class Server:
    """Starts training in a fork; one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert self.answer() == "ready"

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the driver died"
        return line

    def start(self, folder: Path, point: str = "-", skip: int = 0) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder} {point} {skip}\n")
        self.process.stdin.flush()
        return int(self.answer())

    def run(self, folder: Path, point: str = "-", skip: int = 0) -> int:
        self.start(folder, point, skip)
        return int(self.answer())

    def run_and_kill(self, folder: Path, seconds: float) -> int:
        """Kill after this time, or sooner if much is done by then, so that 20 kills never outlast the run."""
        before = last_step(folder)
        child = self.start(folder)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and last_step(folder) < before + 8:
            time.sleep(0.002)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        return int(self.answer())


@contextmanager
def serving() -> Iterator[Server]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, str(DRIVER)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def bits(path: Path) -> dict[str, torch.Tensor]:
    tensors, _ = read_tensors(path)
    return {name: tensor.view(torch.uint8 if tensor.ndim else tensor.dtype) for name, tensor in tensors.items()}


def last_step(folder: Path) -> int:
    return max((record["step"] for record in read_journal(folder / "log.jsonl")), default=0)


def lines(folder: Path) -> list[dict[str, object]]:
    timed = {"seconds", "images_per_second"}
    return [{k: v for k, v in record.items() if k not in timed} for record in read_journal(folder / "log.jsonl")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_twenty_kills_change_no_bit(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    chance = random.Random(7)
    with serving() as server:
        start = time.perf_counter()
        assert server.run(whole) == 0
        duration = time.perf_counter() - start
        plan: list[str | None] = [None] * 12 + POINTS
        chance.shuffle(plan)
        for point in plan:
            if point is None:
                status = server.run_and_kill(killed, chance.uniform(0.01, duration / 10))
            else:
                status = server.run(killed, point, skip=chance.randrange(2))
            assert status == -signal.SIGKILL, point
        assert last_step(killed) < STEPS, "the run was over before all kills"
        assert server.run(killed) == 0

    for file in ("model.safetensors", "state.safetensors"):
        expected, found = bits(whole / file), bits(killed / file)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected), file
    assert lines(whole) == lines(killed)
    steps = [record["step"] for record in lines(killed) if "loss" in record]
    assert steps == list(range(3, STEPS + 1, 3))
    assert [p.name for p in killed.iterdir() if p.name.startswith(".")] == [".lock"]
