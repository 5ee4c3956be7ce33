"""Browser packages over http on this machine: their own files alone, with the headers that the page needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
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
"""Everything else is bytes."""
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",  # with the next one: shared memory, and so threads
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, but asked about each time
}
LOCAL = ("127.0.0.1", "localhost", "::1")

Packages = dict[str, tuple[Path, Manifest]]
"""By the path that they are served under: "" for the only one."""


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
    """A server that listens, not yet answering; see ``serve``."""
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


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    # HTTP/1.0: each connection ends with its answer, so that no thread outlives the server.
    server_version, sys_version = "brickwork", ""

    def __init__(self, packages: Packages, *args: object) -> None:
        self.packages = packages
        super().__init__(*args)  # pyright: ignore[reportArgumentType]

    def do_GET(self) -> None:
        """The bytes of a file."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """The headers alone."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: who serves wants to read the address, and no more."""

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).removeprefix("/")
        if "" not in self.packages:
            if path == "":
                self._send(HTTPStatus.OK, TYPES[".html"], _overview(self.packages).encode(), body=body)
                return
            if path in self.packages:
                self._send(HTTPStatus.PERMANENT_REDIRECT, TYPES[""], b"", body=body, Location=f"/{path}/")
                return
        folder, _, name = path.rpartition("/")
        known = self.packages.get(folder)
        name = name or INDEX
        if known is None or name not in (MANIFEST, SUMS, *known[1].files):
            self._send(HTTPStatus.NOT_FOUND, TYPES[""], b"there is no such file in the package\n", body=body)
            return
        try:
            file = known[0] / name if name in (MANIFEST, SUMS) else located(*known, name)
            with open(file, "rb") as opened:
                facts = os.fstat(opened.fileno())
                tag = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"'
                if self.headers.get("If-None-Match") == tag:
                    self._head(HTTPStatus.NOT_MODIFIED, ETag=tag)
                    return
                kind = TYPES.get(Path(name).suffix, "application/octet-stream")
                self._head(HTTPStatus.OK, Content_Type=kind, Content_Length=str(facts.st_size), ETag=tag)
                if body:
                    shutil.copyfileobj(opened, self.wfile)
        except (OSError, PackageError) as error:
            if isinstance(error, ConnectionError):  # the browser left
                self.close_connection = True
                return
            self._send(HTTPStatus.NOT_FOUND, TYPES[""], f"{name}: missing or damaged\n".encode(), body=body)

    def _send(self, status: HTTPStatus, kind: str, data: bytes, *, body: bool, **more: str) -> None:
        self._head(status, Content_Type=kind, Content_Length=str(len(data)), **more)
        if body:
            self.wfile.write(data)

    def _head(self, status: HTTPStatus, **more: str) -> None:
        self.send_response(status)
        for name, value in (HEADERS | {key.replace("_", "-"): value for key, value in more.items()}).items():
            self.send_header(name, value)
        self.end_headers()


def _overview(packages: Packages) -> str:
    """A page that leads to each package; its looks are the first one's."""
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
