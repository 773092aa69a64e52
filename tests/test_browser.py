"""The page in a real browser: headless Chromium on the real app."""

import re
import shutil
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from serving import EXAMPLES

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
]
PATIENCE = 30_000  # milliseconds

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

    def upload(self, path):
        self.page.set_input_files("#photo input[type=file]", path)

    def wait_for_bars(self, expected):
        """Wait until the page shows these bars, as (label, percentage), and the heat map."""
        first, percentage = expected[0]
        best = self.bars.first.filter(has_text=re.compile(rf"^\s*{re.escape(first)}\s*{percentage}%"))
        best.wait_for()
        self.page.locator("#heat img").wait_for()
        shown = [re.fullmatch(r"\s*(.+?)\s+(\d+)%\s*", text).groups() for text in self.bars.all_inner_texts()]
        assert [(label, int(percentage)) for label, percentage in shown] == expected

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
    visit = Visit(browser, server.url, viewport={"width": 1366, "height": 768})
    yield visit
    visit.page.close()


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
    visit.page.locator("#photo button[aria-label='Remove Image']").click()
    playwright.expect(visit.bars).to_have_count(0, timeout=PATIENCE)
    playwright.expect(visit.page.locator("#heat img")).to_have_count(0, timeout=PATIENCE)


def test_a_photo_that_replaces_another_is_classified_once(visit, guesses, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(photo)
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    calls = []
    visit.page.on("request", lambda request: "/queue/join" in request.url and calls.append(request.url))
    visit.page.locator("#photo button[aria-label='Remove Image']").click()
    playwright.expect(visit.bars).to_have_count(0, timeout=PATIENCE)
    visit.upload(photo)
    visit.wait_for_bars(guesses(photo))
    visit.page.wait_for_timeout(1000)
    assert len(calls) == 2, "one to clear, one to classify"


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


def test_on_a_phone_nothing_is_wider_than_the_screen(browser, server, guesses):
    visit = Visit(browser, server.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    overflow = "document.documentElement.scrollWidth - window.innerWidth"
    assert visit.page.evaluate(overflow) <= 0
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    assert visit.page.evaluate(overflow) <= 0
    assert visit.page.evaluate("window.innerWidth") == 390
    visit.page.close()


def test_the_page_speaks_to_its_own_server_alone_and_without_an_error(visit, server, guesses):
    visit.thumbnails.first.click()
    visit.wait_for_bars(guesses(EXAMPLES[0]))
    visit.bars.nth(1).click()
    visit.page.wait_for_load_state("networkidle")
    assert {host for host in visit.hosts if host} == {urlsplit(server.url).netloc}
    assert visit.complaints == []
    assert server.outside_calls.read_text() == ""
