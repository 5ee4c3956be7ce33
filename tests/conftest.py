"""Shape annotations become checks, and torch stays on one thread, whenever the tests run."""

import pytest
from jaxtyping import install_import_hook

install_import_hook(
    ["brickwork.backbone", "brickwork.nn.layers", "brickwork.model.model", "brickwork.codec"], "beartype.beartype"
)

pytest.register_assert_rewrite("package_contract")  # its assertions say as much as those of tests
