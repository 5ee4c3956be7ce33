"""The page in headless Chromium: it draws what Python draws, says what it cannot do, and needs nobody else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from serving import serving

from brickwork.device.runner import open_package
from brickwork.errors import BrickworkWarning
from brickwork.files.manifest import manifest_digest
from brickwork.files.picture import read_facts
from brickwork.package.check.parity import psnr
from brickwork.sampling.loop import sample, sample_x0

pytestmark = pytest.mark.web

FORBIDDEN = ("https://example.org/a.json", "https://example.org/a.js", "http://127.0.0.1:9/")
PATIENCE = 60_000  # ms; the machine may be busy


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    """A browser that has seen nothing yet."""
    opened = chromium.new_context(accept_downloads=True)
    opened.set_default_timeout(PATIENCE)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(chromium: Any, digits: tuple[Any, Path]) -> Iterator[Any]:
    """The page of digits after its first picture; one for all tests that only use it."""
    opened = chromium.new_context(accept_downloads=True)
    opened.set_default_timeout(PATIENCE)
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    with serving(digits[1]) as address:
        found = visit(opened, address)
        yield found
        opened.close()
    assert len(asked) > 20
    elsewhere = [url for url in asked if not url.startswith((address, f"blob:{address}"))]
    assert set(elsewhere) <= set(FORBIDDEN), "nothing leaves the origin"


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


def test_the_same_seed_draws_the_same_picture(page: Any, digits: tuple[Any, Path]) -> None:
    model, _ = digits
    page.check("#classes input[value='7']", force=True)
    drawn(page)  # a quick machine draws at once
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
    assert page.title() == "digits · brickwork"
    assert page.inner_text("#bricks-name") == "Blocks"


def test_fewer_bricks_take_less_time(page: Any, digits: tuple[Any, Path]) -> None:
    model, _ = digits
    page.check("#classes input[value='4']", force=True)
    drawn(page)
    choose(page, "steps", 40)
    choose(page, "seed", 8)
    least: dict[int, float] = {}
    for place, parts in [(1, 3), (0, 1)] * 3:  # in turn: the machine may be busy with something else
        choose(page, "bricks", place)
        assert page.inner_text("#bricks-out") == f"{parts} of 3"
        redraw(page)
        least[parts] = min(least.get(parts, np.inf), latest(page)["ms"])
    print(f"ms per step by parts: {least}")
    assert least[1] < 0.8 * least[3]
    assert latest(page)["plan"] == "1"
    with torch.no_grad():
        wanted = sample_x0(model.first(1), seeds=[8], labels=4, steps=40, guidance=1.5).numpy()
    assert psnr(latest(page)["pixels"], wanted.ravel()) > 80
    assert page.inner_text("#fact-step") == "40 / 40"
    assert re.fullmatch(r"[\d.]+ m?s", page.inner_text("#fact-ms"))


def test_keyboard_alone(page: Any) -> None:
    page.focus("#classes input[value='0']")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    drawn(page)
    assert page.evaluate("document.activeElement.value") == "3"
    page.keyboard.press("Tab")
    page.keyboard.type("42")  # the field's old text is selected
    page.keyboard.press("Enter")
    page.wait_for_selector("#status:has-text('Drawn: 3, seed 42')")
    order = []
    for _ in range(7):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["another", "bricks", "steps", "guidance", "backend", "draw", "save"]
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button")]
          .filter((e) => !e.textContent.trim() && !e.labels?.length && !e.ariaLabel).length"""
    )
    assert nameless == 0
    assert page.get_attribute("#status", "aria-live") == "polite"
    assert page.get_attribute("#picture", "aria-label") == "Picture of 3, seed 42"


def test_what_is_no_seed_is_said(page: Any) -> None:
    page.fill("#seed", "-1")
    page.press("#seed", "Enter")
    page.wait_for_selector("#status:has-text('A seed is a whole number')")
    assert page.get_attribute("#seed", "aria-invalid") == "true"
    page.click("#another")
    drawn(page)
    assert page.get_attribute("#seed", "aria-invalid") is None
    assert latest(page)["seed"] == page.input_value("#seed")


def test_it_can_be_stopped(page: Any) -> None:
    choose(page, "steps", 100)
    name = page.evaluate(  # from within, since a busy machine may finish before a press from outside arrives
        """async () => {
          const [button, step] = ["draw", "fact-step"].map((id) => document.getElementById(id));
          button.click();
          while (step.textContent === "–") await new Promise((go) => setTimeout(go, 1));
          const name = button.textContent;
          button.click();
          return name;
        }"""
    )
    assert name == "Stop"
    page.wait_for_selector("#status:has-text('Stopped.')")
    choose(page, "steps", 5)
    redraw(page)
    assert latest(page)["steps"] == 5


