"""The page's JavaScript against the Python it repeats: the same numbers, one module after the other, through node."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brickwork.device.runner import batches
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.gaussian import normal, philox
from brickwork.diffusion.process import PROCESSES
from brickwork.diffusion.schedule import SCHEDULES
from brickwork.files.manifest import Graph, Manifest, Port, described, to_json, write_manifest
from brickwork.files.picture import read_facts
from brickwork.files.schema import from_entry
from brickwork.files.tokenizers import TOKENIZERS, ByteTokenizer, WordTokenizer
from brickwork.sampling.loop import sample_x0
from brickwork.sampling.options import choose
from brickwork.sampling.plan import parse_plan
from brickwork.sampling.sampler import Sampler
from brickwork.sampling.solvers import SOLVERS

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")

Ask = Callable[..., Any]
ENTRIES: dict[str, list[Any]] = {
    "vp": ["vp", {"beta_min": 0.1, "beta_max": 20.0, "t_min": 1e-3, "t_max": 1.0}],
    "discrete-vp": ["discrete-vp", {"t_max": 1000.0}],
    "discrete-vp beta": [
        "discrete-vp",
        {"beta_start": 1e-4, "beta_end": 0.02, "even": "beta", "first_number": 0.0, "t_min": 0.5},
    ],
    "cosine": ["cosine", {"offset": 0.008}],
    "edm": ["edm", {"sigma_data": 0.4, "t_min": 0.01, "t_max": 50.0}],
    "flow": ["flow", {"t_min": 0.001, "t_max": 0.999}],
    "sit-flow": ["sit-flow", {"t_min": 0.002}],
}
WORDS = ["words", {"length": 6, "words": ["red", "cat", "straße", "ноль", "3"], "has_unknown": True}]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """A question to the page's modules."""
    folder = tmp_path_factory.mktemp("web")
    for file in files("brickwork").joinpath("web").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(Path(__file__).with_name("driver.js"), folder)
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([str(NODE), "driver.js"], cwd=folder, text=True, encoding="utf-8", **pipes) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        stdin, stdout = node.stdin, node.stdout

        def answer(name: str, *values: Any) -> Any:
            stdin.write(json.dumps([name, values]) + "\n")
            stdin.flush()
            line = stdout.readline()
            assert line, f"node ended at the question {name}{values}"
            return json.loads(line)

        yield answer
        stdin.close()


def test_tables_hold_the_same_names(ask: Ask) -> None:
    assert ask("names") == {"processes": [*PROCESSES], "grids": [*SCHEDULES], "solvers": [*SOLVERS]}


def test_philox_gives_the_published_words(ask: Ask) -> None:
    counter, key = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    assert ask("philox", counter, key) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    assert ask("philox", counter, key) == philox(np.array(counter), np.array(key)).tolist()


@pytest.mark.parametrize(
    ("seed", "draw", "stream"), [(0, 0, 0), (1, 3, 0), (0x123456789ABCDEF, 3, 1), (2**64 - 1, 2**32 - 1, 0)]
)
def test_normal_numbers_are_the_same_bits(ask: Ask, seed: int, draw: int, stream: int) -> None:
    found = np.array(ask("normal", str(seed), draw, 10_001, stream), np.float32)
    wanted = normal(seed, draw, (10_001,), stream=stream)
    # docs/gaussian.md: one unit in the last place may differ, in fewer than one number in 10^8.
    assert (found.view(np.uint32) == wanted.view(np.uint32)).all()


def test_seeds_are_whole_numbers_of_64_bits(ask: Ask) -> None:
    texts = [" 7 ", "0", str(2**64 - 1), str(2**64), "-1", "1.0", "", "1e3"]
    assert ask("seeds", texts) == ["7", "0", str(2**64 - 1), *["null"] * 5]


@pytest.mark.parametrize("name", ENTRIES)
def test_processes(ask: Ask, name: str) -> None:
    process = from_entry(PROCESSES, ENTRIES[name], "process")
    times = np.linspace(process.t_min, process.t_max, 23).tolist()
    found = ask("process", ENTRIES[name], times)
    assert found["ends"] == pytest.approx([process.sigma_min, process.sigma_max], rel=1e-12)
    assert found["levels"] == pytest.approx([float(process.level(t)) for t in times], rel=1e-12)
    assert found["back"] == pytest.approx([float(process.t_of(float(process.level(t)))) for t in times], rel=1e-9)
    for key in ("alpha", "sigma", "d_alpha", "d_sigma"):
        wanted = [float(getattr(process.at(t), key)) for t in times]
        assert [c[key] for c in found["at"]] == pytest.approx(wanted, rel=1e-9), key


@pytest.mark.parametrize("grid", ["karras", "karras:rho=3", "log-snr", "linear"])
@pytest.mark.parametrize("steps", [1, 2, 25])
def test_grids(ask: Ask, grid: str, steps: int) -> None:
    for name in ("flow", "vp"):
        wanted = choose("grid", grid, SCHEDULES).sigmas(from_entry(PROCESSES, ENTRIES[name], "process"), steps)
        assert ask("levels", grid, ENTRIES[name], steps) == pytest.approx(wanted.tolist(), rel=1e-12)


