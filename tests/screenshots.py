"""Take the pictures of the page that README.md shows: at desktop and at phone width, after a click on an example.

python tests/screenshots.py docs
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from serving import EXAMPLES, ROOT, started_app
from test_browser import ARGUMENTS, CHROMIUM, DESKTOP, PHONE, Visit

DISH = "pancakes"


def main(folder: Path) -> None:
    """Write page.jpg and phone.jpg to a folder."""
    model = ROOT / "models/seefood.onnx"
    with started_app(model, Path(tempfile.mkdtemp())) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name, screen in {"page": DESKTOP, "phone": PHONE}.items():
            visit = Visit(browser, server.url, **screen)
            visit.thumbnails.nth([path.stem for path in EXAMPLES].index(DISH)).click()
            visit.page.locator("#heat img").wait_for()
            visit.page.wait_for_timeout(1500)  # the bars grow
            content = visit.page.screenshot(full_page=name == "phone")
            Image.open(io.BytesIO(content)).convert("RGB").save(folder / f"{name}.jpg", quality=88)
            visit.page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
