"""The page in headless Chromium: it draws what Python draws, says what it cannot do, and needs nobody else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from brickwork.device.runner import open_package
from brickwork.manifest import manifest_digest
from brickwork.package.parity import psnr
from brickwork.sampling.loop import sample, sample_x0
from brickwork.sampling.picture import read_facts
from brickwork.sampling.plan import Planned

pytestmark = pytest.mark.web

Serving = Callable[..., Any]
PATIENCE = 60_000  # ms; the machine may be busy


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    """A browser that has seen nothing yet."""
    opened = chromium.new_context(accept_downloads=True)
    opened.set_default_timeout(PATIENCE)
    yield opened
    opened.close()


def visit(context: Any, address: str) -> Any:
    """The page, after its first picture."""
    page = context.new_page()
    page.goto(address)
    drawn(page)
    return page


def drawn(page: Any) -> None:
    """Wait until a picture is finished."""
    page.wait_for_selector("#save:enabled")


def redraw(page: Any) -> None:
    """Draw, and wait for it."""
    page.click("#draw")
    drawn(page)


def choose(page: Any, name: str, value: str | int) -> None:
    """Set a slider, a field or a list, as its change would, without drawing."""
    page.evaluate(
        """([name, value]) => {
          document.getElementById(name).value = value;
          document.getElementById(name).dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        [name, str(value)],
    )


def latest(page: Any) -> dict[str, Any]:
    """What was drawn last, before rounding, and how."""
    found = page.evaluate(
        """() => {
          const { pixels, bytes, seed, ...how } = window.brickwork.latest;
          return { ...how, frames: null, pixels: Array.from(pixels), seed: String(seed) };
        }"""
    )
    return {**found, "pixels": np.array(found["pixels"], np.float32)}


def shown(page: Any) -> np.ndarray:
    """The canvas, 8 bits (H, W, RGBA)."""
    width, height, values = page.evaluate(
        """() => {
          const { width, height } = document.getElementById("picture");
          const data = document.getElementById("picture").getContext("2d").getImageData(0, 0, width, height).data;
          return [width, height, Array.from(data)];
        }"""
    )
    return np.array(values, np.uint8).reshape(height, width, 4)


def test_the_same_seed_draws_the_same_picture_and_nothing_leaves(
    context: Any, serving: Serving, digits: tuple[Any, Path]
) -> None:
    model, folder = digits
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    with serving(folder) as address:
        page = visit(context, address)
        page.check("#classes input[value='7']", force=True)
        choose(page, "seed", 2**64 - 1)
        redraw(page)
        found = latest(page)
        assert (found["label"], found["seed"], found["steps"], found["guidance"]) == (7, str(2**64 - 1), 25, 1.5)
        how: dict[str, Any] = {"seeds": [2**64 - 1], "labels": 7, "steps": 25, "guidance": 1.5}
        with torch.no_grad():
            wanted = sample_x0(model, **how).numpy()
        assert psnr(found["pixels"], wanted.ravel()) > 80  # the door is fp32 on both sides
        assert (shown(page)[..., 0] == sample(model, **how)[0, ..., 0]).all()
        assert page.evaluate("crossOriginIsolated")
    own = [url for url in asked if not url.startswith("blob:")]
    assert len(own) > 20
    assert all(url.startswith(address) for url in own)


def test_fewer_bricks_take_less_time(context: Any, serving: Serving, digits: tuple[Any, Path]) -> None:
    model, folder = digits
    with serving(folder) as address:
        page = visit(context, address)
        assert page.inner_text("#bricks-out") == "3 of 3"
        choose(page, "steps", 60)
        least = {}
        for place, parts in [(1, 3), (0, 1)] * 3:  # in turn: the machine may be busy with something else
            choose(page, "bricks", place)
            assert page.inner_text("#bricks-out") == f"{parts} of 3"
            redraw(page)
            least[parts] = min(least.get(parts, np.inf), latest(page)["ms"])
        assert least[1] < 0.8 * least[3]
        assert latest(page)["plan"] == "1"
        with torch.no_grad():
            wanted = sample_x0(model.first(1), seeds=[0], labels=0, steps=60, guidance=1.5).numpy()
        assert psnr(latest(page)["pixels"], wanted.ravel()) > 80
        assert page.inner_text("#fact-step") == "60 / 60"
        assert re.fullmatch(r"[\d.]+ m?s", page.inner_text("#fact-ms"))


