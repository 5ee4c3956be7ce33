"""The reference shows every public name once, and every page of the site is in its menu."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import brickwork as bw

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> ModuleType:
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_stands_on_one_page(site: ModuleType) -> None:
    shown = re.findall(r"^::: (.+)$", "\n".join(site.pages().values()), flags=re.MULTILINE)
    assert len(shown) == len(set(shown)) == len(bw.__all__) - 1  # all but __version__
    for path in shown:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_a_forgotten_room_stops_the_build(site: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(site.SUBJECTS, "drawing")
    with pytest.raises(LookupError, match="sample"):
        site.pages()


def test_the_menu_holds_every_page(site: ModuleType) -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    for page in [*pages, *(f"reference/{name}.md" for name in site.SUBJECTS)]:
        assert page in menu, page


def test_the_picture_shows_every_room() -> None:
    rooms = {path.name for path in (ROOT / "src" / "brickwork").iterdir() if (path / "__init__.py").exists()}
    picture = (ROOT / "docs" / "house.svg").read_text(encoding="utf-8")
    assert rooms == {room for room in rooms if f">{room}</text>" in picture}
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert rooms == {room for room in rooms if f"`{room}`" in design}
