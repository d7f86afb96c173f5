"""The report in a browser: it loads from disk without a word of complaint, asks for nothing, draws its charts, tells gold's
numbers, and can be read with a keyboard, in the dark, on a phone and on paper. `make test-report` runs it.

usage: test_report.py AXE.js NAME=REPORT.html=GOLD.parquet ... [--only=WORD]
"""

import datetime as dt
import re
import sys
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
AWAY = {"not_deployed", "retired", "unsupported", "no_block"}
DASH = "–"


def number(text: str) -> float | None:
    return None if text == DASH else float(text.replace(",", ""))


def is_shown(text: str, value: float | None, decimals: int) -> bool:
    """Whether the text is the value, rounded as the report rounds."""
    if value is None or text == DASH:
        return value is None and text == DASH
    return abs(number(text) - value) <= 0.5000001 * 10**-decimals + 1e-12 * abs(value)


class Opened:
    """A page of the report, with everything it said and asked for."""

    def __init__(self, browser: Browser, address: str, **options):
        self.context = browser.new_context(offline=True, reduced_motion="reduce", **options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.address = address
        self.page.goto(address)
        if options.get("java_script_enabled", True):
            self.page.wait_for_selector("html[data-ready]")
            self.page.wait_for_timeout(200)

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_):
        self.context.close()


def table(page: Page, name: str) -> list[list[str]]:
    """The texts of a table's body, a list a row."""
    return page.evaluate(
        "id => [...document.getElementById(id).tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent.trim()))",
        name,
    )


def heads(page: Page, name: str) -> list[str]:
    return page.evaluate(
        "id => [...document.getElementById(id).tHead.rows[0].cells].filter(cell => cell.dataset.group !== undefined).map(cell => cell.textContent)",
        name,
    )