def test_it_opens_again_without_a_network(context: Any, serving: Serving, digits: tuple[Any, Path]) -> None:
    with serving(digits[1]) as address:
        page = visit(context, address)
        page.wait_for_selector("#offline:has-text('Kept on this device')")
        before = latest(page)["pixels"]
    page.goto("about:blank")
    page.goto(address)  # the server has ended
    drawn(page)
    assert (latest(page)["pixels"] == before).all()
    assert page.evaluate("crossOriginIsolated")


def test_a_repacked_model_takes_the_place_of_the_kept_one(
    context: Any, serving: Serving, digits: tuple[Any, Path], worded: tuple[Any, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    shutil.copytree(digits[1], folder)
    with serving(folder) as address:
        visit(context, address).wait_for_selector("#offline:has-text('Kept on this device')")
    shutil.rmtree(folder)
    shutil.copytree(worded[1], folder)
    port = int(address.rstrip("/").rpartition(":")[2])
    with serving(folder, port=port) as again:
        assert again == address
        page = visit(context, again)
        assert page.is_visible("#prompt")
        assert latest(page)["pixels"].size == 3 * 8 * 8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("weights.bin", "weights.bin is damaged"),
        ("denoiser-p3-8x8-b2.onnx", "denoiser-p3-8x8-b2.onnx is damaged"),
        ("ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.wasm is damaged"),
        ("style.css", "style.css is damaged"),
        ("manifest.json", "manifest.json: its bytes are not those that were packed"),
    ],
)
def test_a_flipped_byte_is_refused(
    context: Any, serving: Serving, digits: tuple[Any, Path], tmp_path: Path, name: str, said: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(digits[1], folder)
    with serving(folder) as address:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#trouble:visible")
        assert said in page.inner_text("#trouble")
        assert "pack it again" in page.inner_text("#trouble")
        assert page.evaluate("window.brickwork.latest") is None
        assert not page.is_enabled("#save")


def test_keyboard_alone(context: Any, serving: Serving, digits: tuple[Any, Path]) -> None:
    with serving(digits[1]) as address:
        page = visit(context, address)
        page.keyboard.press("Tab")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.value") == "3"
        page.keyboard.press("Tab")
        page.keyboard.type("42")  # the field's old text is selected
        page.keyboard.press("Enter")
        page.wait_for_selector("#status:has-text('Drawn: 3, seed 42')")
        order = []
        for _ in range(8):
            page.keyboard.press("Tab")
            order.append(page.evaluate("document.activeElement.id"))
        assert order == ["another", "bricks", "steps", "guidance", "backend", "draw", "save", ""]
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("input, select, button")]
              .filter((e) => !e.textContent.trim() && !e.labels?.length && !e.ariaLabel).length"""
        )
        assert nameless == 0
        assert page.get_attribute("#status", "aria-live") == "polite"


def test_what_is_no_seed_is_said(context: Any, serving: Serving, digits: tuple[Any, Path]) -> None:
    with serving(digits[1]) as address:
        page = visit(context, address)
        page.fill("#seed", "-1")
        page.press("#seed", "Enter")
        page.wait_for_selector("#status:has-text('A seed is a whole number')")
        assert page.get_attribute("#seed", "aria-invalid") == "true"


def test_it_can_be_stopped(context: Any, serving: Serving, digits: tuple[Any, Path]) -> None:
    with serving(digits[1]) as address:
        page = visit(context, address)
        choose(page, "steps", 100)
        page.click("#draw")
        page.wait_for_selector("#draw:has-text('Stop')")
        page.click("#draw")
        page.wait_for_selector("#status:has-text('Stopped.')")
        choose(page, "steps", 5)
        redraw(page)
        assert latest(page)["steps"] == 5


def test_the_saved_picture_says_how_it_was_drawn(
    context: Any, serving: Serving, digits: tuple[Any, Path], tmp_path: Path
) -> None:
    with serving(digits[1]) as address:
        page = visit(context, address)
        with page.expect_download() as download:
            page.click("#save")
        assert download.value.suggested_filename == "0-seed0.png"
        download.value.save_as(tmp_path / "a.png")
        assert (np.asarray(Image.open(tmp_path / "a.png")) == shown(page)[..., 0]).all()
    facts = read_facts(tmp_path / "a.png")
    assert facts["manifest_sha256"] == manifest_digest(digits[1])
    assert (facts["labels"], facts["seeds"], facts["steps"], facts["plan"]) == ([0], [0], 25, "3")


def test_latents_with_a_plan(context: Any, serving: Serving, latents: tuple[Any, Path]) -> None:
    model, folder = latents
    with serving(folder) as address:
        page = visit(context, address)
        page.check("#classes input[value='2']", force=True)
        choose(page, "guidance", 3)
        choose(page, "seed", 6)
        redraw(page)
        found = latest(page)
        assert found["plan"] == "2@1.5,1"
        runner = open_package(folder)
        how = {**runner.how(), "seeds": [6], "labels": 2, "guidance": 3.0}
        wanted = runner.pixels(sample_x0(Planned.of(runner, "2@1.5,1"), **how))
        assert psnr(found["pixels"], wanted.ravel()) > 80
        eager = sample(Planned.of(model, "2@1.5,1"), **how)[0]
        assert np.abs(shown(page)[..., :3].astype(int) - eager).max() <= 1


def test_words_at_another_size_with_fresh_noise(context: Any, serving: Serving, worded: tuple[Any, Path]) -> None:
    _, folder = worded
    with serving(folder) as address:
        page = visit(context, address)
        page.fill("#prompt", "A red SQUARE, circle")
        choose(page, "seed", 3)
        choose(page, "size", "12x12")
        redraw(page)
        found = latest(page)
        assert found["size"] == [12, 12]
        runner = open_package(folder).at(12, 12)
        wanted = sample_x0(runner, seeds=[3], text="a red square circle", **runner.how())
        assert psnr(found["pixels"], wanted.ravel()) > 80
        other = sample_x0(runner, seeds=[3], text="blue", **runner.how())
        assert psnr(found["pixels"], other.ravel()) < 60  # words matter


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined })", "This address is not secure"),
        ("WebAssembly.validate = () => false", "has no SIMD"),
        ("delete window.WebAssembly", "has no WebAssembly"),
    ],
)
def test_what_the_browser_lacks_is_said(
    context: Any, serving: Serving, digits: tuple[Any, Path], missing: str, said: str
) -> None:
    context.add_init_script(missing)
    with serving(digits[1]) as address:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#trouble:visible")
        assert said in page.inner_text("#trouble")
        assert not page.is_visible("#draw")


def test_a_page_opened_as_a_file_says_so(context: Any, digits: tuple[Any, Path]) -> None:
    page = context.new_page()
    page.goto((digits[1] / "index.html").as_uri())
    page.wait_for_selector("#trouble:visible")
    assert "opened as a file" in page.inner_text("#trouble")


def test_the_policy_forbids_others_and_evaluation(context: Any, serving: Serving, digits: tuple[Any, Path]) -> None:
    with serving(digits[1]) as address:
        page = visit(context, address)
        refused = page.evaluate(
            """async () => {
              const tries = [
                () => fetch("https://example.org/"),
                () => import("https://example.org/a.js"),
                () => fetch("http://127.0.0.1:9/"),
              ];
              return (await Promise.allSettled(tries.map((attempt) => attempt()))).map((one) => one.status);
            }"""
        )
        assert refused == ["rejected"] * 3
        policy = page.get_attribute("meta[http-equiv]", "content")
        assert policy.startswith("default-src 'none'")
        assert "unsafe-inline" not in policy
        assert "'unsafe-eval'" not in policy


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (1280, 800)])
def test_it_fits_the_screen(chromium: Any, serving: Serving, digits: tuple[Any, Path], width: int, height: int) -> None:
    opened = chromium.new_context(viewport={"width": width, "height": height}, is_mobile=width < 800, has_touch=True)
    with serving(digits[1]) as address:
        page = visit(opened, address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("#picture", "#draw", "#save"):
            box = page.locator(name).bounding_box()
            assert box["y"] + box["height"] <= height, f"{name} is not on the first screen"
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, select, input[type=text], #classes label")]
              .filter((e) => e.offsetParent && e.getBoundingClientRect().height < 44).length"""
        )
        assert small == 0  # large enough for a finger
    opened.close()
