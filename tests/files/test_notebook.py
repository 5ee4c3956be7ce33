"""Pictures, data sets, models and costs show themselves in a notebook, and stay what they are elsewhere."""

from __future__ import annotations

import base64
import io
import pickle
import re

import numpy as np
import pytest
from PIL import Image

import brickwork as bw
from brickwork.data.dataset import Dataset
from brickwork.files.notebook import facts_html, table_html
from brickwork.files.picture import MOST, png_of
from brickwork.files.pictures import Pictures


def pictures(count: int = 3, channels: int = 3) -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures.of(rng.integers(0, 256, (count, 8, 8, channels), dtype=np.uint8))


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_pictures_show_what_they_hold() -> None:
    shown = pictures()
    png = shown._repr_png_()
    assert png is not None
    found = opened(png)
    assert found.shape == (8 * 8 + 4, 3 * (8 * 8 + 2) + 2, 3)
    np.testing.assert_array_equal(found[2:66:8, 2:66:8], shown[0])
    one = shown[1]._repr_png_()
    assert one is not None
    np.testing.assert_array_equal(opened(one)[::8, ::8], shown[1])
    assert pictures(channels=1)._repr_png_() is not None


@pytest.mark.parametrize(
    "other",
    [
        pictures()[..., 0],
        pictures()[0, 0],
        pictures()[:0],
        Pictures.of(np.zeros((2, 8, 8, 3), np.float32)),
        Pictures.of(np.zeros((2, 8, 8, 4), np.uint8)),
    ],
    ids=["channel", "row", "none", "floats", "four"],
)
def test_what_is_no_picture_is_shown_as_text(other: Pictures) -> None:
    assert other._repr_png_() is None


def test_pictures_are_a_plain_array_for_all_uses() -> None:
    shown = pictures()
    plain = np.asarray(shown)
    assert type(plain) is np.ndarray
    assert np.shares_memory(plain, shown)
    assert type(shown / 255) is np.ndarray
    assert type(shown[:2]) is Pictures
    assert isinstance(shown.mean(), float)
    assert shown.max() == plain.max()
    again = pickle.loads(pickle.dumps(shown))
    assert type(again) is Pictures
    np.testing.assert_array_equal(again, plain)


def test_many_pictures_are_cut() -> None:
    assert opened(png_of(np.zeros((MOST + 40, 64, 64, 1), np.uint8))).shape == (8 * 66 + 2, 8 * 66 + 2)


def test_sheets_and_samples_show_themselves() -> None:
    images = bw.sample(bw.load("digits"), seeds=[0, 1], labels=[3, 7], steps=2)
    assert type(images) is Pictures
    assert images.shape == (2, 8, 8, 1)
    assert images._repr_png_() is not None
    assert bw.sheet(images, 2)._repr_png_() is not None


def test_texts_are_escaped() -> None:
    assert "&lt;b&gt;" in facts_html("<b>", {"a": 1})
    assert facts_html("t", {"<i>": "<u>"}).count("&lt;") == 2
    assert table_html(["<a>"], [["<b>"]]).count("&lt;") == 2


def test_a_data_set_shows_some_images_and_counts() -> None:
    images = np.asarray(pictures(40, 1))
    data = Dataset(
        name="<mine>",
        images=images,
        labels=np.arange(40) % 2,
        classes=("a<b", "c"),
        captions=None,
        skipped=(),
        flip=True,
        digest="0" * 64,
    )
    text = data._repr_html_()
    assert "&lt;mine&gt;" in text
    assert "a&lt;b, c" in text
    assert "40 of 8x8x1" in text
    found = re.search(r"base64,([^\"]+)", text)
    assert found is not None
    assert opened(base64.b64decode(found[1])).ndim == 2


def test_a_model_says_what_it_is() -> None:
    model = bw.load("digits")
    text = model._repr_html_()
    for words in ("0.3809 M in 3 parts", "8x8x1", "LinearFlow", "0, 1, 2", "training: steps"):
        assert words in text
    model.facts = {"data": "<script>"}
    assert "<script>" not in model._repr_html_()


def test_a_cost_is_a_table() -> None:
    cost = bw.cost(bw.preset("stoic-digits"))
    text = cost._repr_html_()
    assert text.count("<tr>") == len(cost.parts) + 2
    assert "0.3809 M trainable" in text
    assert "GMAC" in text.partition("</table>")[2]
