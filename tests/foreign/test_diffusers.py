"""Schedulers of diffusers draw what our solvers draw, with our models and with theirs; an exported folder too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import text_model, tiny_model

import brickwork as bw
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.gaussian import normals
from brickwork.diffusion.process import DiscreteVp, LinearFlow, NoiseProcess
from brickwork.errors import ArgumentError, ConfigError, MissingExtraError
from brickwork.foreign.schedulers import draw_by_scheduler
from brickwork.sampling.loop import sample_x0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # schedulers that call numpy in old ways
diffusers: Any = pytest.importorskip("diffusers")
DDPM = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
SHARE = 0.3
"""Standard deviation of the data of ``Gauss``."""


class Gauss:
    """The exact denoiser of images whose pixels are normal, of standard deviation SHARE; pictures are the pixels."""

    def __init__(self, process: NoiseProcess) -> None:
        self.process, self.shape, self.num_classes, self.text_shape = process, (1, 4, 4), 0, None

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: Condition) -> torch.Tensor:
        return x * (SHARE**2 / (SHARE**2 + sigma**2))[:, None, None, None]

    def asarray(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values)

    def decode(self, x0: torch.Tensor) -> np.ndarray:
        return np.clip(x0.permute(0, 2, 3, 1).numpy() * 64 + 128, 0, 255).round().astype(np.uint8)


def exact(process: NoiseProcess, seeds: list[int]) -> np.ndarray:
    """Where the probability-flow ODE of ``Gauss`` leads: the noise, scaled to the data's size."""
    return Gauss(process).decode(torch.from_numpy(SHARE * normals(seeds, 0, (1, 4, 4)).astype(np.float32)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("DDIMScheduler", {**DDPM, "clip_sample": False}),
        ("PNDMScheduler", DDPM),
        ("EulerDiscreteScheduler", DDPM),
        ("EulerDiscreteScheduler", {**DDPM, "use_karras_sigmas": True}),
        ("EulerDiscreteScheduler", {**DDPM, "prediction_type": "v_prediction"}),
        ("HeunDiscreteScheduler", DDPM),
        ("LMSDiscreteScheduler", DDPM),
        ("KDPM2DiscreteScheduler", DDPM),
        ("DPMSolverMultistepScheduler", DDPM),
        ("DPMSolverMultistepScheduler", {**DDPM, "use_karras_sigmas": True}),
        ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
        ("DPMSolverSinglestepScheduler", DDPM),
        ("DEISMultistepScheduler", DDPM),
        ("UniPCMultistepScheduler", {**DDPM, "prediction_type": "sample"}),
        ("EDMEulerScheduler", {"sigma_data": 0.5}),
        ("EDMDPMSolverMultistepScheduler", {"sigma_data": 0.5, "prediction_type": "v_prediction"}),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 1.0}),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        ("FlowMatchHeunDiscreteScheduler", {}),
    ],
)
def test_schedulers_without_noise_find_the_known_solution(name: str, settings: dict[str, Any]) -> None:
    scheduler = getattr(diffusers, name)(**settings)
    process = LinearFlow() if "low" in f"{name}{settings}" else DiscreteVp(beta_start=1e-4, beta_end=0.02, even="beta")
    drawn = draw_by_scheduler(Gauss(process), scheduler, seeds=[0, 1, 2, 3], steps=100)
    wrong = drawn.astype(int) - exact(process, [0, 1, 2, 3])
    assert np.abs(wrong).max() <= 3, "of pixels whose standard deviation is 19"


