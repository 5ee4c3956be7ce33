"""The public names: what runs, what editors are told, and what a type checker makes of them."""

import inspect
import json
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import brickwork as bw

ROOT = Path(__file__).parents[1]

STRANGER = """
import brickwork as bw

model = bw.load("digits")
reveal_type(model)
reveal_type(bw.open_package("x"))
reveal_type(bw.preset("stoic-digits"))
reveal_type(bw.list_presets("lego-*"))
reveal_type(bw.sample(model, seeds=[0]))

@bw.register("mine")
class Mine(bw.Schedule):
    pass

reveal_type(Mine)
bw.nothing_there
"""
REVEALED = ["Model", "Runner", "BackboneConfig", "list[str]", None, "type[Mine]"]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, typing.Any]]:
    """What pyright says about a stranger's file."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "stranger.py").write_text(STRANGER)
    settings = {"include": ["stranger.py"], "extraPaths": [str(ROOT / "src")], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    return json.loads(done.stdout)["generalDiagnostics"]


def test_a_type_checker_knows_what_comes_back(checked: list[dict[str, typing.Any]]) -> None:
    told = [re.findall(r'is "(.*)"$', entry["message"])[0] for entry in checked if entry["severity"] == "information"]
    assert len(told) == len(REVEALED)
    for found, wanted in zip(told, REVEALED, strict=True):
        assert not re.search(r"\b(Any|Unknown)\b", found) or wanted is None
        assert wanted in (None, found)


def test_a_name_that_is_not_there_is_an_error(checked: list[dict[str, typing.Any]]) -> None:
    errors = [entry["message"] for entry in checked if entry["severity"] == "error"]
    assert errors == ['"nothing_there" is not a known attribute of module "brickwork"']
    with pytest.raises(AttributeError, match="nothing_there"):
        bw.nothing_there  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018


def test_the_stub_and_the_package_have_the_same_names() -> None:
    stub = (ROOT / "src" / "brickwork" / "__init__.pyi").read_text()
    stated = [name for name, alias in re.findall(r"(\w+) as (\w+)", stub) if name == alias]
    assert sorted([*stated, "__version__"]) == bw.__all__
    assert all(getattr(bw, name) is not None for name in stated)


def _public_signatures() -> list[tuple[str, typing.Any]]:
    """Functions, and of classes the public methods, properties and the constructor, by name."""
    found: list[tuple[str, typing.Any]] = []
    for name in bw.__all__:
        value = getattr(bw, name)
        if not inspect.isclass(value):
            found.append((name, value))
            continue
        found.append((f"{name}'s fields", value))
        for method, part in vars(value).items():
            if not method.startswith("_") or method in ("__init__", "__call__"):
                found.append((f"{name}.{method}", getattr(part, "fget", getattr(part, "__func__", part))))
    return found


def test_no_public_parameter_or_result_is_any() -> None:
    vague = [
        f"{name}: {parameter}"
        for name, value in _public_signatures()
        for parameter, kind in inspect.get_annotations(inspect.unwrap(value) if callable(value) else type(None)).items()
        if re.search(
            r"\bAny\b", re.sub(r"(dict|Mapping)\[str, Any\]", "", str(kind))
        )  # what JSON holds may be anything
    ]
    assert vague == []
    assert len(_public_signatures()) > 200  # so that there was something to look at
