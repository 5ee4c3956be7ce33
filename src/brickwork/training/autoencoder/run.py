"""The run folder of an autoencoder: what is written while training goes on, and how a run is taken up again.

recipe.toml                the resolved recipe
state.safetensors          all that is needed to go on exactly
autoencoder.safetensors    the averaged autoencoder with its statistics, when the run ends or is interrupted
log.jsonl                  loss, learning rate, speed, PSNR of training and of held-out images
curve.png                  the same as a picture
samples/                   held-out images above their reconstructions
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from tqdm import tqdm

import brickwork
from brickwork.codec.base import FirstStage, from_unit, to_unit
from brickwork.codec.file import AUTOENCODER_FILE, save_codec
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.errors import CheckpointError, ConfigError, TrainingError
from brickwork.sampling.picture import save_png, sheet, write_whole
from brickwork.tensorfile import remove_leftovers
from brickwork.training.autoencoder.recipe import (
    AutoencoderRecipe,
    autoencoder_toml,
    changed_fields,
    parse_autoencoder_recipe,
)
from brickwork.training.autoencoder.state import AutoencoderState, read_autoencoder_state
from brickwork.training.curve import Line, panel
from brickwork.training.journal import Journal, read_journal
from brickwork.training.run import CURVE_FILE, LOG_FILE, MAX_FAILURES, RECIPE_FILE, STATE_FILE

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
class AutoencoderRun:
    """A training run and its folder.

    Args:
        recipe: Resolved.
        state: Fresh; where the folder holds a saved state and resume is set, it goes on from there.
        data: Training images.
        heldout: Images never trained on, or None.
        out: The folder.
        resume: Go on from a saved state; else a folder that holds one is refused.
        progress: Show a bar and messages.

    Raises:
        ConfigError: The saved run has another recipe or other data, or the folder holds an autoencoder without its run.
        CheckpointError: The saved state is broken.
        OutputError: The folder cannot be written.
    """

    def __init__(
        self,
        recipe: AutoencoderRecipe,
        state: AutoencoderState,
        data: Dataset,
        heldout: Dataset | None,
        out: Path,
        *,
        resume: bool,
        progress: bool,
    ) -> None:
        self.recipe, self.state, self.data, self.out, self.progress = recipe, state, data, out, progress
        self.heldout = heldout if heldout is not None and len(heldout) else None
        self.failures = 0
        self.resumed = (out / STATE_FILE).exists()
        if self.resumed:
            self._resume(resume)
        elif (out / AUTOENCODER_FILE).exists():
            raise ConfigError(
                f"{out} holds an autoencoder without {STATE_FILE} to go on from: choose another out folder"
            )
        self._sweep()
        write_whole(out / RECIPE_FILE, autoencoder_toml(recipe).encode())
        self.journal = Journal(out / LOG_FILE, step=state.counters.step if self.resumed else -1)
        self.bar = tqdm(
            total=1.0,
            initial=min(state.spent, 1.0),
            disable=not progress,
            bar_format="{percentage:3.0f}%|{bar:20}|{postfix} [{elapsed}<{remaining}]",
        )
        self._clock = time.perf_counter() - state.counters.seconds
        self._saved_at = time.perf_counter()
        self._logged = (state.counters.images_seen, state.counters.seconds)

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.state.spent >= 1

    # ---- while it goes on -----------------------------------------------------------------------------------------

    def after_step(self) -> None:
        """Write what is due after a step; go back to the saved state if the loss is no longer a number."""
        now, report = self.state.counters, self.recipe.report
        now.seconds = time.perf_counter() - self._clock
        self.bar.update(min(self.state.spent, 1.0) - self.bar.n)

        def due(steps: int) -> bool:
            return steps > 0 and now.step % steps == 0

        minutes = (time.perf_counter() - self._saved_at) / 60
        saving = due(report.save_every) or 0 < report.save_minutes <= minutes
        log, evaluating = due(report.log_every), due(report.eval_every)
        if not (saving or log or evaluating or self.finished):
            return
        if not self.state.is_finite():
            self.roll_back()
            return
        if log:
            self._log()
        if evaluating and not self.finished:  # the end measures all of them
            self._hold_out(report.eval_images)
            self._draw_sheet()
            self._draw_curve()
        if saving and not self.finished:
            self.save()

    def save(self) -> None:
        """Write the state, atomically.

        Raises:
            OutputError: The place cannot be written; the previous file is whole.
        """
        record = {"recipe": autoencoder_toml(self.recipe), "data": self.data.digest, **self._place()}
        self.state.save(self.out / STATE_FILE, record)
        self._saved_at = time.perf_counter()
        self.failures = 0

    def roll_back(self) -> None:
        """Go on from the saved state with other images and other noise.

        Raises:
            TrainingError: It came to this from the same state too often.
        """
        self.failures += 1
        bad = self.state.counters.step
        if self.failures >= MAX_FAILURES:
            raise TrainingError(
                f"the loss was not finite {self.failures} times in a row, at last by step {bad}: start again with a "
                f"lower lr (now {self.recipe.lr:g}) or precision fp32, in another out folder; the last good state "
                f"stays in {self.out}"
            )
        tensors, header = read_autoencoder_state(self.out / STATE_FILE)
        seconds, rollbacks, failures = self.state.counters.seconds, self.state.counters.rollbacks, self.failures
        self.state.restore(tensors, header)
        now = self.state.counters
        now.seconds, now.rollbacks = seconds, rollbacks + 1
        self.journal.rewind(now.step)
        self.journal.write({"step": now.step, "event": "rolled back", "from_step": bad, "rollbacks": now.rollbacks})
        self.save()
        self.failures = failures
        self.say(f"loss is not finite by step {bad}: back to step {now.step}, with other noise")

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
        save_codec(codec, self.out / AUTOENCODER_FILE, self._facts(found) | {"statistics_of_images": len(rows)})
        if not self.finished:
            self.say(f"saved at step {self.state.counters.step}; run the same command to resume")
        return codec

    def close(self) -> None:
        """Close log and bar."""
        self.journal.close()
        self.bar.close()

    def say(self, message: str) -> None:
        """A line for the user, beside the bar."""
        if self.progress:
            tqdm.write(message, file=sys.stderr)

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _resume(self, resume: bool) -> None:
        path = self.out / STATE_FILE
        if not resume:
            raise ConfigError(f"{self.out} already holds a run: choose another out folder, or let it resume")
        tensors, header = read_autoencoder_state(path)
        try:
            before = parse_autoencoder_recipe(header["recipe"])
        except (ConfigError, KeyError) as error:
            reason = f"a recipe that cannot be read ({error})"
            raise CheckpointError(f"{path} holds {reason}: choose another out folder") from error
        if changed := changed_fields(before, self.recipe):
            raise ConfigError(
                f"{self.out} holds a run with another recipe ({'; '.join(changed[:3])}): resume it with its own "
                f"{RECIPE_FILE}, or choose another out folder"
            )
        if header["data"] != self.data.digest:
            raise ConfigError(f"{self.out} holds a run on other data: give the same data, or choose another out folder")
        self.state.restore(tensors, header)
        self.say(f"resuming {self.out} at step {self.state.counters.step}")
        for name, value in self._place().items():
            if header[name] != value:
                self.say(f"{name} {header[name]} before, {value} now: the result may differ by rounding")

    def _sweep(self) -> None:
        """Remove what a kill in the middle of writing left behind."""
        for name in (STATE_FILE, AUTOENCODER_FILE):
            remove_leftovers(self.out / name)
        for leftover in (*self.out.glob(".*.part"), *self.out.glob("samples/.*.part")):
            leftover.unlink(missing_ok=True)

    def _log(self) -> None:
        state, now = self.state, self.state.counters
        loss, square = (float(total) / max(now.since_log, 1) for total in (state.loss_sum, state.square_sum))
        images, seconds = self._logged
        rate = (now.images_seen - images) / max(now.seconds - seconds, 1e-9)
        self._logged = (now.images_seen, now.seconds)
        state.loss_sum.zero_()
        state.square_sum.zero_()
        now.since_log = 0
        psnr = 10 * math.log10(4 / max(square, 1e-12))
        self.bar.set_postfix_str(f"step {now.step}  PSNR {psnr:.2f} dB  {rate:,.0f} images/s", refresh=False)
        record: dict[str, Any] = {"step": now.step, "images": now.images_seen, "seconds": round(now.seconds, 3)}
        record |= {"loss": loss, "psnr": psnr, "lr": state.lr, "images_per_second": round(rate, 1)}
        self.journal.write(record)

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

    def _place(self) -> dict[str, Any]:
        """What the last bits of a result depend on, beside the recipe."""
        return {"device": self.state.device.type, "threads": torch.get_num_threads()}

    def _facts(self, psnr: float | None) -> dict[str, Any]:
        now = self.state.counters
        return {
            "finished": self.finished,
            "steps": now.step,
            "images": now.images_seen,
            "minutes": round(now.seconds / 60, 2),
            "data": self.data.name,
            "data_images": len(self.data),
            "data_sha256": self.data.digest,
            **({} if psnr is None else {"held_out_psnr": round(psnr, 3)}),
            **self._place(),
            "torch": torch.__version__,
            "brickwork": brickwork.__version__,
            "recipe": autoencoder_toml(self.recipe),
        }


def _evenly(size: int, count: int) -> np.ndarray:
    """Which of so many images are taken: at most count, evenly from all."""
    return np.linspace(0, size - 1, min(count, size)).astype(np.int64)
