"""onnxruntime-web: the files that a page needs, from a pinned tarball of npm or a folder of your own."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from base64 import b64decode
from pathlib import Path
from typing import Any

from brickwork.data.cache import cache_folder
from brickwork.errors import MissingExtraError, PackageError

NAME, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Hash of the tarball, as the registry states it (dist.integrity)."""
REGISTRY = "https://registry.npmjs.org/"
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""Files for WebAssembly, and the last three for WebGPU."""
LICENCE = "onnxruntime-web.LICENSE.txt"
MIT = """onnxruntime-web, https://github.com/microsoft/onnxruntime

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
"""Licence text; the tarball states MIT, but does not contain the text."""


def copy_to(folder: Path, given: str = "") -> str:
    """Write the runtime's files and its licence into a package; return its version.

    Args:
        folder: Folder of the package.
        given: A folder of your own that holds the files; "" takes the pinned tarball.

    Raises:
        PackageError: The files cannot be had, or are not those that are pinned.
    """
    (folder / LICENCE).write_text(MIT, encoding="utf-8")
    if given:
        return _from_folder(Path(given), folder)
    with tarfile.open(tarball()) as opened:
        for name in FILES:
            member = opened.extractfile(f"package/dist/{name}")
            assert member is not None, name
            with member, open(folder / name, "wb") as out:
                shutil.copyfileobj(member, out)
    return VERSION


def _from_folder(given: Path, folder: Path) -> str:
    for name in FILES:
        if not (given / name).is_file():
            raise PackageError(f"ort-web {given}: it holds no {name}; give the folder dist of {NAME} {VERSION}")
        shutil.copyfile(given / name, folder / name)
    try:
        return str(json.loads((given.parent / "package.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"of {given}"


def tarball() -> Path:
    """Return the pinned tarball, from the cache or else from npm; its hash is checked each time.

    Raises:
        PackageError: It cannot be loaded, or is another one.
        MissingExtraError: pooch is not installed.
    """
    try:
        import pooch
    except ImportError as error:
        raise MissingExtraError("browser", "pooch", f"loading {NAME}") from error
    name, wanted = f"{NAME}-{VERSION}.tgz", b64decode(INTEGRITY.removeprefix("sha512-")).hex()
    address, folder = f"{_registry()}{NAME}/-/{name}", cache_folder().with_name(NAME)
    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(address, f"sha512:{wanted}", name, folder, downloader=_downloader(pooch)))
    except ValueError as error:  # the hash differs
        raise PackageError(
            f"{address}: its hash is not the pinned {INTEGRITY}: it is not used; try again later"
        ) from error
    except OSError as error:
        raise PackageError(
            f"{address}: it cannot be loaded ({error}); be online once, or give --ort-web DIR with the files of {NAME}"
        ) from None


def _downloader(pooch: Any) -> Any:
    """Return the function that downloads a file from an address; it gives up after 300 s without an answer."""
    return pooch.HTTPDownloader(timeout=300)


def _registry() -> str:
    """Return the registry that npm is set to; the public one where npm is not installed."""
    npm = shutil.which("npm")
    if npm is None:
        return REGISTRY
    asked = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, timeout=60, check=False)
    said = asked.stdout.strip()
    return f"{said.rstrip('/')}/" if asked.returncode == 0 and said.startswith(("https://", "http://")) else REGISTRY
