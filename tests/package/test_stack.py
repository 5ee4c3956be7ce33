"""One block's graph and the weights of all blocks: the same pictures, the same refusals, less memory."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tiny_models import CONFIGS, IMAGE, tiny_model

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.backbone.tldm import Tldm
from brickwork.device.runner import Runner, open_package
from brickwork.device.stack import BLOCKS, HEADER, Blocks, read_header
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, ConfigError, PackageError
from brickwork.files.manifest import check_piece, read_manifest, verify, write_manifest
from brickwork.model.model import Model
from brickwork.package.check.parity import psnr
from brickwork.package.layouts.cut import blocks_of
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.package.workload import workload
from brickwork.sampling.loop import sample, sample_x0
from brickwork.sampling.planned import Planned

pytestmark = pytest.mark.runtime

STACKED: dict[str, BackboneConfig] = {
    "stoic": CONFIGS["stoic"],
    "stoic adaln": CONFIGS["stoic adaln"],
    "stoic shared": Stoic.Config(width=36, heads=3, depth=3, time="add", share_weights=True, **IMAGE),
    "tldm cross": Tldm.Config(width=32, heads=2, depth=3, conditioning="cross_attention", **IMAGE),
    "dit": CONFIGS["dit"],
}


def packed(model: Model, out: Path, layout: str, **options: Any) -> Runner:
    packing = Packing(**{"layout": layout, "batches": (2,), "steps": 2, **options})
    return pack(model, out, packing, say=lambda line: None)


def draw(model: Any, **how: Any) -> np.ndarray:
    drawn = sample_x0(model, seeds=[7, 8], steps=4, labels=[0, 3], guidance=2.0, **how)
    return drawn.numpy() if isinstance(drawn, torch.Tensor) else drawn


@pytest.fixture(scope="module")
def stoic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Runner]:
    model = tiny_model("stoic")
    return model, packed(model, tmp_path_factory.mktemp("stoic") / "a.onnx", "stack", batches=(1, 2))


@pytest.fixture
def folder(stoic: tuple[Model, Runner], tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(stoic[1].files.folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    "name",
    ["stoic adaln", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stoic shared", "tldm cross", "dit"))],
)
def test_a_stack_draws_the_same_pictures(name: str, tmp_path: Path) -> None:
    compare(tiny_model(STACKED[name]), packed(tiny_model(STACKED[name]), tmp_path / "a.onnx", "stack"))


def test_a_stack_runs_any_number_of_first_blocks(stoic: tuple[Model, Runner]) -> None:
    model, package = stoic
    compare(model, package)
    assert package.counts == (1, 2, 3)
    plan = "3@1.5,1"
    assert psnr(draw(Planned.of(model, plan)), draw(Planned.of(package, plan))) > 90
    for n in (0, 4):
        with pytest.raises(ArgumentError):
            package.first(n)
    assert {graph.role for graph in package.manifest.graphs} == {"stem", "block", "head"}
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    sigma = np.array([0.2, 1, 3], np.float32)
    theirs = model(torch.from_numpy(x), torch.from_numpy(sigma), Condition())
    np.testing.assert_allclose(package(x, sigma, Condition()), theirs.numpy(), rtol=1e-4, atol=2e-5)


def compare(model: Model, package: Runner) -> None:
    """All blocks, and each smaller number; blocks must matter, or nothing is compared."""
    assert package.manifest.parity["db"] > 90
    for n in package.counts:
        assert psnr(draw(model.first(n)), draw(package.first(n))) > 90
    assert psnr(draw(model.first(1)), draw(model)) < 40
    images = sample(package, seeds=[1], steps=3, labels=2)
    np.testing.assert_array_equal(images, sample(model, seeds=[1], steps=3, labels=2))


@pytest.mark.parametrize("name", ["stoic adaln", pytest.param("stoic shared", marks=pytest.mark.slow)])
def test_a_scan_is_one_graph_for_each_number_of_blocks(name: str, tmp_path: Path) -> None:
    model = tiny_model(STACKED[name])
    package = packed(model, tmp_path / "a.onnx", "scan", parts=(1, 3))
    compare(model, package)
    assert package.counts == (1, 3)
    graphs = package.manifest.graphs
    assert [graph.ops["Scan"] for graph in graphs] == [1, 1]
    assert {graph.weights for graph in graphs} == {("weights.bin", BLOCKS)}
    one, three = (package.manifest.files[graph.file].length for graph in graphs)
    assert abs(one - three) < 100  # the graph does not grow with the blocks
    spoil(tmp_path / "a.onnx" / BLOCKS, -1)
    again = open_package(tmp_path / "a.onnx")
    again.prepare(2)  # opening reads no block
    refused(again)
    refused(again)


def test_the_block_stands_once_and_weights_as_the_model_has_them(stoic: tuple[Model, Runner]) -> None:
    """Another reader of safetensors finds the model's weights; each starts where a vector register may load it."""
    model, package = stoic
    stored = {name: w for name, w in load_file(package.files.folder / BLOCKS).items() if not name.startswith("pad")}
    wanted = {name: w.numpy() for name, w in model.backbone.state_dict().items() if name.startswith("blocks.")}
    assert stored.keys() == wanted.keys()
    for name, weight in wanted.items():
        np.testing.assert_array_equal(stored[name], weight)
    places = read_header(package.files.folder / BLOCKS)[1]
    assert {place.start % 64 for name, place in places.items() if name in wanted} == {0}
    pieces = package.manifest.files[BLOCKS].pieces
    assert [piece.name for piece in pieces] == [HEADER, "blocks.0", "blocks.1", "blocks.2"]
    block = package.manifest.graph("block", batch=1)
    assert block.ops["Gemm"] == 4
    assert block.ops["LayerNormalization"] == 2


