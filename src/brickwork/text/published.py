"""Published text encoders of CLIP and T5: frozen, read by transformers from a folder or the Hub.

Weights are read from safetensors files alone, and no code that comes with them is run. A token's number here is the
published one plus 1, since 0 is padding; texts end as the tokenizer ends them, and padding is embedded as zeros.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import torch

from brickwork.data.names import whole_text
from brickwork.errors import CheckpointError, ConfigError, first_line
from brickwork.memory import is_memory_lack
from brickwork.nn.floats import float32_default
from brickwork.nn.shapes import Text
from brickwork.text.base import TextConfig, TextEncoder, TokenIds
from brickwork.text.source import (
    config_of,
    digest_of,
    find_encoder,
    net_of,
    tokenizer_of,
    transformers_for,
    weight_files,
)

USUAL_LENGTH = 77
"""Tokens of a text where the encoder itself sets no limit; the same as CLIP's limit."""


@dataclass(frozen=True, kw_only=True)
class PublishedConfig(TextConfig):
    """Config of a published text encoder: its source, and how many of its tokens are used."""

    source: str = ""
    """A folder as transformers saves it, or with text_encoder and tokenizer; or owner/name[@revision] on the Hub."""
    length: int = 0
    """M, the tokens of one text; longer texts are cut. 0 is the encoder's own limit, or 77 if it has none."""
    width: int = 0
    """E, the width of an embedded token; 0 until ``fitted`` reads it from the encoder."""
    digest: str = ""
    """SHA-256 (hex) of weights and vocabulary; empty until ``fitted``. From then on another encoder is refused."""

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
        """M, the tokens of one text."""
        return self.length

    @property
    def token_width(self) -> int:
        """E, the width of an embedded token."""
        return self.width

    @property
    def trained(self) -> bool:
        """False: the encoder is frozen, and its weights are kept elsewhere."""
        return False

    def fitted(self, captions: Sequence[str]) -> Self:
        """Return the config with length, width and digest of the encoder; captions change nothing.

        Raises:
            MissingExtraError: transformers is not installed.
            CheckpointError: The encoder is missing, of another kind, has another digest, or its weights are pickled.
            ConfigError: The config asks for more tokens than the encoder takes, or for another width.
        """
        with transformers_for(self.KIND) as transformers:
            return self._opened(transformers, find_encoder(self.source, self.KIND, self.digest))[0]

    def _opened(self, transformers: Any, folders: tuple[Path, Path]) -> tuple[Self, Any]:
        """Return the fitted config and the tokenizer."""
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
        """Return most tokens (0: no limit), width and vocabulary size by transformers' config."""

    @abstractmethod
    def build(self) -> PublishedEncoder:
        """Return the encoder with its published weights.

        Raises:
            BrickworkError: ``fitted`` would raise it.
        """


class PublishedEncoder(TextEncoder):
    """Frozen published encoder; its output is its last layer's, after the norm.

    Args:
        config: Its config; the encoder's ``config`` is the fitted one.
    """

    NET: ClassVar[str]

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__()
        with transformers_for(config.KIND) as transformers:
            folders = find_encoder(config.source, config.KIND, config.digest)
            self._config, self.tokenizer = config._opened(transformers, folders)
            self.net = net_of(config.source, getattr(transformers, self.NET), folders[0])
        self.eval().requires_grad_(False)

    @property
    def config(self) -> PublishedConfig:
        """The config that it was built from, with length, width and digest."""
        return self._config

    def tokenize(self, captions: Sequence[str]) -> np.ndarray:
        """Convert captions into published token numbers plus 1, int64 (N, M); 0 is padding, also of blank captions."""
        tokens = np.zeros((len(captions), self.config.length), np.int64)
        there = [row for row, caption in enumerate(captions) if caption.strip()]
        if there:
            texts = [whole_text(captions[row]) for row in there]
            found = self.tokenizer(texts, truncation=True, max_length=self.config.length)["input_ids"]
            for row, numbers in zip(there, found, strict=True):
                tokens[row, : len(numbers)] = np.array(numbers) + 1
        return tokens

    def forward(self, tokens: TokenIds) -> Text:
        """Embed token numbers: (B, M) → (B, M, E) float32; zeros at padding."""
        present = tokens > 0
        seen = present.clone()
        seen[:, 0] = True  # a text of padding alone attends to itself, as attention to nothing is NaN
        numbers = torch.where(present, tokens - 1, self.tokenizer.pad_token_id)
        try:
            hidden = self.net(input_ids=numbers, attention_mask=seen.long()).last_hidden_state
        except Exception as error:  # sizes in its config that do not fit each other show only here, in many kinds
            if is_memory_lack(error):
                raise
            raise CheckpointError(
                f"{self.config.source}: its config.json describes no network that runs ({first_line(error)}): copy or "
                "fetch it again"
            ) from error
        return torch.where(present[..., None], hidden.float(), 0.0)


@final
class Clip(PublishedEncoder):
    """CLIP's text encoder (Radford et al. 2021, arXiv 2103.00020): ViT-L/14's has 77 tokens of width 768."""

    NET = "CLIPTextModel"

    @dataclass(frozen=True, kw_only=True)
    class Config(PublishedConfig):
        """Config of CLIP's text encoder: its source, and how many of its tokens are used."""

        source: str = "openai/clip-vit-large-patch14"

        KIND = "a CLIP text encoder"
        TYPES = ("clip", "clip_text_model")

        def _sizes(self, config: Any) -> tuple[int, int, int]:
            text = getattr(config, "text_config", config)
            return text.max_position_embeddings, text.hidden_size, text.vocab_size

        @float32_default()
        def build(self) -> Clip:
            """Return the encoder with its published weights."""
            return Clip(self)


@final
class T5(PublishedEncoder):
    """T5's encoder (Raffel et al. 2020, arXiv 1910.10683). It takes texts of any length."""

    NET = "T5EncoderModel"

    @dataclass(frozen=True, kw_only=True)
    class Config(PublishedConfig):
        """Config of T5's encoder: its source, and how many of its tokens are used."""

        source: str = "google/flan-t5-base"

        KIND = "a T5 encoder"
        TYPES = ("t5",)

        def _sizes(self, config: Any) -> tuple[int, int, int]:
            return 0, config.d_model, config.vocab_size

        @float32_default()
        def build(self) -> T5:
            """Return the encoder with its published weights."""
            return T5(self)
