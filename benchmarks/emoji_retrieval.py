"""Does a picture show what its prompt says? A separately trained retrieval head puts captions in order for pictures.

The share of pictures whose own caption is among the ten nearest of 381: itself and 380 others of the same split (chance
2.6 %). First for the real emoji: how far the head can be trusted. Then for pictures that a model draws of captions, one
of each with the row in the file for a seed. Pictures that the data has under several captions count as any others: an
identical picture's other caption is a wrong answer. Skin tones of one emoji are not independent: beside Wilson's
interval there is one that draws whole emoji anew.

    python benchmarks/emoji_retrieval.py --data ../shared/data/emoji64.npz
    python benchmarks/emoji_retrieval.py --data ../shared/data/emoji64.npz --judge runs/emoji --guidance 3
"""

from __future__ import annotations

import argparse
import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from emoji_head import Emoji, Head, as_numbers, blurred, read, train
from PIL import Image, ImageDraw, ImageFont
from record import facts_of_this_machine, write_result

import brickwork
from brickwork.files.picture import save_png

TOP, OTHERS, DRAWS, RESAMPLED = 10, 380, 5, 2000
SHOWN, COLUMNS, SCALE, LINES = 32, 8, 2, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="emoji64.npz")
    parser.add_argument("--head", type=Path, default=Path("runs/retrieval/head.safetensors"))
    parser.add_argument("--images", type=int, default=200_000, help="real pictures that the head looks at")
    parser.add_argument("--seed", type=int, default=0, help="of the head's training")
    parser.add_argument("--judge", help="a run folder or file of a model that takes captions")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    data = read(arguments.data)
    head, training = trained(arguments, data["train"])
    result = facts_of_this_machine() | {"head": training, "top": TOP, "of": OTHERS + 1}
    result["real"] = real_scores(head, data)
    for name, real in result["real"].items():
        print(f"real pictures, {name}: {line(real)}", flush=True)
    if arguments.judge is None:
        print(write_result("emoji-retrieval-head", result))
        return
    model = brickwork.load(arguments.judge, arguments.device)
    model.precision = arguments.precision
    chosen = {name: prompts(split) for name, split in data.items()}
    drawn = {name: draw(model, split, chosen[name], arguments) for name, split in data.items()}
    asked = {key: getattr(arguments, key) for key in ("guidance", "steps", "precision")}
    result["model"] = {"file": arguments.judge, "digest": model.digest, "facts": model.facts, "drawing": asked}
    result["generated"], result["real_of_the_same_captions"] = {}, {}
    for name, split in data.items():
        result["generated"][name] = score(head, drawn[name], split, chosen[name])
        result["real_of_the_same_captions"][name] = score(head, split.images[chosen[name]], split, chosen[name])
        print(f"generated, {name}: {line(result['generated'][name])}")
        print(f"   real, same captions: {line(result['real_of_the_same_captions'][name])}", flush=True)
    path = write_result("emoji-retrieval", result)
    save_png(shown(drawn, data, chosen), path.with_name(f"{path.stem}_sheet.png"))
    print(path)


def trained(arguments: argparse.Namespace, data: Emoji) -> tuple[Head, dict[str, Any]]:
    """The head, trained now if there is none."""
    if not arguments.head.exists():
        torch.set_num_threads(1)
        fresh, facts = train(data, arguments.images, arguments.seed)
        fresh.save(arguments.head, facts)
    head, facts = Head.load(arguments.head)
    return head, facts | {"sha256": hashlib.sha256(arguments.head.read_bytes()).hexdigest()}


# ---- scores -----------------------------------------------------------------------------------------------------


