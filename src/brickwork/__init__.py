"""Library and command line for image-diffusion models of fixed-size, reusable, skippable blocks.

``__init__.pyi`` states the public names, which are looked up when they are first used, so that ``import brickwork``
does not import torch.
"""

import lazy_loader

__version__ = "0.2.0.dev0"

__getattr__, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*_names, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]  (the stub has them)


def __dir__() -> list[str]:
    return __all__
