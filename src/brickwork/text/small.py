"""Small text encoders of words or of bytes, which learn with the denoiser and need no download.

Letters: B batch, M tokens, E width of a token, h heads, d width of one head.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.bounds import MOST_BLOCKS, at_least, between, check_fields
from brickwork.errors import ConfigError
from brickwork.files.tokenizers import ByteTokenizer, Tokenizer, WordTokenizer, words_of
from brickwork.nn.floats import float32_default
from brickwork.nn.layers import Mlp, initialize
from brickwork.nn.linear import Linear
from brickwork.nn.shapes import Text
from brickwork.text.base import TextConfig, TextEncoder, TokenIds

Mask = Bool[Tensor, "B M"]


@dataclass(frozen=True, kw_only=True)
class SmallConfig(TextConfig):
    """Config that the small encoders share: a transformer over the tokens of one text."""

    length: Annotated[int, at_least(1)] = 16
    """M, the tokens of one text; longer texts are cut."""
    width: Annotated[int, at_least(1)] = 128
    """E, the width of an embedded token."""
    depth: Annotated[int, between(0, MOST_BLOCKS)] = 2
    """Transformer blocks; with 0 a token depends on its word and place alone."""
    heads: Annotated[int, at_least(1)] = 4
    """Attention heads; they divide the width."""

    def __post_init__(self) -> None:
        check_fields(self, "text ")
        if self.width % self.heads:
            raise ConfigError(f"text width {self.width} with {self.heads} heads: the heads must divide the width")

    @property
    def num_tokens(self) -> int:
        """M, the tokens of one text."""
        return self.length

    @property
    def token_width(self) -> int:
        """E, the width of an embedded token."""
        return self.width

    @property
    @abstractmethod
    def num_symbols(self) -> int:
        """Size of the token table, padding (token 0) included."""


class Block(nn.Module):
    """Pre-norm transformer block in which no token attends to padding. Vaswani et al. 2017, Eq. 1.

    Args:
        width: E.
        heads: h; divides E.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = Linear(width, 3 * width, bias=False)
        self.proj = Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4)

    def forward(self, x: Text, bias: Float[Tensor, "B 1 1 M"]) -> Text:
        """Apply the block, shape kept; ``bias`` is added to the scores and masks padding."""
        B, M, E = x.shape
        rows = self.qkv(self.norm_attention(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in rows)
        scores = q @ k.mT * (E // self.heads) ** -0.5 + bias
        x = x + self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, M, E))
        return x + self.mlp(self.norm_mlp(x))


class SmallEncoder(TextEncoder):
    """Token table, learned positions, blocks and a norm: embedded tokens have unit variance from the first step on.

    Args:
        config: Its config.
    """

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self._config = config
        self.table = nn.Embedding(config.num_symbols, config.width, padding_idx=0)
        self.position = nn.Parameter(torch.empty(config.length, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        initialize(self)
        # Tokens of unit length outweigh positions and fresh blocks, so that different texts differ from the start.
        nn.init.normal_(self.table.weight, std=config.width**-0.5)
        nn.init.zeros_(self.table.weight[0])
        nn.init.normal_(self.position, std=0.02)

    @property
    def config(self) -> SmallConfig:
        """The config that it was built from."""
        return self._config

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of texts into token numbers."""

    def tokenize(self, captions: Sequence[str]) -> np.ndarray:
        """Convert captions into token numbers, int64 (N, M), padded at the end with 0."""
        return self.tokenizer.tokenize(captions)

    def unknown_words(self, captions: Sequence[str]) -> list[str]:
        """Return the words that are not in its vocabulary."""
        return self.tokenizer.unknown_words(captions)

    def forward(self, tokens: TokenIds) -> Text:
        """Embed token numbers: (B, M) → (B, M, E) float32; zeros at padding."""
        present: Mask = tokens > 0
        x = self.table(tokens) + self.position
        # Half the lowest number: its sum with a score stays finite, and a text of padding alone gives no NaN.
        bias = torch.where(present, 0.0, torch.finfo(x.dtype).min / 2)[:, None, None, :].to(x.dtype)
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x).float() * present[..., None]


@final
class Words(SmallEncoder):
    """Encoder with a token for every word of a vocabulary.

    If fitting left rare words out of the vocabulary, one token stands for all of them. If it left none out, training
    would never see that token, so unknown words are skipped instead.

    Args:
        config: The vocabulary, and the network's size.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(SmallConfig):
        """Config of the word encoder: the vocabulary, and the network's size."""

        words: tuple[str, ...] = ()
        """The vocabulary; word i is token i + 2. Empty until ``fitted``."""
        min_count: Annotated[int, at_least(1)] = 1
        """Fewest occurrences in the captions that put a word into the vocabulary."""
        max_words: Annotated[int, at_least(1)] = 20_000
        """Largest size of the vocabulary; the most frequent words stay."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if len(set(self.words)) < len(self.words):
                twice = Counter(self.words).most_common(1)[0][0]
                raise ConfigError(f"the word {twice!r} is in the vocabulary twice: name every word once")
            if odd := next((word for word in self.words if words_of(word) != [word]), None):
                raise ConfigError(f"{odd!r} in the vocabulary: a word is lower-case letters and digits alone")

        @property
        def num_symbols(self) -> int:
            """Size of the token table: padding, the unknown word, and every word."""
            return len(self.words) + 2

        @property
        def has_unknown(self) -> bool:
            """True if training meets words that are not in the vocabulary."""
            return self.min_count > 1 or len(self.words) >= self.max_words

        def fitted(self, captions: Sequence[str]) -> Words.Config:
            """Return the config with the captions' words, most frequent first, then by alphabet; itself if it has any.

            Raises:
                ConfigError: No word occurs often enough.
            """
            if self.words:
                return self
            counts = Counter(word for caption in captions for word in words_of(caption))
            often = sorted((word for word in counts if counts[word] >= self.min_count), key=lambda w: (-counts[w], w))
            if not often:
                raise ConfigError(
                    f"no word occurs {self.min_count} times in {len(captions)} captions: lower min_count, or take bytes"
                )
            return replace(self, words=tuple(often[: self.max_words]))

        @float32_default()
        def build(self) -> Words:
            """Return an encoder with fresh weights.

            Raises:
                ConfigError: The vocabulary is empty.
            """
            return Words(self)

    def __init__(self, config: Words.Config) -> None:
        if not config.words:
            raise ConfigError("an encoder of words with no words: name them, or fit the config to captions")
        super().__init__(config)
        self._tokenizer = WordTokenizer(length=config.length, words=config.words, has_unknown=config.has_unknown)

    @property
    def tokenizer(self) -> WordTokenizer:
        """Tokenizer with a number for each word, which skips or replaces unknown ones."""
        return self._tokenizer


@final
class Bytes(SmallEncoder):
    """Encoder with a token for every byte of the lower-cased UTF-8 text: any script, no vocabulary.

    Args:
        config: The network's size.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(SmallConfig):
        """Config of the byte encoder: the network's size."""

        length: int = 64

        @property
        def num_symbols(self) -> int:
            """Size of the token table: padding, and 256 bytes."""
            return 257

        def fitted(self, captions: Sequence[str]) -> Bytes.Config:
            """Return the config itself: bytes need no captions."""
            return self

        @float32_default()
        def build(self) -> Bytes:
            """Return an encoder with fresh weights."""
            return Bytes(self)

    def __init__(self, config: Bytes.Config) -> None:
        super().__init__(config)

    @property
    def tokenizer(self) -> ByteTokenizer:
        """Tokenizer whose token is a byte plus 1."""
        return ByteTokenizer(length=self.config.length)
