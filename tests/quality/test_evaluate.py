"""The whole measurement, on denoisers that draw what the test wants."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from brickwork.backbone.stoic import Stoic
from brickwork.data.dataset import DataConfig, Dataset
from brickwork.diffusion.process import Edm, NoiseProcess
from brickwork.errors import ArgumentError
from brickwork.model.checkpoint import load
from brickwork.quality.distance import Statistics, frechet
from brickwork.quality.evaluate import compare_classes, data_of, evaluate, proportional, trained_on
from brickwork.quality.features import shipped_net
from brickwork.quality.reference import Reference
from brickwork.sampling.plan import Plan
from brickwork.sampling.planned import Planned
from brickwork.sampling.solvers import Ddim
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.recipe_file import to_toml

CONFIG = DataConfig(size=16, channels=1, holdout=0.2)


@pytest.fixture(scope="module")
def digits() -> Reference:
    return Reference.open("digits", CONFIG)


@dataclass
class Memory:
    """Draws a training image of the class asked for, which one by the noise; at low noise it knows the image it sees.

    Args:
        data: The images.
        slip: Added to the class asked for.
    """

    data: Dataset
    slip: int = 0
    process: NoiseProcess = Edm()  # noqa: RUF009 - frozen
    num_classes: int = 10
    text_shape: tuple[int, int] | None = None
    shape: tuple[int, int, int] = (1, 16, 16)
    digest: str = "beef"
    classes: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)

    def __call__(self, x, sigma, condition):
        rows = []
        for image, label in zip(x, condition.labels, strict=True):
            of_class = np.flatnonzero(self.data.labels == (label + self.slip) % 10)
            rows.append(of_class[int(abs(float(image.sum())) * 1e3) % len(of_class)])
        return self.encode(self.data.images[rows])

    def asarray(self, values):
        return values

    def encode(self, images):
        return (images.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)

    def decode(self, x0):
        return np.clip(np.rint((x0 + 1) * 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def run(model: Memory, reference: Reference, **options):
    options = {"num_images": 400, "steps": 1, "solver": Ddim(), "num_loss_images": 16} | options
    return evaluate(model, reference, **options)


def test_real_images_of_the_class_asked(digits: Reference):
    """Real images agree with their class as often as the classifier is right, and lie at the distance of real ones."""
    report = run(Memory(digits.train), digits)
    assert report.agreement is not None
    assert report.agreement.share >= 0.99
    assert report.agreement.classifier == "head digits"
    assert report.agreement.accuracy >= 0.97
    assert report.real_distance is not None
    assert report.distance.value < 1.5 * report.real_distance.value
    assert not report.notes


def test_a_plan_draws_and_the_loss_is_the_full_models(digits: Reference):
    """One part draws the wrong class, two the right one: pictures are the plan's, loss and facts the full model's."""
    full, wrong = Memory(digits.train, facts={"data": "other"}), Memory(digits.train, slip=1)
    planned = Planned({1: wrong, 2: full}, Plan(counts=(1,)))
    report, whole = (evaluate(m, digits, num_images=50, steps=1, num_loss_images=16) for m in (planned, full))
    assert report.loss == whole.loss
    assert report.agreement is not None
    assert report.agreement.share <= 0.02
    assert report.settings == whole.settings | {"plan": "1"}
    assert "plan 1" in str(report)


def test_agreement_is_one_where_the_classifier_is_right(digits: Reference):
    judge = digits.classifier
    assert judge is not None
    right = np.flatnonzero(judge.predict(digits.train_rows) == digits.train.labels)
    labels = digits.train.labels[right] if digits.train.labels is not None else None
    known = Dataset(
        name="known",
        images=digits.train.images[right],
        labels=labels,
        classes=digits.train.classes,
        captions=None,
        skipped=(),
        flip=False,
        digest="",
    )
    report = run(Memory(known), digits, num_images=150)
    assert report.agreement is not None
    assert report.agreement.share == 1.0
    assert set(report.agreement.by_class.values()) == {1.0}


def test_the_wrong_class_is_noticed(digits: Reference):
    report = run(Memory(digits.train, slip=1), digits, num_images=150)
    assert report.agreement is not None
    assert report.agreement.share <= 0.01


def test_same_numbers_again(digits: Reference):
    first, again = (run(Memory(digits.train), digits, num_images=150, batch_size=b).to_dict() for b in (64, 7))
    del first["seconds"], again["seconds"]
    assert first["distance"]["value"] == pytest.approx(again["distance"]["value"], rel=1e-6)
    first["distance"]["value"] = again["distance"]["value"]
    first["loss"] = again["loss"] = []
    assert first == again
    other = run(Memory(digits.train), digits, num_images=150, first_seed=1000).to_dict()
    assert other["distance"]["value"] != first["distance"]["value"]


def test_the_report(digits: Reference, tmp_path: Path):
    report = run(Memory(digits.train), digits, num_images=150)
    report.save(tmp_path / "report.json")
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored == report.to_dict()
    assert stored["distance"]["net_sha256"] == shipped_net("grey").digest
    assert stored["distance"]["reference_sha256"] == digits.train.digest
    assert stored["held_out_sha256"] == digits.held_out.digest
    assert stored["settings"]["seeds"] == "0-149"
    assert stored["settings"]["guidance_interval"] == "(0.0, inf)"
    assert stored["settings"]["model_sha256"] == "beef"
    assert [row["num_images"] for row in stored["loss"]] == [16] * 8
    page = str(report)
    for part in ("digits", f"{report.distance.value:.3f}", "held-out images", "seeds 0-149", "steps 1"):
        assert part in page


def test_a_spec_is_fitted_to_the_model(digits: Reference):
    report = evaluate(Memory(digits.train), "digits", num_images=130, steps=1, solver=Ddim(), num_loss_images=8)
    assert report.reference == "digits"
    assert report.distance.num_features == 128


def test_images_are_read_as_in_training(digits: Reference):
    """Most of all, the share held out is that of the training."""
    recipe = Recipe(backbone=Stoic.Config(), data=DataConfig(filter="box", holdout=0.31, split="all"), steps=1)
    model = Memory(digits.train, facts={"recipe": to_toml(recipe)})
    assert data_of(model, (16, 16, 1)) == DataConfig(filter="box", holdout=0.31, size=16, channels=1)
    assert data_of(Memory(digits.train), (16, 16, 1)) == DataConfig(size=16, channels=1)


def test_other_classes_and_few_pictures_are_noted(digits: Reference):
    report = run(Memory(digits.train, num_classes=4), digits, num_images=20)
    assert report.agreement is None
    assert report.distance.rank_deficient
    assert any("4 classes and the reference 10" in note for note in report.notes)
    assert any("more than 128 images" in note for note in report.notes)
    assert "note" in str(report)


def named(reference: Reference, classes: tuple[str, ...]) -> Reference:
    return Reference(*(replace(data, classes=classes) for data in (reference.train, reference.held_out)))


def test_classes_are_matched_by_name(digits: Reference):
    names = tuple("abcdefghij")
    model, known = Memory(digits.train), named(digits, names)
    model.classes = names
    assert np.array_equal(compare_classes(model, known)[0], range(10))  # pyright: ignore[reportArgumentType]
    model.classes = names[::-1]  # its class 0 is the reference's class 9
    assert np.array_equal(compare_classes(model, known)[0], range(9, -1, -1))  # pyright: ignore[reportArgumentType]
    assert not compare_classes(model, known)[1]
    model.classes = ("x", *names[1:])
    places, notes = compare_classes(model, known)
    assert places is None
    assert "'x'" in notes[0]
    for own, other in (((), names), (names, digits.train.classes)):
        model.classes = own
        places, notes = compare_classes(model, named(digits, other))
        assert places is not None
        assert "by place" in notes[0]


def test_classes_in_another_order_agree_as_well(digits: Reference):
    """A model that draws 9 - k for its class k, and says so by its names."""
    assert digits.train.labels is not None
    backwards = replace(digits.train, labels=9 - digits.train.labels)
    model = Memory(backwards, classes=digits.train.classes[::-1])
    report = run(model, digits, num_images=150)
    assert report.agreement is not None
    assert report.agreement.share >= 0.98
    assert run(Memory(backwards, classes=tuple("abcdefghij")), named(digits, tuple("klmnopqrst"))).agreement is None


def test_held_out_images_that_were_trained_on_are_noted(digits: Reference):
    def notes(**facts: str) -> list[str]:
        return trained_on(Memory(digits.train, facts=facts), digits)

    for split, noted in (("all", True), ("test", True), ("heldout", True), ("train", False)):
        recipe = to_toml(Recipe(backbone=Stoic.Config(), data=DataConfig(split=split), steps=1))
        assert bool(notes(recipe=recipe, data="digits")) == noted
        assert not notes(recipe=recipe, data="other images")
    assert notes(data_sha256=digits.held_out.digest)
    assert not notes()


def test_real_images_are_as_many_as_the_pictures(digits: Reference):
    report = run(Memory(digits.train), digits, num_images=150)
    assert report.real_distance is not None
    assert report.real_distance.num_images == 150
    assert digits.real_distance is not None
    assert report.real_distance.value > digits.real_distance.value  # fewer images lie farther off
    few = Reference(digits.train, replace(digits.held_out, images=digits.held_out.images[:50], labels=None))
    report = run(Memory(digits.train), few, num_images=150)
    assert report.real_distance is not None
    assert report.real_distance.num_images == 50
    assert "50 held-out images, all there are" in str(report)
    assert any("50 are held out" in note for note in report.notes)


def test_what_is_refused(digits: Reference):
    with pytest.raises(ArgumentError, match="at least 2"):
        run(Memory(digits.train), digits, num_images=1)
    with pytest.raises(ArgumentError, match="the model's pictures are"):
        run(Memory(digits.train), Reference.open("digits", DataConfig(size=8)))


def test_labels_in_proportion():
    labels = proportional(np.array([0.5, 0.3, 0.2, 0.0]), 1000)
    assert np.bincount(labels, minlength=4).tolist() == [500, 300, 200, 0]
    for n in (10, 77, 500):
        assert np.abs(np.bincount(labels[:n], minlength=3) - n * np.array([0.5, 0.3, 0.2])).max() < 1


def blurred(images: np.ndarray, strength: float) -> np.ndarray:
    return np.rint(gaussian_filter(images.astype(float), (0, strength, strength, 0))).astype(np.uint8)


def noised(images: np.ndarray, strength: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=images.shape)
    return np.clip(np.rint(images + 64 * strength * noise), 0, 255).astype(np.uint8)


def striped(images: np.ndarray, strength: float) -> np.ndarray:
    stripes = 64 * strength * (np.arange(images.shape[2]) % 4 < 2)[:, None]
    return np.clip(images + stripes, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("spoil", [blurred, noised, striped])
def test_the_distance_grows_as_images_get_worse(spoil, digits: Reference):
    """Real against real is small; blur, noise and stripes cost more the stronger they are."""
    images = digits.held_out.images
    found = [frechet(Statistics.of_images(spoil(images, s)), digits.statistics).value for s in (0.25, 0.5, 1.0, 2.0)]
    real = digits.real_distance
    assert real is not None
    assert real.value < found[1] < found[2] < found[3]
    assert found[3] > 5 * real.value


def test_the_shipped_digits_are_the_asked_ones():
    """The stated 99.6 % of 500; here fewer pictures and steps."""
    report = evaluate(load("digits"), "digits", num_images=200, steps=12, guidance=1.5, num_loss_images=8)
    assert report.agreement is not None
    assert report.agreement.share >= 0.95
    assert report.agreement.accuracy >= 0.95
