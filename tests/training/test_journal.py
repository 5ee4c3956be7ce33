from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from brickwork.errors import MissingExtraError
from brickwork.training.run.journal import Journal, read_journal


def test_rewinding_drops_later_and_broken_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    journal = Journal(path, step=-1)
    for step in (2, 4, 6):
        journal.write({"step": step, "loss": 1 / 3})
    with path.open("a") as file:
        file.write('{"step": 7, "lo')
    Journal(path, step=4)
    assert path.read_text() == '{"step": 2, "loss": 0.3333333333333333}\n{"step": 4, "loss": 0.3333333333333333}\n'
    Journal(path, step=-1)
    assert read_journal(path) == []
    assert read_journal(tmp_path / "none") == []


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    journal = Journal(tmp_path / "log.jsonl", step=-1, tensorboard=True)
    journal.write({"step": 2, "loss": 0.5, "held_out": {"1": 0.25}})
    journal.close()
    assert any(p.name.startswith("events.") for p in tmp_path.iterdir())


def test_absent_tensorboard_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if "tensorboard" in name:
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"brickwork\[tensorboard\]"):
        Journal(tmp_path / "log.jsonl", step=-1, tensorboard=True)
