"""Embedded captions are the encoder's own, computed once, taken up where they were left, and refused for others."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brickwork.errors import ArgumentError, BrickworkWarning, ConfigError, OutputError
from brickwork.text import cache
from brickwork.text.cache import embedded, encoder_digest
from brickwork.text.small import Words

CAPTIONS = ["red ball", "blue ball", "red ball", "", "a blue box", "red box", "blue ball"]


def encoder(seed: int = 0) -> Words:
    torch.manual_seed(seed)
    config = Words.Config(width=8, heads=2, length=4).fitted(CAPTIONS)
    return config.build().eval()


def direct(captions: Sequence[str] = CAPTIONS) -> np.ndarray:
    words = encoder()
    with torch.no_grad():
        return words(torch.from_numpy(words.tokenize(captions))).numpy()


class Counting:
    """Counts the captions that an encoder looks at, and stops it after some of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: int = 1000) -> None:
        self.seen: list[str] = []
        self.limit = limit
        tokenize = Words.tokenize

        def counted(words: Words, captions: Sequence[str]) -> np.ndarray:
            if len(self.seen) >= self.limit:
                raise KeyboardInterrupt
            self.seen += captions
            return tokenize(words, captions)

        monkeypatch.setattr(Words, "tokenize", counted)
        monkeypatch.setattr(cache, "AT_ONCE", 2)


@pytest.mark.parametrize(("dtype", "within"), [("float16", 1e-3), ("float32", 1e-6)])
def test_as_the_encoder_itself(tmp_path: Path, dtype: str, within: float) -> None:
    found = embedded(encoder(), CAPTIONS, tmp_path, dtype="float32" if dtype == "float32" else "float16")
    found = found[np.arange(len(CAPTIONS))]
    assert found.dtype == dtype
    np.testing.assert_allclose(found, direct(), rtol=within, atol=within)
    assert not found[3].any()


def test_each_caption_once_and_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(monkeypatch)
    embedded(encoder(), CAPTIONS, tmp_path)
    assert sorted(counting.seen) == sorted(set(CAPTIONS))
    embedded(encoder(), CAPTIONS, tmp_path)
    assert len(counting.seen) == len(set(CAPTIONS))


def test_taken_up_where_it_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(monkeypatch, limit=2)
    with pytest.raises(KeyboardInterrupt):
        embedded(encoder(), CAPTIONS, tmp_path, dtype="float32")
    counting.limit = 1000
    found = embedded(encoder(), CAPTIONS, tmp_path, dtype="float32")
    assert sorted(counting.seen) == sorted(set(CAPTIONS))
    np.testing.assert_allclose(found[np.arange(len(CAPTIONS))], direct(), rtol=1e-6, atol=1e-6)


def test_the_users_cache_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    embedded(encoder(), CAPTIONS)
    embedded(encoder(1), CAPTIONS)
    embedded(encoder(), CAPTIONS[1:])
    assert len(list((tmp_path / "brickwork" / "texts").iterdir())) == 3


def test_another_encoder_or_other_captions_are_refused(tmp_path: Path) -> None:
    embedded(encoder(), CAPTIONS, tmp_path)
    with pytest.raises(ConfigError, match=r"holds embeddings of something else \(encoder: "):
        embedded(encoder(1), CAPTIONS, tmp_path)
    with pytest.raises(ConfigError, match=r"something else \(captions: "):
        embedded(encoder(), CAPTIONS[::-1], tmp_path)
    with pytest.raises(ConfigError, match=r"something else \(dtype: float16, not float32\)"):
        embedded(encoder(), CAPTIONS, tmp_path, dtype="float32")


def test_digest_is_of_weights_and_config() -> None:
    assert encoder_digest(encoder()) == encoder_digest(encoder())
    assert encoder_digest(encoder()) != encoder_digest(encoder(1))
    torch.manual_seed(0)
    longer = replace(encoder().config, length=5)
    assert encoder_digest(longer.build()) != encoder_digest(encoder())


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_numbers_that_do_not_fit(tmp_path: Path, value: float) -> None:
    words = encoder()
    torch.nn.init.constant_(words.norm.bias, value)
    with pytest.raises(ArgumentError, match="of 'red ball', which float16 cannot hold"):
        embedded(words, CAPTIONS, tmp_path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot keep embeddings here"):
        embedded(encoder(), CAPTIONS, tmp_path / "file")


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_file_is_made_good(damage: str, tmp_path: Path) -> None:
    rows = np.arange(len(CAPTIONS))
    first = embedded(encoder(), CAPTIONS, tmp_path)[rows]
    path = tmp_path / "embeddings.npy"
    data = path.read_bytes()
    path.write_bytes(data[:-8] if damage == "cut" else data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])
    with (
        pytest.warns(BrickworkWarning, match="embeddings kept there: rows 0 to 4")
        if damage == "flip"
        else nullcontext()
    ):
        again = embedded(encoder(), CAPTIONS, tmp_path)[rows]
    np.testing.assert_array_equal(again, first)
