"""One file is one model, and every other file is refused in one line."""

from __future__ import annotations

import errno
import json
import os
import pickle
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from local_hub import local_hub
from PIL import Image
from safetensors.torch import save as to_bytes
from safetensors.torch import save_file
from tiny_models import tiny_model

from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.codec.image_condition import Coarse
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import Velocity
from brickwork.diffusion.process import Edm, LinearFlow
from brickwork.errors import ArgumentError, CheckpointError, ConfigError, MissingExtraError, OutputError
from brickwork.files.header import open_tensors
from brickwork.files.tensors import read_tensors, write_tensors
from brickwork.model import hub
from brickwork.model.checkpoint import digest_of, load, named_weights, read_header, save
from brickwork.model.header import HEADER, MODEL_FILE, find_model
from brickwork.model.model import Model


def make_model(seed: int = 0, **fields: Any) -> Model:
    torch.manual_seed(seed)
    config = replace(Stoic.Config(width=32, depth=2, heads=2, size=8, channels=1, num_classes=3), **fields)
    classes = ("cat", "dog", "owl")
    return Model(config.build(), LinearFlow(), Velocity(), Pixels(num_channels=1), classes, {"images": 7}).eval()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save(make_model(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_loaded_model_draws_what_the_saved_one_drew(file: Path) -> None:
    model, again = make_model(), load(file)
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.3, 4.0])
    condition = Condition(labels=torch.tensor([2, -1]))
    assert torch.equal(model(x, sigma, condition), again(x, sigma, condition))
    assert again.classes == ("cat", "dog", "owl")
    assert again.facts == {"images": 7}
    assert again.process == LinearFlow()
    assert len(again.digest) == 64


@pytest.mark.parametrize("position", ["none", "learned", "sincos", "rope", "coordinates"])
def test_every_table_survives_the_file(tmp_path: Path, position: str) -> None:
    model = make_model(position=position)
    save(model, tmp_path / "a.safetensors")
    x, sigma = torch.randn(1, 1, 8, 8), torch.tensor([1.0])
    assert torch.equal(model(x, sigma, Condition()), load(tmp_path / "a.safetensors")(x, sigma, Condition()))


def test_a_run_folder_is_a_model(file: Path) -> None:
    assert find_model(file.parent) == file
    assert read_header(file.parent)["backbone"][0] == "stoic"


