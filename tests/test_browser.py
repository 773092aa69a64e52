"""The page in a real browser: headless Chromium on the real app."""

import base64
import hashlib
import json
import mimetypes
import re
import shutil
from itertools import pairwise
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from serving import EXAMPLES, started_app

from seefood.errors import PhotoError
from seefood.photo import read_photo

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
PATIENCE = 30_000  # milliseconds
DESKTOP = {"viewport": {"width": 1366, "height": 768}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DROP = """
({name, type, content}) => {
    const files = new DataTransfer();
    files.items.add(new File([Uint8Array.from(atob(content), byte => byte.charCodeAt(0))], name, {type}));
    const event = {bubbles: true, cancelable: true, dataTransfer: files};
    const photo = document.querySelector('#photo .upload-container');
    for (const kind of ['dragover', 'drop']) photo.dispatchEvent(new DragEvent(kind, event));
}
"""
COPY = """
async content => {
    const photo = await createImageBitmap(new Blob([Uint8Array.from(atob(content), byte => byte.charCodeAt(0))]));
    const canvas = new OffscreenCanvas(photo.width, photo.height);
    canvas.getContext('2d').drawImage(photo, 0, 0);
    await navigator.clipboard.write([new ClipboardItem({'image/png': await canvas.convertToBlob()})]);
}
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]


class Visit:
    """A visitor on the page, who notes where it sends requests and what it complains of."""

    def __init__(self, browser, url, **options):
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(PATIENCE)
        self.hosts, self.complaints = set(), []
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)
        self.thumbnails.first.wait_for()

    @property
    def thumbnails(self):
        return self.page.locator("#examples button:has(img)")

    @property
    def bars(self):
        return self.page.locator("#bars button.confidence-set")

    def button(self, name):
        """A button of the photo: by file, camera or clipboard, or to remove it."""
        return self.page.locator(f"#photo button[aria-label='{name}']")

    def upload(self, path):
        self.page.set_input_files("#photo input[type=file]", path)

    def drop(self, path):
        """Drop a file onto the photo, whether there is one or not."""
        kind, _ = mimetypes.guess_type(path)
        content = base64.b64encode(path.read_bytes()).decode()
        self.page.evaluate(DROP, {"name": path.name, "type": kind, "content": content})

    def clear(self):
        self.button("Remove Image").click()

    def expect_nothing(self):
        playwright.expect(self.bars).to_have_count(0, timeout=PATIENCE)
        playwright.expect(self.page.locator("#heat img")).to_have_count(0, timeout=PATIENCE)
        assert self.page.locator("#verdict").inner_text().strip() == ""

    def size(self):
        """How far the page reaches beyond the window, to the right and downwards, in pixels."""
        root = "document.documentElement"
        return self.page.evaluate(f"[{root}.scrollWidth - innerWidth, {root}.scrollHeight - innerHeight]")

    def wait_for_bars(self, expected):
        """Wait until the page shows these bars, as (label, percentage), and the heat map."""
        texts = [re.compile(rf"^\s*{re.escape(label)}\s+{percentage}%\s*$") for label, percentage in expected]
        playwright.expect(self.bars).to_have_text(texts, use_inner_text=True, timeout=PATIENCE)
        self.page.locator("#heat img").wait_for()

    def heat_map(self, other_than=None):
        """The address of the heat map, once it is another than the one given."""
        self.page.wait_for_function(
            "other => { const heat = document.querySelector('#heat img'); return heat && heat.src !== other }",
            arg=other_than,
        )
        return self.page.locator("#heat img").get_attribute("src")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, server):
    visit = Visit(browser, server.url, **DESKTOP)
    yield visit
    visit.page.close()


@pytest.fixture(scope="module")
def asking(model_file, tmp_path_factory):
    """An app that asks whether it was right, and the folder where it keeps what it is told."""
    folder = tmp_path_factory.mktemp("asking")
    with started_app(model_file, folder, SEEFOOD_FEEDBACK=str(folder / "feedback")) as server:
        yield server, folder / "feedback"


@pytest.fixture(params=["silent", "asking"])
def either(request):
    """Both kinds of app: one that asks for feedback, and one that does not."""
    return request.getfixturevalue("server") if request.param == "silent" else request.getfixturevalue("asking")[0]


@pytest.fixture(scope="module")
def guesses(server):
    """What /classify says of a photo, as the page writes it."""

    def ask(path):
        answer = httpx.post(f"{server.url}/classify", files={"photo": path.read_bytes()}, timeout=60).json()
        return [(guess["label"], round(100 * guess["confidence"])) for guess in answer["confidences"]]

    return ask


def test_a_click_on_an_example_shows_its_five_best_guesses_and_where_the_model_looked(visit, guesses):
    assert visit.thumbnails.count() == len(EXAMPLES)
    visit.thumbnails.nth(1).click()
    expected = guesses(EXAMPLES[1])
    assert len(expected) == 5
    visit.wait_for_bars(expected)
    assert visit.page.locator("#heat img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def test_a_click_on_another_bar_shows_where_that_one_was_seen(visit, guesses):
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    best = visit.heat_map()
    visit.bars.nth(1).click()
    second = visit.heat_map(other_than=best)

    def pixels(address):
        file = visit.page.request.get(address).body()
        return np.asarray(read_photo(file))

    assert pixels(second).shape == pixels(best).shape
    assert not np.array_equal(pixels(second), pixels(best))


def test_an_uploaded_photo_is_classified_by_itself_and_cleared_with_its_bars(visit, guesses, tmp_path):
    photo = tmp_path / "my photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(photo)
    visit.upload(photo)
    visit.wait_for_bars(guesses(photo))
    visit.clear()
    visit.expect_nothing()


def test_an_example_is_cleared_with_its_bars_too(visit, guesses):
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    visit.clear()
    visit.expect_nothing()
    visit.page.wait_for_timeout(1000)
    visit.expect_nothing()  # nor does it come back
    assert visit.complaints == []


def test_a_photo_dropped_onto_another_is_classified_once(visit, guesses, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(photo)
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    calls = []
    visit.page.on("request", lambda request: "/queue/join" in request.url and calls.append(request.url))
    visit.drop(photo)
    visit.wait_for_bars(guesses(photo))
    visit.page.wait_for_timeout(1000)
    visit.wait_for_bars(guesses(photo))
    assert len(calls) == 1


def test_a_pasted_photo_is_classified(browser, server, guesses, tmp_path):
    visit = Visit(browser, server.url, **DESKTOP, permissions=["clipboard-read", "clipboard-write"])
    photo = EXAMPLES[0]
    visit.page.evaluate(COPY, base64.b64encode(photo.read_bytes()).decode())
    visit.button("Paste from clipboard").click()
    Image.open(photo).save(tmp_path / "pasted.png")
    visit.wait_for_bars(guesses(tmp_path / "pasted.png"))
    visit.page.close()


def test_a_photo_taken_with_the_camera_is_classified(browser, server):
    visit = Visit(browser, server.url, **DESKTOP, permissions=["camera"])
    visit.button("Capture from camera").click()
    visit.page.get_by_role("button", name="Click to Access Webcam").click()
    visit.page.wait_for_function("() => document.querySelector('#photo video')?.currentTime > 0.5")
    visit.button("capture photo").click()
    playwright.expect(visit.bars).to_have_count(5, timeout=PATIENCE)  # Chromium's camera shows a green clock
    playwright.expect(visit.page.locator("#verdict")).to_contain_text("I don't see a dish I know", timeout=PATIENCE)
    visit.page.close()


def test_a_file_that_is_no_photo_gets_a_sentence_and_no_bars_and_the_page_goes_on(visit, guesses, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(EXAMPLES[0].read_bytes()[:3000])
    with pytest.raises(PhotoError) as refusal:
        read_photo(broken)
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    visit.upload(broken)
    playwright.expect(visit.page.get_by_text(str(refusal.value))).to_be_visible(timeout=PATIENCE)
    playwright.expect(visit.bars).to_have_count(0, timeout=PATIENCE)
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))


def test_on_a_laptop_all_fits_on_one_screen(browser, either, guesses):
    visit = Visit(browser, either.url, **DESKTOP)
    assert max(visit.size()) <= 0
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    assert max(visit.size()) <= 0
    for button in visit.page.locator("button:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0, button
        assert box["x"] + box["width"] <= 1366, button
    visit.page.close()


def test_on_a_phone_all_is_in_one_column_and_nothing_is_wider_than_the_screen(browser, either, guesses):
    visit = Visit(browser, either.url, **PHONE)
    assert visit.size()[0] <= 0
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    assert visit.size()[0] <= 0
    assert visit.page.evaluate("window.innerWidth") == 390
    boxes = [visit.page.locator(f"#{part}").bounding_box() for part in ("photo", "examples", "verdict", "bars", "heat")]
    for above, below in pairwise(boxes):
        assert below["y"] >= above["y"] + above["height"]
    assert all(box["width"] >= 340 for box in boxes)
    visit.page.close()


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_of_level_a_or_aa_that_is_ours_to_mend(scheme, screen, browser, asking, guesses):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    visit = Visit(browser, asking[0].url, color_scheme=scheme, **screen)
    empty = axe.run(visit.page, options=rules).response
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    playwright.expect(visit.page.get_by_text("Is this right?")).to_be_visible(timeout=PATIENCE)
    full = axe.run(visit.page, options=rules).response
    visit.page.close()
    assert len(full["passes"]) >= 10
    found = [
        (violation["id"], node["html"])
        for violation in empty["violations"] + full["violations"]
        for node in violation["nodes"]
        if 'aria-label="Empty value"' not in node["html"]  # Gradio's own, in a place where nothing is to be read
    ]
    assert found == []


def test_the_page_speaks_to_its_own_server_alone_and_without_an_error(visit, server, guesses):
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    visit.bars.nth(1).click()
    visit.page.wait_for_load_state("networkidle")
    assert {host for host in visit.hosts if host} == {urlsplit(server.url).netloc}
    assert visit.complaints == []
    assert server.outside_calls.read_text() == ""


def answers(folder):
    """What visitors said, as it is kept."""
    file = folder / "feedback.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_without_a_place_to_keep_answers_nobody_is_asked(visit, guesses):
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    assert visit.page.get_by_text("Is this right?").count() == 0


def test_yes_is_kept_as_one_line_with_the_prediction_and_the_hashes_and_without_the_photo(
    browser, asking, guesses, predictor
):
    server, folder = asking
    before = answers(folder)
    visit = Visit(browser, server.url, **DESKTOP)
    question = visit.page.get_by_text("Is this right?")
    playwright.expect(question).to_be_hidden()
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    visit.page.get_by_role("button", name="Yes").click()
    playwright.expect(visit.page.get_by_text("Thank you, noted.")).to_be_visible(timeout=PATIENCE)
    playwright.expect(question).to_be_hidden()
    visit.page.close()
    (answer,) = answers(folder)[len(before) :]
    expected = predictor.predict(EXAMPLES[0]).top(5)
    digest = hashlib.sha256(EXAMPLES[0].read_bytes()).hexdigest()
    assert answer.pop("time")
    assert answer == {
        "model": predictor.digest,
        "photo": digest,
        "prediction": [[label, pytest.approx(probability, abs=1e-3)] for label, probability in expected],
        "right": True,
        "dish": expected[0][0],
        "photo_kept": False,
    }
    assert not (folder / "photos" / f"{digest}.jpg").exists()


def test_no_is_kept_with_the_dish_that_it_is_and_with_the_photo_when_the_visitor_ticks_so(browser, asking, guesses):
    server, folder = asking
    before = answers(folder)
    visit = Visit(browser, server.url, **DESKTOP)
    visit.thumbnails.nth(1).click()
    visit.wait_for_bars(guesses(EXAMPLES[1]))
    visit.page.get_by_role("button", name="Send").click()
    playwright.expect(visit.page.get_by_text("Choose what it is first.")).to_be_visible(timeout=PATIENCE)
    assert answers(folder) == before
    assert max(visit.size()) <= 0
    visit.page.get_by_role("combobox", name="No, it is").click()
    visit.page.get_by_role("option", name="Apple pie").click()
    visit.page.get_by_role("checkbox", name="Keep my photo").check()
    visit.page.get_by_role("button", name="Send").click()
    playwright.expect(visit.page.get_by_text("Thank you, noted with the photo.")).to_be_visible(timeout=PATIENCE)
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    playwright.expect(visit.page.get_by_role("checkbox", name="Keep my photo")).not_to_be_checked()  # of this one
    playwright.expect(visit.page.get_by_role("combobox", name="No, it is")).to_have_value("No, it is …")
    visit.page.close()
    (answer,) = answers(folder)[len(before) :]
    assert (answer["right"], answer["dish"], answer["photo_kept"]) == (False, "apple_pie", True)
    kept = folder / "photos" / f"{answer['photo']}.jpg"
    assert answer["photo"] == hashlib.sha256(EXAMPLES[1].read_bytes()).hexdigest()
    assert np.abs(np.asarray(read_photo(kept), float) - np.asarray(read_photo(EXAMPLES[1]), float)).mean() < 5
