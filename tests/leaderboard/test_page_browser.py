"""The page in a real browser: what a reader sees and can do, by mouse and by keyboard, with and without JavaScript."""

import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from gdpo_bench import RewardSpec
from gdpo_bench.cli.leaderboard import main
from gdpo_bench.leaderboard.show.page import render_page

LONG = "a_normalizer_whose_name_does_not_fit_into_the_gutter_of_a_chart"
BOARD = Path(__file__).parents[2] / "leaderboards"
PANEL = "#training-gdpo-TestMini-v0-1"
TABLE = f"{PANEL} .results"
DARK, LIGHT = "rgb(20, 23, 28)", "rgb(255, 255, 255)"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A headless browser; without one the tests are skipped, but not in CI."""
    paths = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in paths.items() if path is None]:
        how = f"No {' and no '.join(missing)} here (Debian: apt-get install chromium chromium-driver)."
        pytest.fail(how) if os.environ.get("CI") else pytest.skip(how)
    options = webdriver.ChromeOptions()
    options.binary_location = paths["chromium"]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "--headless=new",
        "--no-sandbox",  # does not work for root, as whom CI runs; the page is our own
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(paths["chromedriver"]))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory, entry, replay, make_provenance):
    """A page with two environments, two authors, a long name, more rows than are shown, and a corrected entry."""
    specs = [RewardSpec("correct", 0, 1), RewardSpec("length", 0, 2, metric="exceed_ratio")]
    hers = make_provenance(author="<script>window.hacked = 1</script>", command="echo '<b>'")
    wrong = entry("gdpo", (0.1, 0.2, 0.3))
    entries = [
        wrong,
        entry("gdpo", (0.9, 0.8, 0.85), supersedes=wrong.id),
        entry("grpo", (0.4, 0.3, 0.38)),
        entry(LONG, (0.5, 0.1, 0.3)),
        entry("rloo", (0.41, 0.31, 0.37)),
        entry("gdpo", (0.5, 0.6, 0.7), environment="gdpo/Other-v0", specs=specs, provenance=hers),
        entry("grpo", (0.7, 0.2, 0.4), environment="gdpo/Other-v0", specs=specs, provenance=hers),
        replay("gdpo", 14),
    ]
    file = tmp_path_factory.mktemp("page") / "leaderboard.html"
    file.write_text(render_page(entries), encoding="utf-8")
    return Path(file).as_uri()


@pytest.fixture(scope="module")
def board_address(tmp_path_factory):
    """The page of the committed board, as the command writes it."""
    file = tmp_path_factory.mktemp("board") / "leaderboard.html"
    assert main(["html", "--root", str(BOARD), "--out", str(file)]) == 0
    return file.as_uri()


class Reader:
    """A browser at the page, with a few words for what tests look at."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address

    def open(self, fragment=""):
        self.browser.get("about:blank")
        self.browser.get(self.address + fragment)
        return self

    def emulate(self, command, **parameters):
        self.browser.execute_cdp_cmd(f"Emulation.{command}", parameters)

    def prefer(self, scheme="light", motion="reduce"):
        """What the reader has set in the system; smooth scrolling would carry buttons away under the mouse."""
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        self.emulate("setEmulatedMedia", features=[{"name": name, "value": value} for name, value in wanted.items()])

    def run(self, script, *arguments):
        return self.browser.execute_script(f"return {script}", *arguments)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def press(self, *keys):
        self.browser.switch_to.active_element.send_keys(*keys)

    def names(self, table=TABLE):
        """Row names of a table in the order shown."""
        return [name.text.removesuffix(" †") for name in self.shown(f"{table} tbody th .name")]

    def unfold(self, selector="details"):
        self.run("document.querySelectorAll(arguments[0]).forEach((one) => { one.open = true; })", selector)

    def resize(self, width, height=800):
        self.emulate("setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def shown(self, selector):
        return [element for element in self.all(selector) if element.is_displayed()]

    @property
    def background(self):
        return self.run("getComputedStyle(document.body).backgroundColor")


@pytest.fixture
def reader(chromium, address):
    reader = Reader(chromium, address)
    reader.emulate("setScriptExecutionDisabled", value=False)
    reader.emulate("setDeviceMetricsOverride", width=1300, height=900, deviceScaleFactor=1, mobile=False)
    reader.prefer()
    reader.open().run("localStorage.clear()")
    return reader.open()


def head(reader, title, table=TABLE):
    (found,) = [button for button in reader.all(f"{table} thead button") if title in button.text]
    return found


def test_nothing_is_blocked_missing_or_fetched_and_no_entry_runs_code(reader):
    assert reader.browser.get_log("browser") == []
    assert reader.run("performance.getEntriesByType('resource').length") == 0
    assert reader.run("window.hacked") is None
    reader.unfold()
    assert "<script>window.hacked" in reader.one(".entry .who").find_element(By.XPATH, "//body").text


def test_a_click_sorts_another_turns_round_and_pinned_rows_stay_first(reader):
    assert reader.names() == ["grpo", "gdpo", LONG]
    reader.one(f"{PANEL} .all").click()
    head(reader, "format").click()
    assert reader.names() == ["grpo", "gdpo", "rloo", LONG]
    sorted_by = [th.get_attribute("aria-sort") for th in reader.all(f"{TABLE} th[aria-sort]")]
    assert sorted_by == ["descending"]
    head(reader, "format").click()
    assert reader.names() == ["grpo", "gdpo", LONG, "rloo"]


def test_the_keyboard_sorts(reader):
    reader.one(f"{PANEL} .all").click()
    reader.run("arguments[0].focus()", head(reader, "normalizer"))
    reader.press(Keys.ENTER)
    reader.press(Keys.ENTER)
    assert reader.names() == ["grpo", "gdpo", "rloo", LONG]
    reader.press(Keys.TAB)
    assert "format" in reader.browser.switch_to.active_element.text
    reader.press(Keys.SPACE)
    reader.press(Keys.SPACE)
    assert reader.names() == ["grpo", "gdpo", LONG, "rloo"]


def test_where_less_is_better_the_least_comes_first(chromium, tmp_path, entry, reader):
    specs = [RewardSpec("correct", 0, 1), RewardSpec("length", 0, 2, metric="exceed_ratio")]
    names = ("grpo", "gdpo", "a", "b", "c")
    entries = [entry(name, (0.1 * i, 0.1 * i + 0.05), specs=specs) for i, name in enumerate(names, 3)]
    file = tmp_path / "page.html"
    file.write_text(render_page(entries), encoding="utf-8")
    one = Reader(chromium, file.as_uri()).open()
    one.one(".all").click()
    head(one, "exceed_ratio").click()
    assert one.names() == ["grpo", "gdpo", "a", "b", "c"]
    head(one, "exceed_ratio").click()
    assert one.names() == ["grpo", "gdpo", "c", "b", "a"]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_three_normalizers_are_shown_until_more_are_asked_for_in_tables_and_curves(reader, scripts):
    reader.emulate("setScriptExecutionDisabled", value=not scripts)
    reader.open()
    assert reader.names() == ["grpo", "gdpo", LONG]
    assert len(reader.shown(f"{PANEL} .curves g[data-entry]")) == 3 * 2
    strokes = {line.value_of_css_property("stroke") for line in reader.shown(f"{PANEL} .curves .line")}
    assert len(strokes) == 3  # a colour each
    reader.one(f"{PANEL} .all").click()
    assert reader.names() == ["grpo", "gdpo", LONG, "rloo"]
    assert len(reader.shown(f"{PANEL} .curves g[data-entry]")) == 4 * 2
    reader.one(f"{PANEL} .all").click()
    assert reader.names() == ["grpo", "gdpo", LONG]


def test_a_normalizer_that_is_asked_for_is_shown_as_well_everywhere(reader):
    reader.unfold(".fold")
    assert [box.get_attribute("value") for box in reader.shown(".normalizers input")] == [LONG, "rloo"]
    reader.one('.normalizers input[value="rloo"]').click()
    assert reader.names() == ["grpo", "gdpo", LONG, "rloo"]
    assert reader.one("#shown").text == "7 of 7 entries"  # nothing is hidden by asking for more


def test_a_filter_hides_rows_curves_and_entries_and_reset_shows_them(reader):
    reader.unfold()
    everything = len(reader.shown("[data-entry]"))
    search = reader.one('[name="search"]')
    search.send_keys("rloo")
    assert reader.one("#shown").text == "1 of 7 entries"
    assert reader.names() == ["grpo", "gdpo", "rloo"]  # beside the pinned ones
    assert [entry.get_attribute("data-normalizer") for entry in reader.shown(".entry")] == ["rloo"]
    assert not reader.shown("#training-gdpo-Other-v0, #advantage-gdpo-TestReal-v0")  # nothing is left of them
    assert len(reader.shown(".findings tbody")) == 1
    reader.one('#filters [type="reset"]').click()
    reader.browser.implicitly_wait(1)
    assert reader.one("#shown").text == "7 of 7 entries"
    assert len(reader.shown("[data-entry]")) == everything


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [
        ("environment", "gdpo/Other-v0", 2),
        ("track", "advantage", 1),
        ("author", "somebody", 5),
        ("division", "closed", 7),
        ("policy", "mini", 6),
    ],
)
def test_every_choice_filters(reader, name, value, count):
    reader.unfold()
    Select(reader.one(f'select[name="{name}"]')).select_by_visible_text(value)
    assert reader.one("#shown").text == f"{count} of 7 entries"
    assert len(reader.shown(".entry:not(.superseded)")) == count


