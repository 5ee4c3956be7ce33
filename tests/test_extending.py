"""The worked example of docs/extending.md runs as it stands there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import brickwork as bw
from brickwork import registry
from brickwork.registry import Registry

DOCUMENT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


@pytest.fixture(autouse=True)
def closed_again() -> Iterator[None]:
    """Forget what the example registers."""
    yield
    for known in registry._REGISTRIES.values():
        known._added.clear()


@pytest.mark.docs
def test_the_worked_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, Any] = {"__name__": "worked_example"}
    for block in blocks:
        exec(compile(block, "docs/extending.md", "exec", dont_inherit=True), names)
    assert len(blocks) == DOCUMENT.count("```python")
    assert names["images"].shape == (4, 8, 8, 1)
    assert type(names["again"].backbone) is names["Plain"]
    assert 'kind = "plain"\npackage = "worked_example"' in Path("runs/plain/recipe.toml").read_text()
    assert np.isfinite(names["again"].backbone.leave.weight.numpy()).all()


def test_the_table_names_every_kind_that_is_open() -> None:
    bases = {name: getattr(bw, name) for name in re.findall(r"^\| an? [a-z ]+\| `(\w+)`", DOCUMENT, re.MULTILINE)}
    told = re.findall(r"`(brickwork\.[a-z-]+)` \|", DOCUMENT)
    known: list[Registry[Any]] = [registry.registry_for(base) for base in bases.values()]
    assert told == [one.group for one in known]
    assert len(told) == 12
