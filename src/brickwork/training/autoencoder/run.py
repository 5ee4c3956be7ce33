"""The run of an autoencoder in its folder: PSNR of held-out images, sheets, and the measured latents at the end.

autoencoder.safetensors    the averaged autoencoder with its statistics, when the run ends or is interrupted
samples/                   held-out images above their reconstructions
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np
import torch

import brickwork
from brickwork.codec.base import FirstStage, from_unit, to_unit
from brickwork.codec.file import AUTOENCODER_FILE, save_codec
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.files.picture import save_png, sheet
from brickwork.training.autoencoder.recipe import (
    AutoencoderRecipe,
    autoencoder_toml,
    parse_autoencoder_recipe,
)
from brickwork.training.autoencoder.state import STATE, AutoencoderState
from brickwork.training.run.curve import Line, panel
from brickwork.training.run.folder import CURVE_FILE, LOG_FILE, RunFolder
from brickwork.training.run.journal import read_journal
from brickwork.training.run.recipe import differing_fields

AT_ONCE = 64
"""Images that are encoded or reconstructed at once."""
FEW = 512
"""Training images whose latents an interrupted run measures."""
PERFECT = 100.0
"""dB that an image without any error is given."""


def image_psnr(images: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Peak signal to noise ratio of each image, in dB, float64 (B,): ``10 log10(255^2 / mean squared error)``.

    Args:
        images: uint8 (B, H, W, C).
        made: Their reconstructions, likewise: clamped and rounded to 8 bits.
    """
    error = np.square(images.astype(np.float64) - made).mean(axis=(1, 2, 3))
    return np.minimum(10 * np.log10(255.0**2 / np.maximum(error, 1e-12)), PERFECT)


@torch.no_grad()
def reconstruct(autoencoder: FirstStage, images: np.ndarray) -> np.ndarray:
    """Pictures through an autoencoder and back by the mean of the posterior, uint8 (B, H, W, C)."""
    device = next(autoencoder.parameters()).device
    made = [
        from_unit(autoencoder.decode(autoencoder.posterior(to_unit(torch.from_numpy(some).to(device)))[0])).cpu()
        for some in (np.asarray(images[i : i + AT_ONCE]) for i in range(0, len(images), AT_ONCE))
    ]
    return torch.cat(made).numpy()


@final
class AutoencoderRun(RunFolder[AutoencoderRecipe, AutoencoderState]):
    """A training run and its folder.

    Args:
        recipe: Resolved.
        state: Fresh; where the folder holds a saved state, it goes on from there.
        data: Training images.
        heldout: Images never trained on, or None.
        out: The folder, which passed ``check_folder``.
        progress: Show a bar and messages.

    Raises:
        ConfigError: The saved run has another recipe or other data.
        CheckpointError: The saved state is broken.
        OutputError: The folder cannot be written.
    """

    KIND = STATE
    MODEL_FILE = AUTOENCODER_FILE

    def __init__(
        self,
        recipe: AutoencoderRecipe,
        state: AutoencoderState,
        data: Dataset,
        heldout: Dataset | None,
        out: Path,
        *,
        progress: bool,
    ) -> None:
        self.heldout = heldout if heldout is not None and len(heldout) else None
        super().__init__(recipe, state, data, out, progress=progress)

    def finish(self) -> Latents:
        """Save, and measure the latents of the training images; where the budget is spent, the held-out images too.

        A run that was interrupted measures a few only, so that it ends soon.
        """
        if not self.state.is_finite():
            self.roll_back()
        self.save()
        found = self._hold_out(None) if self.finished else None
        self._draw_sheet()
        self._draw_curve()
        rows = np.arange(len(self.data)) if self.finished else _evenly(len(self.data), FEW)
        self.say(f"measuring the latents of {len(rows)} training images")
        batches = (self.data.batch(rows[i : i + AT_ONCE]) for i in range(0, len(rows), AT_ONCE))
        codec = Latents.measure(self.state.average, batches)
        facts = self._facts() | ({} if found is None else {"held_out_psnr": round(found, 3)})
        facts["statistics_of_images"] = len(rows)
        save_codec(codec, self.out / AUTOENCODER_FILE, facts)
        if not self.finished:
            self.say(f"saved at step {self.state.counters.step}; run the same command to resume")
        return codec

    # ---- of this kind of run --------------------------------------------------------------------------------------

    def _to_toml(self) -> str:
        return autoencoder_toml(self.recipe)

    def _parse(self, text: str) -> AutoencoderRecipe:
        return parse_autoencoder_recipe(text)

    def _differences(self, before: AutoencoderRecipe) -> list[str]:
        return differing_fields(before, self.recipe)

    def _due(self, due: Callable[[int], bool]) -> list[Callable[[], object]]:
        report = self.recipe.report
        return [lambda: self._hold_out(report.eval_images), self._draw_sheet] if due(report.eval_every) else []

    def _gauges(self, steps: int) -> tuple[str, dict[str, float]]:
        loss, square = (float(total) / steps for total in (self.state.loss_sum, self.state.square_sum))
        self.state.loss_sum.zero_()
        self.state.square_sum.zero_()
        psnr = 10 * math.log10(4 / max(square, 1e-12))
        return f"PSNR {psnr:.2f} dB", {"loss": loss, "psnr": psnr}

    def _hold_out(self, count: int | None) -> float | None:
        """Mean PSNR of held-out images, some or all, to the log."""
        if self.heldout is None:
            return None
        images = self._some(len(self.heldout) if count is None else count)
        psnr = float(image_psnr(images, reconstruct(self.state.average, images)).mean())
        now = self.state.counters
        known = any("held_out_psnr" in r and r["step"] == now.step for r in read_journal(self.out / LOG_FILE))
        if not known:  # else a finished run was started again
            self.journal.write({"step": now.step, "images": now.images_seen, "held_out_psnr": psnr})
        self.say(f"step {now.step}: {psnr:.2f} dB on {len(images)} held-out images")
        return psnr

    def _some(self, count: int) -> np.ndarray:
        """Held-out images, evenly from all of them."""
        assert self.heldout is not None
        return self.heldout.batch(_evenly(len(self.heldout), count))

    def _draw_sheet(self) -> None:
        count = self.recipe.report.sheet_images
        if self.heldout is None or not count:
            return
        images = self._some(count)
        made = reconstruct(self.state.average, images)
        columns = min(8, len(images))
        pairs = [part[i : i + columns] for i in range(0, len(images), columns) for part in (images, made)]
        facts = {"step": self.state.counters.step, "data_sha256": self.data.digest, "version": brickwork.__version__}
        path = self.out / "samples" / f"step_{self.state.counters.step:08d}.png"
        save_png(sheet(np.concatenate(pairs), columns=columns), path, facts)

    def _draw_curve(self) -> None:
        records = read_journal(self.out / LOG_FILE)
        losses = [(float(r["images"]), float(r["loss"])) for r in records if "loss" in r]
        held = [(float(r["images"]), float(r["held_out_psnr"])) for r in records if "held_out_psnr" in r]
        panels = [
            panel([Line(points=losses)], title="training loss", axis="images seen", log_x=False),
            panel([Line(points=held)], title="PSNR of held-out images, dB", axis="images seen", log_x=False),
        ]
        save_png(np.concatenate(panels, axis=1), self.out / CURVE_FILE)


def _evenly(size: int, count: int) -> np.ndarray:
    """Which of so many images are taken: at most count, evenly from all."""
    return np.linspace(0, size - 1, min(count, size)).astype(np.int64)
