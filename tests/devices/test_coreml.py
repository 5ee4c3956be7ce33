"""Packages for Core ML: what can be known without a Mac. Run with an environment that has coremltools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from tiny_models import latent_model, text_model, tiny_model

from brickwork.device.runner import open_package
from brickwork.errors import ConfigError, PackageError
from brickwork.files.manifest import Graph, Manifest, Port, described, read_manifest, verify
from brickwork.model.model import Model
from brickwork.package import graph as graphs
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.package.precision import Precision
from brickwork.package.targets import coreml as target

pytest.importorskip("coremltools", reason="Core ML's converter is not installed", exc_type=ImportError)

# A device is built for these operators: a change must be meant. Pinned with the versions of constraints.txt.
OPS = {
    "add": 13, "concat": 2, "const": 220, "conv": 6, "cos": 1, "expand_dims": 2, "gather": 1, "gelu": 3,
    "greater_equal": 1, "layer_norm": 7, "less": 1, "linear": 13, "matmul": 6, "mul": 13, "pad": 3, "real_div": 3,
    "reshape": 30, "select": 2, "silu": 1, "sin": 1, "slice_by_index": 4, "softmax": 3, "split": 3, "sub": 2,
    "transpose": 25,
}  # fmt: skip


def packed(model: Model, out: Path, **options: Any) -> Manifest:
    """The manifest of a package, whose folder is out / "a.coreml"."""
    how = {"target": "coreml", "batches": (2,), "steps": 4, **options}
    pack(model, out / "a.coreml", Packing(**how), say=lambda line: None)
    return verify(out / "a.coreml")


@pytest.fixture(scope="module")
def stoic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    out = tmp_path_factory.mktemp("stoic")
    return out / "a.coreml", packed(tiny_model("stoic"), out)


def spec_of(folder: Path, graph: Graph) -> Any:
    """What a Mac would read, after unpacking."""
    name = graph.file.removesuffix(".zip")
    with ZipFile(folder / graph.file) as file:
        return target._spec(file.read(f"{name}/{target.SPEC}"))


def test_its_operators_names_and_shapes(stoic: tuple[Path, Manifest]) -> None:
    folder, manifest = stoic
    graph = manifest.graph("denoiser")
    assert graph.ops == OPS
    assert graph.file == "denoiser-p3-8x8-b2.mlpackage.zip"
    spec = spec_of(folder, graph)
    kinds = {feature.name: feature.type.multiArrayType for feature in spec.description.input}
    assert {name: tuple(kind.shape) for name, kind in kinds.items()} == {
        "x": (2, 3, 8, 8), "sigma": (2,), "labels": (2,),
    }  # fmt: skip
    assert [feature.name for feature in spec.description.output] == ["x0"]


def test_it_says_that_nobody_ran_it(stoic: tuple[Path, Manifest]) -> None:
    folder, manifest = stoic
    assert manifest.parity["checked"] is False
    with pytest.raises(PackageError, match="Apple's devices alone"):
        open_package(folder)


def test_it_unpacks_to_what_a_mac_opens(stoic: tuple[Path, Manifest], tmp_path: Path) -> None:
    import coremltools

    folder, manifest = stoic
    graph = manifest.graph("denoiser")
    with ZipFile(folder / graph.file) as file:
        file.extractall(tmp_path)
    model = coremltools.models.MLModel(str(tmp_path / graph.file.removesuffix(".zip")), skip_model_load=True)
    assert model.get_spec() == spec_of(folder, graph)
    assert model.weights_dir is not None


def test_packing_again_gives_the_same_bytes(stoic: tuple[Path, Manifest], tmp_path: Path) -> None:
    _, manifest = stoic
    (graph,) = target.write([graphs.denoiser(tiny_model("stoic"), 8, 8, 2)], tmp_path, Precision())
    assert described(tmp_path, graph.file) == manifest.files[graph.file]


def test_its_table_is_one_whatever_keys_were_drawn() -> None:
    def table(*keys: str) -> str:
        paths = ("com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights")
        entries = {key: {"path": path, "author": "com.apple.CoreML"} for key, path in zip(keys, paths, strict=True)}
        return json.dumps({"itemInfoEntries": entries, "rootModelIdentifier": keys[0]})

    one = target._renamed(table("0A", "FF"))
    assert one == target._renamed(table("FF", "0A"))
    assert json.loads(one)["itemInfoEntries"][json.loads(one)["rootModelIdentifier"]]["path"].endswith("mlmodel")


def test_another_shape_name_or_place_is_refused(stoic: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = stoic
    graph = manifest.graph("denoiser")
    wrong = Port(name="x0", dtype="float32", shape=(2, 3, 8, 9))
    with pytest.raises(PackageError, match=r"Core ML made .* of"):
        target.check(folder / graph.file, graph.inputs, (wrong,))
    copy, name = tmp_path / graph.file, graph.file.removesuffix(".zip")
    with ZipFile(folder / graph.file) as file, ZipFile(copy, "w") as other:
        for member in file.namelist():
            data = file.read(member)
            other.writestr(member, data[: len(data) // 2] if member == f"{name}/{target.WEIGHTS}" else data)
    with pytest.raises(PackageError, match=r"reads @model_path/weights/weight\.bin at .* not there"):
        target.check(copy, graph.inputs, graph.outputs)


def test_fp16_leaves_the_noise_levels_alone(stoic: tuple[Path, Manifest], tmp_path: Path) -> None:
    """Sines of 999 t, and the estimate from x and the network, are fp32; products with weights are fp16."""
    _, full = stoic
    half = packed(tiny_model("stoic"), tmp_path, precision="fp16")
    graph = half.graph("denoiser")
    kinds: dict[str, set[int]] = {}
    operations = list(target._operations(spec_of(tmp_path / "a.coreml", graph)))
    for op in operations:
        kinds.setdefault(op.type, set()).update(output.type.tensorType.dataType for output in op.outputs)
    float16, float32 = 10, 11  # DataType of MIL.proto
    assert kinds["sin"] == kinds["cos"] == kinds["real_div"] == {float32}
    assert kinds["linear"] == kinds["conv"] == kinds["layer_norm"] == {float16}
    assert operations[-1].outputs[0].type.tensorType.dataType == float32
    assert half.files[graph.file].length < 0.7 * full.files[graph.file].length


@pytest.mark.parametrize("name", ["lego", "tldm"])
def test_other_designs(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    manifest = packed(model, tmp_path, parts=(2, 3))
    assert [graph.parts for graph in manifest.graphs] == [2, 3]
    assert manifest.graph("denoiser", parts=2).ops["softmax"] == 2
    assert manifest.graph("denoiser", parts=3).ops["softmax"] == 3


def test_decoder_and_text_encoder(tmp_path: Path) -> None:
    for folder, model, role in (("latents", latent_model(), "decoder"), ("text", text_model(), "text")):
        manifest = packed(model, tmp_path / folder)
        assert sorted(graph.role for graph in manifest.graphs) == sorted(("denoiser", role))
    assert read_manifest(tmp_path / "text" / "a.coreml").text is not None


def test_what_cannot_be_checked_is_not_offered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="coreml packages have fp32, fp16"):
        packed(tiny_model("stoic"), tmp_path, precision="int8")
