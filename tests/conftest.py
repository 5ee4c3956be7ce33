"""Shape annotations become checks, and torch stays on one thread, whenever the tests run."""

import os

import pytest
from jaxtyping import install_import_hook

install_import_hook(
    ["brickwork.backbone", "brickwork.nn.layers", "brickwork.model.model", "brickwork.codec"], "beartype.beartype"
)

os.environ.setdefault("BRICKWORK_CACHE_GIB", "0")  # no test leaves decoded images in the user's cache

pytest.register_assert_rewrite("package_contract")  # its assertions say as much as those of tests
