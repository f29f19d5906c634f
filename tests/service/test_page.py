"""The page at /, in a headless Chromium."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from gpwarehouse import Warehouse
from gpwarehouse.service.routes.page import latest_batches, loaded
from gpwarehouse.sources.synthetic import DemoLot, write_demo_lot
from tests.service.browser import Tab, chromium, open_tab
from tests.service.serving import Served, serve

UNKNOWN_KEY = f"gpw_{'0' * 12}_{'x' * 43}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def lot(fab: Warehouse, tmp_path_factory: Any) -> DemoLot:
    made = write_demo_lot(tmp_path_factory.mktemp("lot") / "lot.stdf.gz", wafers=1)
    fab.load_file(made.path)
    return made


@pytest.fixture
def locked(browser: Browser, served: Served, lot: DemoLot) -> Iterator[Tab]:
    """The page before a key is shown."""
    with open_tab(browser, served.url) as tab:
        yield tab


@pytest.fixture
def tab(locked: Tab, served: Served) -> Tab:
    """The page of a reader."""
    locked.show_key(served.keys["reader"])
    locked.wait_for_data()
    return locked


def test_without_a_key_the_page_holds_no_data_and_asks_for_none(locked: Tab, served: Served, lot: DemoLot) -> None:
    expect(locked.page.get_by_label("API key or token")).to_be_visible()
    expect(locked.page.locator("#panels")).to_be_hidden()
    assert set(locked.asked) - {"/page/icon.svg"} == {"/", "/page/page.css", "/page/page.js"}
    with served.client(None) as client:
        answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert lot.lot_id not in answer.text


def test_a_key_shows_what_is_loaded_and_the_last_batches(tab: Tab, served: Served, lot: DemoLot) -> None:
    rows = str(lot.wafers[0].insertions)
    assert tab.rows("#loaded")[0][:3] == ["table", "batches", "rows"]
    assert tab.rows("#loaded")[1][:3] == ["fact_test_results", "1", rows]
    head, batch = tab.rows("#batches")
    found = dict(zip(head, batch, strict=True))
    assert (found["target"], found["status"], found["rows loaded"]) == ("fact_test_results", "loaded", rows)
    assert found["source"] == "lot.stdf.gz"
    assert served.keys["reader"] not in tab.page.url
    assert served.keys["reader"] not in tab.page.content()


def test_the_key_lives_as_long_as_the_tab_or_until_it_is_forgotten(tab: Tab) -> None:
    tab.page.reload()
    expect(tab.page.locator("#loaded table")).to_be_visible()
    tab.page.get_by_role("button", name="Forget the key").click()
    expect(tab.page.locator("#panels")).to_be_hidden()
    assert tab.page.locator("td").count() == 0
    tab.page.reload()
    expect(tab.page.get_by_label("API key or token")).to_be_visible()


@pytest.mark.parametrize(
    ("key", "said"), [(UNKNOWN_KEY, "unknown, expired or revoked"), ("clé", "no letters beyond ASCII")]
)
def test_a_wrong_key_says_so(locked: Tab, key: str, said: str) -> None:
    locked.show_key(key)
    expect(locked.page.get_by_role("alert").filter(has_text=said)).to_be_visible()
    expect(locked.page.get_by_label("API key or token")).to_be_focused()
    assert not locked.page.locator("#panels").is_visible()


def test_a_key_that_is_revoked_while_the_page_is_open_is_asked_for_again(locked: Tab, served: Served) -> None:
    key = served.app.state.service.keys.create("short", "reader")
    locked.show_key(key)
    locked.wait_for_data()
    served.app.state.service.keys.revoke(key.split("_")[1])
    locked.run("SELECT 1")
    expect(locked.page.locator("#key-error")).to_contain_text("revoked")
    assert locked.page.locator("#entry").is_visible()


def test_where_nobody_needs_a_key_the_data_shows_at_once(
    browser: Browser, fab: Warehouse, lot: DemoLot, tmp_path: Path
) -> None:
    with serve(fab, tmp_path, service_auth="off") as served, open_tab(browser, served.url) as tab:
        expect(tab.page.locator("#loaded table")).to_be_visible()
        assert not tab.page.locator("#entry").is_visible()
        assert not tab.page.locator("#forget").is_visible()


def test_a_panel_is_there_if_its_endpoint_is(tab: Tab, served: Served) -> None:
    paths = served.app.openapi()["paths"]
    for panel in ("health", "tables", "jobs"):
        expect(tab.page.locator(f"#{panel}")).to_be_visible(visible=f"/{panel}" in paths)
        assert tab.page.locator(f"#{panel} .error:visible").count() == 0


def test_a_query_is_written_run_and_read_by_keyboard_alone(tab: Tab, lot: DemoLot) -> None:
    keyboard = tab.page.keyboard
    tab.page.reload()
    tab.wait_for_data()
    keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.textContent") == "Skip to the query"
    keyboard.press("Enter")
    keyboard.press("Control+A")
    keyboard.type("SELECT lot_id, tested FROM dw.v_wafer_yield WHERE basis = 'LAST'")
    keyboard.press("Control+Enter")
    expect(tab.page.get_by_role("status")).to_contain_text("1 row in")
    assert tab.rows("#result") == [["lot_id", "tested"], [lot.lot_id, str(lot.wafers[0].die)]]
    for _ in range(4):  # Run, CSV, rows, result; Stop has nothing to stop
        keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Result"
    assert tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_markup_in_values_names_and_errors_is_text(tab: Tab) -> None:
    script, image = "<script>window.hacked = 1</script>", "<img src=x onerror=window.hacked=1>"
    tab.run(f"""SELECT '{script}' AS "{image}", ARRAY['{image}'] AS a, CAST('{{"b": "{image}"}}' AS json) AS j""")
    assert tab.rows("#result") == [[image, "a", "j"], [script, f'["{image}"]', f'{{"b":"{image}"}}']]
    tab.run(f'SELECT "{image}"')
    expect(tab.page.locator("#query-error")).to_contain_text(image)
    assert tab.page.locator("main script, main img").count() == 0
    assert tab.page.evaluate("window.hacked") is None


def test_null_is_not_an_empty_text_and_numbers_stand_right(tab: Tab) -> None:
    tab.run("SELECT NULL AS n, '' AS e, 'NULL' AS t, 1.5 AS x, 9007199254740993 AS big, CAST('NaN' AS float8) AS nan")
    assert tab.rows("#result")[1] == ["NULL", "", "NULL", "1.5", "9007199254740993", "nan"]
    cells = tab.page.locator("#result td")
    assert [cells.nth(n).locator(".null").count() for n in range(3)] == [1, 0, 0]
    sides = cells.evaluate_all("cells => cells.map(cell => getComputedStyle(cell).textAlign)")
    assert [side in ("right", "end") for side in sides] == [False, False, False, True, True, True]


def test_more_rows_than_shown_are_told(tab: Tab) -> None:
    tab.page.get_by_label("Rows to show").fill("3")
    tab.run("SELECT g FROM generate_series(1, 4) g")
    assert len(tab.rows("#result")) == 4
    expect(tab.page.get_by_role("status")).to_contain_text("truncated: there are more rows")
    tab.page.get_by_label("Rows to show").fill("4")
    tab.run("SELECT g FROM generate_series(1, 4) g")
    expect(tab.page.get_by_role("status")).not_to_contain_text("truncated")


def test_an_error_is_shown_with_its_reason_and_the_old_result_is_gone(tab: Tab) -> None:
    tab.run("SELECT 1")
    tab.run("SELECT 1 / 0")
    expect(tab.page.locator("#query-error")).to_contain_text("division by zero")
    expect(tab.page.locator("#query-error")).to_contain_text("SQLSTATE 22012")
    assert tab.rows("#result") == []
    tab.run("SELECT 1")
    expect(tab.page.locator("#query-error")).to_be_empty()


def test_stop_ends_the_query_on_the_server_too(tab: Tab, served: Served) -> None:
    count = """SELECT count(*) AS n FROM pg_stat_activity
        WHERE state = 'active' AND query LIKE '%stopped_by_hand%' AND pid <> pg_backend_pid()"""

    def wait_for(running: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while served.owner.read(count).n[0] != running:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    tab.page.get_by_label("SQL").fill("SELECT pg_sleep(60) AS stopped_by_hand")
    tab.page.keyboard.press("Control+Enter")
    wait_for(1, 10)
    tab.page.get_by_role("button", name="Stop").click()
    expect(tab.page.get_by_role("status")).to_have_text("The query was stopped.")
    wait_for(0, 5)


def test_the_csv_is_the_whole_result(tab: Tab, served: Served, tmp_path: Path) -> None:
    sql = "SELECT g AS n, CASE WHEN g % 2 = 0 THEN 'a,\"b\"' END AS t FROM generate_series(1, 3000) g ORDER BY g"
    tab.page.get_by_label("SQL").fill(sql)
    with tab.page.expect_download() as started:
        tab.page.get_by_role("button", name="Download CSV").click()
    started.value.save_as(tmp_path / "page.csv")
    with served.client("reader") as client:
        wanted = client.post("/analytics/query", json={"sql": sql}, headers={"accept": "text/csv"})
    assert (tmp_path / "page.csv").read_bytes() == wanted.content
    assert started.value.suggested_filename.endswith(".csv")
    expect(tab.page.get_by_role("status")).to_contain_text("3000 rows")


def test_a_csv_that_fails_is_an_error_and_no_file(tab: Tab) -> None:
    downloads: list[object] = []
    tab.page.on("download", lambda download: downloads.append(download))
    tab.page.get_by_label("SQL").fill("SELECT 1 / (g - 2000) FROM generate_series(1, 3000) g")
    tab.page.get_by_role("button", name="Download CSV").click()
    expect(tab.page.locator("#query-error")).to_contain_text("division by zero")
    assert downloads == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_on_a_narrow_screen_and_is_readable_in_light_and_dark(
    browser: Browser, served: Served, lot: DemoLot, scheme: Any
) -> None:
    size = {"width": 320, "height": 640}
    with open_tab(browser, served.url, viewport=size, color_scheme=scheme) as tab:
        tab.show_key(served.keys["reader"])
        tab.wait_for_data()
        tab.run("SELECT * FROM dw.v_wafer_yield")
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 320
        for place in (".panel", "#result td", "#query .hint", "button[type=submit]:visible", "#result th small"):
            assert tab.page.locator(place).first.evaluate(CONTRAST) >= 4.5, place


CONTRAST = """element => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const light = text => channels(text).slice(0, 3).map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
    let behind = element;
    while (channels(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const both = [light(getComputedStyle(element).color), light(getComputedStyle(behind).backgroundColor)];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}"""
"""The contrast of an element's text, as WCAG 2.2 (1.4.3) has it."""


def test_every_control_has_a_name(tab: Tab) -> None:
    unnamed = tab.page.locator("input, textarea").evaluate_all(
        "all => all.filter(each => !each.labels.length).map(each => each.id)"
    )
    assert unnamed == []


def test_the_pages_own_queries_say_what_the_library_says(fab: Warehouse, lot: DemoLot) -> None:
    listed = fab.batches.list()
    assert fab.read(latest_batches()).batch_id.tolist() == listed.batch_id.tolist()
    assert fab.read(loaded()).rows.tolist() == [listed.rows_loaded.sum()]