def test_bytes_do_not_depend_on_when_they_were_written(file: Path, tmp_path: Path) -> None:
    save(make_model(), tmp_path / "again.safetensors")
    assert file.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def refuse(path: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load(path)
    message = str(error.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message


def test_missing(tmp_path: Path) -> None:
    refuse(tmp_path / "none.safetensors", "no file")


def test_folder_without_model(tmp_path: Path) -> None:
    refuse(tmp_path, "holds no model.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated(file: Path, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    refuse(file)


def test_foreign_safetensors(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    refuse(tmp_path / "foreign.safetensors", "not a model of brickwork")


def test_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_text("hello, I am a text file and not a model")
    refuse(tmp_path / "a.safetensors")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("exploded").write_text, ("boom",))


def test_a_pickle_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.safetensors").write_bytes(pickle.dumps(Bomb()))
    refuse(tmp_path / "old.safetensors", "pickle")
    torch.save({"a": torch.zeros(2)}, tmp_path / "new.safetensors")
    refuse(tmp_path / "new.safetensors", "pickle")
    assert not (tmp_path / "exploded").exists()


def rewrite(file: Path, change: Any) -> None:
    tensors, metadata = read_tensors(file)
    header = json.loads(metadata[HEADER])
    change(header)
    save_file(tensors, file, {HEADER: json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda h: h["backbone"][1].update(width=64), "different networks"),
        (lambda h: h["backbone"][1].update(depth=3), "different networks"),
        (lambda h: h["backbone"][1].update(width=33), "33"),
        (lambda h: h["backbone"][1].update(width=10**9), "width"),
        (lambda h: h["backbone"][1].update(depth=10**9), "depth"),
        (lambda h: h["backbone"][1].update(wings=2), "wings"),
        (lambda h: h["backbone"].__setitem__(0, "stoc"), "stoic"),
        (lambda h: h.update(classes=["a"]), "class names"),
    ],
)
def test_a_header_that_lies(file: Path, change: Any, word: str) -> None:
    rewrite(file, change)
    refuse(file, word)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda h: (h.clear(), h.update(format=1)), "lacks backbone, process, target, codec, classes, training"),
        (lambda h: h.clear(), "no format"),
        (lambda h: h.update(format=0), "format 0"),
        (lambda h: h.update(format=-1), "format -1"),
        (lambda h: h.update(format=99), "upgrade"),
        (lambda h: h.update(format=1.5), "1.5"),
        (lambda h: h.update(format=True), "True"),
        (lambda h: h.update(format="new"), "'new'"),
        (lambda h: h.update(format=None), "None"),
        *((lambda h, k=k: h.pop(k), k) for k in ("backbone", "process", "target", "codec", "classes", "training")),
        *((lambda h, k=k: h.update({k: "x"}), k) for k in ("backbone", "process", "target", "codec", "classes")),
        (lambda h: h.update(backbone=["stoic"]), "[name, fields]"),
        (lambda h: h.update(backbone=["stoic", [1]]), "[name, fields]"),
        (lambda h: h.update(process=[3, {}]), "[name, fields]"),
        (lambda h: h.update(target=["velcity", {}]), "velocity"),
        (
            lambda h: h["backbone"][1].update(width="wide"),
            "backbone.width is 'wide': it must be a whole number, at least 1; copy or train it again",
        ),
        (lambda h: h["backbone"][1].update(width=None), "width is None: it must be a whole number"),
        (lambda h: h["backbone"][1].update(width=32.0), "width is 32.0: it must be a whole number"),
        (lambda h: h["backbone"][1].update(depth=[2]), "depth is [2]: it must be a whole number"),
        (lambda h: h["backbone"][1].update(heads="two"), "heads is 'two': it must be a whole number"),
        (lambda h: h["backbone"][1].update(qk_norm=1), "qk_norm is 1: it must be true or false"),
        (lambda h: h["backbone"][1].update(position="polar"), "sincos"),
        (lambda h: h["backbone"][1].update(depth=10**9), "depth"),
        (lambda h: h["process"][1].update(t_max="end"), "process.t_max is 'end': it must be a number"),
        (lambda h: h["codec"][1].update(num_channels={}), "num_channels"),
        (lambda h: h.update(classes=["a", 1, "c"]), "list of names"),
        (lambda h: h.update(classes=None), "list of names"),
        (lambda h: h.update(training=["a"]), "training"),
        (lambda h: h.update(prediction=h["target"]), "target and prediction: they are the former and the present name"),
        (lambda h: h.update(image_condition=h["given"]), "leave out the former"),
        (
            lambda h: h["backbone"][1].update(condition_channels=0),
            "backbone.given_channels and backbone.condition_chan",
        ),
    ],
)
def test_a_foreign_header_is_refused_before_anyone_uses_it(file: Path, change: Any, word: str) -> None:
    """``info`` and ``macs`` read the header alone: they must refuse what ``load`` refuses, in the same line."""
    rewrite(file, change)
    refuse(file, word)
    with pytest.raises(CheckpointError) as error:
        read_header(file)
    assert word in str(error.value)


COARSE_OF_0_1 = """{
    "format": 2,
    "backbone": ["stoic", {"size": 8, "channels": 1, "num_classes": 0, "text_length": 0, "text_width": 0,
        "given_channels": 1, "width": 16, "depth": 1, "heads": 1}],
    "process": ["flow", {}], "target": ["velocity", {}], "codec": ["pixels", {"num_channels": 1}],
    "given": ["coarse", {"scale": 2}], "text": ["none", {}], "classes": [], "training": {}
}"""


def test_an_image_condition_of_0_1(tmp_path: Path) -> None:
    """Its keys ``given`` and ``given_channels`` are read, and written as they were, so that digests stay."""
    config = Stoic.Config(width=16, depth=1, heads=1, size=8, channels=1, condition_channels=1)
    save_file(config.build().state_dict(), tmp_path / "old.safetensors", {HEADER: COARSE_OF_0_1})
    model = load(tmp_path / "old.safetensors")
    assert model.image_condition == Coarse(scale=2)
    assert model.backbone.config == config
    digest = digest_of(model)
    save(model, tmp_path / "new.safetensors")
    header = json.loads(read_tensors(tmp_path / "new.safetensors")[1][HEADER])
    assert list(header) == list(json.loads(COARSE_OF_0_1))
    assert header["given"] == ["coarse", {"scale": 2}]
    assert list(header["backbone"][1].items())[5] == ("given_channels", 1)
    header.pop("training")
    tensors = {name: tensor.contiguous() for name, tensor in named_weights(model).items()}
    assert digest == sha256(to_bytes(tensors, {HEADER: json.dumps([header])})).hexdigest()


