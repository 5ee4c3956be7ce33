"""One safetensors file is one model: weights, and in its header everything needed to use them. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from safetensors.torch import save_file
from torch import Tensor

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.presets import BACKBONES
from brickwork.codec.base import CODECS, Codec
from brickwork.errors import BrickworkError, CheckpointError, MissingExtraError, OutputError, UnknownNameError
from brickwork.model import Model, check_hosting
from brickwork.sampling.process import PROCESSES, NoiseProcess
from brickwork.sampling.target import TARGETS, Target

FORMAT = 1
HEADER = "brickwork"
MODEL_FILE = "model.safetensors"
SHIPPED = ("digits",)
GUEST = "guest"
"""Key of a guest's header within its model's; with a dot it leads the names of its weights."""
MAX_GUESTS = 16
"""Guests, guests' guests and so on in one file."""
FLOATS = ("F64", "F32", "F16", "BF16")
"""Names of dtypes, as safetensors has them, that weights may be stored in; loading makes them what the model has."""

# What turns a header of format n into one of format n + 1, by n. Old files stay readable for ever.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def to_entry(registry: Mapping[str, type], config: Any) -> list[Any]:
    """A frozen config as ``[name, {field: value}]``, ready for JSON."""
    name = next(name for name, kind in registry.items() if kind is type(config))
    return [name, asdict(config)]


def from_entry(registry: Mapping[str, type], entry: Any, kind: str) -> Any:
    """The config that :func:`to_entry` wrote.

    Raises:
        UnknownNameError: No such name.
        CheckpointError: Fields that the config does not have, or values of a wrong type.
        BrickworkError: Values that the config refuses.
    """
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], dict)):
        raise CheckpointError(
            f"the header's {kind} is {_short(entry)}: it must be [name, fields]; copy or train it again"
        )
    name, values = entry
    if name not in registry:
        raise UnknownNameError(kind, name, registry)
    known = get_type_hints(registry[name])
    if extra := sorted(set(values) - {f.name for f in fields(registry[name])}):
        raise CheckpointError(f"the header's {kind} {name!r} has unknown fields {', '.join(extra)}: upgrade brickwork")
    try:
        values = {key: _configs(_tuples(value), known[key]) for key, value in values.items()}
    except TypeError as error:
        raise CheckpointError(
            f"the header's {kind} {name!r} holds a part of another make ({error}): upgrade brickwork"
        ) from error
    for key, value in values.items():
        if not _fits(value, known[key]):
            raise CheckpointError(
                f"the header's {kind} {name!r} has {key} {_short(value)}: it must be {_name_of(known[key])}; copy or "
                "train it again"
            )
    try:
        return registry[name](**values)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"the header's {kind} {name!r} cannot be made of {_short(values)} ({error}): copy or train it again"
        ) from error


def _tuples(value: Any) -> Any:
    """JSON has lists where configs have tuples."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _configs(value: Any, hint: Any) -> Any:
    """JSON has objects where configs hold configs: a field of such a type, or a tuple of them."""
    if get_origin(hint) is tuple and isinstance(value, tuple) and get_args(hint)[1:] == (...,):
        return tuple(_configs(part, get_args(hint)[0]) for part in value)
    if not (isinstance(hint, type) and is_dataclass(hint) and isinstance(value, dict)):
        return value
    known = get_type_hints(hint)
    if not all(key in known and _fits(part, known[key]) for key, part in value.items()):
        raise TypeError(_short(value))
    return hint(**value)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON is of a field's type; an int will do for a float, a bool for neither."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (Union, UnionType):
        return any(_fits(value, kind) for kind in inner)
    if origin is tuple:
        kinds = inner[:1] * len(value) if isinstance(value, tuple) and inner[1:] == (...,) else inner
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint if hint in (int, bool, str, NoneType) or is_dataclass(hint) else True


def _name_of(hint: Any) -> str:
    """A field's type for a person."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _short(value: Any) -> str:
    """A value for a message of one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# ---- files ------------------------------------------------------------------------------------------------------


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that is either the old one or the new one, whatever happens meanwhile.

    A temporary file beside it is written, flushed to the disk and renamed over it; then the folder is flushed.

    Raises:
        OutputError: The place cannot be written or the disk is full. The previous file is whole.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, temporary, dict(metadata))
        os.chmod(temporary, 0o644)
        _flush(temporary)
        os.replace(temporary, path)
        temporary = None
        _flush(str(path.parent))
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputError(f"cannot write {path}: {reason}; free some space or choose another place") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that a killed :func:`write_tensors` to ``path`` left beside it."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink(missing_ok=True)


def _flush(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _open(path: Path) -> Any:
    """Open a safetensors file, or say in one line why it is none."""
    if not path.exists():
        raise CheckpointError(
            f"no file {path}: give a run folder, a model file, or a shipped model ({', '.join(SHIPPED)})"
        )
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        with path.open("rb") as file:
            start = file.read(2)
        if start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise CheckpointError(
                f"{path} is a pickle, and brickwork unpickles nothing: `brickwork import` reads published networks, "
                "else save its weights as safetensors"
            ) from error
        raise CheckpointError(f"{path} is no whole safetensors file ({error}): copy or train it again") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, on the CPU, and its metadata.

    Raises:
        CheckpointError: Missing, truncated, or no safetensors file.
    """
    with _open(Path(path)) as file:
        return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- models -----------------------------------------------------------------------------------------------------


