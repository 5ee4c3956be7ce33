"""A mark that keeps the compiler away until it is wanted."""

from __future__ import annotations

import subprocess
import sys

import torch

from brickwork.nn.constant import constant_in_graphs

SAMPLING = "import sys, brickwork.model.checkpoint, brickwork.sampling.loop; print('torch._dynamo' in sys.modules)"


def one() -> int:
    return 1


def two() -> int:
    return 2


def test_the_mark_is_torch_s_own() -> None:
    assert vars(constant_in_graphs(one)) == vars(torch.compiler.assume_constant_result(two))


def test_drawing_brings_no_compiler_in() -> None:
    done = subprocess.run([sys.executable, "-c", SAMPLING], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
