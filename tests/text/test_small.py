"""Small encoders: known vocabularies, and nothing that padding or company can change."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import text_model
from torch import Tensor

import brickwork as bw
from brickwork.cli import main
from brickwork.errors import BrickworkWarning, ConfigError
from brickwork.files.schema import from_entry, to_entry
from brickwork.files.tokenizers import words_of
from brickwork.text.small import Bytes, SmallConfig, SmallEncoder, Words
from brickwork.text.table import TEXTS

CAPTIONS = ["Woman, dark skin", "man: dark-skin!", "flag of Côte d’Ivoire", "", "!?"]
SMALL: dict[str, Any] = {"width": 16, "heads": 2}


def words(**options: Any) -> SmallEncoder:
    torch.manual_seed(0)
    return Words.Config(**SMALL | options).fitted(CAPTIONS).build()


def either(kind: str, **options: Any) -> SmallEncoder:
    torch.manual_seed(0)
    encoder = TEXTS[kind](**SMALL | options).fitted(CAPTIONS).build()
    assert isinstance(encoder, SmallEncoder)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return encoder


def embed(encoder: SmallEncoder, captions: list[str]) -> Tensor:
    with torch.no_grad():
        return encoder(torch.from_numpy(encoder.tokenize(captions)))


def test_words_are_runs_of_letters_and_digits() -> None:
    assert words_of("Keycap: 10!") == ["keycap", "10"]
    assert words_of("snake_case d’Or") == ["snake", "case", "d", "or"]
    assert words_of("Ｆｕｌｌ 日本") == ["full", "日本"]
    assert words_of("*** ...") == []


def test_vocabulary_is_by_frequency_then_alphabet() -> None:
    config = Words.Config(length=5).fitted(CAPTIONS)
    assert config.words == ("dark", "skin", "côte", "d", "flag", "ivoire", "man", "of", "woman")
    assert Words.Config(max_words=3).fitted(CAPTIONS).words == ("dark", "skin", "côte")
    assert Words.Config(min_count=2).fitted(CAPTIONS).words == ("dark", "skin")
    assert config.fitted(["other"]) is config


def test_tokens_of_words() -> None:
    tokens = words(length=4).tokenize(["skin DARK cat", "", "dark dark dark dark dark", "?"])
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [[3, 2, 0, 0], [0, 0, 0, 0], [2, 2, 2, 2], [0, 0, 0, 0]]


@pytest.mark.parametrize("options", [{"min_count": 2}, {"max_words": 2}])
def test_words_that_training_left_out_have_a_token(options: dict) -> None:
    assert words(length=4, **options).tokenize(["man dark cat", "skin"]).tolist() == [[1, 2, 1, 0], [3, 0, 0, 0]]


def test_words_that_training_never_met_are_passed_over() -> None:
    encoder = words()
    assert torch.equal(embed(encoder, ["a dark cat"]), embed(encoder, ["dark"]))
    assert not embed(encoder, ["cat"]).any()


def test_tokens_of_bytes() -> None:
    tokens = either("bytes", length=4).tokenize(["aB", "é!", "abcdef", "", "\0"])
    assert tokens.tolist() == [[98, 99, 0, 0], [196, 170, 34, 0], [98, 99, 100, 101], [0] * 4, [1, 0, 0, 0]]


def test_parameters_by_hand() -> None:
    E, M, depth, symbols = 16, 5, 3, 11
    block = 4 * E + 3 * E * E + (E * E + E) + (4 * E * E + 4 * E) + (4 * E * E + E)
    expected = symbols * E + M * E + depth * block + 2 * E
    assert sum(p.numel() for p in words(length=M, depth=depth).parameters()) == expected


@pytest.mark.parametrize("kind", ["words", "bytes"])
@pytest.mark.parametrize("depth", [0, 2])
def test_zeros_where_there_is_no_token_and_nothing_else(kind: str, depth: int) -> None:
    encoder = either(kind, length=6, depth=depth)
    out = embed(encoder, ["dark", "", "dark skin"])
    assert out.shape == (3, 6, 16)
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    present = torch.from_numpy(encoder.tokenize(["dark", "", "dark skin"]) > 0)
    assert torch.equal(out.abs().sum(2) > 0, present)


@pytest.mark.parametrize("kind", ["words", "bytes"])
def test_padding_does_not_reach_the_tokens(kind: str) -> None:
    """The same weights with twice the room, whose positions are anything: the text's own tokens stay as they are."""
    short = either(kind, length=4)
    config = replace(short.config, length=8)
    long = config.build()
    weights = short.state_dict()
    long.load_state_dict(weights | {"position": torch.cat([weights["position"], torch.randn(4, 16)])})
    assert isinstance(long, SmallEncoder)
    torch.testing.assert_close(embed(long, ["man"])[:, :4], embed(short, ["man"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["words", "bytes"])
def test_company_changes_no_bit(kind: str) -> None:
    encoder = either(kind)
    together = embed(encoder, CAPTIONS * 9)
    assert torch.equal(embed(encoder, CAPTIONS[1:2]), together[1:2])


def test_gradients_reach_words_that_are_there_alone() -> None:
    encoder = words(length=4)
    tokens = torch.from_numpy(encoder.tokenize(["dark skin", ""]))
    (encoder(tokens) * torch.randn(2, 4, 16)).sum().backward()
    assert encoder.table.weight.grad is not None
    assert encoder.table.weight.grad.abs().sum(1).nonzero().flatten().tolist() == [2, 3]
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_order_of_words_matters() -> None:
    encoder = either("words")
    out = embed(encoder, ["dark skin", "skin dark"])
    assert (out[0].sum(0) - out[1].sum(0)).abs().max() > 1e-2


def test_fresh_encoder_tells_texts_apart() -> None:
    """Unit variance, and different words nearly at right angles."""
    torch.manual_seed(0)
    encoder = Words.Config().fitted(CAPTIONS).build()
    out = embed(encoder, ["dark", "skin", "flag"])[:, 0]
    assert out.var(1).sub(1).abs().max() < 0.02
    cosine = torch.corrcoef(out) - torch.eye(3)
    assert cosine.abs().max() < 0.4


@pytest.mark.parametrize("kind", ["words", "bytes"])
def test_config_comes_back_from_a_header(kind: str) -> None:
    config = TEXTS[kind](**SMALL).fitted(CAPTIONS)
    assert isinstance(config, SmallConfig)
    entry = json.loads(json.dumps(to_entry(TEXTS, config)))
    assert from_entry(TEXTS, entry, "text encoder") == config
    assert (config.num_tokens, config.token_width) == (config.length, 16)
    assert "words" in asdict(config) or kind == "bytes"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 10, "heads": 4}, "text width 10 with 4 heads"),
        ({"length": 0}, "text length 0: must be at least 1"),
        ({"depth": -1}, "text depth -1"),
        ({"min_count": 0}, "min_count 0"),
        ({"words": ("a", "b", "a")}, "the word 'a' is in the vocabulary twice"),
        ({"words": ("a", "Two words")}, "'Two words' in the vocabulary"),
    ],
)
def test_what_cannot_be_built(options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Words.Config(**options)


def test_words_need_words() -> None:
    with pytest.raises(ConfigError, match="with no words"):
        Words.Config().build()
    with pytest.raises(ConfigError, match="no word occurs 3 times in 5 captions"):
        Words.Config(min_count=3).fitted(CAPTIONS)


def test_bytes_of_any_string() -> None:
    assert embed(Bytes.Config().build(), ["日本", "\ud800"]).isfinite().all()


@pytest.mark.parametrize("prompts", [["a purple square"], ["red square", "purple DOG"]])
def test_words_that_a_model_never_learned_are_said(
    prompts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bw.save(text_model(), tmp_path / "m.safetensors")
    words = ["sample", str(tmp_path / "m.safetensors"), "--out", str(tmp_path / "a.png"), "--steps", "1"]
    assert main([*words, "--seeds", "0-1", "--prompt", *prompts]) == 0
    unknown = "'a', 'purple'" if len(prompts) == 1 else "'purple', 'dog'"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("brickwork sample: ")]
    assert said == [f"brickwork sample: text: the model never learned {unknown}; it draws by the other words"]
    assert main([*words, "--prompt", "Red, blue: SQUARE!"]) == 0
    assert "never learned" not in capsys.readouterr().err


def test_an_unknown_word_is_a_warning_in_python() -> None:
    with pytest.warns(BrickworkWarning, match="never learned 'green'"):
        bw.sample(text_model(), seeds=[0], text="green square", steps=1)
