"""A model in eager PyTorch, fp32, in a process of its own: ``python -m brickwork.speed.eager MODEL``.

It speaks the protocol of ``brickwork.device.timing``, so that packages compare with the model that they were made of.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from brickwork.device.timing import Opening, Ready, own_output, serve


def of_torch(load: Callable[[], Any]) -> tuple[Opening, Ready, dict[str, str]]:
    """Import torch; return the three values that ``brickwork.device.timing.serve`` needs.

    Args:
        load: Returns a denoiser that computes in torch on the CPU.
    """
    import torch

    def opening(threads: int | None) -> Any:
        if threads is not None:
            torch.set_num_threads(threads)
        return load()

    return opening, lambda denoise, calls: None, {"torch": torch.__version__}


def of_model(name: str) -> tuple[Opening, Ready, dict[str, str]]:
    """Import the modules that open a run folder, a model file or a shipped model."""
    from brickwork.model.checkpoint import load

    return of_torch(lambda: load(name))


def main() -> None:
    """Serve the model named on the command line."""
    name = sys.argv[1]
    serve(lambda: of_model(name), sys.stdin, own_output())


if __name__ == "__main__":
    main()
