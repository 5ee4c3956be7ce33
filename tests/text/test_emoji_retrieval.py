"""The judge's arithmetic: ranks with ties, chance, and the interval of a share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from emoji_head import LETTERS, Emoji, Head, changed, tokens_of
from emoji_retrieval import line, over_emoji, prompts, ranks_among, score, wilson


def test_wilson() -> None:
    """Against its definition: the shares p with (p - share)^2 = z^2 p (1 - p) / n."""
    for share, count in ((0.0, 381), (0.1, 381), (0.5, 20), (1.0, 100)):
        for end in wilson(share, count):
            assert (end - share) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / count, abs=1e-12)
    assert wilson(0.0, 381)[0] == pytest.approx(0, abs=1e-12)


def test_skin_tones_of_one_emoji_count_together() -> None:
    """Four hits of one emoji and four misses of another are two cases, not eight: nothing is known then."""
    tones = ["", ", light skin tone", ", dark skin tone and light skin tone", ", medium skin tone"]
    captions = [f"{name}{tone}" for name in ("a", "couple b, c") for tone in tones]
    assert over_emoji(np.repeat([1.0, 0.0], 4), captions) == (0.0, 1.0)
    many = [f"emoji {i}" for i in range(381)]
    low, high = over_emoji((np.arange(381) < 38).astype(float), many)
    assert (low, high) == pytest.approx(wilson(38 / 381, 381), abs=0.01)


def test_ranks_count_ties_against_the_picture() -> None:
    similarity = np.zeros((3, 500))
    rows = np.array([0, 250, 499])
    similarity[0, 0] = 1
    similarity[1] = np.arange(500) / 500
    own = similarity[np.arange(3), rows]
    ranks = ranks_among(similarity, own, rows, 0)
    assert ranks[0] == 0
    assert abs(ranks[1] - 380 * 249 / 499) < 45  # of 499 others 249 are nearer; a draw of 380 has as many in share
    assert ranks[2] == 380


def test_chance_is_ten_in_381(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, count = np.random.default_rng(0), 1000
    head = Head(["word"])
    monkeypatch.setattr(head, "similarity", lambda images, captions: rng.normal(size=(len(images), len(captions))))
    split = Emoji(np.zeros((count, 2, 2, 3), np.uint8), ["word"] * count, np.arange(count))
    result = score(head, split.images, split, np.arange(count))
    assert result["draws"] == 5
    assert result["top_10"]["share"] == pytest.approx(10 / 381, abs=0.01)
    assert "1000 pictures" in line(result)


def test_all_381_of_a_split_that_has_no_more() -> None:
    small, large = (Emoji(np.zeros((n, 2, 2, 3), np.uint8), [""] * n, np.arange(n)) for n in (381, 900))
    assert prompts(small).tolist() == list(range(381))
    chosen = prompts(large)
    assert len(set(chosen.tolist())) == 381
    assert chosen.tolist() == prompts(large).tolist()


def test_words_and_their_letters() -> None:
    words, parts = tokens_of(["Red cat, red", "dog", ""], {"red": 2, "cat": 3})
    assert words[:, :4].tolist() == [[2, 3, 2, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert torch.equal(parts[0, 0], parts[0, 2])
    assert (parts[1, 0] > 0).sum() == 6  # <do dog og>, <dog dog>, <dog>
    assert parts.max() < LETTERS
    assert not parts[2].any()


def test_a_head_is_kept_and_embeds_on_the_unit_sphere(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = Head(["red", "cat"])
    head.save(tmp_path / "head.safetensors", {"images": 1})
    again, facts = Head.load(tmp_path / "head.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    found = head.similarity(images, ["red cat", "dog", ""])
    assert facts == {"images": 1}
    assert np.array_equal(found, again.similarity(images, ["red cat", "dog", ""]))
    assert np.abs(found).max() <= 1 + 1e-6
    assert changed(torch.zeros(3, 3, 64, 64)).isfinite().all()
