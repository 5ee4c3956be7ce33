"""A run folder has one writer at a time, and a killed one leaves it free."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from brickwork.data.dataset import Dataset
from brickwork.errors import ConfigError, OutputError
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.run.lock import only_writer

MakeRecipe = Callable[..., Recipe]

HOLDER = """
import sys, time
from pathlib import Path
from brickwork.training.run.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_second_run_is_refused_until_the_first_is_gone(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path
) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=r"another run is writing into .* now: wait for its end"):
            train(make_recipe(), data, tmp_path, device="cpu", progress=False)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert train(make_recipe(), data, tmp_path, device="cpu", progress=False).facts["finished"]


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), only_writer(tmp_path):
        raise ValueError("mine")
    with only_writer(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_written_all_the_same(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):  # nothing stays that would refuse the next run
        with only_writer(tmp_path / "run"):
            assert (tmp_path / "run").is_dir()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"), only_writer(tmp_path / "file" / "run"):
        pass