class Toy:
    """D(x, s) = (x + c) / (s + 2), rounded as in driver.js; c is 0.25 with a class and -0.5 without."""

    shape, num_classes, text_shape = (1, 5, 7), 3, None

    def __init__(self, name: str) -> None:
        self.process = from_entry(PROCESSES, ENTRIES[name], "process")

    def __call__(self, x: np.ndarray, sigma: np.ndarray, condition: Condition) -> np.ndarray:
        assert condition.labels is not None
        c = np.where(condition.labels < 0, -0.5, 0.25).astype(np.float32)[:, None, None, None]
        return (x + c) / (sigma.astype(np.float64) + 2).astype(np.float32)[:, None, None, None]

    def asarray(self, values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)

    def decode(self, x0: np.ndarray) -> np.ndarray:
        raise AssertionError("these tests look at x0")


@pytest.mark.parametrize(
    "solver",
    [
        "euler",
        "ddim:eta=0.7",
        "heun",
        "heun:churn=4,churn_min=0.05,churn_max=40,churn_noise=1.003",
        "dpm2m",
        "dpm3m",
        "dpm3m:half_curvature=true",
        "euler-maruyama",
    ],
)
@pytest.mark.parametrize("name", ["flow", "vp"])
def test_solvers_draw_the_same(ask: Ask, solver: str, name: str) -> None:
    found = ask("sample", ENTRIES[name], solver, "karras", 9, "5", 35, 1, [0, None])
    wanted = sample_x0(
        Toy(name),
        seeds=[5],
        labels=1,
        steps=9,
        solver=choose("solver", solver, SOLVERS),
        schedule=SCHEDULES["karras"](),
    )
    assert np.abs(np.array(found) - wanted.ravel()).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("interval", [(0.0, None), (0.2, 3.0), (5.0, None)])
def test_guidance(ask: Ask, interval: tuple[float, float | None]) -> None:
    found = ask("sample", ENTRIES["edm"], "dpm2m", "log-snr", 12, "9", 35, 2.3, interval)
    high = np.inf if interval[1] is None else interval[1]
    how = Sampler(solver="dpm2m", schedule="log-snr", steps=12, guidance=2.3, guidance_interval=(interval[0], high))
    wanted = sample_x0(Toy("edm"), seeds=[9], labels=2, how=how)
    assert np.abs(np.array(found) - wanted.ravel()).max() <= 1e-6 * np.abs(wanted).max()
    plain = sample_x0(Toy("edm"), seeds=[9], labels=2, how=how.but(guidance=1.0))
    assert np.abs(wanted - plain).max() > 1e-4, "guidance must matter here"


def test_a_run_can_be_stopped(ask: Ask) -> None:
    assert ask("stopped") is None


@pytest.mark.parametrize("text", ["3@5.84,2@0.31,1", "2", "1@0.1,4"])
def test_plans(ask: Ask, text: str) -> None:
    plan, single = parse_plan(text, 4), float(np.float32(0.31))
    sigmas = [80.0, 5.84, 5.83, 1.0, 0.31, single, np.nextafter(single, 0).item(), 0.3, 0.1, 0.01]
    found = ask("plan", text, sigmas)
    assert found == {"parts": [plan.parts_at(s) for s in sigmas], "counts": sorted(set(plan.counts))}


@pytest.mark.parametrize("text", ["", "3@1", "3@1,2@2,1", "0", "2@0,1", "x"])
def test_what_is_no_plan_is_refused(ask: Ask, text: str) -> None:
    assert f'plan "{text}"' in ask("badPlan", text)


def test_what_is_no_solver_is_refused(ask: Ask) -> None:
    assert ask("badChoice", "rk4").startswith('no solver named "rk4"; there are ddim, euler')
    assert "churn=much" in ask("badChoice", "heun:churn=much")


@pytest.mark.parametrize(("count", "sizes"), [(1, (1, 2)), (2, (1, 2)), (2, (1,)), (1, (4,)), (7, (2, 4))])
def test_batches(ask: Ask, count: int, sizes: Sequence[int]) -> None:
    wanted = [[rows.start, rows.stop - rows.start, size] for rows, size in batches(count, sizes)]
    assert ask("batches", count, sizes) == wanted


CAPTIONS = [
    "A RED cat_cat, 3 cats!",
    "",
    "ﬁne Straße ½ ²³ Ⅳ",
    "ΣΑΣ Ноль ноль",
    "日本語 cat",
    "e\u0301 red\u200bred",
    "a b c d e f g h i",
    "lone \ud800 half",
]


@pytest.mark.parametrize("has_unknown", [True, False])
def test_words(ask: Ask, has_unknown: bool) -> None:
    values = {**WORDS[1], "has_unknown": has_unknown}
    wanted = WordTokenizer(length=6, words=tuple(values["words"]), has_unknown=has_unknown).tokenize(CAPTIONS)
    assert ask("tokens", ["words", values], CAPTIONS) == wanted.tolist()
    assert (wanted > 1).any()


