"""How far do tiles of a published design's decoder, with group norms and attention, differ from the whole picture?

An AutoencoderKL of diffusers, as Stable Diffusion's but small, learns garments for a short while; sixteen garments side
by side are then one picture of 512x512 pixels, decoded whole and in windows that see 0 to 16 places around their own.

    python benchmarks/published_tiles.py --data ../shared/data/clothing128_jpeg.npz
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from record import facts_of_this_machine, write_result
from torch.nn import functional

from brickwork.codec import latents
from brickwork.codec.base import to_unit
from brickwork.codec.latents import Latents
from brickwork.codec.published import Published
from brickwork.data.dataset import DataConfig, Dataset, load_dataset, load_heldout
from brickwork.training.autoencoder.observers import image_psnr

SETTINGS = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [32, 64, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "norm_num_groups": 16,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network = Published.Config(design="AutoencoderKL", settings=json.dumps(SETTINGS)).build()
    learn(network, load_dataset(arguments.data, DataConfig(size=64)), arguments)
    garments = load_heldout(arguments.data, DataConfig(size=128)).batch(np.arange(16))
    picture = rearrange(garments, "(a b) h w c -> 1 (a h) (b w) c", a=4)
    codec = Latents.measure(network, [garments])
    z = codec.encode(torch.from_numpy(picture))
    whole = in_windows(codec, z, own=z.shape[2], halo=0)
    error = float(image_psnr(picture, whole)[0])
    print(f"the autoencoder itself: {error:.2f} dB on held-out garments")
    rows: list[dict[str, Any]] = []
    for own in (16, 32, 48):
        for halo in (0, 4, 8, 16):
            tiled = in_windows(codec, z, own=own, halo=halo)
            levels = np.abs(tiled.astype(int) - whole.astype(int))
            row = {"own": own, "halo": halo, "psnr": float(image_psnr(whole, tiled)[0]), "largest": int(levels.max())}
            row["mean"] = float(levels.mean())
            rows.append(row)
            print(f"windows of {own}+2x{halo}: {row['psnr']:.2f} dB from whole, at most {row['largest']} of 255")
    facts = facts_of_this_machine() | {"settings": SETTINGS, "autoencoder_psnr": error, "rows": rows}
    print(write_result("published-tiles", facts))


def learn(network: Published, data: Dataset, arguments: argparse.Namespace) -> None:
    """The squared error, and a little of the posterior's size so that latents keep near 1."""
    optimizer = torch.optim.AdamW(network.parameters(), arguments.lr)
    generator = torch.Generator().manual_seed(0)
    network.train()
    for step in range(arguments.steps):
        rows = torch.randint(len(data), (arguments.batch,), generator=generator).numpy()
        x = to_unit(torch.from_numpy(data.batch(rows)))
        mean, std = network.posterior(x)
        assert std is not None
        made = network.decode(mean + std * torch.randn(std.shape, generator=generator))
        loss = functional.mse_loss(made, x) + 1e-4 * (mean.square() + std.square() - 2 * std.log()).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0:
            print(f"step {step}: {loss.item():.4f}", flush=True)
    network.eval()


def in_windows(codec: Latents, z: torch.Tensor, *, own: int, halo: int) -> np.ndarray:
    """The picture, decoded in windows of ``own`` places and so many around them."""
    before, latents.FAR = latents.FAR, halo
    try:
        return Latents(replace(codec.config, tile=own + 2 * halo), codec.autoencoder).decode(z).numpy()
    finally:
        latents.FAR = before


if __name__ == "__main__":
    main()
