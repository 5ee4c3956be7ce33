"""Commands end with a plain exit code whatever their standard streams are, and lose no work to them."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread, active_count

import numpy as np
import pytest
from tiny_models import tiny_model

import brickwork as bw
from brickwork.backbone.stoic import Stoic
from brickwork.cli import main
from brickwork.cli.verbs import VERBS
from brickwork.errors import MAX_MESSAGE, ArgumentError, BrickworkWarning, UnknownNameError, printable
from brickwork.files.bars import Bar
from brickwork.files.streams import run_command, steady
from brickwork.files.suppressed import suppressed


class Refusing(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, s: str, /) -> int:
        raise self.error


def ascii_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS: dict[str, tuple[Callable[[], io.TextIOBase | None], int]] = {
    "none": (lambda: None, 0),
    "closed": (closed, 0),
    "ascii": (ascii_stream, 0),
    "full": (lambda: Refusing(OSError(errno.ENOSPC, "No space left on device")), 1),
    "reader gone": (lambda: Refusing(BrokenPipeError(errno.EPIPE, "Broken pipe")), 0),
}
"""Streams by name, with the exit code of a command whose output they should take."""


@pytest.mark.parametrize("name", STREAMS)
def test_help_of_every_verb_on_every_stream(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, code = STREAMS[name]
    for verb in VERBS:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", make())
            assert main([*verb.split(), "--help"]) == code
            patch.setattr(sys, "stderr", make())
            assert main([*verb.split(), "--help"]) == code
            assert main([*verb.split(), "--no-such-option"]) == 2


def test_letters_that_a_stream_lacks_are_escaped() -> None:
    stream = ascii_stream()
    print("Fréchet \udcff", file=steady(stream))
    assert stream.buffer.getvalue() == b"Fr\\xe9chet \\udcff\n"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("{brickwork} list >/dev/full", 1, b"standard output cannot be written (No space left on device)"),
        ("{brickwork} list >&- 2>&-", 0, b""),
        ("{brickwork} sample nothing 2>/dev/full", 1, b""),
        ("{device} nothing 2>&-", 1, b""),
        ("set -o pipefail; {brickwork} list | :", 0, b""),
        ("LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 {brickwork} eval --help | cat", 0, b"Fr\\xe9chet"),
    ],
)
def test_streams_of_a_process(shell: str, code: int, said: bytes) -> None:
    words = {"brickwork": f"{sys.executable} -m brickwork", "device": f"{sys.executable} -m brickwork.device"}
    done = subprocess.run(["bash", "-c", shell.format(**words)], capture_output=True, check=False)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert said in done.stdout + done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("name", ["none", "closed", "full"])
def test_a_run_outlives_its_bar(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=pixels)
    recipe = bw.Recipe(backbone=Stoic.Config(width=32, depth=1, stride=1), batch=4, steps=2, warmup=1, precision="fp32")
    monkeypatch.setattr(sys, "stderr", STREAMS[name][0]())
    monkeypatch.setattr(sys, "stdout", STREAMS[name][0]())
    assert bw.train(recipe, str(tmp_path / "set.npz"), tmp_path / "run").facts["finished"]


def test_what_a_message_echoes_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise ArgumentError("class \x1b]0;mine\x07 or \u202egnp.exe\r\n: there is none \udcff; naïve 日本\u3000é")

    assert run_command(fail, "brickwork x") == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "\\x1b]0;mine\\x07 or \\u202egnp.exe\\r\\n" in line
    assert "\\udcff; naïve 日本\u3000é" in line


@pytest.mark.parametrize("said", ["x" * 100_000, "a b " * 30_000, "\x1b" * 100_000])
def test_what_a_message_echoes_is_cut(said: str) -> None:
    text = str(ArgumentError(f"{said}: the rule; the way out"))
    assert len(text) <= MAX_MESSAGE
    assert text.endswith(": the rule; the way out")
    assert len(str(UnknownNameError("solver", said, [f"name{i}" for i in range(1000)]))) <= MAX_MESSAGE
    assert len(printable(said, 80)) == 80


def test_names_in_files_cannot_steer_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model(Stoic.Config(size=8, channels=1, width=32, heads=1, depth=1, num_classes=2))
    model.classes = ("\x1b[2Jred", "a\nb\u202e")
    bw.save(model, tmp_path / "m.safetensors")
    assert main(["info", str(tmp_path / "m.safetensors")]) == 0
    assert "classes    \\x1b[2Jred, a\\nb\\u202e\n" in capsys.readouterr().out


def test_a_warning_is_a_line_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    def warn() -> None:
        warnings.warn("not \x1b[2J", BrickworkWarning, stacklevel=1)

    assert run_command(warn, "brickwork x") == 0
    assert capsys.readouterr().err == "brickwork x: not \\x1b[2J\n"


def test_a_current_folder_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # so that the folder of before comes back
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run_command(lambda: 0, "brickwork") == 1
    assert capsys.readouterr().err == "brickwork: the current folder is gone; change to one that exists\n"


def test_silence_in_two_threads_ends_with_both() -> None:
    before, first_in, second_in = (sys.stdout, sys.stderr, os.fstat(2).st_ino), Event(), Event()

    def first() -> None:
        with suppressed():
            first_in.set()
            second_in.wait(0.1)

    def second() -> None:
        first_in.wait(10)
        with suppressed():
            second_in.set()
            threads[0].join(10)

    threads = [Thread(target=act) for act in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (sys.stdout, sys.stderr, os.fstat(2).st_ino) == before


def test_a_bar_starts_no_thread() -> None:
    before = active_count()
    with Bar(range(3)) as bar:
        assert active_count() == before
        assert list(bar) == [0, 1, 2]
