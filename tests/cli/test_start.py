"""What needs no PyTorch starts without it; what a verb's help says is said once."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from brickwork.backbone.presets import PRESETS
from brickwork.cli import names
from brickwork.cli.list_ import EXTRAS
from brickwork.cli.verbs import VERBS
from brickwork.codec.image_condition import IMAGE_CONDITIONS
from brickwork.foreign.formats import FORMATS
from brickwork.text.table import TEXTS

HEAVY = ("torch", "diffusers", "transformers", "onnx", "onnxruntime", "sklearn", "PIL.ImageShow")
PROBE = """
import sys
from brickwork.cli import main
code = main(sys.argv[1:])
print("loaded", code, *(name for name in {heavy} if name in sys.modules))
"""


def start(*words: str) -> str:
    """The last line of the probe: the exit code, and what came in of what should not."""
    command = [sys.executable, "-c", PROBE.format(heavy=HEAVY), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [("--help",), ("--version",), ("list",), ("info", "digits"), ("info", "digits", "--json"), ("train", "--help")]
    + [("help", "autoencoder"), ("help", "sample")]
    + [(*verb.split(), "--help") for verb in VERBS if verb not in ("train", "autoencoder train")],
    ids=" ".join,
)
def test_no_torch_comes_in(words: tuple[str, ...]) -> None:
    assert start(*words) == "loaded 0"


WITHOUT = """
import sys
from importlib.machinery import ModuleSpec
from brickwork.errors import TRAIN

class Missing:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.partition(".")[0] in TRAIN else None

    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("list",), 0, ""),
        (("info", "digits"), 0, ""),
        (("run", "nowhere"), 1, "brickwork run: nowhere holds no manifest.json"),
        (("sample", "digits"), 1, 'brickwork sample needs torch: pip install "brickwork[train]"'),
        (
            ("train", "digits", "--data", "x", "--out", "y"),
            1,
            'brickwork train needs jaxtyping: pip install "brickwork[',
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_device_needs_no_extra_and_what_trains_names_it(words: tuple[str, ...], code: int, line: str) -> None:
    program = f"{WITHOUT}\nfrom brickwork.cli import main\nsys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == code, "an error is one line"


def test_a_public_name_without_its_extra_names_it() -> None:
    program = f"{WITHOUT}\nimport brickwork as bw\nbw.Sampler\ntry:\n bw.load\nexcept bw.BrickworkError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == 'brickwork.load needs torch: pip install "brickwork[train]"\n'


@pytest.mark.parametrize(
    ("known", "table"),
    [
        (names.PRESETS, PRESETS),
        (names.FORMATS, FORMATS),
        (names.TEXTS, TEXTS),
        (names.IMAGE_CONDITIONS, IMAGE_CONDITIONS),
    ],
)
def test_names_are_those_of_the_tables(known: tuple[str, ...], table: dict[str, object]) -> None:
    assert list(known) == list(table)


def test_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"]) - {"dev", "docs"}


@pytest.mark.parametrize("verb", VERBS)
def test_the_line_of_help_is_the_docstring_s_first(verb: str) -> None:
    assert (VERBS[verb].load().__doc__ or "").splitlines()[0] == VERBS[verb].line


def test_presets_to_begin_with_are_presets() -> None:
    assert set(names.OURS) < set(names.PRESETS)
    published = [name for family in names.families().values() for name in family]
    assert sorted([*names.OURS, *published]) == sorted(names.PRESETS)


def test_python_m_brickwork_is_the_command_line() -> None:
    command = [sys.executable, "-m", "brickwork", "list"]
    assert "dpm2m" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
