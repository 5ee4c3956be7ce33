"""HTML for notebooks: pictures, facts and tables."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brickwork.files.picture import MOST, png_of


def image_html(pictures: np.ndarray, most: int = MOST) -> str:
    """Return pictures on one sheet as an HTML image that holds its own bytes."""
    return f'<img alt="pictures" src="data:image/png;base64,{base64.b64encode(png_of(pictures, most)).decode()}">'


def facts_html(title: str, facts: Mapping[str, Any]) -> str:
    """Return facts as an HTML table of names and values, both escaped."""
    rows = "".join(f"<tr><th>{_escaped(name)}</th><td>{_escaped(value)}</td></tr>" for name, value in facts.items())
    return f"<b>{_escaped(title)}</b><table>{rows}</table>"


def table_html(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows below their titles as an HTML table, every cell escaped."""
    titles = "".join(f"<th>{_escaped(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{_escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{body}</table>"


def _escaped(value: Any) -> str:
    return html.escape(str(value))
