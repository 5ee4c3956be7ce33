"""The server sends a package's own files, and nothing else."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from brickwork.cli import main
from brickwork.device import serve
from brickwork.device.serve import server
from brickwork.errors import ArgumentError, PackageError
from brickwork.files.manifest import Graph, Manifest, Port, described, write_manifest

Get = Callable[..., http.client.HTTPResponse]


def package(folder: Path, target: str = "browser") -> Path:
    """A package that a server cannot tell from a real one."""
    folder.mkdir()
    page = {"index.html": "<p>page</p>", "main.js": "1", "a.mjs": "2", "a.wasm": "3"} if target == "browser" else {}
    for name, text in {"a.onnx": "graph", **page}.items():
        (folder / name).write_text(text)
    x = Port(name="x", dtype="float32", shape=(1, 1, 4, 4))
    manifest = Manifest(
        brickwork="0",
        target=target,
        shape=(1, 4, 4),
        picture_channels=1,
        process=["edm", {}],
        origin={"data": "<digits>"},
        graphs=(Graph(role="denoiser", file="a.onnx", inputs=(x,), outputs=(x,)),),
        files={path.name: described(folder, path.name) for path in sorted(folder.iterdir())},
    )
    write_manifest(folder, manifest)
    (folder / "secret.txt").write_text("not of the package")
    return folder


@pytest.fixture
def get(tmp_path: Path) -> Iterator[Get]:
    """Ask a server of the folders in tmp_path; by default of one."""
    started = []

    def port(folders: tuple[Path, ...] = (), on: str = "127.0.0.1") -> int:
        if not started:
            opened = server(folders or (package(tmp_path / "p"),), 0, on)
            thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            started.extend([opened, thread])
        return started[0].server_port

    def ask(
        path: str, *, folders: tuple[Path, ...] = (), on: str = "127.0.0.1", method: str = "GET", **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", port(folders, on), timeout=10)
        connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        answer.body = answer.read()  # pyright: ignore[reportAttributeAccessIssue]
        connection.close()
        return answer

    ask.port = port  # pyright: ignore[reportFunctionMemberAccess]
    yield ask
    for opened in started[:1]:
        opened.shutdown()
        opened.server_close()
        started[1].join()


def body(answer: http.client.HTTPResponse) -> bytes:
    return answer.body  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("path", "kind", "data"),
    [
        ("/", "text/html; charset=utf-8", b"<p>page</p>"),
        ("/index.html?a=b", "text/html; charset=utf-8", b"<p>page</p>"),
        ("/main.js", "text/javascript; charset=utf-8", b"1"),
        ("/a.mjs", "text/javascript; charset=utf-8", b"2"),
        ("/a.wasm", "application/wasm", b"3"),
        ("/a.onnx", "application/octet-stream", b"graph"),
    ],
)
def test_files_with_their_types_and_headers(get: Get, path: str, kind: str, data: bytes) -> None:
    answer = get(path)
    assert (answer.status, answer.headers["Content-Type"], body(answer)) == (200, kind, data)
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/secret.txt", "/../p/secret.txt", "/%2e%2e/p/main.js", "/p/main.js", "/a.onnx/", "/.", "/%00"],
)
def test_nothing_else(get: Get, path: str) -> None:
    answer = get(path)
    assert answer.status == 404
    assert b"secret" not in body(answer)
    assert b"not of the package" not in body(answer)


def test_a_link_in_the_place_of_a_file_is_not_followed(get: Get, tmp_path: Path) -> None:
    assert get("/main.js").status == 200
    (tmp_path / "p" / "main.js").unlink()
    (tmp_path / "p" / "main.js").symlink_to(tmp_path / "p" / "a.mjs")
    assert get("/main.js").status == 404


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_stands_there_later_is_not_sent(get: Get, tmp_path: Path, what: str) -> None:
    assert get("/a.wasm").status == 200
    if what == "file":
        (tmp_path / "other").write_text("4")
        (tmp_path / "other").replace(tmp_path / "p" / "a.wasm")
    else:
        (tmp_path / "p").rename(tmp_path / "q")
        package(tmp_path / "p")
    assert get("/a.wasm").status == 404


def test_a_link_at_the_start_leads_to_the_bytes_that_were_packed(get: Get, tmp_path: Path) -> None:
    folder = package(tmp_path / "p")
    (folder / "a.wasm").rename(tmp_path / "blob")
    (folder / "a.wasm").symlink_to("../blob")
    assert body(get("/a.wasm", folders=(folder,))) == b"3"
    (tmp_path / "blob").write_text("4")
    with pytest.raises(PackageError, match="not those that were packed"):
        server([folder], port=0)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.nip.io", 421),
        ("192.168.0.7", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_names_of_this_machine_alone(get: Get, host: str, status: int) -> None:
    for path in ("/main.js", "/manifest.json", "/nothing"):
        answer = get(path, Host=host)
        assert answer.status == (404 if status == 200 and path == "/nothing" else status)


@pytest.mark.parametrize(("host", "status"), [("192.168.0.7", 200), ("localhost", 200), ("evil.example", 421)])
def test_a_server_on_all_addresses(get: Get, host: str, status: int) -> None:
    assert get("/main.js", on="0.0.0.0", Host=host).status == status


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as opened:
        opened.sendall(request)
        return b"".join(iter(lambda: opened.recv(65536), b""))


@pytest.mark.parametrize(
    "asked",
    [b"BAD\r\n\r\n", b"GET /\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"A" * 70000],
)
def test_every_answer_has_the_policy(get: Get, asked: bytes) -> None:
    answer = raw(get.port(), asked)  # pyright: ignore[reportFunctionMemberAccess]
    assert b"\r\nContent-Security-Policy: default-src 'none'" in answer
    assert b"\r\nX-Content-Type-Options: nosniff" in answer


def test_half_open_connections_neither_pile_up_nor_block(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "SECONDS", 1.0)
    port, before = get.port(), threading.active_count()  # pyright: ignore[reportFunctionMemberAccess]
    opened = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3 * serve.MAX_CONNECTIONS)]
    for connection in opened[::2]:
        with suppress(OSError):
            connection.sendall(b"GET / HT")
    assert get("/main.js").status == 200
    assert threading.active_count() - before <= serve.MAX_CONNECTIONS + 1
    for connection in opened:  # all are ended by the server, at last those that it had room for
        with suppress(ConnectionError):
            assert not connection.recv(1 << 16)
        connection.close()


def test_what_did_not_change_is_not_sent_again(get: Get, tmp_path: Path) -> None:
    tag = get("/a.onnx").headers["ETag"]
    again = get("/a.onnx", If_None_Match=tag)
    assert (again.status, body(again)) == (304, b"")
    (tmp_path / "p" / "a.onnx").write_text("grape")
    assert get("/a.onnx", If_None_Match=tag).status == 200


def test_heads_have_no_body(get: Get) -> None:
    answer = get("/a.onnx", method="HEAD")
    assert (answer.status, answer.headers["Content-Length"], body(answer)) == (200, "5", b"")
    assert get("/", method="POST").status == 501


def test_several_packages_each_under_its_name(get: Get, tmp_path: Path) -> None:
    folders = package(tmp_path / "one"), package(tmp_path / "two")
    page = body(get("/", folders=folders)).decode()
    assert 'href="/one/"' in page
    assert "&lt;digits&gt;" in page
    assert body(get("/two/")) == b"<p>page</p>"
    assert get("/two").headers["Location"] == "/two/"
    assert get("/three/").status == 404


def test_what_cannot_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = package(tmp_path / "one")
    with pytest.raises(PackageError, match="for onnx has no page; pack it with --target browser"):
        server([package(tmp_path / "bare", "onnx")], port=0)
    with pytest.raises(PackageError, match=r"holds no manifest\.json"):
        server([tmp_path], port=0)
    with pytest.raises(ArgumentError, match="two folders are named"):
        server([one, one], port=0)
    with server([one], port=0) as opened, pytest.raises(ArgumentError, match="choose another with --port"):
        server([one], port=opened.server_port)
    assert main(["serve"]) == 1
    assert "give a folder" in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err.startswith("brickwork serve: ")
