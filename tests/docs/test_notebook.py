"""Notebooks run from their first cell to their last, and show pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
SHORTER: dict[str, dict[str, str]] = {
    "first_pictures": {"steps=400": "steps=20", "_every=80": "_every=5"},
    "photographs": {"minutes = 0.4": "minutes = 0.05"},
    "in_an_app": {},
    "comparing_backbones": {"images = 6_400": "images = 640"},
}
"""Notebooks, and what is changed so that they take seconds."""
SAME = {"first_pictures": 4, "in_an_app": 2}
"""Pictures that no training comes before: they are equal in every pixel to those that are kept."""


def pictures_of(notebook: Any) -> list[Image.Image]:
    found = [out["data"]["image/png"] for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out
             and "image/png" in out["data"]]  # fmt: skip
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


@pytest.mark.docs
@pytest.mark.parametrize("name", SHORTER)
def test_it_runs_and_its_output_holds_pictures(name: str, tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    kept = pictures_of(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            for long, short in SHORTER[name].items():
                cell.source = cell.source.replace(long, short)
    client = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    drawn = pictures_of(notebook)
    assert len(drawn) == len(kept) >= 2
    for now, before in zip(drawn[: SAME.get(name, 0)], kept, strict=False):
        assert now.tobytes() == before.tobytes()
    shown = [out["data"] for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out]
    assert any("text/html" in data for data in shown) or name == "comparing_backbones"


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SHORTER)


@pytest.mark.parametrize("name", SHORTER)
def test_the_kept_output_names_no_place_on_a_disk(name: str) -> None:
    assert "/tmp/" not in (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
