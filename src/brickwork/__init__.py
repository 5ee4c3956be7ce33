"""Library and command line for image-diffusion models of fixed-size, reusable, skippable blocks.

``__init__.pyi`` states the public names, which are looked up when they are first used, so that ``import brickwork``
does not import torch.
"""

from typing import Any

import lazy_loader

from brickwork.errors import without_training

__version__ = "0.2.0.dev0"

_look_up, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*_names, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]  (the stub has them)


def __getattr__(name: str) -> Any:
    try:
        return _look_up(name)
    except ModuleNotFoundError as error:
        raise (without_training(error, f"brickwork.{name}") or error) from error


def __dir__() -> list[str]:
    return __all__