@pytest.mark.parametrize("text", ["", "[", "[1]", "3", "null", "[" * 100_000])
def test_a_header_that_is_no_table(file: Path, text: str) -> None:
    save_file(read_tensors(file)[0], file, {HEADER: text})
    refuse(file, "header")


def test_an_int_will_do_for_a_float(file: Path) -> None:
    rewrite(file, lambda h: h.update(process=["edm", {"t_max": 40}]))
    assert load(file).process == Edm(t_max=40)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_width_become_float32(file: Path, dtype: torch.dtype) -> None:
    tensors, metadata = read_tensors(file)
    save_file({k: v.to(dtype) for k, v in tensors.items()}, file, metadata)
    model = load(file)
    assert {p.dtype for p in model.backbone.state_dict().values()} == {torch.float32}
    assert all(torch.equal(v, tensors[k].to(dtype).float()) for k, v in model.backbone.state_dict().items())
    assert model(torch.randn(1, 1, 8, 8), torch.tensor([1.0]), Condition()).dtype == torch.float32


def test_weights_that_are_no_floats_are_refused(file: Path) -> None:
    tensors, metadata = read_tensors(file)
    save_file({k: v.to(torch.int8) for k, v in tensors.items()}, file, metadata)
    refuse(file, "I8", "F32")


def test_channels_of_backbone_and_codec_must_agree() -> None:
    config = Stoic.Config(width=32, depth=1, heads=2, size=8, channels=3)
    with pytest.raises(ConfigError, match="channels"):
        Model(config.build(), LinearFlow(), Velocity(), Pixels(num_channels=1))


def test_a_full_disk_leaves_the_previous_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for place in ("brickwork.files.tensors.save_file", "os.fsync", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(OutputError, match="No space left"):
                save(make_model(1), file)
        assert file.read_bytes() == before
        assert list(file.parent.iterdir()) == [file]


def test_an_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_tensors(tmp_path / "file" / "model.safetensors", {"a": torch.zeros(1)}, {})


def test_the_hub_goes_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "hub"
    local_hub(store, monkeypatch)
    model = make_model()
    assert hub.push_to_hub(model, "me/birds", licence="apache-2.0", pictures=2) == "commit"
    card = huggingface_hub.ModelCard.load(store / "me/birds/README.md")
    assert card.data.to_dict() == {
        "library_name": "brickwork",
        "license": "apache-2.0",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["brickwork", "diffusion", "stoic"],
    }
    assert "pictures.png" in card.text
    with Image.open(store / "me/birds/pictures.png") as picture:
        assert picture.width > 2 * 90
    with open_tensors(store / "me/birds" / MODEL_FILE) as file:
        assert file.metadata()["format"] == "pt"
    again = hub.from_pretrained("me/birds")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(CheckpointError, match=r"of 'me/none' from the Hub: 404: me/none$"):
        hub.from_pretrained("me/none")
    with pytest.raises(OutputError, match="cannot upload to 'others/birds': 403 Forbidden: others/birds; check"):
        hub.push_to_hub(model, "others/birds", pictures=0)


def test_a_missing_hub_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"brickwork\[hub\]"):
        hub.from_pretrained("me/birds")


@pytest.mark.parametrize(
    "facts",
    [{"a": float("nan")}, {"a": "\ud800"}, {"a": {1}}, {"a": 10**5000}, [1]],
    ids=["nan", "half", "set", "long", "list"],
)
def test_facts_that_could_not_be_read_again_leave_the_old_file(facts: Any, tmp_path: Path) -> None:
    model, path = tiny_model("stoic"), tmp_path / "a.safetensors"
    save(model, path)
    model.facts = facts
    with pytest.raises(ArgumentError, match=r"a\.safetensors: .*(JSON cannot hold|must be a table)"):
        save(model, path)
    assert load(path).facts == {}


@pytest.mark.parametrize("device", ["", "x", "cuda:99999", "xla", "cpu:x", "c\0"])
def test_a_device_that_is_not_there_is_one_line(device: str, tmp_path: Path) -> None:
    save(tiny_model("stoic"), tmp_path / "a.safetensors")
    with pytest.raises(ArgumentError, match=r"^device .*(this machine has|number)"):
        load(tmp_path / "a.safetensors", device)