def header_of(model: Model) -> dict[str, Any]:
    """Everything about a model but its weights, JSON-like; with a guest also the guest's."""
    header = {
        "format": FORMAT,
        "backbone": to_entry(BACKBONES, model.backbone.config),
        "process": to_entry(PROCESSES, model.process),
        "target": to_entry(TARGETS, model.target),
        "codec": to_entry(CODECS, model.codec),
        "classes": list(model.classes),
        "training": model.facts,
    }
    return header if model.guest is None else header | {GUEST: header_of(model.guest)}


def named_weights(model: Model) -> dict[str, Tensor]:
    """A model's tensors as its file names them: the backbone's own names; "guest." leads those of a guest."""
    return {_in_file(name): tensor for name, tensor in model.state_dict().items()}


def _in_file(name: str) -> str:
    """A module's name as files have it: "guest.backbone.stem.weight" → "guest.stem.weight"."""
    return "".join(name.split("backbone.", 1))


def fingerprint(model: Model) -> str:
    """SHA-256 (hex) of what a model computes: its weights and what they mean, but not what it was trained on."""
    meaning = [{k: v for k, v in header.items() if k not in ("training", GUEST)} for header in _chain(header_of(model))]
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in named_weights(model).items()}
    return hashlib.sha256(to_bytes(tensors, {HEADER: json.dumps(meaning)})).hexdigest()


def save(model: Model, path: str | Path) -> None:
    """Write a model as one file, atomically. Sets ``model.digest``.

    Raises:
        OutputError: The place cannot be written; a previous file there is whole.
    """
    path = Path(path)
    write_tensors(path, named_weights(model), {HEADER: json.dumps(header_of(model))})
    model.digest = file_digest(path)


def find_model(name: str | Path) -> Path:
    """The file behind a run folder, a model file or the name of a shipped model."""
    path = Path(name)
    if path.is_dir():
        if not (path / MODEL_FILE).exists():
            raise CheckpointError(f"{path} holds no {MODEL_FILE}: give a folder that `brickwork train` wrote")
        return path / MODEL_FILE
    if not path.exists() and str(name) in SHIPPED:
        return Path(str(resources.files("brickwork") / "models" / f"{name}.safetensors"))
    return path


def read_header(path: str | Path) -> dict[str, Any]:
    """A model file's header, brought to the present format.

    Raises:
        CheckpointError: No model of ours, one of a later format, or one whose header is not whole. What comes back has
            every key, and every value in it is of its type.
    """
    path = find_model(path)
    with _open(path) as file:
        text = (file.metadata() or {}).get(HEADER)
    if text is None:
        raise CheckpointError(
            f"{path} is a safetensors file without brickwork's header: it is not a model of brickwork"
        )
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has a header that cannot be read ({error}): copy or train it again") from error
    try:
        header = _migrated(header)
        with _open(path) as file:
            shapes = [file.get_slice(k).get_shape() for k in file.keys()]  # noqa: SIM118
        for part in _chain(header):
            config = _parts_of(part)[0]
            check_hosting(config, GUEST in part)
            _check_rest(part)
            _check_sizes(config, shapes)
    except BrickworkError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return header


def configs_of(header: Mapping[str, Any]) -> tuple[BackboneConfig, ...]:
    """The backbone's config in a header that :func:`read_header` read, then its guest's, and so on."""
    return tuple(_parts_of(part)[0] for part in _chain(header))


