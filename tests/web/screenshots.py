"""Draws docs/page-desktop.png and docs/page-phone.png: python tests/web/screenshots.py PACKAGE, of digits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from headless import launch
from serving import serving

DOCS = Path(__file__).parents[2] / "docs"
DRAWN = [(3, 3), (0, 1), (9, 2), (4, 5), (7, 4), (6, 8), (2, 3), (5, 2)]
"""Class and seed, the one to be seen last."""
ASK = """([label, seed]) => {
  document.querySelector(`#classes [value="${label}"]`).checked = true;
  document.getElementById("seed").value = seed;
}"""


def shoot(browser: Any, address: str, name: str, **how: Any) -> None:
    """Draw the pictures one after the other, and take what is seen then."""
    context = browser.new_context(**how)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#save:enabled", timeout=60_000)
    for label, seed in DRAWN:
        page.evaluate(ASK, [label, seed])
        page.click("#draw")
        page.wait_for_selector(f"#status:has-text('Drawn: {label}, seed {seed}')", timeout=60_000)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_timeout(300)
    page.screenshot(path=DOCS / name)
    context.close()


def main(package: Path) -> None:
    """Both sizes, one in the light and one in the dark."""
    with sync_playwright() as playwright, serving(package) as address:
        browser = launch(playwright)
        shoot(browser, address, "page-desktop.png", viewport={"width": 1280, "height": 800})
        phone = {"width": 390, "height": 844}
        shoot(browser, address, "page-phone.png", viewport=phone, is_mobile=True, color_scheme="dark")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
