"""Captions to token numbers, without torch: shared by brickwork's text encoders and packages on a device."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from brickwork.registry import Registry

WORD = re.compile(r"[^\W_]+")
UNKNOWN = 1
"""Token of a word that is not in the vocabulary; 0 is no token."""


def words_of(caption: str) -> list[str]:
    """Return the lower-cased runs of letters and digits in a text, of any script; all else separates them."""
    return WORD.findall(unicodedata.normalize("NFKC", caption).lower())


@dataclass(frozen=True, kw_only=True)
class Tokenizer(ABC):
    """A map from texts to token numbers.

    Attributes:
        length: M, tokens of one text; longer texts are cut.
    """

    length: int

    @abstractmethod
    def symbols_of(self, caption: str) -> list[int]:
        """Return token numbers above 0 of one text, of any length."""

    def unknown_words(self, captions: Sequence[str]) -> list[str]:
        """Return the words that have no token of their own, each once, in order; none by default."""
        return []

    def tokenize(self, captions: Sequence[str]) -> np.ndarray:
        """Return token numbers, int64 (N, M); 0 is no token, and fills the end of short texts."""
        tokens = np.zeros((len(captions), self.length), np.int64)
        for row, caption in zip(tokens, captions, strict=True):
            symbols = self.symbols_of(caption)[: len(row)]
            row[: len(symbols)] = symbols
        return tokens


@final
@dataclass(frozen=True, kw_only=True)
class WordTokenizer(Tokenizer):
    """A tokenizer with one token for every word of a vocabulary.

    Attributes:
        words: The vocabulary; word i is token i + 2.
        has_unknown: True if one token stands for all other words; else they are skipped.
    """

    words: tuple[str, ...]
    has_unknown: bool

    @cached_property
    def _number(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, UNKNOWN + 1)}

    def symbols_of(self, caption: str) -> list[int]:
        """Return a number for each word that is not skipped."""
        numbers = [self._number.get(word, UNKNOWN) for word in words_of(caption)]
        return numbers if self.has_unknown else [number for number in numbers if number != UNKNOWN]

    def unknown_words(self, captions: Sequence[str]) -> list[str]:
        """Return the words that are not in the vocabulary, each once, in order."""
        words = dict.fromkeys(word for caption in captions for word in words_of(caption))
        return [word for word in words if word not in self._number]


@final
@dataclass(frozen=True, kw_only=True)
class ByteTokenizer(Tokenizer):
    """A tokenizer with one token for every byte of the lower-cased text in UTF-8."""

    def symbols_of(self, caption: str) -> list[int]:
        """Return each byte, plus 1."""
        return [byte + 1 for byte in caption.lower().encode(errors="replace")]


TOKENIZERS = Registry[type[Tokenizer]]("tokenizer", Tokenizer, {"words": WordTokenizer, "bytes": ByteTokenizer})