def _chain(header: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A header, that of its guest, that of the guest's guest, and so on."""
    chain = [header]
    while GUEST in chain[-1]:
        chain.append(chain[-1][GUEST])
        if len(chain) > MAX_GUESTS + 1:
            raise CheckpointError(f"its header has more than {MAX_GUESTS} guests in each other: copy or train it again")
    return chain


def _migrated(header: Any, guests: int = MAX_GUESTS) -> dict[str, Any]:
    """A header of any format, and those of the guests in it, brought to the present one."""
    if not isinstance(header, dict) or "format" not in header:
        raise CheckpointError("its header has no format: it is no model of brickwork; copy or train it again")
    version = header["format"]
    if type(version) is not int or version < min(MIGRATIONS, default=FORMAT):
        raise CheckpointError(
            f"its header is of format {_short(version)}: a format is a whole number from "
            f"{min(MIGRATIONS, default=FORMAT)} to {FORMAT}; copy or train it again"
        )
    if version > FORMAT:
        raise CheckpointError(f"it is of format {version}, this brickwork reads up to {FORMAT}: upgrade brickwork")
    for number in range(version, FORMAT):
        header = MIGRATIONS[number](header)
    if GUEST not in header or not guests:  # more than that are refused
        return header
    try:
        return header | {GUEST: _migrated(header[GUEST], guests - 1)}
    except CheckpointError as error:
        raise CheckpointError(f"its guest: {error}") from error


def _parts_of(header: Mapping[str, Any]) -> tuple[BackboneConfig, NoiseProcess, Target, Codec]:
    """The configs in a header of the present format."""
    names = ("backbone", "process", "target", "codec", "classes", "training")
    if missing := [name for name in names if name not in header]:
        raise CheckpointError(f"its header lacks {', '.join(missing)}: copy or train it again")
    return (
        from_entry(BACKBONES, header["backbone"], "backbone"),
        from_entry(PROCESSES, header["process"], "process"),
        from_entry(TARGETS, header["target"], "target"),
        from_entry(CODECS, header["codec"], "codec"),
    )


def _check_rest(header: Mapping[str, Any]) -> None:
    """Refuse class names or facts of a wrong type."""
    classes, training = header["classes"], header["training"]
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise CheckpointError(
            f"its header's classes are {_short(classes)}: they must be a list of names; train it again"
        )
    if not isinstance(training, dict):
        raise CheckpointError(
            f"its header's training is {_short(training)}: it must be a table; copy or train it again"
        )


def _check_sizes(config: BackboneConfig, shapes: Iterable[Sequence[int]]) -> None:
    """Refuse numbers far beyond the file's: building them, even without memory, might take for ever."""
    shapes = list(shapes)
    largest = max(4096, len(shapes), *(n for shape in shapes for n in shape))
    for field, value in _whole_numbers(asdict(config)):
        if value > largest:
            raise CheckpointError(
                f"its header says {field}={value} and no weight in the file is that large: copy or train it again"
            )


def _whole_numbers(value: Any, field: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number in a config's fields, and in those of the configs that it holds, with its field's name."""
    if isinstance(value, int):
        yield field, value
    elif isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else ((field, inner) for inner in value):
            yield from _whole_numbers(inner, key)


def load(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model in a run folder, a file, or a shipped model by name: a denoiser, ready to draw.

    The header's shapes are compared with the file's before anything is allocated. Weights stored in another
    floating dtype become float32.

    Raises:
        CheckpointError: Missing, truncated or foreign file, a pickle, or a header that lies about the weights.
    """
    path = find_model(path)
    header = read_header(path)
    try:
        with _open(path) as file:
            slices = {k: file.get_slice(k) for k in file.keys()}  # noqa: SIM118
            dtypes = _compare(header, {k: (v.get_dtype(), tuple(v.get_shape())) for k, v in slices.items()})
        model = _build(header)
    except BrickworkError as error:
        raise CheckpointError(f"{path}: {error}") from error
    weights, _ = read_tensors(path)
    own_names = {_in_file(name): name for name in model.state_dict()}
    model.load_state_dict({own_names[k]: v.to(dtypes[k]) for k, v in weights.items()}, assign=True)
    model.digest = file_digest(path)
    return model.to(device).eval().requires_grad_(False)


def _build(header: Mapping[str, Any]) -> Model:
    """The model of a header, with fresh weights."""
    config, process, target, codec = _parts_of(header)
    guest = _build(header[GUEST]) if GUEST in header else None
    return Model(config.build(), process, target, codec, tuple(header["classes"]), header["training"], guest)


def _compare(header: Mapping[str, Any], found: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, torch.dtype]:
    """The dtype that each weight must have; refuses weights that are not those the header promises."""
    with torch.device("meta"):
        wanted = named_weights(_build(header))
    for name in sorted(wanted.keys() | found.keys()):
        promised = tuple(wanted[name].shape) if name in wanted else "none"
        dtype, shape = found.get(name, ("", "none"))
        if promised != shape:
            raise CheckpointError(
                f"its header promises {name} of shape {promised} and the file holds {shape}: "
                "header and weights are of different models"
            )
        if dtype not in FLOATS:
            raise CheckpointError(
                f"its {name} is stored as {dtype}: weights must be one of {', '.join(FLOATS)}; convert them to F32"
            )
    return {name: tensor.dtype for name, tensor in wanted.items()}


# ---- the Hub ----------------------------------------------------------------------------------------------------


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
