"""Graphs that are run before they are written: to calibrate, and to measure the effect of fewer bits on each layer."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import numpy as np
import torch

from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.process import NoiseProcess
from brickwork.model.model import Model
from brickwork.package.graph import DenoiserDoor, GraphSpec


def opened(model: Any) -> Any:
    """Open an onnx.ModelProto of any size as a session of ONNX Runtime."""
    import onnx

    from brickwork.device.onnx import session

    with TemporaryDirectory() as folder:  # a protobuf holds at most 2 GB, so weights go to a file of their own
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        path = Path(folder) / "graph.onnx"
        onnx.save_model(copy, str(path), save_as_external_data=True, location="graph.bin")
        return session(path, torch.get_num_threads())


@final
class Trial:
    """A denoiser's graph as a denoiser of numpy arrays.

    Args:
        model: onnx.ModelProto with its weights inside.
        spec: The graph's description; the denoiser has its module's process and sizes.
    """

    def __init__(self, model: Any, spec: GraphSpec) -> None:
        self.session, self.spec = opened(model), spec

    @property
    def model(self) -> Model:
        """Model that the graph was made of."""
        door = self.spec.module
        assert isinstance(door, DenoiserDoor)
        return door.model

    @property
    def process(self) -> NoiseProcess:
        """Noise process of the model."""
        return self.model.process

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one x."""
        _, channels, height, width = self.spec.inputs[0].shape
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of classes of the model."""
        return self.model.num_classes

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """(M, E) of one text, or None."""
        return self.model.text_shape

    def decode(self, x0: np.ndarray) -> np.ndarray:
        """Return pictures, uint8 (B, H, W, C), by the model's own decoder."""
        return self.model.decode(torch.from_numpy(x0))

    def __call__(self, x: np.ndarray, sigma: np.ndarray, condition: Condition) -> np.ndarray:
        """Estimate x0; rows are filled up to the graph's batch with copies of the last."""
        count, batch = len(x), self.spec.batch
        told = {"x": x, "sigma": sigma}
        told |= {p.name: getattr(condition, p.name) for p in self.spec.inputs if p.name not in told}
        found = []
        for start in range(0, count, batch):
            rows = np.minimum(np.arange(start, start + batch), count - 1)
            found.append(self.session.run(None, {name: value[rows] for name, value in told.items()})[0])
        return np.concatenate(found)[:count]

    def asarray(self, values: np.ndarray) -> np.ndarray:
        """Return the values as they are."""
        return values