@pytest.mark.parametrize(
    "name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "KDPM2AncestralDiscreteScheduler"]
)
def test_schedulers_with_noise_draw_the_data(name: str) -> None:
    settings = {**DDPM, "clip_sample": False} if name == "DDPMScheduler" else DDPM
    process = DiscreteVp(beta_start=1e-4, beta_end=0.02, even="beta")
    scheduler = getattr(diffusers, name)(**settings)
    drawn = draw_by_scheduler(Gauss(process), scheduler, seeds=range(32), steps=120).astype(float)
    assert 0.9 * SHARE * 64 < drawn.std() < 1.1 * SHARE * 64
    again = draw_by_scheduler(Gauss(process), getattr(diffusers, name)(**settings), seeds=[5, 3], steps=120)
    np.testing.assert_array_equal(again, drawn[[5, 3]])


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_ddim_is_our_euler_at_its_levels(guidance: float) -> None:
    process = DiscreteVp(beta_start=1e-4, beta_end=0.02, even="beta", first_number=0.0)
    model = tiny_model("stoic", process, bw.Eps())
    scheduler = diffusers.DDIMScheduler(**DDPM, clip_sample=False, timestep_spacing="trailing")
    theirs = draw_by_scheduler(model, scheduler, seeds=[4, 5], labels=[1, 2], guidance=guidance, steps=8)
    levels = [process.levels[int(step)] for step in scheduler.timesteps]
    levels.append(levels[-1] * 0 + float(np.sqrt(1 / scheduler.final_alpha_cumprod - 1)))
    how: dict[str, Any] = {"solver": "euler", "schedule": bw.Levels(levels), "guidance": guidance}
    ours = bw.sample(model, seeds=[4, 5], labels=[1, 2], **how)
    assert np.abs(theirs.astype(int) - ours).max() <= 1
    assert ours.std() > 5


def test_what_a_model_cannot_take_is_refused() -> None:
    scheduler = diffusers.DDIMScheduler(**DDPM)
    model = tiny_model("stoic")
    with pytest.raises(ArgumentError, match="label 99"):
        draw_by_scheduler(model, scheduler, seeds=0, labels=99)
    with pytest.raises(ArgumentError, match="steps 0"):
        draw_by_scheduler(model, scheduler, seeds=0, steps=0)
    with pytest.raises(ConfigError, match="VQDiffusionScheduler"):
        draw_by_scheduler(model, diffusers.VQDiffusionScheduler(num_vec_classes=4), seeds=0)


# ---- their networks ---------------------------------------------------------------------------------------------


def unet(**more: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 2, "layers_per_block": 1, "sample_size": 8}
    sizes |= {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "in_channels": 1}
    return diffusers.UNet2DModel(**sizes, out_channels=1, **more).eval()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
def test_our_solver_draws_their_network_as_their_scheduler_does(prediction: str) -> None:
    network, alphas = unet(num_class_embeds=3), torch.ones(0)
    if prediction == "flow":
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=np.linspace(0.99, 0.1, 6))
        levels = [float(s / (1 - s)) for s in scheduler.sigmas[:-1]]
    else:
        scheduler = diffusers.DDIMScheduler(
            **DDPM, clip_sample=False, timestep_spacing="trailing", prediction_type=prediction
        )
        scheduler.set_timesteps(8)
        alphas = scheduler.alphas_cumprod.double()[scheduler.timesteps]
        levels = (1 / alphas - 1).sqrt().tolist()
    denoiser = bw.DiffusersDenoiser(network, scheduler)
    last = 0.0 if prediction == "flow" else float(np.sqrt(1 / scheduler.final_alpha_cumprod - 1))
    x0 = sample_x0(denoiser, seeds=[7, 8], labels=[0, 2], solver="euler", schedule=bw.Levels([*levels, last]))

    noise = torch.from_numpy(normals([7, 8], 0, (1, 8, 8))).float() * levels[0]
    own = noise * (1 - scheduler.sigmas[0] if prediction == "flow" else alphas[0].sqrt().float())
    with torch.no_grad():
        for step in scheduler.timesteps:
            output = network(own, step, class_labels=torch.tensor([0, 2])).sample
            own = scheduler.step(output, step, own).prev_sample
    scale = 1.0 if prediction == "flow" else float(scheduler.final_alpha_cumprod**0.5)
    torch.testing.assert_close(x0, own / scale, rtol=1e-3, atol=1e-3)
    assert bw.sample(denoiser, seeds=[7], labels=0, steps=3).shape == (1, 8, 8, 1)


