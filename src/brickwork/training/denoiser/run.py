"""The run of a diffusion model in its folder: the averaged model beside the state, held-out loss by level, sheets.

model.safetensors  the averaged model: what is used afterwards
samples/           sheets
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

import brickwork
from brickwork.data.dataset import Dataset
from brickwork.errors import ConfigError
from brickwork.files.picture import save_png, sheet
from brickwork.model.checkpoint import fingerprint, load, save
from brickwork.model.header import MODEL_FILE
from brickwork.model.model import Model
from brickwork.quality.heldout import held_out_loss
from brickwork.sampling.loop import sample
from brickwork.sampling.sampler import Sampler
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.recipe_file import parse_recipe, to_toml
from brickwork.training.denoiser.state import STATE, TrainState
from brickwork.training.run.curve import draw_curve
from brickwork.training.run.folder import CURVE_FILE, LOG_FILE, RECIPE_FILE, STATE_FILE, RunFolder
from brickwork.training.run.journal import read_journal
from brickwork.training.run.recipe import differing_fields


def saved_model(out: Path) -> Model | None:
    """The model of the run that a folder holds; None where it holds none to go on with."""
    return load(out / MODEL_FILE) if (out / STATE_FILE).exists() and (out / MODEL_FILE).exists() else None


@final
class Run(RunFolder[Recipe, TrainState]):
    """A training run and its folder.

    Args:
        recipe: Resolved.
        state: Fresh; where the folder holds a saved state, it goes on from there.
        data: Training images.
        heldout: Images never trained on, or None.
        out: The folder, which passed ``check_folder``.
        progress: Show a bar and messages.
        init: Digest of the model whose weights were the start; a resumed run keeps what it began with.

    Raises:
        ConfigError: The saved run has another recipe, other data or another guest.
        CheckpointError: The saved state is broken.
        OutputError: The folder cannot be written.
    """

    KIND = STATE
    MODEL_FILE = MODEL_FILE

    def __init__(
        self,
        recipe: Recipe,
        state: TrainState,
        data: Dataset,
        heldout: Dataset | None,
        out: Path,
        *,
        progress: bool,
        init: str = "",
    ) -> None:
        self.heldout, self.init = heldout, init
        self._guest = fingerprint(state.model.guest) if state.model.guest is not None else ""
        self._codec = state.model.codec.digest
        tensorboard = recipe.report.tensorboard
        super().__init__(recipe, state, data, out, progress=progress, tensorboard=tensorboard)

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

    # ---- of this kind of run --------------------------------------------------------------------------------------

    def _to_toml(self) -> str:
        return to_toml(self.recipe)

    def _parse(self, text: str) -> Recipe:
        return parse_recipe(text)

    def _differences(self, before: Recipe) -> list[str]:
        return differing_fields(before, self.recipe)

    def _other_way(self) -> str:
        return f" and start it from {self.out / MODEL_FILE} (init)"

    def _own_record(self) -> dict[str, Any]:
        return {"guest": self._guest, "init": self.init, "codec": self._codec}

    def _check(self, header: Mapping[str, Any]) -> None:
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

    def _save_model(self) -> None:
        self.state.average.facts = self._facts()
        save(self.state.average, self.out / MODEL_FILE)

    def _due(self, due: Callable[[int], bool]) -> list[Callable[[], object]]:
        report = self.recipe.report
        wanted = ((report.eval_every, self._hold_out), (report.sample_every, self._draw_sheet))
        return [measure for steps, measure in wanted if due(steps)]

    def _gauges(self, steps: int) -> tuple[str, dict[str, float]]:
        loss, norm = (float(total) / steps for total in (self.state.loss_sum, self.state.norm_sum))
        self.state.loss_sum.zero_()
        self.state.norm_sum.zero_()
        return f"loss {loss:.4f}", {"loss": loss, "gradient_norm": norm}

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
        how = Sampler(steps=report.sheet_steps, guidance=guidance)
        images = sample(model, seeds=seeds * max(len(names), 1), how=how, **wishes)
        captions = names or None
        scale = max(1, 64 // images.shape[1])
        facts = how.to_facts() | {"step": now.step, "seeds": seeds, "labels": rows}
        facts |= {"precision": model.precision, "version": brickwork.__version__, "data_sha256": self.data.digest}
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

    def _facts(self) -> dict[str, Any]:
        return {
            **super()._facts(),
            **({"init_sha256": self.init} if self.init else {}),
            **({"codec_sha256": self._codec} if self._codec else {}),
        }
