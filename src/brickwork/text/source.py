"""Files of published text encoders: find and read them; safetensors alone, and no code that comes with them is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from brickwork.errors import CheckpointError, MissingExtraError, first_line
from brickwork.files.header import read_kinds
from brickwork.files.plain import read_json, read_small
from brickwork.files.revision import asked_for, split_revision
from brickwork.files.suppressed import suppressed

WEIGHTS = "model.safetensors"
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
DOWNLOADED = ("*.json", "*.txt", "*.model", "model*.safetensors", "text_encoder/model*.safetensors")


@contextmanager
def transformers_for(kind: str) -> Iterator[Any]:
    """Import transformers and silence its bars and log inside the context.

    Args:
        kind: The kind of encoder that needs it, for the message.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("text", "transformers", kind) from error
    with suppressed():
        yield transformers


def find_encoder(source: str, kind: str, digest: str) -> tuple[Path, Path]:
    """Return the folders of the weights and of the tokenizer; a Hub name is downloaded once.

    Args:
        source: A folder, or owner/name[@revision].
        kind: The expected kind, for messages.
        digest: The expected digest, for messages; "" for any.

    Raises:
        CheckpointError: There is no such encoder.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = from_hub(source, kind, digest)
    if (folder / "text_encoder").is_dir():
        return folder / "text_encoder", folder / "tokenizer"
    if not (folder / "config.json").is_file():
        raise missing(source, kind, digest, "the folder has no config.json")
    return folder, folder


def missing(source: str, kind: str, digest: str, why: str) -> CheckpointError:
    """Return the error for a missing encoder, which says what to do."""
    own = f" (digest {digest[:12]})" if digest else ""
    return CheckpointError(
        f"missing text encoder: {source}, {kind}{own}, cannot be opened ({why}); put its config.json, "
        f"{WEIGHTS} and tokenizer into a folder of that name, or give another source"
    )


def from_hub(source: str, kind: str, digest: str) -> Path:
    """Return the folder in the Hub's own cache; download it if it is not there."""
    place, revision = split_revision(source)
    owner, slash, name = place.partition("/")
    if not (slash and owner and name) or "/" in name or owner.startswith((".", "~")):
        raise missing(source, kind, digest, "no such folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("text", "huggingface_hub", kind) from error
    for offline in (True, False):
        try:
            folder = Path(
                snapshot_download(place, **asked_for(revision), allow_patterns=[*DOWNLOADED], local_files_only=offline)
            )
        except Exception as error:  # the client raises its own errors, the network's and its library's
            if not offline:
                raise missing(source, kind, digest, f"no such folder, and the Hub: {first_line(error)}") from error
            continue
        if not offline or any(folder.rglob("*.safetensors")):
            return folder
    raise AssertionError("the second round returns or raises")


def weight_files(source: str, folder: Path) -> list[Path]:
    """List the safetensors files of an encoder.

    Raises:
        CheckpointError: There are none, or pickles in their place.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / f"{WEIGHTS}.index.json"
    try:
        names = sorted(set(read_json(read_small(index))["weight_map"].values())) if index.is_file() else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} cannot be read ({error}): copy or fetch it again") from error
    files = [folder / Path(str(name)).name for name in names]
    if files and all(file.is_file() for file in files):
        return files
    if pickles := sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")]):
        raise CheckpointError(
            f"{source} holds {pickles[0].name}, which is a pickle, and brickwork unpickles nothing: save it as "
            f"{WEIGHTS} (transformers' save_pretrained does), or take a source that has one"
        )
    lacking = next((file.name for file in files if not file.is_file()), WEIGHTS)
    raise CheckpointError(f"{source} lacks {lacking}: copy or fetch it again")


def digest_of(files: Sequence[Path], vocabulary: dict[str, int]) -> str:
    """Return the SHA-256 (hex) of weights and vocabulary.

    Raises:
        CheckpointError: A file of weights is longer or shorter than its header says, or is none.
    """
    digest = hashlib.sha256(json.dumps(sorted(vocabulary.items(), key=lambda item: (item[1], item[0]))).encode())
    for file in files:
        if file.suffix == ".safetensors":
            read_kinds(file)  # which is done before all of a file is read that has no end
        stat = file.stat()
        digest.update(content_digest(file.resolve(), stat.st_size, stat.st_mtime_ns).encode())
    return digest.hexdigest()


@cache
def content_digest(file: Path, size: int, changed: int) -> str:
    """Return the SHA-256 (hex) of a file; cached until its size or its time of change differs."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def config_of(transformers: Any, folder: Path) -> Any:
    """Read the config in a folder.

    Raises:
        CheckpointError: There is none, or it cannot be read.
    """
    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a broken file makes the library raise errors of many kinds
        raise CheckpointError(
            f"{folder} holds no config.json that can be read ({first_line(error)}): copy or fetch it again"
        ) from error


def tokenizer_of(transformers: Any, folder: Path) -> Any:
    """Read the tokenizer in a folder.

    Raises:
        CheckpointError: There is none, or it cannot be read.
        MissingExtraError: It needs a package that is not installed.
    """
    # If all of these files are missing, transformers makes up an empty vocabulary.
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise CheckpointError(f"{folder} holds no tokenizer ({', '.join(VOCABULARIES)}): copy or fetch it")
    try:
        found = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        package = "sentencepiece" if "sentencepiece" in str(error).lower() else "tokenizers"
        raise MissingExtraError("text", package, f"the tokenizer in {folder}") from error
    except Exception as error:  # a broken file makes the library raise errors of many kinds
        raise CheckpointError(
            f"{folder} holds no tokenizer that can be read ({first_line(error)}): copy or fetch it"
        ) from error
    if not isinstance(found.pad_token_id, int):
        raise CheckpointError(f"the tokenizer in {folder} names no token for padding: copy or fetch it again")
    return found


def net_of(source: str, kind: Any, folder: Path) -> Any:
    """Read the network with all its weights, float32.

    Raises:
        CheckpointError: Weights are missing or broken.
    """
    try:
        net, told = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # a broken file makes the library raise errors of many kinds
        raise CheckpointError(f"{source} cannot be read ({first_line(error)}): copy or fetch it again") from error
    if lacking := sorted(told["missing_keys"]) + sorted(map(str, told.get("mismatched_keys", ()))):
        raise CheckpointError(
            f"{source} lacks the weights {lacking[0]}, and {len(lacking)} in all: it is another model"
        )
    return net
