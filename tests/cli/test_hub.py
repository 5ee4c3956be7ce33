"""Models to and from the Hub by the command line, on a stand-in."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from local_hub import local_hub
from PIL import Image

from brickwork.cli import main


def test_push_then_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    local_hub(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    words = ["--licence", "cc0-1.0", "--tags", "digits", "tiny", "--pictures", "2"]
    assert main(["push", "digits", "hf:me/digits", *words]) == 0
    assert capsys.readouterr().out == "commit\ndraw: brickwork sample hf:me/digits\n"
    card = huggingface_hub.ModelCard.load(tmp_path / "me/digits/README.md")
    assert card.data.to_dict()["license"] == "cc0-1.0"
    assert card.data.to_dict()["tags"] == ["brickwork", "diffusion", "stoic", "digits", "tiny"]
    assert "](pictures.png)" in card.text
    assert "brickwork sample hf:me/digits --out" in card.text
    how = ["--seed", "0", "--label", "3", "--steps", "2", "--out"]
    assert main(["sample", "hf:me/digits@v1", *how, "a.webp"]) == 0
    assert main(["sample", "digits", *how, "b.png"]) == 0
    first, second = (np.asarray(Image.open(name).convert("RGB")) for name in ("a.webp", "b.png"))
    assert np.array_equal(first, second)
    assert main(["info", "hf:me/digits"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("sample hf:me/none", 1, "sample: cannot fetch model.safetensors of 'me/none' from the Hub: 404: me/none"),
        ("push digits others/digits --pictures 0", 1, "push: cannot upload to 'others/digits': 403 Forbidden"),
        ("push digits digits", 2, "push: repository 'digits': give owner/name"),
    ],
)
def test_a_refusal_is_one_line(
    words: str,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    local_hub(tmp_path, monkeypatch)
    assert main(words.split()) == code
    error = capsys.readouterr().err
    assert error.startswith(f"brickwork {said}")
    assert error.count("\n") == 1
