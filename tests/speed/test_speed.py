"""Measuring in turn: with processes whose times are known, and once for real."""

from __future__ import annotations

import json
import subprocess
import sys
from math import inf
from pathlib import Path
from typing import Any

import pytest

from brickwork.cli import main
from brickwork.device import timing
from brickwork.device.timing import Run, memory
from brickwork.errors import ArgumentError, PackageError
from brickwork.files.manifest import Sampling
from brickwork.model.checkpoint import load
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.sampling.sampler import Sampler
from brickwork.speed import measure as speed
from brickwork.speed.energy import Energy, Zone
from brickwork.speed.measure import Speed, measure, order, spread
from brickwork.speed.subjects import Subject, subjects

CHILD = """
import json, os, pathlib, signal, sys
name, log, script = sys.argv[1], pathlib.Path(sys.argv[2]), json.loads(sys.argv[3])
images = iter(script["images"])
for line in sys.stdin:
    asked = json.loads(line)
    with log.open("a") as file:
        file.write(f"{name} {asked['do']}\\n")
    if asked["do"] == script.get("dies"):
        print("Traceback", file=sys.stderr)
        print("std::bad_alloc", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL) if script["code"] == -9 else sys.exit(script["code"])
    if asked["do"] == script.get("refuses"):
        answer = {"error": "weights.bin is damaged"}
    elif asked["do"] == "open":
        pathlib.Path(f"{log}.{name}").write_text(line)
        answer = {"import_s": 0.5, "load_s": 0.25, "first_call_s": 0.125, "empty_bytes": 1, "versions": {}}
    elif asked["do"] == "call":
        answer = {"call_s": 1e9}
    else:
        number, calls = next(images)
        answer = {"image_s": sum(calls) + 1, "calls_s": calls, "processor_s": 2.0}
        answer |= {"peak_bytes": 1000 + number, "anonymous_bytes": 100 + number}
        if "counter" in script:
            counter = pathlib.Path(script["counter"])
            counter.write_text(str(int(counter.read_text()) + 3_000_000))
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SETTLE_S", 0.0)


def fake(tmp_path: Path, name: str, images: list[list[float]], **script: Any) -> Subject:
    """A subject whose calls take these seconds, image by image, warm-up first; a picture takes one second more."""
    script["images"] = list(enumerate(images))
    words = (sys.executable, "-c", CHILD, name, str(tmp_path / "log"), json.dumps(script))
    return Subject(name=name, command=words, sampling=Sampling(steps=7), num_bytes=42)


def log(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_percentiles_and_ratios_by_hand(tmp_path: Path) -> None:
    first = fake(tmp_path, "a", [[9.0, 9.0], [1.0, 3.0], [2.0, 2.0], [4.0, 8.0]])
    second = fake(tmp_path, "b", [[99.0], [1.0, 1.0], [0.5, 0.5], [3.0, 3.0]])
    found = measure([first, second], rounds=3, warmup=1, threads=2, batch=2).to_dict()
    a, b = found["results"]
    assert a["step_ms"] == {"p50": 2500.0, "p95": pytest.approx(7000.0), "least": 1000.0, "count": 6}  # 1 2 2 3 4 8
    assert a["image_ms"]["p50"] == 5000.0  # 5, 5, 13
    assert a["image_ms"]["p95"] == pytest.approx(12200.0)
    assert a["images_per_second"] == 2 / 5
    assert a["processor_ms_per_image"] == 1000.0
    assert a["ratio_to_first"]["step"] == {"p5": 1.0, "p50": 1.0, "p95": 1.0}
    # round by round 1 / 2, 0.5 / 2, 3 / 6; of images 3 / 5, 2 / 5, 7 / 13
    assert b["ratio_to_first"]["step"] == {"p5": pytest.approx(0.275), "p50": 0.5, "p95": 0.5}
    assert b["ratio_to_first"]["image"]["p50"] == pytest.approx(7 / 13)
    assert (a["import_ms"], a["load_ms"], a["first_call_ms"]) == (500.0, 250.0, 125.0)
    assert (a["anonymous_bytes"], a["peak_bytes"], a["package_bytes"]) == (100, 1003, 42)  # after the first; the last
    assert a["rounds"] == {"image_ms": [5000.0, 5000.0, 13000.0], "median_step_ms": [2000.0, 2000.0, 6000.0]}


def test_each_is_asked_in_turn_and_every_other_round_in_reverse(tmp_path: Path) -> None:
    measure([fake(tmp_path, name, [[1.0]] * 3) for name in "abc"], rounds=2, warmup=1)
    opened, asked = log(tmp_path)[:3], log(tmp_path)[3:]
    assert opened == ["a open", "b open", "c open"]
    assert asked[::2] == [f"{name} call" for name in "cbaabccba"]
    assert asked[1::2] == [f"{name} image" for name in "cbaabccba"]
    assert order([1, 2, 3], 4) == [1, 2, 3]


def test_what_a_process_is_told(tmp_path: Path) -> None:
    measure([fake(tmp_path, "a", [[1.0]])], rounds=1, warmup=0, batch=3, threads=2)
    told = json.loads((tmp_path / "log.a").read_text())
    assert (told["batch"], told["threads"]) == (3, 2)
    assert told["sampling"]["steps"] == 7


def test_energy_of_the_pictures_that_count(tmp_path: Path) -> None:
    counter = tmp_path / "energy_uj"
    counter.write_text("999500000")
    child = fake(tmp_path, "a", [[1.0]] * 4, counter=str(counter))
    found = measure([child], rounds=3, warmup=1, batch=2, energy=Energy((Zone(counter, 1_000_000_000),)))
    assert found.rows[0].joules == [3.0, 3.0, 3.0]
    assert found.to_dict()["results"][0]["joules_per_image"] == 1.5
    counter.write_text("999500000")
    wrapped = fake(tmp_path, "b", [[1.0]], counter=str(counter))
    zone = Zone(counter, 1_000_000_000)
    assert Energy((zone,)).joules((999_500_000,), (2_500_000,)) == 3.0
    assert measure([wrapped], rounds=1, warmup=0, energy=Energy((zone,))).rows[0].joules == [3.0]


def test_the_table(tmp_path: Path) -> None:
    first, second = fake(tmp_path, "a", [[1.0]]), fake(tmp_path, "b", [[0.25]])
    found = measure([first, second], rounds=1, warmup=0, energy=Energy(why="none here"))
    lines = str(found).splitlines()
    assert lines[0].startswith("7 steps of dpm2m on karras, no guidance; batch 1")
    assert lines[1].split()[:2] == ["step", "ms"]
    assert lines[2].split()[:5] == ["a", "1000", "1000", "2000", "2000"]
    assert lines[3].endswith("0.250 (0.250 to 0.250)")
    assert lines[4] == "no energy: none here"
    assert found.to_dict()["results"][0]["joules_per_image"] is None


def test_other_work_than_the_first_is_said(tmp_path: Path) -> None:
    first, second = fake(tmp_path, "a", [[1.0]]), fake(tmp_path, "b", [[1.0]])
    object.__setattr__(second, "sampling", Sampling(steps=9, guidance=2.0, plan="2"))
    line = str(measure([first, second], rounds=1, warmup=0)).splitlines()[1]
    assert line == "b: 9 steps of dpm2m on karras, guidance 2, plan 2, which is other work than the first's"


@pytest.mark.parametrize("moment", ["open", "call", "image"])
@pytest.mark.parametrize(("code", "how"), [(3, "with exit code 3"), (-9, "by SIGKILL")])
def test_a_process_that_dies_is_named_with_its_last_line(tmp_path: Path, moment: str, code: int, how: str) -> None:
    healthy = fake(tmp_path, "a", [[1.0]] * 2)
    with pytest.raises(PackageError) as caught:
        measure([healthy, fake(tmp_path, "b", [[1.0]] * 2, dies=moment, code=code)], rounds=1, warmup=0)
    assert str(caught.value).startswith(f"b: its process ended {how}; its last line: std::bad_alloc; ")
    assert "\n" not in str(caught.value)
    assert ("memory may have run out" in str(caught.value)) == (code == -9)


def test_what_a_process_refuses_is_said_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"^b: weights.bin is damaged$"):
        measure([fake(tmp_path, "b", [[1.0]], refuses="image")], rounds=1, warmup=0)


def test_an_interpreter_that_cannot_be_started(tmp_path: Path) -> None:
    subject = Subject(name="a", command=(str(tmp_path), "-c", ""), sampling=Sampling(), num_bytes=0)
    with pytest.raises(PackageError, match=r"a: .* cannot be started \(Permission denied\)"):
        measure([subject], rounds=1)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"warmup": -1}, {"batch": 0}, {"threads": 0}])
def test_numbers_that_are_none(wrong: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match=r"give a whole number|at least 1 computes"):
        measure([], **wrong)  # pyright: ignore[reportArgumentType]


def test_memory_from_what_linux_says() -> None:
    text = "Name:\tpython\nVmPeak:\t  990000 kB\nVmHWM:\t   71234 kB\nVmRSS:\t 70000 kB\n"
    text += "RssAnon:\t   33000 kB\nThreads:\t3\n"
    assert memory(text) == {"peak_bytes": 71234 * 1024, "anonymous_bytes": 33000 * 1024}
    assert memory("Name:\tpython\n") == {"peak_bytes": None, "anonymous_bytes": None}


def test_spread() -> None:
    assert spread([float(n) for n in range(101)]) == {"p5": 5.0, "p50": 50.0, "p95": 95.0}


def test_the_measured_process_imports_nothing_that_it_does_not_need() -> None:
    code = "import sys, brickwork.device.timing; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    words = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "numpy" in words
    assert not {"torch", "onnxruntime", "PIL", "einops", "safetensors", "tqdm", "tyro", "jaxtyping"} & set(words)


# ---- for real ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packages") / "digits.onnx"
    pack(load("digits"), out, Packing(steps=4, guidance=2.0, parts=(2, 3), batches=(1,)), say=lambda line: None)
    return out


@pytest.fixture(scope="module")
def measured(package: Path) -> Speed:
    return measure(subjects([str(package), "digits"]), rounds=2, warmup=1, threads=1)


def test_a_package_and_its_model(measured: Speed, package: Path) -> None:
    ours, eager = measured.to_dict()["results"]
    assert ours["target"] == "onnx"
    assert eager["target"] == "eager PyTorch"
    assert ours["sampling"] == eager["sampling"] | {"steps": 4, "guidance": 2.0}
    assert ours["step_ms"]["count"] == eager["step_ms"]["count"] == 2 * 4
    assert ours["package_bytes"] == sum(path.stat().st_size for path in package.iterdir())
    assert {"onnxruntime", "brickwork"} <= ours["versions"].keys()
    assert "torch" in eager["versions"]
    assert "torch" not in ours["versions"]
    for row in (ours, eager):
        assert 0 < row["step_ms"]["p50"] <= row["step_ms"]["p95"]
        assert 4 * row["step_ms"]["least"] <= row["image_ms"]["p50"]
        assert 0 < row["anonymous_bytes"] <= row["peak_bytes"]
    assert 2 * ours["peak_bytes"] < eager["peak_bytes"]  # one of them holds torch


def test_the_verb(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reports" / "bench.json"
    words = ["bench", str(package), "--repeats", "2", "--warmup", "0", "--steps", "3", "--plan", "3@1,2"]
    assert main([*words, "--threads", "1", "--json", str(out)]) == 0
    assert "3 steps of dpm2m on karras, guidance 2, plan 3@1,2" in capsys.readouterr().out
    (row,) = json.loads(out.read_text())["results"]
    assert row["step_ms"]["count"] == 6
    assert row["sampling"]["plan"] == "3@1,2"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "nothing to measure: name packages"),
        (["nowhere"], "nowhere: neither a package"),
        (["PACKAGE", "--plan", "1"], "1 parts: this package runs 2, 3 parts"),
        (["PACKAGE", "--steps", "0"], "steps 0"),
        (["PACKAGE", "--python", "onnx"], "give TARGET=PATH"),
        (["PACKAGE", "--python", "onnx=/nowhere"], "there is no such file"),
        (["PACKAGE", "--json", "a.txt"], "name a .json file"),
        (["PACKAGE", "--repeats", "0"], "repeats 0"),
    ],
)
def test_mistakes_are_one_line(words: list[str], line: str, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *(str(package) if word == "PACKAGE" else word for word in words)]) == 1
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_a_damaged_package_is_refused_by_its_process(package: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.mkdir()
    for path in package.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    data = bytearray((damaged / "weights.bin").read_bytes())
    data[1000] ^= 1
    (damaged / "weights.bin").write_bytes(data)
    with pytest.raises(PackageError, match=r"damaged\.onnx/weights\.bin"):
        measure(subjects([str(damaged)]), rounds=1)


@pytest.mark.parametrize(("plan", "parts"), [("3@1,2", {2, 3}), ("2", {2}), (None, {3})])
def test_loading_opens_the_graphs_of_a_run_and_no_others(package: Path, plan: str | None, parts: set[int]) -> None:
    opening, ready, _ = timing.of_package(package)
    denoise = opening(1)
    run = Run(denoise, Sampler(steps=4, guidance=2.0, guidance_interval=(0.5, inf), plan=plan), 2)
    calls = run.evaluations()
    assert [call.rows for call in calls] == [2 if call.sigma > 0.5 else 1 for call in calls]
    assert {call.rows for call in calls} == {1, 2}
    ready(run.planned, calls)
    wanted = {graph.file for graph in denoise.manifest.of_role("denoiser") if graph.parts in parts}
    assert set(denoise.files.programs) == wanted
    run.call()
    answer = run.image()
    assert len(answer["calls_s"]) == len(calls) == 4
    assert sum(answer["calls_s"]) <= answer["image_s"]
    assert set(denoise.files.programs) == wanted
