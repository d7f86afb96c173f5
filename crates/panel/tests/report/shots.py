"""Screenshots of the report: light, dark, phone, paper. `make report-images` writes those of docs/images.

usage: shots.py REPORT.html DIRECTORY NAME
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def main(report: str, directory: str, name: str) -> None:
    address, out = Path(report).resolve().as_uri(), Path(directory)
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for kind, width, height, scheme, full in [
            ("light", 1180, 1500, "light", False),
            ("dark", 1180, 1500, "dark", False),
            ("phone", 390, 1500, "light", False),
            ("whole", 1180, 900, "light", True),
        ]:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(address)
            page.wait_for_selector("html[data-ready]")
            page.wait_for_timeout(300)
            page.screenshot(path=out / f"{name}-{kind}.png", full_page=full)
            if kind == "phone":
                page.screenshot(path=out / f"{name}-phone-whole.png", full_page=True)
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        page.pdf(path=out / f"{name}.pdf", format="A4")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
