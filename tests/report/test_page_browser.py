"""The report in a real browser: it sorts, its pictures load, nothing leaves the file, it fits a phone."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))
from report_data import EVIL, make_page

from nucleiseg.report.page import write_page

webdriver = pytest.importorskip("selenium.webdriver", reason="the extra [dev] brings selenium")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESKTOP = (390, 844), (1280, 900)

pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None,
    reason="no chromium with its chromedriver on the PATH (Debian: apt-get install chromium chromium-driver)",
)

CONTRAST = """
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
const background = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
  }
  return [255, 255, 255];
};
const ratio = (element) => {
  const pair = [luminance(numbers(getComputedStyle(element).color).slice(0, 3)), luminance(background(element))];
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
};
const least = (name) => Math.min(...[...document.querySelectorAll(name)].map(ratio));
return Object.fromEntries(arguments[0].map((name) => [name, least(name)]));
"""
"""WCAG 2.2's contrast ratio of text with what lies behind it, the least of each selector."""

READ = (
    "main p",
    "tbody td",
    "tr.tied td",
    "tr.tied th",
    "tr.best td",
    ".badge",
    "thead th",
    ".banner",
    "figcaption",
    "nav a",
)
"""What has to be readable in light and in dark."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report of ümläuts, 1.html"
    write_page(path, make_page())
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, address: str) -> Any:  # noqa: ANN401
    """The page, freshly opened on a desk, in light."""
    look_at(browser, address, DESKTOP, "light")
    return browser


def look_at(browser: Any, address: str, size: tuple[int, int], scheme: str) -> None:  # noqa: ANN401
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}  # scrolls at once, so clicks hit
    media = {"features": [{"name": name, "value": value} for name, value in wishes.items()]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(address)


def column(page: Any, name: str) -> list[str]:  # noqa: ANN401
    """Return the cells of a column of the leaderboard from top to bottom."""
    script = """
    const head = [...document.querySelectorAll('.board thead th')].find((th) => th.innerText.startsWith(arguments[0]));
    return [...document.querySelectorAll('.board tbody tr')].map((row) => row.cells[head.cellIndex].innerText.trim());
    """
    return page.execute_script(script, name)


def press_head(page: Any, name: str) -> str:  # noqa: ANN401
    """Press the head of a column as the keyboard does; return how it says it is sorted."""
    for button in page.find_elements("css selector", ".board thead button"):
        if button.text == name:
            button.send_keys("\n")
            return page.execute_script("return arguments[0].closest('th').ariaSort", button)
    raise AssertionError(f"no column {name}")


def test_heads_sort_numbers_as_numbers_with_the_missing_ones_last(page: Any) -> None:  # noqa: ANN401
    ranks = [str(rank) for rank in range(1, 12)]
    assert column(page, "#") == ranks
    assert press_head(page, "#") == "descending"
    assert column(page, "#") == ranks[::-1], "11 comes before 9"
    assert press_head(page, "AP50") == "descending"
    assert column(page, "#") == ranks
    assert press_head(page, "AP50") == "ascending"
    assert column(page, "#") == ranks[::-1]
    for direction in ("ascending", "descending"):
        assert press_head(page, "count error") == direction
        assert column(page, "count error")[-1] == "–"
    assert column(page, "count error")[0] == "12.0"
    assert len(page.find_elements("css selector", ".board th[aria-sort]")) == 1
    assert press_head(page, "setting") == "ascending"
    assert column(page, "setting")[0].startswith("setting 0")


def test_every_picture_loads(page: Any) -> None:  # noqa: ANN401
    script = """
    const done = arguments[0], pictures = [...document.querySelectorAll('.picture img')];
    Promise.all(pictures.map((picture) => picture.decode())).then(
      () => done(pictures.map((picture) => picture.naturalWidth)), (error) => done(String(error)));
    """
    widths = page.execute_async_script(script)
    assert len(widths) == 2 * 3
    assert min(widths) > 0


def test_no_error_and_no_request_leaves_the_file(page: Any) -> None:  # noqa: ANN401
    page.find_element("css selector", ".picture").click()
    page.find_element("css selector", "#viewer button[data-step='1']").click()
    assert "true nuclei" in page.find_element("css selector", "#viewer p").text
    assert [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    urls = [
        request["request"]["url"] for request in requests if not request["documentURL"].startswith("chrome")
    ]  # its own new tab
    assert any(url.startswith("file:") for url in urls), "the log has seen the page itself"
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []


def test_names_are_text_and_ids_are_unique(page: Any) -> None:  # noqa: ANN401
    assert page.find_element("css selector", "h1").text == EVIL
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids)) > 50
    targets = page.execute_script(
        "return [...document.querySelectorAll('use, nav a')].map((e) => e.getAttribute('href').slice(1))"
    )
    assert set(targets) <= set(ids)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_fits_the_screen(browser: Any, address: str, size: tuple[int, int], scheme: str) -> None:  # noqa: ANN401
    look_at(browser, address, size, scheme)
    width, page_width = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
    assert page_width <= width == size[0]


def test_both_schemes_can_be_read(browser: Any, address: str) -> None:  # noqa: ANN401
    papers = set()
    for scheme in ("light", "dark"):
        look_at(browser, address, DESKTOP, scheme)
        papers.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        ratios = browser.execute_script(CONTRAST, list(READ))
        assert set(ratios) == set(READ)
        assert {name: ratio for name, ratio in ratios.items() if ratio is None or ratio < 4.5} == {}, scheme
    assert len(papers) == 2


def test_the_reader_may_turn_the_page_dark(page: Any) -> None:  # noqa: ANN401
    colours = """
    const [page, text] = [document.body, document.querySelector('.chart text')].map((e) => getComputedStyle(e));
    return [page.backgroundColor, text.fill];
    """
    before = page.execute_script(colours)
    page.find_element("css selector", "#theme").click()
    after = page.execute_script(colours)
    assert before[0] != after[0]
    assert before[1] != after[1], "the charts follow"
    page.find_element("css selector", "#theme").click()
    assert page.execute_script(colours) == before


def test_a_legend_hides_its_line(page: Any) -> None:  # noqa: ANN401
    lines = page.find_elements("css selector", "#curves [data-series='1']")
    key = page.find_element("css selector", "#curves [data-toggles='1']")
    assert key.text == EVIL
    assert any(line.is_displayed() for line in lines)
    key.click()
    assert key.get_attribute("aria-pressed") == "false"
    assert not any(line.is_displayed() for line in lines)
    assert any(line.is_displayed() for line in page.find_elements("css selector", "#curves [data-series='0']"))
