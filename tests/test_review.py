"""The review of feedback in a real browser: from a visitor's answer on the page to a source that FoodData takes."""

import io
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from answers import answer, telltale_jpeg
from PIL import Image
from serving import COLORS, ROOT, color_model, free_port, started_app
from test_browser import (  # noqa: F401
    DESKTOP,
    PATIENCE,
    PHONE,
    Visit,
    browser,
    playwright,
    pytestmark,
)
from training_fixtures import small_process  # noqa: F401

from seefood.answers import NOTHING_ELSE
from seefood.stores import FolderStore
from seefood.training.feedback import build

RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)
MARKUP = "<img src=x onerror=alert(1)> ![](http://example.com/x.png)"


@pytest.fixture
def store(tmp_path):
    store = FolderStore(tmp_path / "answers")
    store.make()
    return store


@pytest.fixture
def model(tmp_path):
    return color_model(tmp_path / "color.onnx")


def jpeg(color, size=(64, 48)):
    content = io.BytesIO()
    Image.new("RGB", size, color).save(content, "JPEG")
    return content.getvalue()


@contextmanager
def review_of(store, model):
    """The address of `python -m seefood.serving.review`, as a process."""
    port, output = free_port(), store.folder / "output.txt"
    variables = {"SEEFOOD_MODEL": str(model), "GRADIO_SERVER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "seefood.serving.review", store.folder]
    with output.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stdout=file, stderr=file)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while not is_up(url):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


def is_up(url):
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.TransportError:
        return False


class Reviewer:
    """Somebody on the page of the review."""

    def __init__(self, browser, url, **screen):  # noqa: F811
        self.page = browser.new_page(**screen)
        self.page.set_default_timeout(PATIENCE)
        self.hosts, self.complaints = set(), []
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.goto(url)

    def button(self, name):
        return self.page.get_by_role("button", name=name)

    def choose(self, dish):
        choose(self.page, dish)

    def expect(self, progress, said=""):
        playwright.expect(self.page.locator("#progress")).to_contain_text(progress, timeout=PATIENCE)
        playwright.expect(self.page.locator("#said")).to_contain_text(said, timeout=PATIENCE)


def choose(page, dish):
    """Type a dish into the list, of which Gradio shows a part, and click it."""
    box = page.get_by_role("combobox", name="No, it is")
    box.click()
    box.press("ControlOrMeta+a")
    box.press_sequentially(dish)
    page.get_by_role("option", name=dish, exact=True).click()


def decided(store):
    """The dish of each decision, in order."""
    return [json.loads(line)["dish"] for line in store.lines("review")]


def say(browser, url, photo, dish):  # noqa: F811
    """Upload a photo to the app, say what it is (None: the best guess is right), and let the app keep it."""
    visit = Visit(browser, url, **DESKTOP)
    visit.upload(photo)
    playwright.expect(visit.page.get_by_text("Is this right?")).to_be_visible(timeout=PATIENCE)
    visit.page.get_by_role("checkbox", name="Keep my photo").check()
    if dish:
        choose(visit.page, dish)
    visit.page.get_by_role("button", name="Send" if dish else "Yes").click()
    playwright.expect(visit.page.get_by_text("Thank you, noted with the photo.")).to_be_visible(timeout=PATIENCE)
    visit.page.close()


def test_from_a_visitors_correction_to_a_source_of_training(browser, store, model, tmp_path):  # noqa: F811
    photo = tmp_path / "photo.jpg"
    with started_app(model, tmp_path, SEEFOOD_FEEDBACK=str(store.folder)) as server:
        for color, dish in {RED: None, GREEN: "Crème brûlée", BLUE: "Something else"}.items():
            plain, shades = Image.new("RGB", (256, 256), color), Image.linear_gradient("L").convert("RGB")
            photo.write_bytes(telltale_jpeg(Image.blend(plain, shades, 0.2)))
            say(browser, server.url, photo, dish)
    with review_of(store, model) as url:
        reviewer = Reviewer(browser, url, **DESKTOP)
        reviewer.expect("Photo 1 of 3 · 0 of 3 reviewed", "A visitor says Red curry.")
        reviewer.button("Accept: Red curry").press("Enter")
        reviewer.expect("Photo 2 of 3 · 1 of 3 reviewed", "A visitor says Crème brûlée.")
        reviewer.page.close()
    with review_of(store, model) as url:  # goes on where it stopped
        reviewer = Reviewer(browser, url, **DESKTOP)
        reviewer.expect("Photo 2 of 3 · 1 of 3 reviewed", "A visitor says Crème brûlée.")
        reviewer.button("Accept: Crème brûlée").click()
        reviewer.expect("Photo 3 of 3 · 2 of 3 reviewed", "A visitor says Something else.")
        playwright.expect(reviewer.button("Accept")).to_have_count(0)
        reviewer.choose("Green salad")
        reviewer.button("Correct").click()
        reviewer.expect("3 of 3 reviewed. All is reviewed.")
        reviewer.page.close()
    assert decided(store) == ["red_curry", "creme_brulee", "green_salad"]

    photos, left_out = build(str(store.folder), tmp_path / "source", COLORS)
    assert not left_out
    shown = {
        COLORS[row["label"]]: int(np.asarray(row["image"], dtype=float).mean(axis=(0, 1)).argmax()) for row in photos
    }
    assert shown == {"red_curry": 0, "creme_brulee": 1, "green_salad": 2}, "labels belong to their photos"
    for file in [*store.folder.rglob("*.jpg"), *(tmp_path / "source").iterdir()]:
        assert b"Secret" not in file.read_bytes()


