"""Models on the Hugging Face Hub."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from brickwork.errors import CheckpointError, MissingExtraError
from brickwork.model.checkpoint import header_of, load, save
from brickwork.model.header import MODEL_FILE
from brickwork.model.model import Model


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("hub", "huggingface_hub", "sharing models through the Hugging Face Hub") from error
    return huggingface_hub


def push_to_hub(model: Model, repository: str, *, private: bool = False) -> str:
    """Upload a model as ``model.safetensors`` with a short card; returns the commit's address.

    Args:
        model: The model.
        repository: "owner/name"; made when it does not exist.
        private: Whether a new repository is private.
    """
    api = _hub().HfApi()
    api.create_repo(repository, private=private, exist_ok=True)
    card = f"---\nlibrary_name: brickwork\n---\n\n`brickwork.from_pretrained({repository!r})`\n\n```json\n"
    card += json.dumps(header_of(model), indent=2) + "\n```\n"
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / MODEL_FILE)
        (Path(folder) / "README.md").write_text(card)
        return str(api.upload_folder(repo_id=repository, folder_path=folder))


def from_pretrained(repository: str, *, revision: str | None = None, device: str | torch.device = "cpu") -> Model:
    """Download a model that :func:`push_to_hub` uploaded, and load it.

    Raises:
        CheckpointError: The repository or its file cannot be had.
    """
    hub = _hub()
    try:
        path = hub.hf_hub_download(repository, MODEL_FILE, revision=revision)
    except Exception as error:  # the hub's errors are of many kinds, none of them ours
        raise CheckpointError(f"cannot fetch {MODEL_FILE} of {repository!r} from the Hub: {error}") from error
    return load(path, device)
