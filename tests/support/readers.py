"""Every reader of files with a small valid input and the ways to mutate it; tests and campaigns go over this table.

A reader takes the place of a file and returns what it read; what it does with it stays as far as users come with it.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutate import Mutation, mutate_bytes, mutate_header, mutate_json

from brickwork.errors import BrickworkError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"
LINE: dict[str, Any] = {"step": 4, "images": 32, "loss": 0.5, "lr": 0.001, "held_out": {"0.5": 0.1, "2.0": 0.3}}


@dataclass(frozen=True)
class Case:
    """A reader and its input.

    Attributes:
        name: Name of the file, by whose end some readers tell what it is.
        make: Makes the bytes of a valid file.
        read: Reads a file at a place.
        key: Key of the JSON text in the metadata of a safetensors file; "" for other files.
        is_json: True where the file is one JSON value.
    """

    name: str
    make: Callable[[], bytes]
    read: Callable[[Path], Any]
    key: str = ""
    is_json: bool = False

    def mutations(self, first: int, count: int) -> Iterator[Mutation]:
        """Yield mutations by their seeds: of bytes, and of values where the file has some, in turn."""
        data = self.make()
        for seed in range(first, first + count):
            if seed % 2 and self.key:
                yield mutate_header(data, self.key, seed)
            elif seed % 2 and self.is_json:
                yield mutate_json(json.loads(data), seed)
            else:
                yield mutate_bytes(data, seed)


# ---- models, autoencoders, states -------------------------------------------------------------------------------


def _fixture(name: str) -> Callable[[], bytes]:
    return (FIXTURES / name).read_bytes


def _load(path: Path) -> Any:
    from brickwork.model.checkpoint import load

    return load(path)


def _load_codec(path: Path) -> Any:
    from brickwork.codec.file import load_codec

    return load_codec(path)


@cache
def _autoencoder() -> bytes:
    import tempfile

    from brickwork.codec.autoencoder import Autoencoder
    from brickwork.codec.file import save_codec
    from brickwork.codec.latents import Latents

    torch.manual_seed(0)
    network = Autoencoder.Config(factor=2, channels=4, width=4, encoder_depth=1, decoder_depth=1).build()
    pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        save_codec(Latents.measure(network, [pictures]), Path(folder) / "a.safetensors")
        return (Path(folder) / "a.safetensors").read_bytes()


def _resume(path: Path) -> Any:
    """Read a denoiser's state and restore it, as a resumed run does."""
    from brickwork.codec.base import Pixels
    from brickwork.model.model import Model
    from brickwork.training.denoiser.run import DENOISER
    from brickwork.training.denoiser.state import TrainState
    from brickwork.training.run.folder import RunFolder

    recipe = _stoic_recipe()
    model = Model(recipe.backbone.build(), recipe.process, recipe.prediction, Pixels(num_channels=1), ("a", "b", "c"))
    tensors, header, _ = RunFolder(path.parent, DENOISER).read()
    state = TrainState(model, recipe)
    state.restore(tensors, header)
    return state.counters, state.spent, state.lr


@cache
def _stoic_recipe() -> Any:
    from brickwork.training.denoiser.recipe_file import load_recipe

    return load_recipe(FIXTURES / "interrupted" / "stoic" / "recipe.toml")


def _resume_autoencoder(path: Path) -> Any:
    from brickwork.training.autoencoder.recipe import load_autoencoder_recipe
    from brickwork.training.autoencoder.state import AUTOENCODER, AutoencoderState
    from brickwork.training.run.folder import RunFolder

    tensors, header, _ = RunFolder(path.parent, AUTOENCODER).read()
    recipe = load_autoencoder_recipe(FIXTURES / "interrupted" / "autoencoder-vq" / "recipe.toml")
    state = AutoencoderState(recipe, torch.device("cpu"))
    state.restore(tensors, header)
    return state.counters, state.spent, state.lr


# ---- logs and recipes -------------------------------------------------------------------------------------------


def _log(path: Path) -> Any:
    """Read a log, draw its points, and rewind it, as a resumed run does."""
    from brickwork.training.run.curve import points_by_level, points_of
    from brickwork.training.run.journal import Journal, read_journal

    lines = read_journal(path)
    Journal(path, step=1000)
    return points_of(lines, "loss"), points_by_level(lines)


def _recipe(path: Path) -> Any:
    from brickwork.training.denoiser.recipe_file import load_recipe, parse_recipe, to_toml

    recipe = load_recipe(path)
    assert parse_recipe(to_toml(recipe)) == recipe
    return recipe


def _autoencoder_recipe(path: Path) -> Any:
    from brickwork.training.autoencoder.recipe import load_autoencoder_recipe

    return load_autoencoder_recipe(path)


# ---- packages ---------------------------------------------------------------------------------------------------


@cache
def _package() -> dict[str, bytes]:
    with zipfile.ZipFile(FIXTURES / "packages.zip") as packages:
        names = [name for name in packages.namelist() if name.startswith("stack/") and not name.endswith("/")]
        return {name.removeprefix("stack/"): packages.read(name) for name in names}


