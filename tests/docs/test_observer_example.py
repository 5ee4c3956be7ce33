"""The observer in docs/extending.md does what the text says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from brickwork.training.run.journal import read_journal

TEXT = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.mark.docs
def test_the_example_logs_and_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", TEXT.read_text(), re.S) if "bw.Observer" in block)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    lines = read_journal(tmp_path / "runs" / "drift" / "log.jsonl")
    moved = [(line["step"], line["moved"]) for line in lines if "moved" in line]
    assert [step for step, _ in moved] == [100, 200]
    assert moved[0][1] == 0 < moved[1][1]
    best = min(line["loss"] for line in lines if "loss" in line)
    assert names["drift"].best == best
    assert f"best loss {best:.3f}" in capsys.readouterr().out
