"""Upload to and download from the Hugging Face Hub."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from brickwork.doors import door
from brickwork.errors import ArgumentError, OutputError, first_line
from brickwork.files.picture import save_png, sheet
from brickwork.model.checkpoint import header_of, load, save
from brickwork.model.download import downloaded, hub_library
from brickwork.model.header import MODEL_FILE
from brickwork.model.model import Model
from brickwork.sampling.loop import sample

PICTURE = "pictures.png"
COLUMNS = 4
SMALLEST = 96
"""Smallest side of a picture on the card, in pixels; smaller pictures are enlarged."""


@door("uploading a model")
def push_to_hub(
    model: Model,
    repository: str,
    *,
    private: bool = False,
    licence: str = "",
    tags: Sequence[str] = (),
    pictures: int = 8,
    text: str = "",
) -> str:
    """Upload a model as ``model.safetensors`` with a card, and return the commit's address.

    The card states library, licence, tags and task, shows pictures that the model draws, and ends with the header of
    the model's file.

    Args:
        model: The model.
        repository: "owner/name"; created if it does not exist.
        private: Make a new repository private.
        licence: Licence of the weights, by the Hub's word for it, such as "apache-2.0"; unstated when left out.
        tags: Further tags; the card has brickwork, diffusion and the backbone's name.
        pictures: Pictures to draw for the card, at seeds 0, 1, 2, ...; 0 for none. A model with an image condition
            shows none.
        text: Caption of these pictures, for a model that reads text.

    Raises:
        ArgumentError: The number of pictures is below 0.
        OutputError: The Hub refuses the upload, or cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    if pictures < 0:
        raise ArgumentError(f"{pictures} pictures: give 0 for none, or how many the card shows")
    hub, shown = hub_library(), 0 if model.condition_channels else pictures
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / MODEL_FILE)
        if shown:
            save_png(_drawn(model, shown, text), Path(folder) / PICTURE)
        card = card_of(model, repository, licence=licence, tags=tags, picture=shown > 0)
        card.save(Path(folder) / "README.md")
        try:
            api = hub.HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repository, folder_path=folder))
        except Exception as error:  # the hub raises errors of many kinds
            way = "check the name and the network, and log in by `hf auth login`"
            raise OutputError(f"cannot upload to {repository!r}: {first_line(error)}; {way}") from error


def card_of(
    model: Model, repository: str, *, licence: str = "", tags: Sequence[str] = (), picture: bool = False
) -> Any:
    """Return a model's card, a ``huggingface_hub.ModelCard``.

    Args:
        model: The model.
        repository: "owner/name", for the line that loads it.
        licence: Licence of the weights, by the Hub's word for it; unstated when left out.
        tags: Further tags.
        picture: Show the file ``pictures.png`` of the repository.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    hub, header = hub_library(), header_of(model)
    task = "unconditional-image-generation"
    if model.condition_channels:
        task = "image-to-image"
    elif header["text"][0] != "none":
        task = "text-to-image"
    data = hub.ModelCardData(
        library_name="brickwork",
        license=licence or None,
        pipeline_tag=task,
        tags=["brickwork", "diffusion", header["backbone"][0], *tags],
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {repository.rpartition('/')[2]}",
        *([f"![Pictures that this model drew]({PICTURE})"] if picture else []),
        f'```python\nimport brickwork as bw\n\nmodel = bw.from_pretrained("{repository}")\n```',
        f"```sh\nbrickwork sample hf:{repository} --out pictures.png\n```",
        f"```json\n{json.dumps(header, indent=2)}\n```",
    ]
    return hub.ModelCard("\n\n".join(parts) + "\n")


@door("loading a model")
def from_pretrained(repository: str, *, revision: str | None = None, device: str | torch.device = "cpu") -> Model:
    """Download a model that :func:`push_to_hub` uploaded, and load it.

    Args:
        repository: "owner/name", or "owner/name@revision".
        revision: Branch, tag or commit; None for the one in the name, or the newest.
        device: The device to load it to.

    Raises:
        CheckpointError: The repository or its file cannot be downloaded.
        MissingExtraError: huggingface_hub is not installed.
    """
    return load(downloaded(repository, revision), device)


def _drawn(model: Model, count: int, text: str) -> Any:
    """Draw pictures of the model's classes in turn, as one sheet, uint8 (H, W, C)."""
    labels = [k % model.num_classes for k in range(count)] if model.num_classes else None
    images = sample(model, seeds=range(count), labels=labels, text=text or None)
    return sheet(images, min(COLUMNS, count), scale=max(1, SMALLEST // min(images.shape[1:3])))
