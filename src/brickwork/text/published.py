"""CLIP's and T5's text encoders as they were published: frozen, through transformers, from a folder or the Hub.

Weights are read from safetensors files alone, and nothing that comes with them is run. A token's number here is the
published one plus 1, since 0 is no token; texts end as the tokenizer ends them, and padding comes out as zeros.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import torch

from brickwork.errors import CheckpointError, ConfigError
from brickwork.nn.shapes import Text
from brickwork.text.base import TextConfig, TextEncoder, TokenIds
from brickwork.text.source import (
    config_of,
    digest_of,
    find_encoder,
    net_of,
    quiet,
    tokenizer_of,
    weight_files,
)

USUAL_LENGTH = 77
"""Tokens of a text where the encoder itself sets no limit; CLIP's limit."""


@dataclass(frozen=True, kw_only=True)
class PublishedConfig(TextConfig):
    """Which published encoder, and how many of its tokens."""

    source: str = ""
    """A folder as transformers saves it, alone or as text_encoder and tokenizer; or owner/name on the Hub."""
    length: int = 0
    """M, tokens of one text, 0 for as many as the encoder takes or 77; longer texts are cut."""
    width: int = 0
    """E, numbers of one embedded token; 0 until ``fitted``, which asks the encoder."""
    digest: str = ""
    """SHA-256 (hex) of weights and vocabulary; empty until ``fitted``. Another encoder is refused from then on."""

    KIND: ClassVar[str]
    TYPES: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError(f"no source of {self.KIND}: give a folder, or owner/name on the Hub")
        for name in ("length", "width"):
            if getattr(self, name) < 0:
                raise ConfigError(f"text {name} {getattr(self, name)}: must be 0 (the encoder's own) or more")

    @property
    def num_tokens(self) -> int:
        """M."""
        return self.length

    @property
    def token_width(self) -> int:
        """E."""
        return self.width

    @property
    def trained(self) -> bool:
        """It is frozen, and its weights lie elsewhere."""
        return False

    def fitted(self, captions: Sequence[str]) -> Self:
        """The config with length, width and digest of the encoder; captions change nothing.

        Raises:
            MissingExtraError: Without transformers.
            CheckpointError: No such encoder there, another kind, another than the digest says, or pickled weights.
            ConfigError: More tokens than the encoder takes, or another width.
        """
        with quiet(self.KIND) as transformers:
            return self._opened(transformers, find_encoder(self.source, self.KIND, self.digest))[0]

    def _opened(self, transformers: Any, folders: tuple[Path, Path]) -> tuple[Self, Any]:
        """The fitted config, and the tokenizer."""
        config = config_of(transformers, folders[0])
        if config.model_type not in self.TYPES:
            raise CheckpointError(f"{self.source} is a {config.model_type}, not {self.KIND}: name its own text encoder")
        tokenizer = tokenizer_of(transformers, folders[1])
        length, width, vocabulary = self._sizes(config)
        if len(tokenizer) > vocabulary:
            raise CheckpointError(
                f"the tokenizer in {folders[1]} has {len(tokenizer)} tokens and the encoder {vocabulary}: they do not "
                "belong together"
            )
        if self.length > length > 0:
            raise ConfigError(f"text length {self.length}: {self.source} takes at most {length} tokens")
        if self.width not in (0, width):
            raise ConfigError(f"text width {self.width}: that of {self.source} is {width}; set it to that, or to 0")
        digest = digest_of(weight_files(self.source, folders[0]), tokenizer.get_vocab())
        if self.digest not in ("", digest):
            raise CheckpointError(
                f"the text encoder at {self.source} is not the one that is meant ({digest[:12]}, not "
                f"{self.digest[:12]}): put the right one there"
            )
        fitted = replace(self, length=self.length or length or USUAL_LENGTH, width=width, digest=digest)
        return fitted, tokenizer

    @abstractmethod
    def _sizes(self, config: Any) -> tuple[int, int, int]:
        """Most tokens, 0 for no limit; width; different tokens: as transformers' config has them."""

    @abstractmethod
    def build(self) -> PublishedEncoder:
        """The encoder with its published weights.

        Raises:
            BrickworkError: As ``fitted``.
        """


class PublishedEncoder(TextEncoder):
    """A frozen encoder; its output is that of its last layer, after the norm.

    Args:
        config: Which one. The encoder's own config is the fitted one.
    """

    NET: ClassVar[str]

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__()
        with quiet(config.KIND) as transformers:
            folders = find_encoder(config.source, config.KIND, config.digest)
            self._config, self.tokenizer = config._opened(transformers, folders)
            self.net = net_of(config.source, getattr(transformers, self.NET), folders[0])
        self.eval().requires_grad_(False)

    @property
    def config(self) -> PublishedConfig:
        """What it was built from, with length, width and digest."""
        return self._config

    def tokenize(self, captions: Sequence[str]) -> np.ndarray:
        """Published token numbers plus 1, int64 (N, M); 0 is no token, and a blank caption is zeros alone."""
        tokens = np.zeros((len(captions), self.config.length), np.int64)
        there = [row for row, caption in enumerate(captions) if caption.strip()]
        if there:
            texts = [captions[row] for row in there]
            found = self.tokenizer(texts, truncation=True, max_length=self.config.length)["input_ids"]
            for row, numbers in zip(there, found, strict=True):
                tokens[row, : len(numbers)] = np.array(numbers) + 1
        return tokens

    def forward(self, tokens: TokenIds) -> Text:
        """(B, M) → (B, M, E) float32; zeros where there is no token."""
        present = tokens > 0
        seen = present.clone()
        seen[:, 0] = True  # a text of padding alone looks at itself, and not at nothing, which is no number
        numbers = torch.where(present, tokens - 1, self.tokenizer.pad_token_id)
        hidden = self.net(input_ids=numbers, attention_mask=seen.long()).last_hidden_state
        return torch.where(present[..., None], hidden.float(), 0.0)


@final
class Clip(PublishedEncoder):
    """CLIP's text encoder (Radford et al. 2021, arXiv 2103.00020): of ViT-L/14 77 tokens of 768 numbers."""

    NET = "CLIPTextModel"

    @dataclass(frozen=True, kw_only=True)
    class Config(PublishedConfig):
        """Which CLIP, and how many of its tokens."""

        source: str = "openai/clip-vit-large-patch14"

        KIND = "a CLIP text encoder"
        TYPES = ("clip", "clip_text_model")

        def _sizes(self, config: Any) -> tuple[int, int, int]:
            text = getattr(config, "text_config", config)
            return text.max_position_embeddings, text.hidden_size, text.vocab_size

        def build(self) -> Clip:
            """The encoder with its published weights."""
            return Clip(self)


@final
class T5(PublishedEncoder):
    """T5's encoder (Raffel et al. 2020, arXiv 1910.10683). It takes texts of any length."""

    NET = "T5EncoderModel"

    @dataclass(frozen=True, kw_only=True)
    class Config(PublishedConfig):
        """Which T5, and how many of its tokens."""

        source: str = "google/flan-t5-base"

        KIND = "a T5 encoder"
        TYPES = ("t5",)

        def _sizes(self, config: Any) -> tuple[int, int, int]:
            return 0, config.d_model, config.vocab_size

        def build(self) -> T5:
            """The encoder with its published weights."""
            return T5(self)
