"""Observers of an autoencoder's run: PSNR of held-out images, their sheets, the curve, the measured latents.

autoencoder.safetensors    the averaged autoencoder with its statistics, when the run ends or is interrupted
samples/                   held-out images above their reconstructions
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

import brickwork
from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.base import FirstStage, from_unit, to_unit
from brickwork.codec.file import AUTOENCODER_FILE, save_codec
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.files.picture import save_png, sheet
from brickwork.training.autoencoder.recipe import AutoencoderReport
from brickwork.training.run.curve import Curve, points_of
from brickwork.training.run.interrupt import Stopped
from brickwork.training.run.observer import Findings, Observer, RunView
from brickwork.training.run.panel import Line, panel

AT_ONCE = 64
"""Images that are encoded or reconstructed at once."""
FEW = 64
"""Training images whose latents an interrupted run measures: one batch."""
LEAST = 4
"""Images below which a measurement by the clock says nothing, and is left out."""
PERFECT = 100.0
"""PSNR in dB of an image without any error."""


def own_observers(report: AutoencoderReport, heldout: Dataset | None) -> list[Observer[Autoencoder]]:
    """Return the observers that a recipe's report asks for, in the order in which a run calls them."""
    measuring: list[Observer[Autoencoder]] = []
    if heldout is not None and len(heldout):
        measuring = [HeldOutPsnr(heldout, report), Reconstructions(heldout, report)]
    return [*measuring, Curve(draw_curve, report.eval_every)]


@final
class HeldOutPsnr(Observer[Autoencoder]):
    """Observer that measures the mean PSNR of held-out images: of some during the run, of all at its end.

    Args:
        heldout: Images never trained on.
        report: Says how often, and on how many.
    """

    by_clock = True

    def __init__(self, heldout: Dataset, report: AutoencoderReport) -> None:
        self.heldout, self.every, self.few = heldout, report.eval_every, report.eval_images

    def measure(self, run: RunView[Autoencoder]) -> Findings | None:
        """Return the mean PSNR of some held-out images, in dB."""
        count = run.afford(min(self.few, len(self.heldout)), 1, least=LEAST, share=0.5)
        return self._measure(run, count) if count else None

    def on_end(self, run: RunView[Autoencoder]) -> Findings | None:
        """Return the mean PSNR of all held-out images, in dB, where the budget is spent."""
        return self._measure(run, len(self.heldout)) if run.finished else None

    def _measure(self, run: RunView[Autoencoder], count: int) -> Findings:
        images = self.heldout.batch(_evenly(len(self.heldout), count))
        psnr = float(image_psnr(images, reconstruct(run.average, images, run.check)).mean())
        run.say(f"step {run.step}: {psnr:.2f} dB on {len(images)} held-out images")
        return {"held_out_psnr": psnr}


@final
class Reconstructions(Observer[Autoencoder]):
    """Observer that draws sheets of held-out images above their reconstructions, also when a run ends or is stopped.

    Args:
        heldout: Images never trained on.
        report: Says how often, and how many.
    """

    by_clock = True

    def __init__(self, heldout: Dataset, report: AutoencoderReport) -> None:
        self.heldout, self.every, self.count = heldout, report.eval_every, report.sheet_images

    def measure(self, run: RunView[Autoencoder]) -> Findings | None:
        """Draw a sheet into ``samples/``."""
        count = run.afford(min(self.count, len(self.heldout)), 1, least=LEAST) if self.count else 0
        if not count:
            return None
        images = self.heldout.batch(_evenly(len(self.heldout), count))
        made = reconstruct(run.average, images)
        columns = min(8, len(images))
        pairs = [part[i : i + columns] for i in range(0, len(images), columns) for part in (images, made)]
        facts = {"step": run.step, "data_sha256": run.data.digest, "version": brickwork.__version__}
        picture = sheet(np.concatenate(pairs), columns=columns)
        save_png(picture, run.folder / "samples" / f"step_{run.step:08d}.png", facts)
        return {"samples": picture}

    def on_end(self, run: RunView[Autoencoder]) -> Findings | None:
        """Draw a sheet."""
        return self.measure(run)


