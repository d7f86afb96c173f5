"""The pictures of docs/images: the report in the light, in the dark, on a phone. `make report-images` writes them.

usage: shots.py REPORT.html DIRECTORY
"""

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def main(report: str, directory: str) -> None:
    address, out = Path(report).resolve().as_uri(), Path(directory)
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name, width, height, scheme in [
            ("light", 1100, 1560, "light"),
            ("dark", 1100, 1560, "dark"),
            ("phone", 390, 1300, "light"),
        ]:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce")
            page.goto(address)
            page.wait_for_selector("html[data-ready]")
            if name != "phone":
                at = page.evaluate("() => [...document.querySelectorAll('#t-coverage tbody tr')].findIndex(row => row.cells[8].textContent.includes('blocks_missing'))")
                page.locator("figure[data-chart=coverage] g[data-mark=bar] rect").nth(at).hover()
            page.wait_for_timeout(300)
            picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
            # A palette is a third of the size; this method keeps the colours that few pixels have.
            picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(out / f"report-{name}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