def test_a_decision_can_be_changed_and_a_photo_be_dropped_or_left_for_later(browser, store, model):  # noqa: F811
    for color in (RED, GREEN, BLUE):
        answer(store, jpeg(color), "red_curry", guess="red_curry")
    with review_of(store, model) as url:
        reviewer = Reviewer(browser, url, **DESKTOP)
        reviewer.expect("Photo 1 of 3")
        reviewer.button("Correct").click()
        playwright.expect(reviewer.page.get_by_text("Choose the dish first")).to_be_visible(timeout=PATIENCE)
        reviewer.button("Skip").click()
        reviewer.expect("Photo 2 of 3 · 0 of 3 reviewed")
        reviewer.button("Drop").click()
        reviewer.expect("Photo 3 of 3 · 1 of 3 reviewed")
        reviewer.button("Back").click()
        reviewer.expect("Photo 2 of 3", "You decided to drop it.")
        reviewer.choose("Green salad")
        reviewer.button("Correct").click()
        reviewer.expect("Photo 3 of 3 · 1 of 3 reviewed")
        reviewer.button("Accept").click()
        reviewer.expect("Photo 1 of 3 · 2 of 3 reviewed")  # the one that was left
        reviewer.page.close()
    assert decided(store) == [None, "green_salad", "red_curry"]


def test_what_visitors_said_is_shown_as_words_and_a_file_that_is_no_photo_as_a_sentence(
    browser,  # noqa: F811
    store,
    model,
):
    broken = b"<svg><script>alert(1)</script></svg>"
    answer(store, broken, MARKUP)
    answer(store, broken, NOTHING_ELSE)
    with review_of(store, model) as url:
        reviewer = Reviewer(browser, url, **DESKTOP)
        reviewer.expect("Photo 1 of 1", f"Visitors say Something else and {MARKUP}.")
        playwright.expect(reviewer.page.locator("#kept")).to_contain_text("an SVG drawing, not a photo")
        reviewer.page.wait_for_load_state("networkidle")
        assert {host for host in reviewer.hosts if host} == {urlsplit(url).netloc}
        assert reviewer.complaints == []
        reviewer.page.close()


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_axe_finds_nothing(browser, store, model, scheme, screen):  # noqa: F811
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    answer(store, jpeg(RED, (3000, 2000)), "red_curry", guess="red_curry")
    with review_of(store, model) as url:
        reviewer = Reviewer(browser, url, color_scheme=scheme, **screen)
        reviewer.expect("Photo 1 of 1", "A visitor says Red curry.")
        reviewer.page.locator("#kept img").wait_for()
        found = axe.run(reviewer.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).response
        wider = reviewer.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        reviewer.page.close()
    assert wider <= 0
    assert len(found["passes"]) >= 10
    assert [(violation["id"], node["html"]) for violation in found["violations"] for node in violation["nodes"]] == []


def test_a_place_without_a_photo_ends_in_a_sentence(store, model, tmp_path):
    answer(store, jpeg(RED), "red_curry", kept=False)
    for place, sentence in {
        store.folder: "none let us keep the photo",
        tmp_path / "nowhere": "no feedback there",
    }.items():
        command = [sys.executable, "-m", "seefood.serving.review", place]
        variables = {"SEEFOOD_MODEL": str(model), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith(f"review: {place}: ")
        assert sentence in done.stderr
