"""Models of the Hugging Face Hub, downloaded without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brickwork.errors import CheckpointError, MissingExtraError, first_line
from brickwork.files.revision import split_revision
from brickwork.model.header import MODEL_FILE


def downloaded(repository: str, revision: str | None = None) -> Path:
    """Return the place of a repository's model in the Hub's cache, where it is kept once it is downloaded.

    Args:
        repository: "owner/name", or "owner/name@revision".
        revision: Branch, tag or commit; None for the one in the name, or the newest.

    Raises:
        CheckpointError: The repository or its file cannot be downloaded.
        MissingExtraError: huggingface_hub is not installed.
    """
    place, named = split_revision(repository)
    try:
        return Path(hub_library().hf_hub_download(place, MODEL_FILE, revision=revision or named))
    except MissingExtraError:
        raise
    except Exception as error:  # the hub raises errors of many kinds
        raise CheckpointError(
            f"cannot fetch {MODEL_FILE} of {repository!r} from the Hub: {first_line(error)}"
        ) from error


def hub_library() -> Any:
    """Return the library huggingface_hub.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("hub", "huggingface_hub", "sharing models through the Hugging Face Hub") from error
    return huggingface_hub
