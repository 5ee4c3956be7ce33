"""Verb ``brickwork demo``: a Gradio page that draws with a model, for one that is not packed."""

from __future__ import annotations

from typing import Any

from tyro.conf import Positional

import brickwork as bw
from brickwork.cli.arguments import DeviceName, ModelName
from brickwork.diffusion.denoiser import capabilities_of
from brickwork.errors import ArgumentError, MissingExtraError
from brickwork.files.picture import enlargement
from brickwork.files.streams import say
from brickwork.sampling.solvers import SOLVERS

MOST = 64
"""Most pictures that the page draws at once."""
NO_CLASS = "(none)"
"""Choice of no class."""


def demo(model: Positional[ModelName], *, port: int = 7860, browser: bool = True, device: DeviceName = "auto") -> None:
    """Open a page that draws with a model.

    The page is served on this machine alone, until it is interrupted.

    Args:
        model: Model that draws.
        port: Port to listen on; 0 takes a free one.
        browser: Open the page in a browser.
        device: Device that draws; auto takes the first accelerator.
    """
    try:
        import gradio
    except ImportError as error:
        raise MissingExtraError("demo", "gradio", "brickwork demo") from error
    if not 0 <= port < 1 << 16:
        raise ArgumentError(f"port {port}: give one from 0 to 65535")
    page = page_of(gradio, bw.load(model, device=device), model)
    say(f"the page of {model}: stop it with Ctrl-C")
    try:
        page.launch(server_name="127.0.0.1", server_port=port or None, inbrowser=browser, share=False)
    except OSError as error:
        raise ArgumentError(f"port {port}: {' '.join(str(error).split())}; name another one with --port") from error


def page_of(gradio: Any, model: bw.Model, name: str) -> Any:
    """Return the page: inputs that the model takes, a button, and a gallery."""
    can = capabilities_of(model)
    if can.condition_channels:
        raise ArgumentError(f"{name}: it draws after a picture, which the page does not take: use `brickwork edit`")
    with gradio.Blocks(title=f"brickwork: {name}") as page:
        gradio.Markdown(f"# {name}\n{can.shape[2] * can.factor}x{can.shape[1] * can.factor} pixels")
        inputs: dict[str, Any] = {}
        if can.num_classes:
            inputs["label"] = gradio.Dropdown([NO_CLASS, *can.classes], value=can.classes[0], label="Class")
        if can.text_shape is not None:
            inputs["text"] = gradio.Textbox(label="Text")
            inputs["negative"] = gradio.Textbox(label="Text to steer away from")
        inputs["seed"] = gradio.Number(0, precision=0, minimum=0, label="First seed")
        inputs["count"] = gradio.Slider(1, MOST, value=8, step=1, label="Pictures")
        inputs["steps"] = gradio.Slider(1, 100, value=25, step=1, label="Steps")
        inputs["guidance"] = gradio.Slider(1.0, 6.0, value=1.5 if can.num_classes else 1.0, step=0.1, label="Guidance")
        inputs["solver"] = gradio.Dropdown(list(SOLVERS), value="dpm2m", label="Solver")
        button, gallery = gradio.Button("Draw"), gradio.Gallery(label="Pictures", columns=4)

        def draw(*values: Any) -> list[Any]:
            try:
                return drawn(model, **dict(zip(inputs, values, strict=True)))
            except bw.BrickworkError as error:
                raise gradio.Error(str(error)) from error

        button.click(draw, list(inputs.values()), gallery)
    return page


def drawn(
    model: bw.Model,
    *,
    seed: float,
    count: float,
    steps: float,
    guidance: float,
    solver: str,
    label: str = NO_CLASS,
    text: str = "",
    negative: str = "",
) -> list[tuple[Any, str]]:
    """Return pictures with captions, as a gallery takes them; the values are those of the page's inputs."""
    seeds = range(int(seed), int(seed) + int(count))
    asks = label != NO_CLASS or bool(text)
    pictures = bw.sample(
        model,
        seeds=seeds,
        labels=None if label == NO_CLASS else label,
        text=text or None,
        negative=negative or None,
        how=bw.Sampler(steps=int(steps), solver=solver, guidance=guidance if asks else 1.0),
    )
    big = pictures.repeat(scale := enlargement(max(pictures.shape[1:3]), 256), axis=1).repeat(scale, axis=2)
    return [
        (picture[..., 0] if picture.shape[-1] == 1 else picture, f"seed {key}")
        for key, picture in zip(seeds, big, strict=True)
    ]