def test_networks_that_know_no_class_for_none() -> None:
    scheduler = diffusers.DDPMScheduler(**DDPM)
    denoiser = bw.DiffusersDenoiser(unet(num_class_embeds=3), scheduler)
    with pytest.raises(ArgumentError, match="no number for none"):
        bw.sample(denoiser, seeds=0, steps=2)
    none = bw.DiffusersDenoiser(unet(num_class_embeds=4), scheduler, no_class=3)
    assert none.num_classes == 3
    assert bw.sample(none, seeds=[0, 1], labels=[0, -1], guidance=2.0, steps=2).shape == (2, 8, 8, 1)
    with pytest.raises(ConfigError, match="squaredcos_cap_v2"):
        bw.DiffusersDenoiser(unet(), diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"))


# ---- an exported folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [bw.LinearFlow(), bw.Vp(), bw.DiscreteVp(), bw.Cosine(), bw.Edm()], ids=str)
def test_an_exported_folder_draws_the_same_pictures(process: NoiseProcess, tmp_path: Path) -> None:
    prediction = bw.EdmF() if isinstance(process, bw.Edm) else bw.Velocity()
    model = tiny_model("stoic", process, prediction)
    bw.export_to_diffusers(model, tmp_path / "mine")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        tmp_path / "mine", custom_pipeline=str(tmp_path / "mine"), trust_remote_code=True
    )
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(labels=[1, 2], seeds=[3, 4], num_inference_steps=4, guidance_scale=1.5, output_type="np").images
    asked: dict[str, Any] = {"labels": [1, 2], "seeds": [3, 4], "guidance": 1.5}
    again = draw_by_scheduler(model, pipeline.scheduler, steps=4, **asked)
    np.testing.assert_array_equal(found, again)
    if hasattr(pipeline.scheduler, "alphas_cumprod"):
        theirs = (1 / pipeline.scheduler.alphas_cumprod.double() - 1).sqrt()[[0, 99, 999]]
        times = [process.t_max * step / 1000 for step in (1, 100, 1000)]
        np.testing.assert_allclose(theirs, [float(process.level(time)) for time in times], rtol=2e-3)


def test_the_exported_digits_are_the_digits(tmp_path: Path) -> None:
    bw.export_to_diffusers(bw.load("digits"), tmp_path / "mine")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        tmp_path / "mine", custom_pipeline=str(tmp_path / "mine"), trust_remote_code=True
    )
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(labels=list("03"), seeds=0, num_inference_steps=40, guidance_scale=1.5, output_type="np").images
    ours = bw.sample(bw.load("digits"), labels=list("03"), seeds=0, steps=20, guidance=1.5, solver="heun")
    assert np.abs(found.astype(int) - ours).mean() < 0.03 * ours.std(), "two ways to one solution"


@pytest.mark.filterwarnings("ignore::brickwork.errors.BrickworkWarning")  # a word that it never learned
def test_an_exported_model_of_text_and_the_command_line(tmp_path: Path) -> None:
    bw.save(text_model(), tmp_path / "words.safetensors")
    from brickwork.cli import main

    assert main(["export", str(tmp_path / "words.safetensors"), "--to", "diffusers", "--out", str(tmp_path / "w")]) == 0
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        tmp_path / "w", custom_pipeline=str(tmp_path / "w"), trust_remote_code=True
    )
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline(prompt="a", seeds=0, num_inference_steps=2, guidance_scale=2.0).images
    assert picture.size == tuple(text_model().shape[:0:-1])


def test_export_without_diffusers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match=r"brickwork\[peers\]"):
        bw.export_to_diffusers(tiny_model("stoic"), tmp_path / "mine")
    assert not list(tmp_path.iterdir())
