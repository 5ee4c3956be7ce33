from __future__ import annotations

from pathlib import Path

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
