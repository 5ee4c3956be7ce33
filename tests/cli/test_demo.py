"""The page of a model has the inputs that it takes, and draws what sample draws."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_models import CONFIGS, text_model, tiny_model

import brickwork as bw
from brickwork.cli import main
from brickwork.cli.demo import NO_CLASS, page_of
from brickwork.errors import ArgumentError


class Gradio:
    """Stands in for gradio, and notes what is built."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, Any]] = []
        self.draw: Callable[..., Any] = lambda *_: None
        self.launched: dict[str, Any] = {}
        self.Error = RuntimeError

    def __getattr__(self, kind: str) -> Any:
        def part(*_: Any, **options: Any) -> Any:
            self.parts.append((kind, options))
            return SimpleNamespace(click=self._click)

        return part

    def _click(self, draw: Callable[..., Any], *_: Any) -> None:
        self.draw = draw

    def Blocks(self, **_: Any) -> Any:  # noqa: N802
        outer = self

        class Page:
            def __enter__(self) -> Page:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def launch(self, **options: Any) -> None:
                outer.launched = options

        return Page()

    def labels(self) -> list[str]:
        return [options["label"] for _, options in self.parts if "label" in options]


def test_inputs_are_those_that_the_model_takes() -> None:
    gradio = Gradio()
    page_of(gradio, tiny_model("stoic"), "a")
    assert gradio.labels()[0] == "Class"
    assert "Text" not in gradio.labels()
    gradio = Gradio()
    page_of(gradio, text_model(), "a")
    assert {"Text", "Text to steer away from"} <= set(gradio.labels())


def test_the_page_draws_what_sample_draws() -> None:
    gradio, model = Gradio(), tiny_model("stoic")
    page_of(gradio, model, "a")
    found = gradio.draw("2", 5, 2, 3, 1.5, "heun")
    ours = bw.sample(model, seeds=[5, 6], labels="2", steps=3, guidance=1.5, solver="heun")
    assert [caption for _, caption in found] == ["seed 5", "seed 6"]
    np.testing.assert_array_equal(np.stack([picture[::32, ::32] for picture, _ in found]), ours)
    plain = gradio.draw(NO_CLASS, 5, 1, 3, 1.5, "heun")
    np.testing.assert_array_equal(plain[0][0][::32, ::32], bw.sample(model, seeds=5, steps=3, solver="heun")[0])
    with pytest.raises(RuntimeError, match="seed -1"):
        gradio.draw("2", -1, 1, 3, 1.5, "heun")


def test_the_verb_listens_on_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gradio = Gradio()
    monkeypatch.setitem(sys.modules, "gradio", gradio)  # pyright: ignore[reportArgumentType]
    assert main(["demo", "digits", "--port", "0", "--no-browser"]) == 0
    assert gradio.launched == {"server_name": "127.0.0.1", "server_port": None, "inbrowser": False, "share": False}
    assert main(["demo", "digits", "--port", "99999"]) == 1


def test_a_model_after_a_picture_is_refused() -> None:
    config = replace(CONFIGS["stoic"], condition_channels=3)
    model = bw.Model(config.build(), bw.LinearFlow(), bw.Velocity(), bw.Pixels(), image_condition=bw.Coarse(scale=2))
    with pytest.raises(ArgumentError, match="brickwork edit"):
        page_of(Gradio(), model, "a")


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", "digits"]) == 1
    assert 'pip install "brickwork[demo]"' in capsys.readouterr().err
