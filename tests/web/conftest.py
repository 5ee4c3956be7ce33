"""A browser, and packages for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headless import CHROMIUM, launch
from tiny_models import latent_model, text_model

import brickwork as bw
from brickwork.model.model import Model
from brickwork.package.pack import pack
from brickwork.package.packing import Packing

Packed = tuple[Model, Path]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's chromium, headless."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as started:
        browser = launch(started)
        yield browser
        browser.close()


def packed(model: Model, out: Path, **options: Any) -> Packed:
    pack(model, out, Packing(target="browser", **options), say=lambda line: None)
    return model, out


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """The shipped model, by one part and by all three."""
    out = tmp_path_factory.mktemp("digits") / "digits.browser"
    return packed(bw.load("digits"), out, batches=(2,), parts=(1, 3), guidance=1.5)


@pytest.fixture(scope="session")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """A tiny model of latents with five classes, a plan, and graphs for two rows alone."""
    out = tmp_path_factory.mktemp("latents") / "latents.browser"
    return packed(latent_model(), out, batches=(2,), steps=4, plan="2@1.5,1", solver="heun", grid="log-snr")


@pytest.fixture(scope="session")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """A tiny model that reads words, for pictures of two sizes, and graphs for one row alone."""
    out = tmp_path_factory.mktemp("worded") / "worded.browser"
    return packed(text_model(), out, batches=(1,), steps=4, sizes=(8, 12), guidance=2.0, solver="ddim:eta=0.5")
