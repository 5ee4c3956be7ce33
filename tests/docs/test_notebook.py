"""The notebook runs from its first cell to its last, and shows pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "first_pictures.ipynb"


def pictures_of(notebook: Any) -> list[Image.Image]:
    found = [out["data"]["image/png"] for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out
             and "image/png" in out["data"]]  # fmt: skip
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


@pytest.mark.docs
def test_it_runs_and_its_output_holds_pictures(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    kept = pictures_of(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.source = (
                [],
                cell.source.replace("steps=400", "steps=20").replace("_every=80", "_every=5"),
            )
    client = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    drawn = pictures_of(notebook)
    assert len(drawn) == len(kept) == 5
    for now, before in zip(drawn[:-1], kept[:-1], strict=True):  # the last is of the model trained here
        assert now.tobytes() == before.tobytes()
    shown = [out["data"] for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out]
    assert sum("text/html" in data for data in shown) >= 3  # model, cost, data set


def test_the_kept_output_names_no_place_on_a_disk() -> None:
    assert "/tmp/" not in NOTEBOOK.read_text(encoding="utf-8")
