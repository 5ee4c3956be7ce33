"""What a text encoder is: captions → token numbers → embedded tokens of fixed length."""

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
    """What a text encoder is built from: numbers and strings and nothing else, so that it goes into a file header."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """M, tokens of one text; longer texts are cut."""

    @property
    @abstractmethod
    def token_width(self) -> int:
        """E, numbers of one embedded token."""

    @property
    def trained(self) -> bool:
        """Whether the encoder learns with the denoiser and is part of a model's file, or is frozen and elsewhere."""
        return True

    @abstractmethod
    def fitted(self, captions: Sequence[str]) -> TextConfig:
        """The config for training on these captions, as with their words for a vocabulary; itself if it needs none."""

    @abstractmethod
    def build(self) -> TextEncoder:
        """An encoder: with fresh weights if it is trained with the denoiser, else with its published ones."""


class TextEncoder(nn.Module, ABC):
    """Captions to embedded tokens."""

    @property
    @abstractmethod
    def config(self) -> TextConfig:
        """What it was built from."""

    @abstractmethod
    def tokenize(self, captions: Sequence[str]) -> np.ndarray:
        """Token numbers, int64 (N, M); 0 is no token, and an empty caption is zeros alone."""

    @abstractmethod
    def forward(self, tokens: TokenIds) -> Text:
        """(B, M) → (B, M, E) float32; zeros where there is no token."""


@final
@dataclass(frozen=True, kw_only=True)
class NoText(TextConfig):
    """No encoder: a model without text, or one that is told embedded tokens alone."""

    @property
    def num_tokens(self) -> int:
        """0."""
        return 0

    @property
    def token_width(self) -> int:
        """0."""
        return 0

    @property
    def trained(self) -> bool:
        """There is nothing to train."""
        return False

    def fitted(self, captions: Sequence[str]) -> NoText:
        """Itself."""
        return self

    def build(self) -> TextEncoder:
        """There is none.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("this model has no text encoder: it takes no captions; give embedded tokens or classes")
