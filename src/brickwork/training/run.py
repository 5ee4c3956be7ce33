"""The run folder: what is written while training goes on, and how a run is taken up again.

recipe.toml        the resolved recipe
state.safetensors  all that is needed to go on exactly
model.safetensors  the averaged model: what is used afterwards
log.jsonl          loss, learning rate, speed, held-out loss by level
curve.png          the same as a picture
samples/           sheets
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from tqdm import tqdm

import brickwork
from brickwork.checkpoint import MODEL_FILE, fingerprint, load, save
from brickwork.data.dataset import Dataset
from brickwork.errors import CheckpointError, ConfigError, TrainingError
from brickwork.model import Model
from brickwork.sampling.loop import sample
from brickwork.sampling.picture import save_png, sheet, write_whole
from brickwork.tensorfile import remove_leftovers
from brickwork.training.curve import draw_curve
from brickwork.training.heldout import held_out_loss
from brickwork.training.journal import Journal, read_journal
from brickwork.training.recipe import Recipe, differing_fields
from brickwork.training.recipe_file import parse_recipe, to_toml
from brickwork.training.state import TrainState, read_state

STATE_FILE = "state.safetensors"
RECIPE_FILE = "recipe.toml"
LOG_FILE = "log.jsonl"
CURVE_FILE = "curve.png"
MAX_FAILURES = 3
"""Returns to the same saved state before a run gives up."""


def saved_model(out: Path) -> Model | None:
    """The model of the run that a folder holds; None where it holds none to go on with."""
    return load(out / MODEL_FILE) if (out / STATE_FILE).exists() and (out / MODEL_FILE).exists() else None


@final
class Run:
    """A training run and its folder.

    Args:
        recipe: Resolved.
        state: Fresh; where the folder holds a saved state and resume is set, it goes on from there.
        data: Training images.
        heldout: Images never trained on, or None.
        out: The folder.
        resume: Go on from a saved state; else a folder that holds one is refused.
        progress: Show a bar and messages.
        init: Digest of the model whose weights were the start; a resumed run keeps what it began with.

    Raises:
        ConfigError: The saved run has another recipe, other data or another guest, or the folder holds a model without
            its run.
        CheckpointError: The saved state is broken.
        OutputError: The folder cannot be written.
    """

    def __init__(
        self,
        recipe: Recipe,
        state: TrainState,
        data: Dataset,
        heldout: Dataset | None,
        out: Path,
        *,
        resume: bool,
        progress: bool,
        init: str = "",
    ) -> None:
        self.recipe, self.state, self.data, self.heldout, self.out = recipe, state, data, heldout, out
        self.progress, self.init = progress, init
        self.failures = 0
        self._guest = fingerprint(state.model.guest) if state.model.guest is not None else ""
        self._codec = state.model.codec.digest
        self.resumed = (out / STATE_FILE).exists()
        if self.resumed:
            self._resume(resume)
        elif (out / MODEL_FILE).exists():
            raise ConfigError(f"{out} holds a model without {STATE_FILE} to go on from: choose another out folder")
        self._sweep()
        write_whole(out / RECIPE_FILE, to_toml(recipe).encode())
        step = state.counters.step if self.resumed else -1
        self.journal = Journal(out / LOG_FILE, step=step, tensorboard=recipe.report.tensorboard)
        self.bar = tqdm(
            total=1.0,
            initial=state.spent,
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
        log, held_out, sheets = due(report.log_every), due(report.eval_every), due(report.sample_every)
        if not (saving or log or held_out or sheets or self.finished):
            return
        if not self.state.is_finite():
            self.roll_back()
            return
        if log:
            self._log()
        if not self.finished:  # the end writes all of these
            if held_out:
                self._hold_out()
            if sheets:
                self._draw_sheet()
            if held_out or sheets:
                self._draw_curve()
            if saving:
                self.save()

    def save(self) -> None:
        """Write state and averaged model, each atomically.

        Raises:
            OutputError: The place cannot be written; the previous files are whole.
        """
        record = {"recipe": to_toml(self.recipe), "data": self.data.digest, "guest": self._guest, "init": self.init}
        record |= {"codec": self._codec, **self._place()}
        self.state.save(self.out / STATE_FILE, record)
        self.state.average.facts = self._facts()
        save(self.state.average, self.out / MODEL_FILE)
        self._saved_at = time.perf_counter()
        self.failures = 0

    def roll_back(self) -> None:
        """Go on from the saved state with other noise.

        Raises:
            TrainingError: It came to this from the same state too often.
        """
        self.failures += 1
        bad = self.state.counters.step
        if self.failures >= MAX_FAILURES:
            raise TrainingError(self._advice(bad))
        tensors, header = read_state(self.out / STATE_FILE)
        seconds, rollbacks = self.state.counters.seconds, self.state.counters.rollbacks
        self.state.restore(tensors, header)
        now = self.state.counters
        now.seconds, now.rollbacks = seconds, rollbacks + 1
        self.journal.rewind(now.step)
        self.journal.write({"step": now.step, "event": "rolled back", "from_step": bad, "rollbacks": now.rollbacks})
        failures = self.failures
        self.save()
        self.failures = failures
        self.say(f"loss is not finite by step {bad}: back to step {now.step}, with other noise")

    def finish(self) -> None:
        """Save; where the budget is spent, also draw and measure what the end is due."""
        if not self.state.is_finite():
            self.roll_back()
        self.save()
        if self.finished:
            self._hold_out()
            self._draw_sheet()
            self._draw_curve()
        else:
            self._draw_curve()
            self.say(f"saved at step {self.state.counters.step}; run the same command to resume")

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
        tensors, header = read_state(path)
        try:
            before = parse_recipe(header["recipe"])
        except (ConfigError, KeyError) as error:
            reason = f"a recipe that cannot be read ({error})"
            raise CheckpointError(f"{path} holds {reason}: choose another out folder") from error
        if changed := differing_fields(before, self.recipe):
            raise ConfigError(
                f"{self.out} holds a run with another recipe ({'; '.join(changed[:3])}): resume it with its own "
                f"{RECIPE_FILE}, or choose another out folder and start it from {self.out / MODEL_FILE} (init)"
            )
        if header["data"] != self.data.digest:
            raise ConfigError(f"{self.out} holds a run on other data: give the same data, or choose another out folder")
        self.init = header.get("init", "")
        if header.get("guest", "") != self._guest:
            raise ConfigError(
                f"{self.out} holds a run with another guest: give the same model as guest, or none with the run's own "
                f"{RECIPE_FILE}, or choose another out folder"
            )
        if header.get("codec", "") != self._codec:
            raise ConfigError(
                f"{self.out} holds a run with another autoencoder: give the same one (codec), or choose another out "
                "folder"
            )
        self.state.restore(tensors, header)
        self.say(f"resuming {self.out} at step {self.state.counters.step}")
        for name, value in self._place().items():
            if header[name] != value:
                self.say(f"{name} {header[name]} before, {value} now: the result may differ by rounding")

    def _sweep(self) -> None:
        """Remove what a kill in the middle of writing left behind."""
        for name in (STATE_FILE, MODEL_FILE):
            remove_leftovers(self.out / name)
        for leftover in (*self.out.glob(".*.part"), *self.out.glob("samples/.*.part")):
            leftover.unlink(missing_ok=True)

    def _log(self) -> None:
        state, now = self.state, self.state.counters
        loss, norm = (float(total) / max(now.since_log, 1) for total in (state.loss_sum, state.norm_sum))
        images, seconds = self._logged
        rate = (now.images_seen - images) / max(now.seconds - seconds, 1e-9)
        self._logged = (now.images_seen, now.seconds)
        state.loss_sum.zero_()
        state.norm_sum.zero_()
        now.since_log = 0
        self.bar.set_postfix_str(f"step {now.step}  loss {loss:.4f}  {rate:,.0f} images/s", refresh=False)
        record: dict[str, Any] = {"step": now.step, "images": now.images_seen, "seconds": round(now.seconds, 3)}
        record |= {"loss": loss, "gradient_norm": norm, "lr": state.lr, "images_per_second": round(rate, 1)}
        self.journal.write(record)

    def _hold_out(self) -> None:
        """Held-out loss by level on a fixed choice of held-out images, to the log."""
        if self.heldout is None or len(self.heldout.images) == 0:
            return
        now = self.state.counters
        if any("held_out" in r and r["step"] == now.step for r in read_journal(self.out / LOG_FILE)):
            return  # a finished run was started again
        losses = held_out_loss(self.state.average, self.heldout, num_images=self.recipe.report.eval_images)
        by_level = {f"{level.sigma:.3g}": level.share for level in losses}
        self.journal.write({"step": now.step, "images": now.images_seen, "held_out": by_level})

    def _draw_sheet(self) -> None:
        report, model, now = self.recipe.report, self.state.average, self.state.counters
        if not report.sheet_steps:
            return
        seeds = list(range(report.sheet_seeds))
        rows, names, asked = self._wishes()
        wishes: dict[str, Any] = {key: [one for one in values for _ in seeds] for key, values in asked.items()}
        if "given" in wishes:
            wishes["given"] = np.stack(wishes["given"])
        guidance = report.sheet_guidance if wishes.keys() & {"labels", "text"} else 1.0
        images = sample(model, seeds=seeds * max(len(names), 1), steps=report.sheet_steps, guidance=guidance, **wishes)
        captions = names or None
        scale = max(1, 64 // images.shape[1])
        facts = {"step": now.step, "steps": report.sheet_steps, "guidance": guidance, "seeds": seeds, "labels": rows}
        facts |= {"precision": model.precision, "version": brickwork.__version__, "data_sha256": self.data.digest}
        facts |= {"solver": "dpm2m", "grid": "karras"}  # what sample() takes unless told otherwise
        picture = sheet(images, columns=len(seeds), scale=scale, row_captions=captions)
        save_png(picture, self.out / "samples" / f"step_{now.step:08d}.png", facts)

    def _wishes(self) -> tuple[list[int], list[str], dict[str, Sequence[Any]]]:
        """What the rows of a sheet show: classes, else captions; and after which held-out pictures they are drawn."""
        model, data = self.state.average, self.heldout if self.heldout is not None else self.data
        rows, names = list(range(min(model.num_classes, 10))), []
        asked: dict[str, Sequence[Any]] = {}
        if rows:
            names = [model.classes[k] for k in rows]
            asked["labels"] = rows
        few = np.linspace(0, len(data) - 1, len(rows) or min(len(data), 8)).astype(np.int64)
        if model.reads_text and data.captions is not None:
            names = [data.captions[i] for i in few]
            asked["text"] = names
        if model.given_channels:
            asked["given"] = list(model.give(data.batch(few)))
            names = names or [f"given {i}" for i in few]
        return rows, names, asked

    def _draw_curve(self) -> None:
        save_png(draw_curve(read_journal(self.out / LOG_FILE)), self.out / CURVE_FILE)

    def _place(self) -> dict[str, Any]:
        """What the last bits of a result depend on, beside the recipe."""
        return {"device": self.state.model.device.type, "threads": torch.get_num_threads()}

    def _facts(self) -> dict[str, Any]:
        now = self.state.counters
        return {
            "finished": self.finished,
            "steps": now.step,
            "images": now.images_seen,
            "minutes": round(now.seconds / 60, 2),
            "data": self.data.name,
            "data_images": len(self.data),
            "data_sha256": self.data.digest,
            **self._place(),
            "torch": torch.__version__,
            "brickwork": brickwork.__version__,
            "recipe": to_toml(self.recipe),
            **({"init_sha256": self.init} if self.init else {}),
            **({"codec_sha256": self._codec} if self._codec else {}),
        }

    def _advice(self, step: int) -> str:
        r = self.recipe
        advice = [f"a lower lr (now {r.lr:g})"]
        if not 0 < r.clip <= 1:
            advice.append(f"clip 1 (now {r.clip:g})")
        advice.append(f"a longer warmup (now {r.warmup})")
        if r.precision != "fp32":
            advice.append("precision fp32")
        return (
            f"the loss was not finite {self.failures} times in a row, at last by step {step}: start again with "
            f"{', '.join(advice)}, in another out folder; the last good state stays in {self.out}"
        )
