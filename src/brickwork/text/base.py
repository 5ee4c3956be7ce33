"""Base classes of text encoders: captions → token numbers → embedded tokens of fixed length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Int
from torch import Tensor, nn

from brickwork.errors import ConfigError
from brickwork.nn.shapes import Text

TokenIds = Int[Tensor, "B M"]


@dataclass(frozen=True, kw_only=True)
class TextConfig(ABC):
    """Config of a text encoder: numbers and strings alone, so that it fits into a file's header."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """M, the tokens of one text; longer texts are cut."""

    @property
    @abstractmethod
    def token_width(self) -> int:
        """E, the width of an embedded token."""

    @property
    def trained(self) -> bool:
        """True if the encoder learns with the denoiser and is saved with it; False if it is frozen and kept apart."""
        return True

    @abstractmethod
    def fitted(self, captions: Sequence[str]) -> TextConfig:
        """Return the config for training on these captions, such as one whose vocabulary is their words."""

    @abstractmethod
    def build(self) -> TextEncoder:
        """Return an encoder: with fresh weights if it is trained with the denoiser, else with its published ones."""


class TextEncoder(nn.Module, ABC):
    """Text encoder: captions into embedded tokens."""

    @property
    @abstractmethod
    def config(self) -> TextConfig:
        """The config that it was built from."""

    @abstractmethod
    def tokenize(self, captions: Sequence[str]) -> np.ndarray:
        """Convert captions into token numbers, int64 (N, M); 0 is padding, and an empty caption is zeros alone."""

    def unknown_words(self, captions: Sequence[str]) -> list[str]:
        """Return the words of captions that mean nothing to it, each once, in order; none by default."""
        return []

    @abstractmethod
    def forward(self, tokens: TokenIds) -> Text:
        """Embed token numbers: (B, M) → (B, M, E) float32; zeros at padding."""


@final
@dataclass(frozen=True, kw_only=True)
class NoText(TextConfig):
    """Config without an encoder: a model without text, or one that takes embedded tokens from outside."""

    @property
    def num_tokens(self) -> int:
        """Tokens of one text: 0."""
        return 0

    @property
    def token_width(self) -> int:
        """Width of a token: 0."""
        return 0

    @property
    def trained(self) -> bool:
        """False, as there is nothing to train."""
        return False

    def fitted(self, captions: Sequence[str]) -> NoText:
        """Return the config itself."""
        return self

    def build(self) -> TextEncoder:
        """Refuse to build an encoder.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("this model has no text encoder: it takes no captions; give embedded tokens or classes")