def test_program_does_not_grow_with_depth(stoic: tuple[Model, Runner], tmp_path: Path) -> None:
    config = STACKED["stoic"]
    assert isinstance(config, Stoic.Config)
    deep = packed(tiny_model(replace(config, depth=9)), tmp_path / "a.onnx", "stack", batches=(1,), steps=1)
    files, ours = deep.manifest.files, stoic[1].manifest.files
    for role in ("stem", "block", "head"):
        name = deep.manifest.graph(role).file
        assert abs(files[name].length - ours[name].length) < 20
    assert abs(files["weights.bin"].length - ours["weights.bin"].length) < 1000


def test_weights_are_read_where_they_lie(stoic: tuple[Model, Runner]) -> None:
    files = open_package(stoic[1].files.folder).files
    blocks = Blocks(files.folder / BLOCKS, files.manifest.files[BLOCKS], 3)
    shape = (96, 32)
    view = blocks.view(2, "attention.qkv.weight", shape)
    assert np.shares_memory(view, np.frombuffer(blocks.map, np.uint8))
    np.testing.assert_array_equal(view, blocks_of(stoic[0])[2].get_parameter("attention.qkv.weight").numpy())
    for wrong in ((2, "attention.qkv.weight", (32, 96)), (2, "attention.qkv", shape)):
        with pytest.raises(PackageError, match="pack it again"):
            blocks.view(*wrong)


def test_the_sheet_lies_beside_the_graphs(stoic: tuple[Model, Runner]) -> None:
    sheet = json.loads((stoic[1].files.folder / "workload.json").read_text())
    assert sheet["macs_of_all_blocks"] == workload(stoic[0]).macs
    assert "workload.json" in stoic[1].manifest.files