def test_a_search_goes_through_all_an_entry_holds(reader):
    reader.unfold()
    reader.one('[name="search"]').send_keys("gdpo Other-v0")
    assert reader.one("#shown").text == "2 of 7 entries"
    reader.one('[name="search"]').send_keys(" nowhere")
    assert reader.one("#shown").text == "0 of 7 entries"
    assert reader.one("#nothing").is_displayed()
    reader.press(Keys.ENTER)  # does not leave the page
    assert reader.one("#shown").text == "0 of 7 entries"


def test_the_page_is_dark_where_the_reader_prefers_it_and_the_switch_overrides_that(reader):
    assert reader.background == LIGHT
    reader.prefer("dark")
    assert reader.background == DARK
    reader.run("document.querySelector('#theme input').focus()")
    reader.press(Keys.ARROW_RIGHT)
    assert reader.background == LIGHT
    assert reader.open().background == LIGHT  # remembered
    reader.press(Keys.ARROW_RIGHT)
    reader.one("#theme label:last-child").click()
    reader.prefer("light")
    assert reader.background == DARK


def test_a_link_to_an_entry_opens_it_even_if_a_filter_hides_it(reader):
    reader.one(".results tbody a").click()
    fragment = reader.run("location.hash")
    reader.browser.implicitly_wait(1)
    assert reader.one(fragment).is_displayed()
    assert reader.one(f"{fragment} .command").is_displayed()
    reader.unfold(".fold")
    Select(reader.one('select[name="track"]')).select_by_visible_text("advantage")
    assert not reader.one(fragment).is_displayed()
    reader.run("location.hash = '#overview'")
    reader.run("location.hash = arguments[0]", fragment)
    reader.browser.implicitly_wait(1)
    assert reader.one(fragment).is_displayed()
    assert reader.open(fragment).one(fragment).is_displayed()


