"""Packages for ExecuTorch draw the pictures of the model they were made of; run with an environment that has it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from package_contract import PackageContract, draw

from brickwork.device.executorch import binding, load
from brickwork.device.runner import Runner, open_package
from brickwork.errors import PackageError
from brickwork.model.model import Model

pytest.importorskip("executorch")
# What the toolkits do to Python on the way in is theirs.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(900)]


class TestExecutorch(PackageContract):
    """ExecuTorch with XNNPACK."""

    target = "executorch"
    suffixes = (".pte",)
    ops: ClassVar = {
        "_to_dim_order": 6, "cos": 1, "delegate": 3, "embedding": 1, "lt": 1, "scalar_tensor": 1, "sin": 1,
        "unsqueeze": 1, "where": 1, "xnnpack._clone_dim_order": 13, "xnnpack._softmax": 3, "xnnpack.add": 26,
        "xnnpack.bmm": 6, "xnnpack.cat": 2, "xnnpack.constant_pad_nd": 3, "xnnpack.convolution": 6, "xnnpack.div": 3,
        "xnnpack.gelu": 3, "xnnpack.linear": 27, "xnnpack.mul": 36, "xnnpack.neg": 2, "xnnpack.permute": 23,
        "xnnpack.rsqrt": 7, "xnnpack.sigmoid": 1, "xnnpack.slice": 13, "xnnpack.sub": 11, "xnnpack.unsqueeze": 1,
        "xnnpack.view": 49,
    }  # fmt: skip

    def test_threads_are_those_of_the_process(self, stoic: tuple[Model, Runner]) -> None:
        """The count that it runs on already is fine; another would take the pool from under graphs that hold it."""
        _, package = stoic
        package.files.program(package.manifest.graph("denoiser", batch=1))
        there = binding()._threadpool_get_thread_count()
        again = open_package(package.files.folder, threads=there)
        np.testing.assert_allclose(draw(again, labels=2), draw(package, labels=2), atol=1e-5)
        with pytest.raises(PackageError, match=f"there are {there} already; start a process"):
            draw(open_package(package.files.folder, threads=there + 1), labels=2)

    def test_a_file_of_another_graph_is_refused(self, stoic: tuple[Model, Runner]) -> None:
        _, package = stoic
        one, two = (package.manifest.graph("denoiser", batch=batch) for batch in (1, 2))
        with pytest.raises(PackageError, match="its manifest says"):
            load(package.files.folder / one.file, two, package.manifest, None)
