"""The model that ships does what its card says, on photos that are here; and it knows a picture without food."""

import importlib.util
import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont

from seefood.names import NOT_FOOD
from seefood.photo import read_photo

ROOT = Path(__file__).parents[1]
CARD = json.loads((ROOT / "docs/model/metrics.json").read_text())


def drawn_house(size):
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    width, height = size
    pen.rectangle((width * 0.2, height * 0.5, width * 0.8, height * 0.9), outline="black", width=3)
    pen.line((width * 0.2, height * 0.5, width * 0.5, height * 0.2, width * 0.8, height * 0.5), fill="black", width=3)
    pen.rectangle((width * 0.45, height * 0.65, width * 0.55, height * 0.9), outline="black", width=3)
    return picture


def printed_page(size):
    picture = Image.new("RGB", size, "white")
    text = "\n".join(["It was the best of times, it was the worst of times"] * 30)
    ImageDraw.Draw(picture).text((10, 10), text, "black", ImageFont.load_default(14))
    return picture


def noise(size):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def night(size):
    pixels = np.random.default_rng(0).normal(8, 4, (size[1], size[0], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


NO_FOOD = {
    "a white page": lambda size: Image.new("RGB", size, "white"),
    "a black one": lambda size: Image.new("RGB", size, "black"),
    "a blue one": lambda size: Image.new("RGB", size, (40, 80, 200)),
    "grey to white": lambda size: Image.linear_gradient("L").resize(size).convert("RGB"),
    "a spot of light": lambda size: Image.radial_gradient("L").resize(size).convert("RGB"),
    "noise": noise,
    "a photo of the night": night,
    "a printed page": printed_page,
    "a drawing of a house": drawn_house,
    "a screenshot": lambda size: read_photo(ROOT / "docs/page.jpg").resize(size).crop((0, 0, size[0], size[1] // 6)),
}


@pytest.mark.parametrize("size", [(512, 512), (64, 64), (1024, 683)], ids=str)
@pytest.mark.parametrize("picture", NO_FOOD)
def test_a_picture_of_no_food_is_called_that_at_any_size(predictor, picture, size):
    assert predictor.predict(NO_FOOD[picture](size)).top(1)[0][0] == NOT_FOOD


@pytest.mark.parametrize("name", ["cat", "harbor"])
@pytest.mark.parametrize("side", [None, 256, 64])
def test_a_photo_of_no_food_is_called_that_sharp_and_blurred(predictor, name, side):
    photo = read_photo(ROOT / f"examples/{name}.jpg")
    if side:
        photo.thumbnail((side, side))
    assert predictor.predict(photo).top(1)[0][0] == NOT_FOOD


def pictures_of_packages():
    """Pictures without food that installed packages carry, none of them trained on: beasts, people, a tower, logos."""
    found = []
    for package, pattern in (
        ("gradio", "media_assets/images/*.*"),
        ("gradio", "test_data/cheetah2.jpg"),
        ("matplotlib", "mpl-data/sample_data/*.*g"),
        ("networkx", "drawing/tests/baseline/*.png"),
        ("sympy", "plotting/tests/*.png"),
    ):
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations if spec else ():
            found += sorted(Path(folder).glob(pattern))
    return [path for path in found if path.suffix in (".jpg", ".jpeg", ".png") and path.stat().st_size > 5_000]


@pytest.mark.parametrize("side", [None, 64], ids=["as they are", "at 64 px"])
def test_pictures_of_no_food_from_elsewhere_are_refused(predictor, side):
    pictures = pictures_of_packages()
    if len(pictures) < 10:
        pytest.skip("the packages whose pictures are looked at are not installed")
    taken_for_food = []
    for path in pictures:
        photo = read_photo(path)
        if side:
            photo.thumbnail((side, side))
        if predictor.predict(photo).top(1)[0][0] != NOT_FOOD:
            taken_for_food.append(path.name)
    assert len(taken_for_food) <= 0.1 * len(pictures), taken_for_food


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.jpg")), ids=lambda path: path.stem)
@pytest.mark.parametrize("side", [None, 96])
def test_a_photo_of_food_is_taken_for_food_sharp_and_blurred(predictor, path, side, request):
    if path.stem in ("cat", "harbor"):
        pytest.skip("no food on it")
    if path.stem == "pizza" and side:
        reason = "this model's weakness: at that size no food (0.32) just before sushi (0.30); README.md says so"
        request.applymarker(pytest.mark.xfail(reason=reason))
    photo = read_photo(path)
    if side:
        photo.thumbnail((side, side))
    assert predictor.predict(photo).top(1)[0][0] != NOT_FOOD


def test_the_file_is_what_its_card_says(predictor, model_file):
    assert predictor.digest == CARD["file"]["sha256"]
    assert predictor.metadata.metrics == CARD["metrics"]
    assert predictor.metadata.training_commit == CARD["model"]["training_commit"]
    assert len(predictor.labels) == CARD["model"]["labels"] == 102
    assert predictor.labels[-1] == NOT_FOOD
    assert model_file.stat().st_size == CARD["file"]["bytes"] <= 8_000_000


def test_the_reference_for_drift_is_of_this_model_and_of_all_validation_photos(predictor):
    table = pd.read_csv(ROOT / "docs/model/reference.csv.gz", dtype={"model": str})
    told = CARD["metrics"]["validation"]
    assert set(table.model) == {predictor.digest}
    assert len(table) == told["photos"] + told["other_photos"]
    food = table[table.label_true != NOT_FOOD]
    assert (food.label == food.label_true).mean() == pytest.approx(told["top1"], abs=5e-5)


def sample(data_set, count):
    """The bytes of some photos of a test split, their labels' names, and the names of all labels."""
    folder = os.environ.get("SEEFOOD_DATA")
    if not folder:
        pytest.skip("SEEFOOD_DATA is not set to the folder of the photos")
    from datasets import Image as ImageFeature
    from datasets import load_dataset

    photos = load_dataset("parquet", data_dir=f"{folder}/{data_set}", split="test")
    photos = photos.cast_column("image", ImageFeature(decode=False))
    some = photos.select(np.random.default_rng(0).choice(len(photos), count, replace=False))
    names = photos.features["label"].names
    return [image["bytes"] for image in some["image"]], [names[label] for label in some["label"]]


@pytest.mark.data
def test_accuracy_and_calibration_on_the_card_are_seen_on_a_sample_of_the_test_photos(predictor):
    photos, labels = sample("food101-64", 1500)
    best = [answer.top(5) for answer in predictor.predict_many(photos)]
    right = np.array([top[0][0] == label for top, label in zip(best, labels, strict=True)])
    sure = np.array([top[0][1] for top in best])
    error = 3 / np.sqrt(len(labels)) / 2  # three standard deviations, at most
    told = CARD["metrics"]["test"]
    assert right.mean() == pytest.approx(told["top1"], abs=error)
    among_five = [label in dict(top) for top, label in zip(best, labels, strict=True)]
    assert np.mean(among_five) == pytest.approx(told["top5"], abs=error)
    assert sure.mean() == pytest.approx(right.mean(), abs=error), "as sure as it is right"
    assert np.mean([top[0][0] == NOT_FOOD for top in best]) == pytest.approx(told["food_refused"], abs=0.015)


@pytest.mark.data
@pytest.mark.parametrize("side", [None, 64])
@pytest.mark.parametrize("data_set", ["nonfood-160", "nonfood-32"])
def test_photos_of_no_food_are_refused_as_often_as_the_card_says(predictor, data_set, side):
    photos, _ = sample(data_set, 300)
    if side:
        photos = [resized(photo, side) for photo in photos]
    refused = np.mean([one.top(1)[0][0] == NOT_FOOD for one in predictor.predict_many(photos)])
    assert refused > CARD["metrics"]["test"]["other_refused"] - 0.05


def resized(photo, side):
    image = Image.open(io.BytesIO(photo))
    image.thumbnail((side, side))
    return image
