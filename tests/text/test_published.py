"""Tiny CLIP and T5 of random weights, saved as transformers saves them: read back, and refused when they are others."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.errors import CheckpointError, ConfigError, MissingExtraError
from brickwork.files.schema import from_entry, to_entry
from brickwork.text.cache import embedded
from brickwork.text.published import T5, Clip, PublishedConfig, PublishedEncoder
from brickwork.text.table import TEXTS

transformers: Any = pytest.importorskip("transformers")

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CAPTIONS = ["a red ball", "", "ball", "  ", "a very long caption of many words"]
KINDS: dict[str, type[PublishedConfig]] = {"clip": Clip.Config, "t5": T5.Config}


def save_clip(folder: Path, *, whole: bool = False, seed: int = 0) -> None:
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{c}</w>" for c in LETTERS)]
    tokenizer = transformers.CLIPTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}, merges=[])
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(vocabulary), "max_position_embeddings": 12, "projection_dim": 8} | sizes
    text |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    torch.manual_seed(seed)
    if whole:
        vision = sizes | {"image_size": 8, "patch_size": 4, "projection_dim": 8}
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        net = transformers.CLIPModel(config)
    else:
        net = transformers.CLIPTextModel(transformers.CLIPTextConfig(**text))
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_t5(folder: Path, *, whole: bool = False, seed: int = 0) -> None:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((c, -3.0) for c in LETTERS)]
    tokenizer = transformers.T5Tokenizer(vocab=pieces, extra_ids=0)
    config = transformers.T5Config(
        vocab_size=len(pieces), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    torch.manual_seed(seed)
    kind = transformers.T5ForConditionalGeneration if whole else transformers.T5EncoderModel
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


SAVERS: dict[str, Callable[..., None]] = {"clip": save_clip, "t5": save_t5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    for kind, saver in SAVERS.items():
        saver(root / kind)
    return {kind: root / kind for kind in SAVERS}


def build(kind: str, folder: Path, **options: Any) -> PublishedEncoder:
    return KINDS[kind](source=str(folder), **options).build()


def embed(encoder: PublishedEncoder, captions: list[str]) -> torch.Tensor:
    return encoder(torch.from_numpy(encoder.tokenize(captions)))


def published(kind: str, folder: Path, caption: str) -> np.ndarray:
    """By transformers alone, one caption without padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    net = getattr(transformers, {"clip": "CLIPTextModel", "t5": "T5EncoderModel"}[kind]).from_pretrained(folder).eval()
    with torch.no_grad():
        return net(**tokenizer([caption], return_tensors="pt")).last_hidden_state[0].numpy()


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_the_published_hidden_states_and_zeros_behind(kind: str, folders: dict[str, Path]) -> None:
    encoder = build(kind, folders[kind], length=12)
    out = embed(encoder, CAPTIONS)
    assert out.shape == (5, 12, 16)
    assert out.dtype == torch.float32
    for row in (0, 2):
        expected = published(kind, folders[kind], CAPTIONS[row])
        np.testing.assert_allclose(out[row, : len(expected)], expected, rtol=1e-4, atol=1e-5)
        assert not out[row, len(expected) :].any()
    assert not out[1].any()
    assert not out[3].any()
    assert out.isfinite().all()


def test_tokens_are_the_published_ones_plus_one(folders: dict[str, Path]) -> None:
    tokens = build("clip", folders["clip"], length=6).tokenize(["ab", "", "abcdefgh"])
    a, last_b = 2, 2 + 26 + 1
    assert tokens[0].tolist() == [1, a + 1, last_b + 1, 2, 0, 0]
    assert not tokens[1].any()
    assert tokens[2].tolist() == [1, 3, 4, 5, 6, 2]  # cut, and ended as the tokenizer ends it
    assert build("t5", folders["t5"], length=4).tokenize(["ab"])[0].tolist() == [4, 5, 6, 2]


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_half_a_character_is_read_as_its_sign(kind: str, folders: dict[str, Path]) -> None:
    encoder = build(kind, folders[kind])
    assert (encoder.tokenize(["ab\ud83d"]) == encoder.tokenize(["ab\ufffd"])).all()


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_frozen_and_fitted(kind: str, folders: dict[str, Path]) -> None:
    config = KINDS[kind](source=str(folders[kind]))
    assert (config.num_tokens, config.token_width, config.trained) == (0, 0, False)
    fitted = config.fitted(CAPTIONS)
    assert (fitted.num_tokens, fitted.token_width) == ({"clip": 12, "t5": 77}[kind], 16)
    assert len(fitted.digest) == 64
    assert fitted.fitted(["others"]) == fitted
    encoder = fitted.build()
    assert encoder.config == fitted
    assert config.build().config == fitted
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert from_entry(TEXTS, json.loads(json.dumps(to_entry(TEXTS, fitted))), "text encoder") == fitted


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_out_of_a_whole_model(kind: str, tmp_path: Path) -> None:
    """CLIP with its image half, T5 with its decoder: the text encoder alone is read."""
    SAVERS[kind](tmp_path, whole=True)
    encoder = build(kind, tmp_path, length=12)
    expected = published(kind, tmp_path, "ball")
    np.testing.assert_allclose(embed(encoder, ["ball"])[0, : len(expected)], expected, rtol=1e-4, atol=1e-5)


def test_text_encoder_and_tokenizer_in_folders_of_their_own(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["clip"], tmp_path / "text_encoder")
    shutil.copytree(folders["clip"], tmp_path / "tokenizer")
    for file in (tmp_path / "text_encoder").glob("tokenizer*"):
        file.unlink()
    found = KINDS["clip"](source=str(tmp_path)).fitted(())
    assert found.digest == KINDS["clip"](source=str(folders["clip"])).fitted(()).digest


