"""A U-Net of diffusers as diffusers makes it: its own layers and attention, with the weights of a model file of ours.

Served in a process of its own, it is asked and timed as ``brickwork.speed.eager`` serves models:

    python benchmarks/plain_unet.py MODEL
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from brickwork.device.timing import own_output, serve
from brickwork.speed.eager import of_torch


def plain(path: Path) -> Any:
    """The model in a file, its U-Net's layers exchanged for those of diffusers."""
    import torch

    from brickwork.model.checkpoint import load

    model = load(path)
    ours = cast(Any, model.backbone).network
    theirs: Any = type(ours).from_config(ours.config)  # builds diffusers' own, with its own layers
    theirs.load_state_dict(ours.state_dict())
    kinds = {type(part) for part in theirs.modules()}
    assert torch.nn.Linear in kinds
    assert not any(kind.__module__.startswith("brickwork") for kind in kinds)
    cast(Any, model.backbone).network = theirs
    return model.eval().requires_grad_(False)


if __name__ == "__main__":
    serve(lambda: of_torch(lambda: plain(Path(sys.argv[1]))), sys.stdin, own_output())