def test_an_earlier_picture_comes_back(page: Any) -> None:
    pictures = []
    for seed in (100, 101):
        choose(page, "seed", seed)
        choose(page, "steps", seed - 95)
        redraw(page)
        pictures.append(latest(page)["pixels"])
    assert not (pictures[0] == pictures[1]).all()
    page.click("#drawn li:nth-child(2) button")
    page.wait_for_selector("#status:has-text('seed 100')")
    drawn(page)
    assert (latest(page)["pixels"] == pictures[0]).all()
    assert (page.input_value("#seed"), page.input_value("#steps")) == ("100", "5")
    names = [button.get_attribute("title") for button in page.locator("#drawn button").all()]
    assert names[0].endswith("seed 100")
    assert names[1].endswith("seed 101")
    assert len([name for name in names if name.endswith("seed 100")]) == 1


def test_the_saved_picture_says_how_it_was_drawn(page: Any, digits: tuple[Any, Path], tmp_path: Path) -> None:
    page.check("#classes input[value='6']", force=True)
    drawn(page)
    choose(page, "seed", 2**63)
    choose(page, "steps", 4)
    redraw(page)
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == f"6-seed{2**63}.png"
    download.value.save_as(tmp_path / "a.png")
    assert (np.asarray(Image.open(tmp_path / "a.png")) == shown(page)[..., 0]).all()
    facts = read_facts(tmp_path / "a.png")
    assert facts["manifest_sha256"] == manifest_digest(digits[1])
    assert (facts["labels"], facts["seeds"], facts["steps"]) == ([6], [2**63], 4)
    assert facts["plan"] == latest(page)["plan"]


def test_the_policy_forbids_others_and_evaluation(page: Any) -> None:
    refused = page.evaluate(
        """async ([json, module, neighbour]) => {
          const tries = [fetch(json), import(module), fetch(neighbour)];
          return (await Promise.allSettled(tries)).map((one) => one.status);
        }""",
        FORBIDDEN,
    )
    assert refused == ["rejected"] * 3
    policy = page.get_attribute("meta[http-equiv]", "content")
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (1280, 800)])
def test_it_fits_the_screen(page: Any, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("#picture", "#draw", "#save"):
        box = page.locator(name).bounding_box()
        assert box["y"] + box["height"] <= height, f"{name} is not on the first screen"
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input[type=text], #classes label")]
          .filter((e) => e.offsetParent && e.getBoundingClientRect().height < 44).length"""
    )
    assert small == 0  # large enough for a finger


def test_it_opens_again_without_a_network(context: Any, digits: tuple[Any, Path]) -> None:
    with serving(digits[1]) as address:
        page = visit(context, address)
        page.wait_for_selector("#offline:has-text('Kept on this device')")
        before = latest(page)["pixels"]
    page.goto("about:blank")
    page.goto(address)
    drawn(page)
    assert not page.evaluate("fetch('no-file-of-the-package').then(() => true, () => false)"), "the server has ended"
    assert (latest(page)["pixels"] == before).all()
    assert page.evaluate("crossOriginIsolated")


def test_a_repacked_model_takes_the_place_of_the_kept_one(
    context: Any, digits: tuple[Any, Path], worded: tuple[Any, Path], tmp_path: Path
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
    context: Any, digits: tuple[Any, Path], tmp_path: Path, name: str, said: str
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


def test_latents_with_a_plan(context: Any, latents: tuple[Any, Path]) -> None:
    model, folder = latents
    with serving(folder) as address:
        page = visit(context, address)
        page.check("#classes input[value='2']", force=True)
        drawn(page)
        choose(page, "guidance", 3)
        choose(page, "seed", 6)
        redraw(page)
        found = latest(page)
        assert found["plan"] == "2@1.5,1"
        runner = open_package(folder)
        how = runner.sampler.but(guidance=3.0)
        assert str(how.plan) == "2@1.5,1"
        wanted = runner.pixels(sample_x0(runner, seeds=[6], labels=2, how=how))
        assert psnr(found["pixels"], wanted.ravel()) > 60  # its decoder is random, and its pixels reach far
        eager = sample(model, seeds=[6], labels=2, how=how)[0]
        assert np.abs(shown(page)[..., :3].astype(int) - eager).max() <= 1


def test_words_at_another_size_with_fresh_noise(context: Any, worded: tuple[Any, Path]) -> None:
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
        assert page.inner_text("#prompt-note") == "The model never learned “a”."
        with pytest.warns(BrickworkWarning, match="never learned 'a'"):
            wanted = sample_x0(runner, seeds=[3], text="a red square circle", how=runner.sampler)
        assert psnr(found["pixels"], wanted.ravel()) > 80
        other = sample_x0(runner, seeds=[3], text="blue", how=runner.sampler)
        assert psnr(found["pixels"], other.ravel()) < 60  # words matter


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined })", "This address is not secure"),
        ("WebAssembly.validate = () => false", "has no SIMD"),
        ("delete window.WebAssembly", "has no WebAssembly"),
    ],
)
def test_what_the_browser_lacks_is_said(context: Any, digits: tuple[Any, Path], missing: str, said: str) -> None:
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