def spoil(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    put(path, data)


def put(path: Path, data: bytes | bytearray) -> None:
    """Another file of this name, as a copy makes it: one that is mapped must not shrink."""
    path.unlink()
    path.write_bytes(data)


def refused(runner: Runner, said: str = "not those that were packed") -> None:
    with pytest.raises(PackageError, match=said) as caught:
        sample(runner, seeds=[0], steps=1)
    assert len(str(caught.value).splitlines()) == 1


def test_a_spoilt_block_is_refused_when_it_is_first_read(folder: Path) -> None:
    """The last block's last byte, and weights before it: the first blocks alone still run, all together never."""
    spoil(folder / BLOCKS, -1)
    package = open_package(folder)
    package.prepare(2)
    assert len(sample(package.first(2), seeds=[0], steps=1)) == 1
    refused(package, r"blocks\.2: its bytes")
    refused(package, r"blocks\.2: its bytes")  # and again
    with pytest.raises(PackageError, match="not those that were packed"):
        verify(folder)


@pytest.mark.parametrize("name", [BLOCKS, "weights.bin", "block-8x8-b2.onnx", "stem-8x8-b2.onnx", "head-8x8-b2.onnx"])
def test_any_byte_counts(folder: Path, name: str) -> None:
    path, rng = folder / name, np.random.default_rng(0)
    whole = path.read_bytes()
    for place in sorted({0, 9, len(whole) - 1, *rng.integers(0, len(whole), 8).tolist()}):
        spoil(path, place)
        with pytest.raises(PackageError):
            draw(open_package(folder))
        put(path, whole)
    assert np.isfinite(draw(open_package(folder))).all()


@pytest.mark.parametrize("change", ["cut", "empty", "gone", "longer"])
def test_weights_that_are_not_whole(folder: Path, change: str) -> None:
    path = folder / BLOCKS
    data = path.read_bytes()
    if change == "gone":
        path.unlink()
    else:
        put(path, {"cut": data[:-64], "empty": b"", "longer": data + bytes(64)}[change])
    with pytest.raises(PackageError, match=r"blocks\.safetensors"):
        open_package(folder).prepare(2)


def header_of(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Change the table of tensors and keep its length."""

    def edit(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        values = json.loads(data[8 : 8 + length])
        change(values)
        text = json.dumps(values, separators=(",", ":")).encode().ljust(length)
        assert len(text) == length
        return data[:8] + text + data[8 + length :]

    return edit


QKV = "blocks.2.attention.qkv.weight"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda data: (1 << 62).to_bytes(8, "little") + data[8:], "no whole safetensors file"),
        (lambda data: data[:8] + b"[" + data[9:], "no whole safetensors file"),
        (header_of(lambda v: v.update({QKV: {}})), "no whole safetensors file"),
        (header_of(lambda v: v.pop(QKV)), "has no attention.qkv.weight"),
        (header_of(lambda v: v[QKV].update(dtype="F16")), "has no attention.qkv.weight"),
        (header_of(lambda v: v[QKV].update(shape=[1, 1])), "has no attention.qkv.weight"),
        (header_of(lambda v: v[QKV].update(data_offsets=[0, 12288])), "lies outside block 2"),
        (header_of(lambda v: v[QKV].update(data_offsets=[-9999, 2289])), "lies outside block 2"),
    ],
)
def test_a_forged_header_leads_nowhere(folder: Path, edit: Callable[[bytes], bytes], said: str) -> None:
    """Hashes made to agree: what is then left is one line, and no read outside of the block."""
    path, manifest = folder / BLOCKS, read_manifest(folder)
    put(path, edit(path.read_bytes()))
    with open(path, "rb") as file:
        pieces = tuple(
            replace(piece, sha256=hashlib.sha256(file.read(piece.length)).hexdigest())
            for piece in manifest.files[BLOCKS].pieces
        )
    write_manifest(
        folder, replace(manifest, files={**manifest.files, BLOCKS: replace(manifest.files[BLOCKS], pieces=pieces)})
    )
    refused(open_package(folder), said)


def test_a_stem_that_asks_for_what_nobody_has(folder: Path) -> None:
    manifest = read_manifest(folder)
    stem, *others = sorted(manifest.graphs, key=lambda graph: graph.role != "stem")
    inputs = (replace(stem.inputs[0], name="rows"), *stem.inputs[1:])
    write_manifest(folder, replace(manifest, graphs=(replace(stem, inputs=inputs), *others)))
    refused(open_package(folder), "rows")


@pytest.mark.parametrize("kept", [(), (1, 2, 3), (0, 1, 2), (0, 1, 3), (0, 2, 1, 3)])
def test_pieces_must_cover_the_file(folder: Path, kept: tuple[int, ...]) -> None:
    """No byte goes unchecked because a manifest does not name it."""
    manifest = read_manifest(folder)
    file = manifest.files[BLOCKS]
    changed = replace(file, pieces=tuple(file.pieces[k] for k in kept))
    write_manifest(folder, replace(manifest, files={**manifest.files, BLOCKS: changed}))
    refused(open_package(folder), "do not cover it")


def test_what_goes_wrong_ahead_is_said_to_the_caller(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = check_piece

    def failing(path: Path, piece: Any, data: Any) -> None:
        if piece.name == "blocks.1":
            raise PackageError("the disk went away")
        check(path, piece, data)

    monkeypatch.setattr("brickwork.device.stack.check_piece", failing)
    package = open_package(folder)
    assert len(sample(package.first(1), seeds=[0], steps=1)) == 1
    refused(package, "the disk went away")


def test_blocks_are_checked_where_no_thread_can_be_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", none)
    assert len(sample(open_package(folder), seeds=[0], steps=1)) == 1
    spoil(folder / BLOCKS, -1)
    refused(open_package(folder))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: tiny_model("uvit"), "long skips join the blocks of this Uvit"),
        (lambda: tiny_model("lego"), "the parts of Lego are not equal blocks"),
        (lambda: tiny_model(Stoic.Config(width=32, heads=2, depth=3, long_skip="add", **IMAGE)), "long skips"),
        (lambda: hosted(), "a guest runs before"),
    ],
)
@pytest.mark.parametrize("layout", ["stack", "scan"])
def test_models_that_are_no_stack(model: Callable[[], Model], said: str, layout: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        packed(model(), tmp_path / "a.onnx", layout)
    assert "layout whole" in str(caught.value)
    assert not list(tmp_path.iterdir())


def hosted() -> Model:
    guest, config = tiny_model("lego"), CONFIGS["lego"]
    assert isinstance(config, Lego.Config)
    network = replace(config, guest=True).build()
    return Model(network, guest.process, guest.prediction, guest.codec, guest=guest)


CHILD = """
import json, resource, sys
from pathlib import Path
import onnxruntime
from brickwork.device.runner import open_package
from brickwork.errors import BrickworkError
from brickwork.sampling.loop import sample

def held(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))

limit = held("VmData") + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    images = sample(open_package(Path(sys.argv[1]), threads=1), seeds=[0], steps=1)
    print(json.dumps({"sum": int(images.sum()), "anonymous": held("RssAnon"), "file": held("RssFile")}))
except BrickworkError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_weights_larger_than_the_memory_that_is_allowed(tmp_path: Path) -> None:
    """Private memory limited to 48 MB more than the empty process has, and 76 MB of weights."""
    config = Stoic.Config(width=512, depth=6, size=8, channels=3)
    model = tiny_model(config)
    said = {}
    for layout in ("whole", "stack"):
        place = tmp_path / layout
        packed(model, place, layout, batches=(1,), steps=1)
        words = [sys.executable, "-c", CHILD, str(place), str(48_000_000)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        said[layout] = json.loads(done.stdout)
    assert "not enough memory" in said["whole"]["error"]
    assert "--layout stack" in said["whole"]["error"]
    assert len(said["whole"]["error"].splitlines()) == 1
    images = sample(model, seeds=[0], steps=1)
    assert abs(said["stack"]["sum"] - int(images.sum())) <= 8 * 8 * 3
    assert said["stack"]["file"] > 76_000_000