def real_scores(head: Head, data: dict[str, Emoji]) -> dict[str, Any]:
    """Of all real pictures, as they are and blurred, since what is generated is blurred too."""
    scores = {}
    for name, split in data.items():
        rows = np.arange(len(split.captions))
        soft = ((blurred(as_numbers(split.images)) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        scores[name] = score(head, split.images, split, rows)
        scores[f"{name}, blurred"] = score(head, soft, split, rows)
    return scores


def score(head: Head, images: np.ndarray, split: Emoji, rows: np.ndarray) -> dict[str, Any]:
    """How often the own caption is first, and among the first ten, of 381; with 95 % intervals of two kinds.

    Args:
        head: The judge.
        images: uint8 (N, H, W, 3).
        split: Whose captions the others are drawn from: all 380 of a split that has no more, else several draws.
        rows: Which captions of the split are the pictures' own, (N,).
    """
    similarity = head.similarity(images, split.captions)
    own = similarity[np.arange(len(rows)), rows]
    draws = 1 if len(split.captions) == OTHERS + 1 else DRAWS
    ranks = np.stack([ranks_among(similarity, own, rows, seed) for seed in range(draws)])
    result: dict[str, Any] = {"pictures": len(rows), "draws": draws, "median_rank": float(np.median(ranks)) + 1}
    for name, top in (("top_1", 1), (f"top_{TOP}", TOP)):
        hits = (ranks < top).mean(0)
        result[name] = {
            "share": float(hits.mean()),
            "interval": wilson(float(hits.mean()), len(rows)),
            "interval_over_emoji": over_emoji(hits, [split.captions[row] for row in rows]),
            "draws": (ranks < top).mean(1).tolist(),
        }
    return result


def ranks_among(similarity: np.ndarray, own: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Of each picture, how many of 380 other captions are as near as its own, or nearer."""
    rng, count = np.random.default_rng(seed), similarity.shape[1]
    ranks = np.zeros(len(rows), np.int64)
    for i, row in enumerate(rows):
        others = rng.choice(count - 1, OTHERS, replace=False)
        others += others >= row
        ranks[i] = (similarity[i, others] >= own[i]).sum()
    return ranks


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of so many independent cases; Wilson 1927."""
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def over_emoji(hits: np.ndarray, captions: list[str]) -> tuple[float, float]:
    """The 95 % interval of their mean when whole emoji, with all their skin tones, are drawn anew; Efron 1979."""
    names = [re.sub(r",[^,]*skin tone.*", "", caption) for caption in captions]
    _, emoji = np.unique(names, return_inverse=True)
    total, count = np.bincount(emoji, hits), np.bincount(emoji)
    drawn = np.random.default_rng(0).integers(0, len(count), (RESAMPLED, len(count)))
    low, high = np.quantile(total[drawn].sum(1) / count[drawn].sum(1), (0.025, 0.975))
    return float(low), float(high)


def line(score: dict[str, Any]) -> str:
    (low, high), (least, most) = (score[f"top_{TOP}"][key] for key in ("interval", "interval_over_emoji"))
    return (
        f"top {TOP} {score[f'top_{TOP}']['share']:.1%} ({low:.1%} to {high:.1%}, over emoji {least:.1%} to "
        f"{most:.1%}), first {score['top_1']['share']:.1%}, median rank {score['median_rank']:.0f}, "
        f"{score['pictures']} pictures"
    )


# ---- pictures ---------------------------------------------------------------------------------------------------


def prompts(split: Emoji) -> np.ndarray:
    """Rows of 381 captions: all of the held-out ones, fixed random ones of the others."""
    count = len(split.captions)
    if count == OTHERS + 1:
        return np.arange(count)
    return np.sort(np.random.default_rng(381).choice(count, OTHERS + 1, replace=False))


def draw(model: Any, split: Emoji, rows: np.ndarray, arguments: argparse.Namespace) -> np.ndarray:
    """A picture of each caption, uint8 (N, H, W, 3); the seed is its row in the file."""
    images = brickwork.sample(
        model,
        seeds=[int(row) for row in split.rows[rows]],
        text=[split.captions[row] for row in rows],
        steps=arguments.steps,
        guidance=arguments.guidance,
        batch_size=arguments.batch,
        progress=True,
    )
    return images.repeat(3, axis=3) if images.shape[3] == 1 else images


def shown(drawn: dict[str, np.ndarray], data: dict[str, Emoji], chosen: dict[str, np.ndarray]) -> np.ndarray:
    """Every twelfth prompt of both splits, four rows each, generated, with its caption beneath."""
    tiles = []
    for name, split in data.items():
        places = np.linspace(0, len(chosen[name]) - 1, SHOWN).round().astype(int)
        tiles += [tile(drawn[name][i], split.captions[chosen[name][i]]) for i in places]
    rows = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    gap = np.zeros((2, rows[0].shape[1], 3), np.uint8)  # training captions above it, held-out ones below
    half = len(rows) // 2
    return np.concatenate([*rows[:half], gap, *rows[half:]])


def tile(image: np.ndarray, caption: str) -> np.ndarray:
    """An enlarged picture over its caption."""
    big = Image.fromarray(image).resize((64 * SCALE, 64 * SCALE), Image.Resampling.NEAREST)
    font = ImageFont.load_default(9)
    canvas = Image.new("RGB", (big.width + 4, big.height + 4 + 10 * LINES), (255, 255, 255))
    canvas.paste(big, (2, 2))
    lines = [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > big.width:
            lines.append(word)
        else:
            lines[-1] = longer
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"{lines[LINES - 1]} ..."]
    for number, text in enumerate(lines):
        ImageDraw.Draw(canvas).text((3, big.height + 3 + 10 * number), text, fill=(0, 0, 0), font=font)
    return np.asarray(canvas)


if __name__ == "__main__":
    main()
