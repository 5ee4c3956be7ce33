"""Shape annotations become checks, and torch stays on one thread, whenever the tests run."""

from jaxtyping import install_import_hook

install_import_hook(
    ["brickwork.backbone", "brickwork.layers", "brickwork.model", "brickwork.codec"], "beartype.beartype"
)