def test_another_encoder_in_its_place_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    fitted = T5.Config(source=str(folders["t5"])).fitted(())
    save_t5(tmp_path / "other", seed=1)
    moved = replace(fitted, source=str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match="is not the one that is meant") as caught:
        moved.build()
    assert fitted.digest[:12] in str(caught.value)
    with pytest.raises(CheckpointError, match="is not the one that is meant"):
        moved.fitted(())


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_the_other_kind_is_refused(kind: str, folders: dict[str, Path]) -> None:
    other = {"clip": "t5", "t5": "clip"}[kind]
    with pytest.raises(CheckpointError, match=r"is a (t5|clip_text_model), not a (CLIP|T5)"):
        build(kind, folders[other])


def test_sizes_that_it_has_not(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"text length 13: .* takes at most 12 tokens"):
        build("clip", folders["clip"], length=13)
    with pytest.raises(ConfigError, match=r"text width 17: that of .* is 16"):
        build("t5", folders["t5"], width=17)
    with pytest.raises(ConfigError, match="text length -1"):
        Clip.Config(length=-1)
    with pytest.raises(ConfigError, match="no source of a T5 encoder"):
        T5.Config(source="")


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    config = T5.Config(source=str(tmp_path / "nothing"), length=5, width=6, digest="ab" * 32)
    with pytest.raises(
        CheckpointError, match=r"missing text encoder: .*nothing, a T5 encoder \(digest abababababab\)"
    ) as error:
        config.build()
    assert "no such folder" in str(error.value)
    assert "\n" not in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"missing text encoder: .*the folder has no config\.json"):
        T5.Config(source=str(tmp_path / "empty")).build()


def test_the_hub_is_asked_for_safetensors_alone(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub: Any = pytest.importorskip("huggingface_hub")
    asked: list[tuple[str, bool]] = []

    def download(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        asked.append((name, local_files_only))
        assert not any(pattern.endswith((".bin", "*")) for pattern in allow_patterns)
        if local_files_only:
            raise FileNotFoundError("not cached")
        return str(folders["t5"])

    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert build("t5", Path("someone/t5")).config.source == "someone/t5"
    assert asked == [("someone/t5", True), ("someone/t5", False)]

    def fail(name: str, **_: Any) -> str:
        raise OSError("offline\nand more")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=r"missing text encoder: someone/t5.* the Hub: offline\)"):
        build("t5", Path("someone/t5"))


def test_a_config_of_a_network_that_cannot_run(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(folders["clip"], folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"num_attention_heads": -1}))
    with pytest.raises(CheckpointError, match=r"config\.json|cannot be read") as caught:
        build("clip", folder)(torch.ones(1, 4, dtype=torch.int64))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("pickle", r"holds pytorch_model\.bin, which is a pickle"),
        ("no weights", r"lacks model\.safetensors"),
        ("truncated", r"cannot be read|no whole safetensors"),
        ("sparse", "no whole safetensors"),
        ("half", "lacks the weights"),
        ("no tokenizer", r"holds no tokenizer \(tokenizer\.json"),
        ("broken tokenizer", "holds no tokenizer that can be read"),
        ("other tokenizer", "has 54 tokens and the encoder 30"),
        ("config", r"holds no config\.json that can be read"),
        ("no padding", "names no token for padding"),
    ],
)
def test_broken_folders(change: str, says: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "t5"
    shutil.copytree(folders["t5"], folder)
    weights = folder / "model.safetensors"
    if change == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif change == "no weights":
        weights.unlink()
    elif change == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif change == "sparse":
        with weights.open("r+b") as file:
            file.truncate(1 << 40)
    elif change == "half":
        from safetensors.torch import load_file, save_file

        kept = {name: tensor for name, tensor in load_file(weights).items() if "block.1" not in name}
        save_file(kept, weights, {"format": "pt"})
    elif change == "no tokenizer":
        for file in folder.glob("tokenizer*"):
            file.unlink()
    elif change == "broken tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif change == "other tokenizer":
        for file in folders["clip"].glob("tokenizer*"):
            shutil.copy(file, folder)
    elif change == "no padding":
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": None}))
    else:
        (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=says) as caught:
        build("t5", folder)
    assert "\n" not in str(caught.value)


def test_without_transformers(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r'a T5 encoder needs transformers: pip install "brickwork\[text\]"'):
        build("t5", folders["t5"])


def test_sharded_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    net = transformers.T5EncoderModel.from_pretrained(folders["t5"])
    shutil.copytree(folders["t5"], tmp_path / "t5")
    (tmp_path / "t5" / "model.safetensors").unlink()
    net.save_pretrained(tmp_path / "t5", max_shard_size=4000)
    assert len(list((tmp_path / "t5").glob("model-*.safetensors"))) > 1
    one, many = (embed(build("t5", folder, length=8), ["ball"]) for folder in (folders["t5"], tmp_path / "t5"))
    assert torch.equal(one, many)
    next((tmp_path / "t5").glob("model-*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match=r"lacks model-0000"):
        build("t5", tmp_path / "t5")


def test_cached_embeddings_of_a_published_encoder(folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = build("clip", folders["clip"])
    found = embedded(encoder, CAPTIONS, tmp_path, dtype="float32")
    np.testing.assert_allclose(found[np.arange(len(CAPTIONS))], embed(encoder, CAPTIONS), rtol=1e-5, atol=1e-6)


def test_transformers_speaks_again_afterwards(folders: dict[str, Path]) -> None:
    before = transformers.logging.get_verbosity()
    build("clip", folders["clip"])
    assert transformers.logging.get_verbosity() == before
