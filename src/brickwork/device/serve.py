"""An http server for browser packages on this machine: their own files alone, with the headers that the page needs.

It answers to this machine's names alone, so that no other site's page can read a package by a name that it points here.
A file is the one that stood in its place at the start: what is put there later, a link above all, is not sent.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, final
from urllib.parse import unquote, urlsplit

from brickwork.errors import ArgumentError, PackageError
from brickwork.files.manifest import MANIFEST, SUMS, Manifest, checked, located, read_manifest

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
EVERYWHERE = ("", "0.0.0.0", "::")
"""Hosts to listen on that stand for all addresses of this machine."""
SECONDS = 10.0
"""Time that a request may take to arrive, and that a connection may stand still."""
MAX_CONNECTIONS = 64
"""Most connections at once: one more ends the oldest. A browser opens six."""
PLAIN = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
"""How files are opened: no link is followed, and a pipe is not waited for."""

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


def server(folders: Sequence[Path], port: int = 8000, host: str = "127.0.0.1") -> Server:
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
    files = {url: file for name, package in packages.items() for url, file in _files(name, *package).items()}
    page = None if "" in packages else _overview(packages).encode()
    try:
        return Server((host, port), partial(_Handler, files, page, host))
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"port {port} of {host}: {error}; choose another with --port") from None


@final
@dataclass(frozen=True)
class _File:
    """A file as it stood at the start.

    Attributes:
        path: Its place, without links.
        identity: Its device and inode.
        length: Its bytes by the manifest; None for the manifest itself.
    """

    path: Path
    identity: tuple[int, int]
    length: int | None

    @property
    def type(self) -> str:
        """MIME type by the suffix."""
        return TYPES.get(self.path.suffix, "application/octet-stream")

    def open(self) -> tuple[BinaryIO, os.stat_result]:
        """Open the file; also return its facts.

        Raises:
            OSError: Another file stands there, a link, or one of another size.
        """
        opened = os.fdopen(os.open(self.path, PLAIN), "rb")
        facts = os.fstat(opened.fileno())
        if (facts.st_dev, facts.st_ino) != self.identity or self.length not in (None, facts.st_size):
            opened.close()
            raise FileNotFoundError(self.path)
        return opened, facts


def _files(package: str, folder: Path, manifest: Manifest) -> dict[str, _File]:
    """Return the files of a package by their path in URLs.

    Raises:
        PackageError: A file is missing or of another size, or is a link to other bytes than the manifest's.
    """
    start, found = f"/{package}/" if package else "/", {}
    for name in (MANIFEST, SUMS, *manifest.files):
        path = folder / name
        if name in manifest.files:
            (checked if path.is_symlink() else located)(folder, manifest, name)
        path = path.resolve()
        facts = path.stat()
        length = manifest.files[name].length if name in manifest.files else None
        found[start + name] = _File(path, (facts.st_dev, facts.st_ino), length)
    return {**found, start: found[start + INDEX]}


class Server(ThreadingHTTPServer):
    """Server that ends a request which does not arrive in time, and the oldest connection where there are too many."""

    request_queue_size = MAX_CONNECTIONS

    def __init__(self, *arguments: Any) -> None:
        self.deadlines: dict[Any, float] = {}
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread."""
        while len(self.deadlines) >= MAX_CONNECTIONS:
            self._end(next(iter(self.deadlines)))
        self.deadlines[request] = monotonic() + SECONDS
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End the connections whose request is late; called about twice a second."""
        now = monotonic()
        for request, deadline in self.deadlines.copy().items():
            if deadline < now:
                self._end(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.deadlines.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a fault of ours; a connection that broke is none."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def _end(self, request: Any) -> None:
        """Wake the thread of a connection, which closes it."""
        self.deadlines.pop(request, None)
        with suppress(OSError):
            request.shutdown(2)


class _Handler(BaseHTTPRequestHandler):
    """Answers of the server: files by a table of paths.

    Args:
        files: Files by path.
        page: The page at / where there are several packages.
        host: The interface that the server listens on.
    """

    # HTTP/1.0: each connection ends with its answer, so that no thread outlives the server.
    # Requests without a version are taken for 1.0 too: answers to 0.9 have no headers, and so no policy.
    server_version, sys_version, default_request_version = "brickwork", "", "HTTP/1.0"
    timeout = SECONDS

    def __init__(self, files: Mapping[str, _File], page: bytes | None, host: str, *args: Any) -> None:
        self.files, self.page, self.host = files, page, host
        super().__init__(*args)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing: only the address is of interest."""

    def do_GET(self) -> None:
        """Send headers and a file."""
        if body := self._begin():
            with body:
                shutil.copyfileobj(body, self.wfile)

    def do_HEAD(self) -> None:
        """Send the headers that a file has."""
        if body := self._begin():
            body.close()

    def end_headers(self) -> None:
        """Add the headers that the page needs to every answer, also to errors."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def _begin(self) -> BinaryIO | None:
        """Send the headers; return what to send after them."""
        assert isinstance(self.server, Server)
        self.server.deadlines[self.request] = float("inf")  # the request is here
        path = unquote(urlsplit(self.path).path)
        if not self._is_called_by_name():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "This server answers to localhost and its own address")
        elif path == "/" and self.page is not None:
            self._answer(HTTPStatus.OK, Content_Type=TYPES[".html"], Content_Length=str(len(self.page)))
            return BytesIO(self.page)
        elif f"{path}/" in self.files:
            self._answer(HTTPStatus.PERMANENT_REDIRECT, Location=f"{path}/", Content_Length="0")
        elif path not in self.files:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            return self._begin_file(self.files[path])
        return None

    def _begin_file(self, file: _File) -> BinaryIO | None:
        try:
            opened, facts = file.open()
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        tag = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"'
        if self.headers.get("If-None-Match") == tag:
            opened.close()
            self._answer(HTTPStatus.NOT_MODIFIED, ETag=tag)
            return None
        self._answer(HTTPStatus.OK, ETag=tag, Content_Type=file.type, Content_Length=str(facts.st_size))
        return opened

    def _is_called_by_name(self) -> bool:
        """Return True if the request names this machine or the server's own host as its host."""
        hosts = self.headers.get_all("Host", [])
        try:
            name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
        except ValueError:
            return False
        if name is None or name in (*LOCAL, self.host.lower()):
            return name is not None
        # A server that listens on all addresses is called by any of them; a foreign site has a name.
        return self.host in EVERYWHERE and _is_address(name)

    def _answer(self, status: HTTPStatus, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _overview(packages: Packages) -> str:
    """Return a page with a link to each package, in the style of the first one."""
    style = next(iter(packages))
    rows = []
    for name, (_, manifest) in packages.items():
        data = Path(str(manifest.origin.get("data", ""))).name
        what = f"{data + ', ' if data else ''}{manifest.num_parts} parts, {manifest.precision}"
        rows.append(f'<dt><a href="/{escape(name)}/">{escape(name)}</a></dt><dd>{escape(what)}</dd>')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>brickwork</title>'
        f'<link rel="icon" href="/{escape(style)}/icon.svg"><link rel="stylesheet" href="/{escape(style)}/style.css">'
        "</head><body><header><h1>brickwork</h1></header><main class='stage models'><dl>"
        f"{''.join(rows)}</dl></main></body></html>\n"
    )
