"""Verb ``brickwork autoencoder import``: a published autoencoder as a model file, with statistics of its latents."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from tyro.conf import Positional, arg

import brickwork as bw
from brickwork.cli.arguments import DeviceName
from brickwork.data.dataset import DataConfig, load_dataset, load_heldout
from brickwork.errors import ArgumentError, MissingSplitError
from brickwork.files.streams import say

if TYPE_CHECKING:
    import numpy as np

    from brickwork.codec.latents import Latents
    from brickwork.data.dataset import DataConfig, Dataset

AT_ONCE = 16
"""Number of pictures that are encoded together."""


def import_autoencoder(
    source: Positional[str],
    *,
    out: Path,
    data: Annotated[str | None, arg(metavar="DATA")] = None,
    scale: Literal["measured", "published"] = "measured",
    subfolder: Annotated[str | None, arg(metavar="FOLDER")] = None,
    size: int | None = None,
    images: int = 1000,
    posterior: Literal["mode", "sample"] = "mode",
    device: DeviceName = "auto",
) -> None:
    """Import a published autoencoder of diffusers.

    It comes from a folder or from the Hub, and becomes one file for `brickwork train --codec`, with statistics of its
    latents.

    Args:
        source: Folder with config.json and safetensors, or owner/name on the Hub; nothing in it is executed.
        out: File to write, .safetensors, or a folder for it.
        data: Images on which the latents are measured: those that a model will be trained on.
        scale: Scale of the latents: measured on the images, or published, as the authors' own denoisers need it.
        subfolder: Folder of the autoencoder in SOURCE, such as vae in a pipeline.
        size: Side in pixels that images are resized to.
        images: Largest number of images that are measured.
        posterior: Latents of an image: mode, or sample of an AutoencoderKL.
        device: Device that measures; auto takes the first accelerator.
    """
    from brickwork.codec.file import AUTOENCODER_FILE
    from brickwork.codec.latents import Latents
    from brickwork.codec.published import Published, scaled_as_published
    from brickwork.nn.device import choose_device

    if data is None and scale == "measured":
        raise ArgumentError("no data to measure latents of: give --data, or --scale published")
    if images < 1:
        raise ArgumentError(f"{images} images: measuring latents needs at least 1")
    network = Published.open(source, subfolder)
    facts: dict[str, Any] = {"finished": True, "imported": str(source) + (f", {subfolder}" if subfolder else "")}
    facts["scale"] = scale
    psnr, codec = None, scaled_as_published(network, posterior) if scale == "published" else None
    if data is not None:
        config = DataConfig(size=size, channels=network.config.picture_channels)
        pictures = load_dataset(data, config, progress=True)
        _check_sides(pictures, network.config.factor)
        facts |= {"data": pictures.name, "data_images": min(images, len(pictures)), "data_sha256": pictures.digest}
        network = network.to(choose_device(device))
        codec = codec or Latents.measure(network, _batches(pictures, images), posterior)
        psnr = _psnr(codec.to(choose_device(device)), data, config, pictures)
    assert codec is not None
    facts |= {} if psnr is None else {"held_out_psnr": round(psnr, 3)}
    path = out if out.suffix == ".safetensors" else out / AUTOENCODER_FILE
    bw.save_codec(codec, path, facts)
    count = sum(weight.numel() for weight in network.parameters())
    say(
        f"{network.config.design}: {count / 1e6:.4g} M parameters, {codec.channels} channels, {codec.factor} pixels a "
        f"place{'' if psnr is None else f', {psnr:.2f} dB PSNR on held-out images'}; in {path}"
    )
    if network.halo is None:
        say("its pixels depend on all latents: pictures larger than a tile come out a little different from whole")
    words = ["brickwork", "import", "WEIGHTS", "--codec", str(path), "--out", "model.safetensors"]
    if data is not None and scale == "measured":
        words = ["brickwork", "train", "tldm-small", "--codec", str(path), "--data", data]
        words += ["--out", "runs/latents", "--minutes", "60"]
    say(f"next: {shlex.join(words)}")


def _check_sides(pictures: Dataset, factor: int) -> None:
    """Refuse pictures whose size the network cannot take, before anything is computed."""
    height, width, _ = pictures.shape
    if height % factor or width % factor:
        raise ArgumentError(
            f"images of {height}x{width} pixels: the autoencoder's factor {factor} must divide both; give --size"
        )


def _batches(pictures: Dataset, count: int) -> Iterator[np.ndarray]:
    """Yield a fixed choice of so many pictures, in batches."""
    from brickwork.quality.heldout import chosen

    rows = chosen(len(pictures), count)
    for start in range(0, len(rows), AT_ONCE):
        yield pictures.batch(rows[start : start + AT_ONCE])


def _psnr(codec: Latents, data: str, config: DataConfig, pictures: Dataset) -> float | None:
    """Return the mean PSNR of up to 256 held-out pictures, in dB; None without any."""
    import torch

    from brickwork.training.autoencoder.observers import image_psnr

    try:
        heldout = load_heldout(data, replace(config, size=pictures.shape[0]))
    except MissingSplitError:
        return None
    values: list[np.ndarray] = []
    for some in _batches(heldout, 256):
        made = codec.decode(codec.encode(torch.from_numpy(some).to(codec.mean.device)))
        values.append(image_psnr(some, made.cpu().numpy()))
    return float(np.concatenate(values).mean())