class Report:
    def __init__(self, browser: Browser, axe: str, name: str, report: Path, gold: Path):
        self.browser, self.axe, self.name = browser, axe, name
        self.address = report.resolve().as_uri()
        self.bytes = report.read_bytes()
        self.rows = pq.read_table(gold).to_pylist()

    def open(self, **options) -> Opened:
        return Opened(self.browser, self.address, **options)

    # -- tests -------------------------------------------------------------------------------------------------------

    def test_it_loads_in_silence_and_asks_for_nothing(self):
        with self.open() as opened:
            assert opened.said == [], opened.said
            assert opened.asked == [self.address], opened.asked
            assert not opened.context.cookies()

    def test_it_is_small(self):
        assert len(self.bytes) < 2_000_000, len(self.bytes)

    def test_every_chart_is_drawn(self):
        with self.open() as opened:
            figures = opened.page.locator("figure[data-chart]")
            assert figures.count() == 8, figures.count()
            for figure in figures.all():
                assert figure.get_attribute("data-drawn") == "yes", figure.get_attribute("data-table")
                marks = figure.locator(".drawing svg[role=img]").locator("rect, path, circle").count()
                assert marks > 0, figure.get_attribute("data-table")
                assert figure.locator("svg[role=img]").get_attribute("aria-label")

    def test_a_bar_is_as_high_as_its_figure(self):
        with self.open() as opened:
            page = opened.page
            if len(table(page, "t-tvl-chain")) > 124:
                return
            cells = [number(cell) for row in table(page, "t-tvl-chain") for cell in row[1:-1]]
            heights = page.evaluate(
                "() => [...document.querySelectorAll(\"figure[data-table='t-tvl-chain'] g[data-mark='rect'] rect\")].filter(rect => rect.getAttribute('fill') !== 'var(--gap)').map(rect => Number(rect.getAttribute('height')))"
            )
            known = sorted(cell for cell in cells if cell is not None)
            assert len(heights) == len(known), (len(heights), len(known))
            # Half a pixel is taken off above and below.
            scale = [(height + 1) / cell for height, cell in zip(sorted(heights), known)]
            assert max(scale) / min(scale) < 1.02, (min(scale), max(scale))

    def groups(self, page: Page, name: str, column: str, figure) -> None:
        """Every cell of a table of days equals the sum over gold's rows of the group and day."""
        groups = heads(page, name)
        sums: dict = defaultdict(lambda: [0.0, 0.0, 0])
        measured, expected = defaultdict(int), defaultdict(int)
        for row in self.rows:
            day = str(row["date"])
            status = row["liq_status" if name.startswith("liq") or "liquidations" in name else "snap_status"]
            expected[day] += status not in AWAY
            parts = figure(row)
            if parts is None:
                continue
            measured[day] += 1
            group = row[column] if row[column] in groups else "all others"
            cell = sums[day, group]
            cell[0] += parts[0]
            cell[1] += parts[1]
            cell[2] += 1
        rows = table(page, name)
        assert [row[0] for row in rows] == sorted({str(row["date"]) for row in self.rows})
        for row in rows:
            assert row[-1] == f"{measured[row[0]]} / {expected[row[0]]}", row
            for group, text in zip(groups, row[1:]):
                part, whole, count = sums[row[0], group]
                if "utilization" in name:
                    assert is_shown(text, part / whole if whole > 0 else None, 4), (row[0], group, text)
                else:
                    assert is_shown(text, part if count else None, 2), (row[0], group, text, part)

    def test_sums_by_group_and_day_are_those_of_gold(self):
        def plain(column):
            return lambda row: None if row[column] is None else (row[column], 1.0)

        def utilization(row):
            return None if row["supplied_usd"] is None else (row["borrowed_usd"], row["supplied_usd"])

        with self.open() as opened:
            for column in ("protocol", "chain"):
                self.groups(opened.page, f"t-tvl-{column}", column, plain("tvl_usd"))
                self.groups(opened.page, f"t-utilization-{column}", column, utilization)
                self.groups(opened.page, f"t-liquidations-{column}", column, plain("liq_debt_usd"))
            counts = defaultdict(lambda: None)
            for row in self.rows:
                if row["liq_count"] is not None:
                    counts[str(row["date"])] = (counts[str(row["date"])] or 0) + row["liq_count"]
            for row in table(opened.page, "t-liquidations-chain"):
                assert is_shown(row[-2], counts[row[0]], 0), row

    def test_price_shares_are_those_of_gold(self):
        days = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
        for row in self.rows:
            value = row["tvl_priced_usd"] or 0.0
            day = days[str(row["date"])]
            day[3] += value
            for at, share in enumerate(("px_protocol_share", "px_chainlink_share", "px_other_share")):
                day[at] += (row[share] or 0.0) * value
        with self.open() as opened:
            for row in table(opened.page, "t-prices-source"):
                *parts, whole = days[row[0]]
                for text, part in zip(row[1:4], parts):
                    assert is_shown(text, part / whole if whole > 0 else None, 4), row

    def test_the_line_of_a_csu_is_that_of_gold(self):
        with self.open() as opened:
            lines = {row[0]: row for row in table(opened.page, "t-csus")}
        by_csu = defaultdict(list)
        for row in self.rows:
            by_csu[row["csu"]].append(row)
        assert set(lines) == set(by_csu)
        for csu, rows in by_csu.items():
            line = lines[csu]
            last = [row for row in rows if row["snap_status"] == "collected"][-1:]
            for at, column, decimals in [(5, "tvl_usd", 2), (7, "borrowed_usd", 2), (8, "utilization", 4), (9, "supply_apr", 4), (10, "borrow_apr", 4)]:
                assert is_shown(line[at], last[0][column] if last else None, decimals), (csu, column, line[at])
            counts = [row["liq_count"] for row in rows if row["liq_count"] is not None]
            debts = [row["liq_debt_usd"] for row in rows if row["liq_debt_usd"] is not None]
            assert is_shown(line[11], sum(counts) if counts else None, 0), (csu, line[11])
            assert is_shown(line[12], sum(debts) if debts else None, 2), (csu, line[12])
            assert number(line[3]) == sum(row["status"] == "collected" for row in rows)

    def test_the_map_has_every_day_of_gold_once(self):
        found = {}
        with self.open() as opened:
            for csu, first, last, days, _, snapshot, scan, usd, _ in table(opened.page, "t-coverage"):
                day, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
                assert (end - day).days + 1 == int(days)
                while day <= end:
                    assert (csu, day) not in found
                    found[csu, day] = (snapshot, scan, usd)
                    day += dt.timedelta(days=1)
            drawn = opened.page.locator("figure[data-chart=coverage] g[data-mark=bar] rect").count()
            assert drawn == len(table(opened.page, "t-coverage"))
        assert found == {(row["csu"], row["date"]): (row["snap_status"], row["liq_status"], row["usd_status"]) for row in self.rows}

    def test_words_of_a_chain_stay_words(self):
        with self.open() as opened:
            page = opened.page
            assert page.title().startswith("lendlake: ")
            assert page.locator("script").count() == 1
            assert page.locator("img, iframe, object, embed, form").count() == 0
            if self.name == "synthetic":
                symbols = page.locator("bdi", has_text="<script>document.title='owned'</script>")
                assert symbols.count() == 24, symbols.count()
                assert page.locator("bdi", has_text="<img src=x onerror=").count() > 0

    def test_a_gap_tells_its_reason_to_mouse_and_keyboard(self):
        with self.open() as opened:
            page = opened.page
            page.locator("figure[data-chart=coverage] svg[role=img]").focus()
            tip, spoken = page.locator("figure[data-chart=coverage] .tip"), page.locator("figure [aria-live]")
            first = table(page, "t-coverage")[0]
            assert tip.inner_text().startswith(f"{first[0]}, {first[1]}: {first[4]}"), tip.inner_text()
            page.keyboard.press("ArrowRight")
            next_day = str(dt.date.fromisoformat(first[1]) + dt.timedelta(days=1))
            assert next_day in spoken.inner_text(), spoken.inner_text()
            page.keyboard.press("End")
            last = max(row[2] for row in table(page, "t-coverage"))
            assert last in spoken.inner_text()
            page.keyboard.press("ArrowDown")
            second = [row[0] for row in table(page, "t-coverage") if row[0] != first[0]][0]
            assert spoken.inner_text().startswith(second)
            page.keyboard.press("Escape")
            assert tip.is_hidden()
            gaps = [row for row in table(page, "t-coverage") if row[8]]
            if self.name == "synthetic":
                assert gaps
            for gap in gaps[:3]:
                at = table(page, "t-coverage").index(gap)
                page.locator("figure[data-chart=coverage] g[data-mark=bar] rect").nth(at).hover()
                assert gap[8] in tip.inner_text() and gap[0] in tip.inner_text(), tip.inner_text()

    def test_a_chart_tells_the_day_under_the_mouse(self):
        with self.open() as opened:
            page = opened.page
            svg = page.locator("figure[data-table='t-tvl-protocol'] svg[role=img]")
            svg.scroll_into_view_if_needed()
            box = svg.bounding_box()
            page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5)
            page.wait_for_timeout(100)
            words = svg.locator("g[aria-label=tip]").text_content()
            assert re.search(r"\d{4}-\d{2}-\d{2}", words) and "CSUs measured" in words, words

    def test_headings_sort(self):
        with self.open() as opened:
            page = opened.page
            page.get_by_role("button", name="TVL, USD", exact=True).first.click()
            values = [number(row[5]) for row in table(page, "t-csus")]
            known = [value for value in values if value is not None]
            assert known == sorted(known, reverse=True)
            page.get_by_role("button", name="TVL, USD", exact=True).first.click()
            assert [row[5] for row in table(page, "t-csus")][0] == f"{min(known):,.2f}"

    def test_accessibility_in_light_dark_and_on_a_phone(self):
        for options in [
            {"color_scheme": "light", "viewport": {"width": 1180, "height": 900}},
            {"color_scheme": "dark", "viewport": {"width": 1180, "height": 900}},
            {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
        ]:
            with self.open(bypass_csp=True, **options) as opened:
                if self.name == "demo":
                    # All closed parts too. The made-up year has the same parts with many more rows, which take minutes.
                    opened.page.evaluate("() => document.querySelectorAll('details').forEach(part => { part.open = true; })")
                opened.page.add_script_tag(content=self.axe)
                found = opened.page.evaluate("() => axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] })")
                told = [
                    f"{rule['id']}: {rule['help']} ({len(rule['nodes'])}): {rule['nodes'][0]['html'][:200]} {rule['nodes'][0].get('failureSummary', '')[:300]}"
                    for rule in found["violations"]
                ]
                assert told == [], "\n".join(told)

    def test_it_is_dark_in_the_dark(self):
        shade = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        with self.open(color_scheme="light") as opened:
            assert min(opened.page.evaluate(shade)) > 200
        with self.open(color_scheme="dark") as opened:
            assert max(opened.page.evaluate(shade)) < 60

    def test_a_phone_does_not_scroll_sideways(self):
        with self.open(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True) as opened:
            width = opened.page.evaluate("() => document.documentElement.scrollWidth")
            assert width <= 360, width

    def test_paper_has_no_links_and_no_scroll_bars(self):
        with self.open() as opened:
            opened.page.emulate_media(media="print")
            assert opened.page.locator("nav").is_hidden()
            assert opened.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert opened.page.evaluate("() => getComputedStyle(document.querySelector('.map')).maxHeight") == "none"
            assert opened.page.pdf(format="A4").startswith(b"%PDF")

    def test_without_scripts_every_figure_is_there(self):
        with self.open(java_script_enabled=False) as opened:
            assert opened.asked == [self.address]
            text = opened.page.content()
            assert text.count("<tr") > len({row["date"] for row in self.rows}) * 7
            assert "The chart needs scripts" in text


def main(axe: str, *reports: str) -> int:
    passed, failed = 0, 0
    only = "".join(word.removeprefix("--only=") for word in reports if word.startswith("--only="))
    reports = tuple(word for word in reports if not word.startswith("--"))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for report in reports:
            name, page, gold = report.split("=")
            made = Report(browser, Path(axe).read_text(), name, Path(page), Path(gold))
            for test in (name for name in dir(made) if name.startswith("test_") and only in name):
                try:
                    getattr(made, test)()
                    passed += 1
                    print(f"ok      {name}: {test.removeprefix('test_').replace('_', ' ')}")
                except Exception as error:  # noqa: BLE001: every failure is told, and the rest goes on
                    failed += 1
                    print(f"FAILED  {name}: {test.removeprefix('test_').replace('_', ' ')}\n        {type(error).__name__}: {error}")
        print(f"browser: Chromium {browser.version}")
        browser.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
