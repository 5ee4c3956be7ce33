"""What holds for every verb: its page of help, its examples, and exit codes 0, 1 and 2, whatever the streams are."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from brickwork.cli import autoencoder, main, split_verb, train
from brickwork.cli.completion import print_completion
from brickwork.cli.names import PRESETS
from brickwork.cli.verbs import GROUPS, VERBS
from brickwork.cli.words import parsed
from brickwork.device.command import parser

FAILING = {
    "sample": "nowhere",
    "edit": "nowhere nowhere.png",
    "run": "nowhere",
    "train": "stoic-tiny --data nowhere --out a --steps 1",
    "data": "nowhere",
    "doctor": "nowhere",
    "autoencoder train": "--data nowhere --out a --steps 1",
    "autoencoder import": "nowhere --out a",
    "autoencoder info": "nowhere",
    "demo": "nowhere",
    "export": "nowhere --out a",
    "import": "nowhere.pt --out a.safetensors",
    "push": "nowhere me/birds",
    "eval": "nowhere --reference digits",
    "macs": "nowhere",
    "workload": "nowhere",
    "sensitivity": "nowhere --data digits",
    "bench": "nowhere",
    "pack": "nowhere",
    "verify": "nowhere",
    "serve": "nowhere",
    "info": "nowhere",
}
"""Words of each verb that are right, about a thing that is not there."""
WITHOUT_FAILURE = {"list", "completion"}
PAGES = [*([*verb.split(), *VERBS[verb].first] for verb in VERBS), ["train"], ["autoencoder"], []]


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_a_page_of_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    page = capsys.readouterr().out
    lines = page.splitlines()
    assert [line for line in lines if len(line) >= 80] == []
    assert len(lines) < 100
    assert " [STR [STR" not in page
    assert lines[0].startswith("usage: ")
    assert "--quiet" in page
    if words != ["autoencoder"]:
        assert "\n  brickwork " in page
    assert main(["help", *words]) == 0
    assert capsys.readouterr().out == page


def test_the_first_page_lists_every_verb_in_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    page = capsys.readouterr().out
    assert re.findall(r"^(\w.*):$", page, re.MULTILINE) == ["Example", *GROUPS, "Every verb also takes"]
    assert all(f"\n  {name} " in page and verb.line in page for name, verb in VERBS.items())


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_words_are_2_and_a_thing_that_is_not_there_is_1(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert verb in WITHOUT_FAILURE or verb in FAILING, "a new verb needs a row"
    cases = {"--no-such-option": 2} | ({FAILING[verb]: 1} if verb in FAILING else {})
    for words, code in cases.items():
        assert main([*verb.split(), *VERBS[verb].first * (code == 2), *words.split(), "-q"]) == code
        said = capsys.readouterr().err
        assert said.startswith(f"brickwork {verb}: ")
        assert said.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_the_words_of_examples_are_right(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for module in (train, autoencoder):
        monkeypatch.setattr(module, "call", parsed)
    for example in VERBS[verb].examples:
        program, *words = shlex.split(example)
        name, rest = split_verb(words)
        assert (program, name) == ("brickwork", verb)
        if verb == "run":
            assert parser(verb).parse_args(rest).labels == ["3"]
        elif VERBS[verb].reads_words:
            assert VERBS[verb].load()(rest) == 0
        else:
            assert parsed(VERBS[verb].load(), prog=verb, words=rest)


def test_examples_that_need_nothing_else_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in ("sample", "edit", "macs", "list", "info"):
        assert main([*shlex.split(VERBS[verb].examples[0])[1:], "-q"]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert said.out
    assert {path.name for path in tmp_path.iterdir()} == {"three.png", "edited.png"}


def test_verbose_tells_versions_values_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-v", "macs", "stoic-tiny", "--steps", "3"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("versions: brickwork ")
    assert {"model 'stoic-tiny'", "steps 3", "solver 'dpm2m' (default)"} <= set(lines)
    assert lines[-1].startswith("time: ")
    assert main(["-v", "macs", "stoic-tiny", "--quiet"]) == 2


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("{brickwork} sample nowhere 2>&-", 1),
        ("set -o pipefail; {brickwork} info digits | :", 0),
        ("LANG=C PYTHONIOENCODING=ascii {brickwork} help eval", 0),
    ],
)
def test_streams_of_a_process(shell: str, code: int) -> None:
    command = shell.format(brickwork=f"{sys.executable} -m brickwork")
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert done.returncode == code
    assert done.stderr == b""
    assert done.stdout.isascii()


@pytest.fixture(scope="module")
def script() -> str:
    with redirect_stdout(io.StringIO()) as printed:
        print_completion("bash")
    return printed.getvalue()


def test_completion_of_words(script: str, tmp_path: Path) -> None:
    cases = {
        "sam": "sample",
        "-q autoencoder i": "import info",
        "help wor": "workload",
        "sample digits-": "digits-lego",
        "sample digits --solver dp": "dpm2m dpm3m",
        "sample digits --se": "--seed --seeds",
        "train lego-sm": "lego-small-pg lego-small-pr",
        "train stoic-tiny --ema-h": "--ema-half-life",
        "pack digits --target o": "onnx openvino",
        "run --sol": "--solver",
        "list preset": "presets",
        "completion ''": "bash zsh fish",
        "sample digits --out three": "",
    }
    (tmp_path / "complete").write_text(script)
    ask = "; COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); _brickwork; echo ${COMPREPLY[*]}"
    tries = [f"COMP_WORDS=(brickwork {words}){ask}" for words in cases]
    command = "\n".join(["source complete", *tries])
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = dict(zip(cases, done.stdout.split("\n"), strict=False))
    assert found == cases
    assert set(PRESETS) <= set(re.findall(r'[^\s"]+', script))
