"""Hooks of the documentation site: pages of the API reference, and links to measured results.

mkdocs calls them (``make docs``). A public name that no subject claims stops the build, so that none is forgotten.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import brickwork as bw

ROOT = Path(__file__).parents[1]
RESULTS = "benchmarks/results"
SUBJECTS = {
    "drawing": ("Drawing", ["sampling"]),
    "training": ("Training", ["training"]),
    "models": ("Models and files", ["model", "files", "quality", "foreign"]),
    "backbones": ("Backbones", ["backbone"]),
    "mathematics": ("Mathematics", ["diffusion"]),
    "data": ("Data, codecs, text", ["data", "codec", "text"]),
    "packages": ("Packages and devices", ["package", "device", "speed"]),
    "extending": ("Extending", ["registry"]),
    "errors": ("Errors", ["errors"]),
}
"""Page, title, and the rooms whose public names it shows."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page of the reference for every subject, and the results that the texts link to."""
    for page, text in pages().items():
        files.append(File.generated(config, f"reference/{page}.md", content=text))
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    for path in sorted((ROOT / RESULTS).iterdir()):
        if any(path.name in text for text in texts):
            files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to results, which lie outside this folder, to their copies in the site."""
    return markdown.replace(f"](../{RESULTS}/", "](results/")


def pages() -> dict[str, str]:
    """Return the text of every page of the reference.

    Raises:
        LookupError: A public name belongs to no subject.
    """
    homes = {name: home(name) for name in bw.__all__ if name != "__version__"}
    texts = {}
    for page, (title, rooms) in SUBJECTS.items():
        own = [name for name, path in homes.items() if path.split(".")[1] in rooms]
        texts[page] = f"# {title}\n\n" + "".join(f"::: {homes.pop(name)}\n\n" for name in own)
    if homes:
        raise LookupError(f"no page of the reference holds {', '.join(homes)}: add their room to SUBJECTS")
    return texts


def home(name: str) -> str:
    """Return the full path of a public name, where it is defined."""
    value = getattr(bw, name)
    module = inspect.getmodule(value)
    if module is None or not module.__name__.startswith("brickwork."):
        module = importlib.import_module("brickwork")
    return f"{module.__name__}.{getattr(value, '__qualname__', name)}"
