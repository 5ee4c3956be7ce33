"""Mutated files end as one line, or as what they say; seeds repeat a finding.

Run more by ``python tests/test_mutations.py FIRST COUNT [READER ...]``, which prints what is wrong.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "support"))

from mutate import judge
from readers import CASES

COUNT = 60


def findings(name: str, first: int, count: int, folder: Path) -> list[str]:
    """Read mutations of a reader's input, and return one line for each wrong outcome."""
    case, wrong = CASES[name], []
    for mutation in case.mutations(first, count):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            path = Path(place) / case.name
            path.write_bytes(mutation.data)
            if said := judge(lambda path=path: case.read(path)):
                wrong.append(f"{name}, seed {mutation.seed}, {mutation.what}: {said}")
    return wrong


@pytest.mark.parametrize("name", CASES)
def test_the_file_itself_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / CASES[name].name
    path.write_bytes(CASES[name].make())
    CASES[name].read(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_mutations_end_as_one_line_or_as_what_they_say(name: str, tmp_path: Path) -> None:
    assert findings(name, 0, COUNT, tmp_path) == []


if __name__ == "__main__":
    first, count, *names = sys.argv[1:]
    for name in names or CASES:
        print(name, *findings(name, int(first), int(count), Path(tempfile.gettempdir())), sep="\n    ")
