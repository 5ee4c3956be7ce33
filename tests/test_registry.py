"""Registries: names of classes, those of other packages among them, and what is refused."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from brickwork import registry
from brickwork.backbone.table import BACKBONES
from brickwork.codec.base import Pixels
from brickwork.codec.table import CODECS
from brickwork.diffusion.process import PROCESSES, Edm, LinearFlow, NoiseProcess
from brickwork.diffusion.schedule import SCHEDULES, LogSnr, Schedule
from brickwork.errors import ExtensionError, UnknownNameError
from brickwork.files.schema import from_entry, to_entry
from brickwork.registry import register
from brickwork.sampling.solvers import SOLVERS, Ddim, DpmSolverPP


@pytest.fixture(autouse=True)
def closed_again() -> Iterator[None]:
    """Forget what a test registered."""
    yield
    registry._points.cache_clear()
    for known in registry._REGISTRIES.values():
        known._added.clear()
    sys.modules.pop("somebody", None)


@dataclass(frozen=True, kw_only=True)
class Half(Schedule):
    """Each level half the one before."""

    factor: float = 0.5

    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """sigma_max factor^i."""
        return process.sigma_max * self.factor ** np.arange(steps)


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, *points: str) -> None:
    """An installed package "some-body": a module, and what its metadata states."""
    (tmp_path / "somebody.py").write_text(module)
    info = tmp_path / "some_body-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-body\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(points) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry._points.cache_clear()


def test_a_registry_is_a_mapping_in_the_order_it_was_written() -> None:
    assert list(PROCESSES) == ["vp", "discrete-vp", "cosine", "edm", "flow", "sit-flow"]
    assert PROCESSES["edm"] is Edm
    assert "edm" in PROCESSES
    assert "edn" not in PROCESSES
    assert PROCESSES.get("edn") is None
    assert dict(PROCESSES.items())["flow"] is LinearFlow


@pytest.mark.parametrize(
    ("config", "name"),
    [(Ddim(), "ddim"), (Ddim, "ddim"), (DpmSolverPP(order=2), "dpm2m"), (DpmSolverPP(order=3), "dpm3m")],
)
def test_a_config_has_the_first_name_that_makes_it(config: object, name: str) -> None:
    assert SOLVERS.name_of(config) == name


def test_a_registered_class_is_written_with_its_module_and_read_again() -> None:
    register("half")(Half)
    register("half")(Half)  # again the same is no mistake, as when a notebook's cell is run twice
    assert list(SCHEDULES) == ["karras", "log-snr", "linear", "half"]
    entry = to_entry(SCHEDULES, Half(factor=0.25))
    assert entry == ["half", {"factor": 0.25}, Half.__module__.partition(".")[0]]
    assert from_entry(SCHEDULES, entry, "schedule") == Half(factor=0.25)
    assert to_entry(SCHEDULES, LogSnr()) == ["log-snr", {}]  # the library's own need no package


def test_a_class_finds_its_registry_through_the_table_of_its_room() -> None:
    assert registry.registry_for(Pixels) is CODECS
    assert registry.registry_for(BACKBONES["dit"]) is BACKBONES


def test_an_unknown_name_says_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no process named 'edn'; did you mean edm\?"):
        PROCESSES.find("edn")


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(ExtensionError, match=r'Half is registered under no name: put @brickwork.register\("name"\)'):
        to_entry(SCHEDULES, Half())


@dataclass
class Loose(Schedule):
    """Not frozen."""

    def positive(self, process: NoiseProcess, steps: int) -> np.ndarray:
        """Nothing that matters."""
        return np.ones(steps)


class Plain(Half):
    """No dataclass of its own."""


@dataclass(frozen=True)
class Unfinished(Schedule):
    """Without its method."""


@dataclass(frozen=True)
class Clash(Half):
    """With a field that a recipe's table has a meaning for."""

    package: str = ""


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("karras", Half, r"the name is taken by brickwork\.diffusion\.schedule\.Karras; register it under another one"),
        ("a b", Half, "a new name is needed, without spaces"),
        ("loose", Loose, "it must be a frozen dataclass"),
        ("plain", Plain, r"it must be a frozen dataclass; put @dataclass\(frozen=True, kw_only=True\) on it"),
        ("open", Unfinished, "it leaves positive abstract"),
        ("clash", Clash, "keys package of its own; rename these fields"),
        ("int", int, "builtins.int derives from no base class that has a registry"),
    ],
)
def test_what_cannot_be_registered_is_refused(name: str, kind: type, message: str) -> None:
    with pytest.raises(ExtensionError, match=message):
        register(name)(kind)
    assert name not in SCHEDULES or SCHEDULES[name] is not kind


MODULE = """
from dataclasses import dataclass
from brickwork.diffusion.schedule import LogSnr, Schedule

@dataclass(frozen=True)
class Even(Schedule):
    def positive(self, process, steps):
        return LogSnr().positive(process, steps)
"""
POINT = "[brickwork.schedule]"


def test_an_installed_package_is_listed_unimported_and_imported_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, MODULE, POINT, "even = somebody:Even")
    assert "even" in list(SCHEDULES)
    assert "even" in SCHEDULES
    assert "somebody" not in sys.modules
    assert SCHEDULES.find("even").__module__ == "somebody"
    assert to_entry(SCHEDULES, SCHEDULES["even"]()) == ["even", {}, "some-body"]


def test_without_the_package_the_error_names_it() -> None:
    with pytest.raises(ExtensionError, match=r"no schedule named 'even' here: it is of the package 'some-body'"):
        from_entry(SCHEDULES, ["even", {}, "some-body"], "schedule")


@pytest.mark.parametrize(
    ("module", "point", "message"),
    [
        ("import nothing_there", "even = somebody:Even", r"cannot be imported \(ModuleNotFoundError: No module named"),
        (MODULE, "even = somebody:Odd", r"cannot be imported \(AttributeError"),
        (MODULE, "even = somebody", "is somebody, which is no subclass of Schedule"),
    ],
)
def test_a_broken_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, point: str, message: str
) -> None:
    install(tmp_path, monkeypatch, module, POINT, point)
    with pytest.raises(ExtensionError, match=f"schedule 'even' of the package some-body {message}"):
        SCHEDULES.find("even")


def test_a_file_of_another_package_is_not_read_with_a_class_of_ours() -> None:
    with pytest.raises(ExtensionError, match="is of the package 'some-body', and this brickwork has one of its own"):
        from_entry(SCHEDULES, ["karras", {}, "some-body"], "schedule")