def test_the_first_tab_stop_skips_to_the_results_and_focus_is_seen(reader):
    reader.one("body").send_keys(Keys.TAB)
    link = reader.browser.switch_to.active_element
    assert link.text == "Skip to the results"
    assert link.rect["y"] >= 0
    assert reader.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    reader.press(Keys.ENTER)
    assert reader.run("location.hash") == "#results"


def test_without_javascript_tables_charts_and_provenance_are_there(reader):
    before = [row.text for row in reader.shown(".results tbody tr")]
    reader.emulate("setScriptExecutionDisabled", value=True)
    reader.open()
    assert [row.text for row in reader.shown(".results tbody tr")] == before
    assert all(chart.size["height"] > 50 for chart in reader.shown("figure svg"))
    assert not reader.shown("select, button, .fold")  # nothing that would do nothing
    reader.one("#theme label:last-child").click()
    assert DARK[4:-1] in reader.one("body").value_of_css_property("background-color")
    link = reader.one(".results tbody a")
    fragment = "#" + link.get_attribute("href").split("#")[1]
    link.click()
    assert reader.one(f"{fragment} .command").is_displayed()  # the browser opens what a link leads to


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1300])
def test_the_page_is_never_wider_than_the_screen(reader, width):
    reader.resize(width)
    reader.open()
    reader.unfold()
    assert reader.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_committed_board_is_at_most_five_screens_high_and_its_tables_fit(reader, board_address, width, height):
    board = Reader(reader.browser, board_address)
    board.resize(width, height)
    board.open()
    assert board.run("document.documentElement.scrollHeight") <= 5 * height
    first = board.one(".findings tbody").rect
    assert first["y"] + first["height"] <= height  # numbers on the first screen
    board.unfold()
    board.run("document.querySelectorAll('.all').forEach((one) => { one.checked = true; })")
    assert board.run("document.documentElement.scrollWidth") <= width
    assert not board.run(
        """Array.from(document.querySelectorAll(".scroll")).filter((one) => one.scrollWidth > one.clientWidth + 1)
        .map((one) => one.textContent.slice(0, 200))"""
    )


def test_the_first_environment_alone_is_open_and_other_settings_are_folded(reader, board_address):
    board = Reader(reader.browser, board_address)
    board.open()
    assert len(board.all(".group[open]")) == 1
    assert len(board.shown(".panel")) == 1
    assert board.shown("#overview")[0].rect["y"] < board.shown(".panel")[0].rect["y"]


def test_filters_are_folded(reader):
    assert not reader.one('[name="search"]').is_displayed()
    reader.one(".fold > summary").click()
    assert reader.one('[name="search"]').is_displayed()


def test_no_text_of_a_chart_is_cut_off(reader):
    reader.unfold()
    cut = reader.run(
        """Array.from(document.querySelectorAll("figure svg text")).filter((text) => {
            const [box, all] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
            return box.left < all.left - 1 || box.right > all.right + 1 || box.bottom > all.bottom + 1;
        }).map((text) => text.textContent)"""
    )
    assert cut == []


def test_whoever_prefers_less_motion_gets_none(reader):
    assert reader.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    reader.prefer(motion="no-preference")
    assert reader.run("getComputedStyle(document.documentElement).scrollBehavior") == "smooth"
