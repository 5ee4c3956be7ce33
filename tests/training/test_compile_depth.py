"""Compiling is paid for once: blocks of one shape share what was compiled for the first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_deeper_models_compile_no_more(tmp_path: Path) -> None:
    """2 blocks and 6: one graph each, for the average is not compiled. Apart, as checked shapes do not trace."""
    driver = Path(__file__).with_name("compile_depth_driver.py")
    done = subprocess.run([sys.executable, str(driver), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {name: [1, 1] for name in ("stoic", "dit", "lego")}