@final
class LatentsFile(Observer[Autoencoder]):
    """Observer that measures the latents of the training images when a run ends, and writes the autoencoder with them.

    A run that was interrupted, in its end too, measures a few only, so that it ends soon, and counts as unfinished.

    Attributes:
        codec: The result; None before the end.
    """

    def __init__(self) -> None:
        self.codec: Latents | None = None

    def on_end(self, run: RunView[Autoencoder]) -> Findings | None:
        """Write ``autoencoder.safetensors``."""
        whole, few = run.finished, _evenly(len(run.data), FEW)
        try:
            rows = np.arange(len(run.data)) if whole else few
            self.codec = _measured(run, rows, run.check if whole else None)
        except Stopped:
            whole, rows = False, few
            self.codec = _measured(run, rows)
        facts = run.facts() | {"finished": whole}
        if whole:
            held = points_of(run.lines(), "held_out_psnr")
            facts |= {"held_out_psnr": round(held[-1][1], 3)} if held else {}
        save_codec(self.codec, run.folder / AUTOENCODER_FILE, facts | {"statistics_of_images": len(rows)})


def _measured(run: RunView[Autoencoder], rows: np.ndarray, check: Callable[[], object] | None = None) -> Latents:
    """Measure the latents of some training images; ``check``, called before each batch, may raise to end it."""
    run.say(f"measuring the latents of {len(rows)} training images")

    def batches() -> Iterator[np.ndarray]:
        for i in range(0, len(rows), AT_ONCE):
            if check is not None:
                check()
            yield run.data.batch(rows[i : i + AT_ONCE])

    return Latents.measure(run.average, batches())


def draw_curve(lines: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Draw training loss and held-out PSNR over images seen, side by side, uint8 (H, W, 3).

    Args:
        lines: The log.
    """
    losses, held = points_of(lines, "loss"), points_of(lines, "held_out_psnr")
    panels = [
        panel([Line(points=losses)], title="training loss", axis="images seen", log_x=False),
        panel([Line(points=held)], title="PSNR of held-out images, dB", axis="images seen", log_x=False),
    ]
    return np.concatenate(panels, axis=1)


def image_psnr(images: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Return the peak signal to noise ratio of each image in dB, float64 (B,): ``10 log10(255^2 / squared error)``.

    Args:
        images: uint8 (B, H, W, C).
        made: Their reconstructions, clamped and rounded to 8 bits, uint8 (B, H, W, C).
    """
    error = np.square(images.astype(np.float64) - made).mean(axis=(1, 2, 3))
    return np.minimum(10 * np.log10(255.0**2 / np.maximum(error, 1e-12)), PERFECT)


@torch.no_grad()
def reconstruct(autoencoder: FirstStage, images: np.ndarray, check: Callable[[], object] = lambda: None) -> np.ndarray:
    """Encode and decode pictures with an autoencoder, by the mean of the posterior, uint8 (B, H, W, C).

    Args:
        autoencoder: The autoencoder.
        images: uint8 (B, H, W, C).
        check: Function called before each batch; it may raise to end the work.
    """
    device, made = next(autoencoder.parameters()).device, []
    for i in range(0, len(images), AT_ONCE):
        check()
        some = torch.from_numpy(np.asarray(images[i : i + AT_ONCE])).to(device)
        made.append(from_unit(autoencoder.decode(autoencoder.posterior(to_unit(some))[0])).cpu())
    return torch.cat(made).numpy()


def _evenly(size: int, count: int) -> np.ndarray:
    """Return the indices of the images to take: at most count, evenly spread over all."""
    return np.linspace(0, size - 1, min(count, size)).astype(np.int64)