def test_unknown_words(ask: Ask) -> None:
    tokenizer = WordTokenizer(length=6, words=tuple(WORDS[1]["words"]), has_unknown=True)
    captions = [*CAPTIONS, "a RED cat, a purple Cat", "red"]
    assert ask("unknown", WORDS, captions) == [tokenizer.unknown_words([caption]) for caption in captions]
    assert tokenizer.unknown_words(captions[-2:]) == ["a", "purple"]
    assert ask("unknown", ["bytes", {"length": 9}], ["purple"]) == [ByteTokenizer(length=9).unknown_words(["purple"])]


def test_names_for_people(ask: Ask) -> None:
    addresses = ["data/shapes", "/home/me/My Photos/", "C:\\sets\\a.zip", "hf:owner/name", "hf:mnist", "digits", "/", 7]
    names = ["shapes", "My Photos", "a", "name", "mnist", "digits", "", "7"]
    assert [ask("dataName", address) for address in addresses] == names
    assert ask("partsName", {"model": {"backbone": ["lego", {}]}}) == "bricks"
    assert [ask("partsName", {"model": model}) for model in ({"backbone": ["stoic", {}]}, {})] == ["blocks"] * 2


def test_bytes(ask: Ask) -> None:
    entry = ["bytes", {"length": 17}]
    assert ask("tokens", entry, CAPTIONS) == ByteTokenizer(length=17).tokenize(CAPTIONS).tolist()
    assert {"words", "bytes"} == set(TOKENIZERS)


def test_rounding_to_8_bits(ask: Ask) -> None:
    halves = (np.arange(-4, 260) / 2 / 127.5 - 1).astype(np.float32)
    pixels = np.concatenate([halves, np.array([-9, 9, -1, 1], np.float32), normal(3, 0, (1001,))]).astype(np.float32)
    wanted = np.clip(np.rint((pixels + 1) * np.float32(127.5)), 0, 255).astype(np.uint8)
    assert ask("bytes", pixels.tolist(), 1) == wanted.tolist()
    colour = pixels[:24].reshape(3, 8)
    rounded = np.clip(np.rint((colour + 1) * np.float32(127.5)), 0, 255).astype(np.uint8)
    assert ask("bytes", colour.ravel().tolist(), 3) == rounded.T.ravel().tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_read_with_its_facts(ask: Ask, tmp_path: Path, channels: int) -> None:
    image = np.arange(5 * 7 * channels, dtype=np.uint8).reshape(5, 7, channels) * 2
    text = json.dumps({"seeds": [2**64 - 1], "prompt": "“été” 日"}, ensure_ascii=False)
    data = base64.b64decode(ask("png", image.ravel().tolist(), 5, 7, text))
    (tmp_path / "a.png").write_bytes(data)
    assert read_facts(tmp_path / "a.png") == json.loads(text)
    assert (np.asarray(Image.open(io.BytesIO(data))).reshape(image.shape) == image).all()


def packed(folder: Path) -> dict[str, str]:
    """The texts of a package without bytes that mean anything."""
    folder.mkdir()
    (folder / "a.onnx").write_text("graph")
    x = Port(name="x", dtype="float32", shape=(1, 1, 4, 4))
    sizes = [(2, 4, 4, 1), (1, 4, 4, 2), (1, 2, 2, 1)]
    graphs = [
        Graph(role="denoiser", file="a.onnx", parts=n, height=h, width=w, batch=b, inputs=(x,), outputs=(x,))
        for n, h, w, b in sizes
    ]
    manifest = Manifest(
        brickwork="0",
        target="browser",
        shape=(1, 4, 4),
        picture_channels=1,
        process=["edm", {}],
        graphs=tuple(graphs),
        files={"a.onnx": described(folder, "a.onnx")},
    )
    write_manifest(folder, manifest)
    assert to_json(replace(manifest)) == (folder / "manifest.json").read_text()
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_package_is_read(ask: Ask, tmp_path: Path) -> None:
    assert ask("sha256", "graph") == hashlib.sha256(b"graph").hexdigest()
    assert ask("open", packed(tmp_path / "p")) == {"counts": [1, 2], "sizes": [[4, 4], [2, 2]], "text": "graph"}


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("a.onnx", "graph", "grapf", "a.onnx is damaged"),
        ("a.onnx", "graph", "grap", "a.onnx is damaged"),
        ("a.onnx", "graph", None, "a.onnx is missing (404)"),
        ("manifest.json", '"edm"', '"vp"', "manifest.json: its bytes are not those"),
        ("SHA256SUMS", "a.onnx", "b.onnx", "do not agree"),
        ("SHA256SUMS", "", None, "SHA256SUMS is missing (404)"),
    ],
)
def test_a_damaged_package_is_refused(
    ask: Ask, tmp_path: Path, name: str, old: str, new: str | None, said: str
) -> None:
    texts = packed(tmp_path / "p")
    assert old in texts[name]
    if new is None:
        del texts[name]
    else:
        texts[name] = texts[name].replace(old, new)
    assert said in ask("open", texts)
