"""Packages on disk: a folder of files and ``manifest.json``, which describes them.

Every file of a package is named in its manifest with its size and SHA-256; the manifest itself is named with all the
others in ``SHA256SUMS``. Names are plain, so that a package cannot point outside its folder. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from brickwork.bounds import at_least, between, check_fields
from brickwork.doors import door
from brickwork.errors import PackageError
from brickwork.files.digest import file_digest
from brickwork.files.plain import read_json
from brickwork.files.schema import Reader
from brickwork.files.whole import write_whole

FORMAT = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
MAX_MANIFEST_BYTES = 64 << 20
KEYS = {"given_channels": "condition_channels"}
"""Fields of a manifest by their keys in the file, which are as 0.1 wrote them, where the two differ."""
CONDITION_PORTS = {"labels": "labels", "text": "text", "image": "given"}
"""Inputs of a denoiser's graphs by the fields of ``Condition`` that they take; they are called as 0.1 called them."""
READER = Reader(
    error=PackageError,
    form="json",
    subject="its manifest",
    mend="copy or pack it again",
    newer="upgrade brickwork, or pack it again",
)
"""Reader of manifests, and of the entries in them."""

Role = Literal["denoiser", "decoder", "text", "stem", "block", "head"]
Side = Annotated[int, between(1, (1 << 20) - 1)]
"""A side or the channels of x."""
Length = Annotated[int, between(1, (1 << 31) - 1)]
"""A side of an input or output of a graph."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output of a graph."""

    name: str
    dtype: Literal["float32", "int64"]
    shape: tuple[Length, ...]

    def __post_init__(self) -> None:
        """Refuse a shape with a side that no graph has.

        Raises:
            PackageError: With one line.
        """
        check_fields(self, f"its port {self.name} has ", PackageError)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A static graph in a file.

    Attributes:
        role: "denoiser": x, sigma, then the conditions → x0; "decoder": x0 → pixels in [-1, 1]; "text": tokens →
            embedded tokens. In a stacked layout "stem", "block" and "head" make the denoiser.
        file: Its file.
        parts: Number of the model's blocks that it runs; 0 where that means nothing.
        height, width: Size of x in model space; 0 where that means nothing.
        batch: Rows that it takes at once.
        inputs, outputs: Ports, in order.
        weights: Other files that it reads.
        ops: Operators of the graph, and how many times each occurs.
    """

    role: Role
    file: str
    parts: int = 0
    height: int = 0
    width: int = 0
    batch: int = 1
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weights: tuple[str, ...] = ()
    ops: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A range of a file that is read, and checked, by itself: the weights of one block."""

    name: str
    start: int
    length: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of the package: its size and hash, and those of its pieces."""

    length: int
    sha256: str
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The sampler that a package states, in the words of the command line.

    Attributes:
        guidance_interval: Noise levels sigma, as in x = x0 + sigma noise; None for no upper end.
    """

    steps: int = 50
    solver: str = "dpm2m"
    grid: str = "karras"
    guidance: float = 1.0
    guidance_interval: tuple[float, float | None] = (0.0, None)
    plan: str | None = None


