"""An http server for browser packages on this machine: their own files alone, with the headers that the page needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from html import escape
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from brickwork.errors import ArgumentError, PackageError
from brickwork.files.manifest import MANIFEST, SUMS, Manifest, located, read_manifest

INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    "": "text/plain; charset=utf-8",
}
"""MIME types by suffix; everything else is bytes."""
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",  # with the next one allows shared memory, which threads need
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # browsers keep the file, but ask each time whether it changed
}
LOCAL = ("127.0.0.1", "localhost", "::1")

Packages = dict[str, tuple[Path, Manifest]]
"""Packages by their path in URLs: "" for the only one."""


def serve(folders: Sequence[Path], port: int = 8000, host: str = "127.0.0.1") -> None:
    """Serve packages until interrupted.

    Args:
        folders: Browser packages; one is served at /, several each under its own name.
        port: 0 takes a free one.
        host: The interface to listen on. Browsers let a page check its files at localhost or over https alone.

    Raises:
        PackageError: A folder is no package for browsers, or its manifest is damaged.
        ArgumentError: The port cannot be had.
    """
    with server(folders, port, host) as opened:
        place = "localhost" if host in LOCAL else host
        print(f"http://{place}:{opened.server_port}/ (ctrl-C ends)", flush=True)
        if host not in LOCAL:
            print("browsers open the page at localhost or behind https only: put a proxy with https in front")
        opened.serve_forever()


def server(folders: Sequence[Path], port: int = 8000, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """Return a server that listens and does not answer yet; see ``serve``."""
    packages: Packages = {}
    for folder in folders:
        manifest = read_manifest(folder)
        if INDEX not in manifest.files:
            raise PackageError(f"{folder}: a package for {manifest.target} has no page; pack it with --target browser")
        name = "" if len(folders) == 1 else folder.resolve().name
        if name in packages:
            raise ArgumentError(f"{folder}: two folders are named {name!r}; rename one")
        packages[name] = (folder, manifest)
    try:
        return ThreadingHTTPServer((host, port), partial(_Handler, packages))
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"port {port} of {host}: {error}; choose another with --port") from None


class _Handler(SimpleHTTPRequestHandler):
    """The standard library's file handler, limited to the files that manifests name."""

    # HTTP/1.0: each connection ends with its answer, so that no thread outlives the server.
    server_version, sys_version, tag = "brickwork", "", ""

    def __init__(self, packages: Packages, *args: Any) -> None:
        self.packages = packages
        super().__init__(*args)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing: only the address is of interest."""

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """Return a file's type by its suffix; bytes for one that is not known here."""
        return TYPES.get(Path(path).suffix, "application/octet-stream")

    def translate_path(self, path: str) -> str:
        """Return the path of a file that a manifest names, its size checked; "" for everything else."""
        folder, _, name = unquote(urlsplit(path).path).removeprefix("/").rpartition("/")
        package, name = self.packages.get(folder), name or INDEX
        if package is None or name not in (MANIFEST, SUMS, *package[1].files):
            return ""
        try:
            return str(package[0] / name if name in (MANIFEST, SUMS) else located(*package, name))
        except PackageError:
            return ""

    def send_head(self) -> Any:
        """Send the headers; return the file to send after them, or None."""
        name = unquote(urlsplit(self.path).path).strip("/")
        if "" not in self.packages and self.path in ("/", ""):
            return self._page(_overview(self.packages).encode())
        if name and name in self.packages and not self.path.endswith("/"):
            self._answer(HTTPStatus.PERMANENT_REDIRECT, Location=f"/{name}/", Content_Length="0")
            return None
        try:
            facts = os.stat(self.translate_path(self.path))
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        self.tag = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"'
        if self.headers.get("If-None-Match") == self.tag:
            self._answer(HTTPStatus.NOT_MODIFIED)
            return None
        return super().send_head()

    def end_headers(self) -> None:
        """Add the headers that the page needs to every answer, and a file's ETag."""
        for name, value in (HEADERS | ({"ETag": self.tag} if self.tag else {})).items():
            self.send_header(name, value)
        super().end_headers()

    def _page(self, data: bytes) -> BytesIO:
        self._answer(HTTPStatus.OK, Content_Type=TYPES[".html"], Content_Length=str(len(data)))
        return BytesIO(data)

    def _answer(self, status: HTTPStatus, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def _overview(packages: Packages) -> str:
    """Return a page with a link to each package, in the style of the first one."""
    style = next(iter(packages))
    rows = []
    for name, (_, manifest) in packages.items():
        data = manifest.origin.get("data", "")
        what = f"{data + ', ' if data else ''}{manifest.num_parts} parts, {manifest.precision}"
        rows.append(f'<dt><a href="/{escape(name)}/">{escape(name)}</a></dt><dd>{escape(what)}</dd>')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>brickwork</title>'
        f'<link rel="icon" href="/{escape(style)}/icon.svg"><link rel="stylesheet" href="/{escape(style)}/style.css">'
        "</head><body><header><h1>brickwork</h1></header><main class='stage models'><dl>"
        f"{''.join(rows)}</dl></main></body></html>\n"
    )
