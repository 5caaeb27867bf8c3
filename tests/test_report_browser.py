"""The report in a real browser: no error, no request, charts that speak, a look-up and keys that work.

Needs Debian's chromium and chromium-driver and the package selenium. BEHAVSQL_SCREENSHOTS names a
folder that keeps the screenshots.
"""

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Shop

from behavsql import report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.slow
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's report, with three users."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write(shop.built.path, path, users=["1", "2", "12"])
    return path


@pytest.fixture
def browser(tmp_path: Path) -> Iterator["webdriver.Chrome"]:
    """A browser of its own, which logs what it says and what it asks of a network."""
    if not (CHROMIUM and DRIVER):
        pytest.skip(
            "chromium and chromedriver are not installed: apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_it_opens_without_error_or_request(browser, page: Path) -> None:
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    sent = [
        json.loads(entry["message"])["message"]["params"]
        for entry in browser.get_log("performance")
        if '"Network.requestWillBeSent"' in entry["message"]
    ]
    of_page = {one["request"]["url"] for one in sent if one["documentURL"] == page.as_uri()}
    assert {url for url in of_page if not url.startswith("data:")} == {page.as_uri()}


def test_the_policy_stops_what_would_ask(browser, page: Path) -> None:
    """As an element that an attacker got into the page would."""
    browser.get(page.as_uri())
    browser.execute_script(
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i);"
        "const s = document.createElement('script'); s.textContent = 'window.hit = 1'; document.body.append(s);"
    )
    time.sleep(0.3)
    assert browser.execute_script("return window.hit") is None
    said = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert said.count("Content Security Policy") >= 2


def test_every_chart_says_what_it_is(browser, page: Path) -> None:
    browser.get(page.as_uri())
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    images = [node for node in tree if node.get("role", {}).get("value") in ("image", "img")]
    assert (
        len(images)
        == browser.execute_script("return document.querySelectorAll('svg[role=img]').length")
        > 20
    )
    assert all(len(node["name"]["value"]) > 5 for node in images)
    landmarks = {node["role"]["value"] for node in tree if "role" in node}
    assert {"banner", "main", "navigation", "contentinfo"} <= landmarks


def test_the_look_up_finds_a_user(browser, page: Path) -> None:
    browser.get(page.as_uri())
    shown = "return [...document.querySelectorAll('.person')].filter(p => !p.hidden).map(p => p.dataset.user)"
    assert browser.execute_script(shown) == ["1", "2", "12"]
    box = browser.find_element("id", "who")
    box.send_keys("12")
    assert browser.execute_script(shown) == ["12"]
    assert browser.find_element("id", "who-found").text == "1 of 3 users"
    box.send_keys("9")
    assert browser.execute_script(shown) == []
    box.clear()
    box.send_keys(" ")
    assert browser.execute_script(shown) == ["1", "2", "12"]


def test_the_keyboard_reaches_everything(browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(page.as_uri())
    active = "return document.activeElement.{}"
    press = lambda *keys: webdriver.ActionChains(browser).send_keys(*keys).perform()  # noqa: E731
    press(Keys.TAB)
    assert browser.execute_script(active.format("className")) == "skip"
    press(Keys.ENTER)
    assert browser.execute_script(active.format("id")) == "main"
    browser.execute_script("document.getElementById('theme').focus()")
    before = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    press(Keys.SPACE)
    assert (
        browser.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    )
    node = "document.querySelector('[data-step=\"staging.events\"]')"
    browser.execute_script(f"{node}.focus()")
    assert browser.execute_script("return document.querySelectorAll('.edge.near').length") > 3
    press(Keys.ENTER)
    target = browser.execute_script("return document.querySelector(':target').textContent")
    assert target.startswith("staging.events")


def test_a_table_is_sorted_by_a_heading(browser, page: Path) -> None:
    browser.get(page.as_uri())
    took = "const t = [...document.querySelectorAll('table.sortable')].find(t => t.caption.textContent.startsWith('Every table'));"
    cells = (
        took
        + "return [...t.tBodies[0].rows].map(r => Number(r.cells[3].dataset.sort || r.cells[3].textContent.replaceAll(',', '') || -1))"
    )
    browser.execute_script(took + "t.tHead.rows[0].cells[3].querySelector('button').click()")
    rows = [n for n in browser.execute_script(cells) if n is not None]
    assert rows == sorted(rows, reverse=True) and rows[0] > 1000
    assert browser.execute_script(took + "return t.tHead.rows[0].cells[3].ariaSort") == "descending"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_is_readable(
    browser, page: Path, tmp_path: Path, width: int, theme: str
) -> None:
    """Nothing is wider than the screen, and words stand out from what is behind them (WCAG AA)."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert browser.execute_script(CONTRAST) == []
    tall = browser.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(tall, 15_000), "scale": 1}
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip}
    )
    folder = Path(os.environ.get("BEHAVSQL_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    content = base64.b64decode(shot["data"])
    (folder / f"report-{width}-{theme}.png").write_bytes(content)
    assert len(content) > 100_000


CONTRAST = """
const light = (c) => { const [r, g, b] = c.map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b; };
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } };
const found = new Set();
for (const e of document.querySelectorAll("body *")) {
  if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility()) continue;
  if (["SCRIPT", "STYLE", "title", "desc"].includes(e.tagName) || e.closest(".hidden")) continue;
  const style = getComputedStyle(e), ink = numbers(e instanceof SVGElement ? style.fill : style.color).slice(0, 3);
  const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
  const large = parseFloat(style.fontSize) >= 24, ratio = (a + .05) / (b + .05);
  if (ratio < (large ? 3 : 4.5)) found.add(`${e.tagName}.${e.className.baseVal ?? e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
}
return [...found].slice(0, 10);
"""