@dataclass(frozen=True, kw_only=True)
class TextInput:
    """Text that the model takes: (length, width) numbers for each image.

    Attributes:
        tokenizer: An entry of ``brickwork.files.tokenizers.TOKENIZERS``, where the encoder is a graph of the
            package; None where it was left out.
        left_out: Reason that it was; "" where it was not.
    """

    length: int
    width: int
    tokenizer: list[Any] | None = None
    left_out: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Description of a package: everything but its bytes.

    Attributes:
        format: Version of this table.
        brickwork: Version that packed it.
        target: Kind of device runtime that opens it.
        layout: "whole" graphs, a "stack" of one block and weights that are fed in turn, or a "scan" over them.
        precision: Precision of the weights and the arithmetic inside; inputs and outputs are always fp32.
        runtime: Versions of the libraries that wrote and checked it.
        shape: (C, H, W) of x in model space, as trained.
        picture_channels: 1 grey, 3 colour.
        factor: Pixels of a picture per position in model space, each way.
        num_parts: Number of the model's blocks.
        process: Entry of ``brickwork.diffusion.process.PROCESSES``.
        classes: Names; empty for a model without classes.
        text: Text that it takes, or None.
        condition_channels: Channels of the image condition; 0 for none.
        sampling: Default sampler settings.
        graphs: All graphs.
        files: All files but the manifest and the sums.
        parity: Difference between the package's pictures and the model's, and how it was measured.
        quality: Held-out loss and Fréchet distance against fp32, for quantised packages.
        model: SHA-256 of the model's file or weights, its backbone's entry, parameters.
        origin: Facts about the model's training, as its file says.
        licence: Licence that the packer stated; "" for unknown.
    """

    format: int = FORMAT
    brickwork: str
    target: str
    layout: Literal["whole", "stack", "scan"] = "whole"
    precision: str = "fp32"
    runtime: dict[str, str] = field(default_factory=dict)
    shape: tuple[Side, Side, Side]
    picture_channels: Annotated[int, at_least(1)]
    factor: Annotated[int, at_least(1)] = 1
    num_parts: int = 1
    process: list[Any]
    classes: tuple[str, ...] = ()
    text: TextInput | None = None
    condition_channels: int = 0
    sampling: Sampling = Sampling()
    graphs: tuple[Graph, ...]
    files: dict[str, File]
    parity: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    licence: str = ""

    def __post_init__(self) -> None:
        """Refuse values that no package can have.

        Raises:
            PackageError: A value is impossible; the message says which.
        """
        check_fields(self, "its ", PackageError)
        for name in self.files:
            check_name(name)
        for graph in self.graphs:
            for name in (graph.file, *graph.weights):
                if name not in self.files:
                    raise PackageError(f"its graph {graph.role} reads {name!r}, which is no file of it; pack it again")
        for name, file in self.files.items():
            for piece in file.pieces:
                if not 0 <= piece.start <= piece.start + piece.length <= file.length:
                    raise PackageError(f"its piece {piece.name} lies outside {name}; pack it again")

    def graph(self, role: Role, **wanted: int) -> Graph:
        """Return the first graph of a role with the given ``parts``, ``height``, ``width`` and ``batch``.

        Raises:
            PackageError: There is none.
        """
        for graph in self.graphs:
            if graph.role == role and all(getattr(graph, key) == value for key, value in wanted.items()):
                return graph
        words = ", ".join(f"{key} {value}" for key, value in wanted.items())
        raise PackageError(f"the package has no {role} graph{' of ' + words if words else ''}; pack one with it")

    def of_role(self, role: Role) -> tuple[Graph, ...]:
        """Return all graphs of a role."""
        return tuple(graph for graph in self.graphs if graph.role == role)


def check_name(name: str) -> None:
    """Refuse a file name with a folder or other special characters.

    Raises:
        PackageError: The name is not allowed.
    """
    if not NAME.fullmatch(name) or name in (MANIFEST, SUMS):
        raise PackageError(
            f"its file name {name!r} is not allowed: a name is letters, digits, dots, dashes and underscores, and no "
            "folder; pack it again"
        )


# ---- JSON -------------------------------------------------------------------------------------------------------


def to_table(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as ``manifest.json`` has it."""
    keys = {field: key for key, field in KEYS.items()}
    return {keys.get(field, field): value for field, value in asdict(manifest).items()}


