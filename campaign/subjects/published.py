"""Published weights of other projects: networks, autoencoders of diffusers, text encoders of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lego_transcription import BrickShape, SelfAttention, Transcription, randomize
from torch import nn
from uvit_transcription import published

import brickwork as bw
from brickwork.foreign import dit, uvit
from brickwork.foreign.formats import read_network
from campaign.subject import Subject

LETTERS = "abcdefghijklmnopqrstuvwxyz"
UVIT = bw.Uvit.Config(size=8, channels=3, width=32, heads=4, depth=3)


def dit_weights() -> dict[str, torch.Tensor]:
    """Return a tiny network's weights under the names of the released DiT files."""
    config = bw.Dit.Config(size=8, channels=3, num_classes=4, width=32, heads=4, depth=1, variance=True)
    pairs = {"patchify.conv": "x_embedder.proj", "time.first": "t_embedder.mlp.0", "time.second": "t_embedder.mlp.2"}
    pairs |= {"classes.table": "y_embedder.embedding_table", "head.linear": "final_layer.linear"}
    pairs |= {"head.modulation": "final_layer.adaLN_modulation.1", "blocks.0.modulation": "blocks.0.adaLN_modulation.1"}
    pairs |= {f"blocks.0.attention.{part}": f"blocks.0.attn.{part}" for part in ("qkv", "proj")}
    pairs |= {"blocks.0.mlp.widen": "blocks.0.mlp.fc1", "blocks.0.mlp.narrow": "blocks.0.mlp.fc2"}
    torch.manual_seed(0)
    state = config.build().state_dict()
    found = {}
    for name, value in state.items():
        ours, _, kind = name.rpartition(".")
        found[f"{pairs[ours]}.{kind}"] = value.clone()
    return found | {"pos_embed": places(config.grid[0], config.width)}


def places(side: int, width: int) -> torch.Tensor:
    """Return the published table of places: half the width for the column, half for the row; sines, then cosines."""
    omega = 10000.0 ** (-np.arange(width // 4) / (width // 4))
    along = np.outer(np.arange(side), omega)
    waves = np.concatenate([np.sin(along), np.cos(along)], axis=1)
    rows = [np.concatenate([waves[column], waves[row]]) for row in range(side) for column in range(side)]
    return torch.from_numpy(np.stack(rows)).float()[None]


def lego() -> nn.Module:
    """Return a tiny network with the names of the released LEGO files."""
    network = Transcription([BrickShape(4, 2, 1)], width=32, heads=2, channels=3, num_classes=3)
    randomize(network, seed=0)
    for part in network.modules():
        if isinstance(part, SelfAttention):
            vars(part)["num_heads"] = part.heads  # as the published attention calls it
    return network.eval().requires_grad_(False)


def imported(place: Path) -> Any:
    """Import the network, and return its weights and what is known of it."""
    dit.HEADS[32], uvit.HEADS[32] = 4, 4  # as if a network of a small width had been published
    network = read_network(next(place.glob("weights*"), place / "weights.pt"))
    return network.backbone.state_dict(), network.process, network.prediction, network.facts.get("assumed")


def legacy(place: Path) -> None:
    """Write weights as torch did before 1.6: pickles one after the other."""
    torch.save({"ema": published(UVIT), "step": 7}, place / "weights.pth", _use_new_zipfile_serialization=False)


def autoencoder(place: Path) -> None:
    """Write a tiny autoencoder as diffusers does."""
    import diffusers

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"block_out_channels": (4, 8), "norm_num_groups": 2, "sample_size": 16}
    sizes |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    diffusers.AutoencoderKL(**sizes, layers_per_block=1).save_pretrained(place / "vae")


def coded(place: Path) -> Any:
    """Open the autoencoder, and encode a picture."""
    codec = bw.Published.open(place / "vae")
    with torch.no_grad():
        return codec.posterior(torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16))[0]


def clip(place: Path) -> None:
    """Write a tiny text encoder as transformers does."""
    import transformers

    library: Any = transformers
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{c}</w>" for c in LETTERS)]
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = library.CLIPTextConfig(
        vocab_size=len(words), max_position_embeddings=12, bos_token_id=0, eos_token_id=1, pad_token_id=1, **sizes
    )
    library.CLIPTextModel(config).save_pretrained(place / "clip")
    tokenizer = library.CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    tokenizer.save_pretrained(place / "clip")


def embedded(place: Path) -> Any:
    """Open the text encoder, and embed two captions."""
    encoder = bw.Clip.Config(source=str(place / "clip")).build()
    with torch.no_grad():
        return encoder(torch.from_numpy(encoder.tokenize(["a red ball", ""])))


SUBJECTS = (
    Subject(name="published .pt", make=lambda p: torch.save(dit_weights(), p / "weights.pt"), read=imported, share=1.5),
    Subject(name="published .pth of old", make=legacy, read=imported),
    Subject(name="published pickle", make=lambda p: torch.save({"ema": lego()}, p / "weights.pt"), read=imported),
    Subject(name="diffusers' folder", make=autoencoder, read=coded, share=0.7),
    Subject(name="transformers' folder", make=clip, read=embedded, share=0.5),
)
