"""The array that drawing returns: pictures that show themselves in a notebook."""

from __future__ import annotations

from typing import Any, Self, final

import numpy as np


@final
class Pictures(np.ndarray):
    """Pictures as a plain uint8 array, (N, H, W, C) or (H, W, C), that a notebook shows as a picture.

    A slice that holds pictures shows them; the result of a computation, and an array of any other shape or kind, is
    shown as text like every array.
    """

    @classmethod
    def of(cls, array: np.ndarray) -> Self:
        """Return a view of an array, without a copy."""
        return np.asarray(array).view(cls)

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        """Return a computed result as a plain array, or as a number where numpy would."""
        return array[()] if return_scalar else np.asarray(array)

    def _repr_png_(self) -> bytes | None:
        """Return the pictures on one sheet as PNG; None for an array that holds no pictures."""
        pictures = np.asarray(self)
        if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or pictures.shape[-1] not in (1, 3):
            return None
        from brickwork.files.picture import (
            png_of,  # Pillow is needed where a notebook asks, and not where pictures are drawn
        )

        return png_of(pictures) if pictures.size else None