def to_json(manifest: Manifest) -> str:
    """Return the text of ``manifest.json``."""
    return json.dumps(to_table(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Manifest:
    """Read a manifest from its text.

    Raises:
        PackageError: It is none, of a later format, or a value is of a wrong type.
    """
    try:
        values = read_json(text)
    except ValueError as error:
        raise PackageError(f"its {MANIFEST} cannot be read ({error}); copy or pack it again") from None
    if not isinstance(values, dict) or type(values.get("format")) is not int:
        raise PackageError(f"its {MANIFEST} has no format: it is no package of brickwork")
    if values["format"] != FORMAT:
        raise PackageError(f"it is of format {values['format']}, this brickwork reads {FORMAT}: upgrade or pack again")
    return READER.config(Manifest, READER.renamed(values, KEYS))


# ---- files ------------------------------------------------------------------------------------------------------


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` and ``SHA256SUMS``, which ``sha256sum --check`` reads."""
    data = to_json(manifest).encode()
    write_whole(folder / MANIFEST, data)
    sums = {**{name: file.sha256 for name, file in manifest.files.items()}, MANIFEST: hashlib.sha256(data).hexdigest()}
    write_whole(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode())


def read_manifest(folder: Path, expect: str = "") -> Manifest:
    """Read the manifest of a package, after checking it against ``SHA256SUMS``.

    Args:
        folder: The package.
        expect: SHA-256 (hex) that ``manifest.json`` must have. Without it, hashes guard against accident, not forgery.

    Raises:
        PackageError: There is no package, or its manifest is damaged or another one.
    """
    if not (folder / MANIFEST).is_file():
        raise PackageError(f"{folder} holds no {MANIFEST}: give a folder that `brickwork pack` wrote")
    try:
        data = _small(folder, MANIFEST)
        digest = hashlib.sha256(data).hexdigest()
        if expect and digest != expect.lower().strip():
            raise PackageError(f"{MANIFEST} has SHA-256 {digest}, expected was {expect}: it is another package")
        manifest = from_json(_text(data, MANIFEST))
        sums = _sums(_text(_small(folder, SUMS), SUMS))
        wanted = {**{name: file.sha256 for name, file in manifest.files.items()}, MANIFEST: digest}
        for name in sorted(wanted.keys() | sums.keys()):
            if wanted.get(name) != sums.get(name):
                raise PackageError(
                    f"{MANIFEST} and {SUMS} do not agree on {name}: one of them was damaged or edited; copy or pack it "
                    "again"
                )
    except PackageError as error:
        raise PackageError(f"{folder}: {error}") from None
    return manifest


def manifest_digest(folder: Path) -> str:
    """Return the SHA-256 (hex) of a package's manifest, by which to pin the package: it names all other files."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def checked(folder: Path, manifest: Manifest, name: str) -> Path:
    """Return the path of a file of the package, after checking all of its bytes.

    Raises:
        PackageError: It is missing, no regular file, of another size, or damaged.
    """
    path = located(folder, manifest, name)
    _compare(path, manifest.files[name].sha256, file_digest(path))
    return path


def located(folder: Path, manifest: Manifest, name: str) -> Path:
    """Return the path of a file of the package, after checking its size but not its bytes.

    A link to a regular file will do, as in the Hub's cache: its bytes are compared with the manifest like any others.

    Raises:
        PackageError: It is missing, no regular file, or of another size.
    """
    path = folder / name
    if not path.is_file():
        raise PackageError(f"{path}: there is no such file in the package; copy or pack it again")
    found, wanted = path.stat().st_size, manifest.files[name].length
    if found != wanted:
        raise PackageError(f"{path} has {found:,} bytes, its manifest says {wanted:,}: copy or pack it again")
    return path


def check_piece(path: Path, piece: Piece, data: memoryview | bytes) -> None:
    """Refuse the bytes of a piece if they are not those that were packed.

    Raises:
        PackageError: They are damaged.
    """
    _compare(f"{path}, {piece.name}", piece.sha256, hashlib.sha256(data).hexdigest())


@door("checking a package")
def verify(folder: str | Path, expect: str = "") -> Manifest:
    """Check every byte of a package, and that the folder holds no other file.

    Raises:
        PackageError: At the first thing wrong.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, expect)
    for path in sorted(folder.iterdir()):
        if path.name not in (MANIFEST, SUMS, *manifest.files):
            raise PackageError(f"{path}: a file that the manifest does not name; take it away, or pack again")
    for name, file in manifest.files.items():
        path = checked(folder, manifest, name)
        for piece in file.pieces:
            with open(path, "rb") as opened:
                opened.seek(piece.start)
                check_piece(path, piece, opened.read(piece.length))
    return manifest


def described(folder: Path, name: str, pieces: tuple[Piece, ...] = ()) -> File:
    """Return the manifest's entry of a file in a folder."""
    path = folder / name
    return File(length=path.stat().st_size, sha256=file_digest(path), pieces=pieces)


def _small(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file():
        raise PackageError(f"there is no {name} in it; copy or pack it again")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise PackageError(f"its {name} has {path.stat().st_size:,} bytes: no package has so many; pack it again")
    return path.read_bytes()


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise PackageError(f"its {name} is not text; copy or pack it again") from None


def _sums(text: str) -> dict[str, str]:
    return dict(_sum_lines(text))


def _sum_lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        digest, gap, name = line.partition("  ")
        if not gap or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise PackageError(f"its {SUMS} has a line that is no hash and name; copy or pack it again")
        yield name, digest


def _compare(what: str | Path, wanted: str, found: str) -> None:
    if wanted != found:
        raise PackageError(
            f"{what}: its bytes are not those that were packed (SHA-256 {found[:12]}..., wanted {wanted[:12]}...); "
            "copy or pack it again"
        )