def _open_package(path: Path) -> Any:
    """Open a package whose sums agree with its manifest, whatever that says, and ask it for all that it states."""
    from brickwork.device.runner import open_package

    data = path.read_bytes()
    for name, content in _package().items():
        if name != path.name and not (path.parent / name).exists():
            (path.parent / name).write_bytes(content)
    sums = {path.name: hashlib.sha256(data).hexdigest()}
    try:
        files = json.loads(data)["files"]
        sums |= {name: file["sha256"] for name, file in files.items()}
        text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        (path.parent / "SHA256SUMS").write_bytes(text.encode())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        (path.parent / "SHA256SUMS").write_text("")
    runner = open_package(path.parent)
    runner.sampler.sigmas(runner.process)
    return runner.sampler, runner.sizes, runner.shape, runner.classes, runner.num_parts, runner.tokenizer


def _stack(path: Path) -> Any:
    from brickwork.device.stack import read_header

    return read_header(path)


# ---- published weights ------------------------------------------------------------------------------------------


def _weights(path: Path) -> Any:
    from brickwork.foreign.formats import read_network
    from brickwork.foreign.weights import read_state_dict

    weights = read_state_dict(path)
    with suppress(BrickworkError):  # no width that was published, so its heads are unknown
        read_network(path)
    return weights


def _torch_file(new: bool) -> Callable[[], bytes]:
    """Return a maker of a state dict of DiT as torch.save writes it, now or before 1.6."""

    @cache
    def make() -> bytes:
        width, patch, grid = 4, 1, 2
        torch.manual_seed(0)
        block = {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
            "adaLN_modulation.1": (6 * width, width),
        }
        shapes = {f"blocks.0.{name}": shape for name, shape in block.items()} | {
            "x_embedder.proj": (width, 3, patch, patch),
            "t_embedder.mlp.0": (width, 256),
            "t_embedder.mlp.2": (width, width),
            "final_layer.adaLN_modulation.1": (2 * width, width),
            "final_layer.linear": (3 * patch**2, width),
        }
        state = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
        state |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
        state["pos_embed"] = torch.randn(1, grid**2, width)
        file = io.BytesIO()
        torch.save({"ema": state, "step": 3}, file, _use_new_zipfile_serialization=new)
        return file.getvalue()

    return make


# ---- arrays -------------------------------------------------------------------------------------------------------


def _images_npz() -> bytes:
    file = io.BytesIO()
    images = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    texts = {"classes": np.array(["a", "b"]), "captions": np.array(["red", "é", ""]), "names": np.array(list("xyz"))}
    np.savez(file, images=images, labels=np.array([0, 1, 1]), split=np.array([0, 0, 2]), **texts)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def _statistics() -> bytes:
    file = io.BytesIO()
    texts = {"net": "grey", "net_sha256": "a", "data_sha256": "b"}
    np.savez(file, format=np.int64(1), num_images=np.int64(9), mean=np.zeros(3), covariance=np.eye(3), **texts)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def _array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(12.0, dtype=np.float32).reshape(3, 4))
    return file.getvalue()


def _images(path: Path) -> Any:
    from brickwork.data.dataset import load_dataset

    return load_dataset(path, progress=False).digest


def _read_statistics(path: Path) -> Any:
    from brickwork.quality.distance import Statistics

    return Statistics.load(path)


def _command_array(path: Path) -> Any:
    from brickwork.device.command import _array

    return _array(path)


# ---- pictures and settings --------------------------------------------------------------------------------------


def _facts(path: Path) -> Any:
    from brickwork.files.picture import read_facts

    return read_facts(path)


CASES: dict[str, Case] = {
    "model": Case("model.safetensors", _fixture("models/tldm.safetensors"), _load, key="brickwork"),
    "guest": Case("model.safetensors", _fixture("models/lego-guest.safetensors"), _load, key="brickwork"),
    "autoencoder": Case("autoencoder.safetensors", _autoencoder, _load_codec, key="brickwork-autoencoder"),
    "state": Case("state.safetensors", _fixture("interrupted/stoic/state.safetensors"), _resume, key="brickwork-state"),
    "autoencoder-state": Case(
        "state.safetensors",
        _fixture("interrupted/autoencoder-vq/state.safetensors"),
        _resume_autoencoder,
        key="brickwork-autoencoder-state",
    ),
    "log": Case("log.jsonl", lambda: (json.dumps(LINE) + "\n").encode() * 8, _log),
    "log-line": Case("log.jsonl", lambda: json.dumps(LINE).encode(), _log, is_json=True),
    "recipe": Case("recipe.toml", _fixture("interrupted/stoic/recipe.toml"), _recipe),
    "autoencoder-recipe": Case("recipe.toml", _fixture("interrupted/autoencoder-vq/recipe.toml"), _autoencoder_recipe),
    "manifest": Case("manifest.json", lambda: _package()["manifest.json"], _open_package, is_json=True),
    "torch-zip": Case("a.pt", _torch_file(new=True), _weights),
    "torch-old": Case("a.pt", _torch_file(new=False), _weights),
    "npz": Case("a.npz", _images_npz, _images),
    "statistics": Case("a.npz", _statistics, _read_statistics),
    "npy": Case("a.npy", _array, _command_array),
    "stack": Case("blocks.safetensors", lambda: _package()["blocks.safetensors"], _stack),
    "picture": Case("a.png", _fixture("pictures/label1_seed3.png"), _facts),
}
