"""A headless Chromium for tests of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

__all__ = ["PROGRAM", "Tab", "chromium", "open_tab"]

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_ASKED_IN_VAIN = "Failed to load resource"
"""How Chromium's console tells of a status such as 401. That is no fault of the page."""


@dataclass
class Tab:
    """A page in a tab.

    :ivar faults: what the console, the content security policy and the script complained of.
    :ivar asked: paths of all requests, in their order.
    """

    page: Page
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def show_key(self, key: str) -> None:
        """Type a key as a user does."""
        self.page.get_by_label("API key or token").fill(key)
        self.page.keyboard.press("Enter")

    def wait_for_data(self) -> None:
        """Wait until all panels are filled."""
        self.page.locator("#refresh:enabled").wait_for()

    def run(self, sql: str) -> None:
        """Type a query and run it, by keyboard; wait for what comes of it."""
        self.page.get_by_label("SQL").fill(sql)
        self.page.keyboard.press("Control+Enter")
        self.page.locator("#stop:disabled").wait_for(state="attached")

    def rows(self, panel: str) -> list[list[str]]:
        """The texts of a panel's table, the head first."""
        found: list[list[str]] = self.page.locator(f"{panel} tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.firstChild ? cell.firstChild.textContent : ''))"
        )
        return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    if PROGRAM is None:
        pytest.skip("needs chromium, which Debian has as a package")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=Path(PROGRAM), args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_tab(browser: Browser, url: str, **options: Any) -> Iterator[Tab]:
    """A tab with a profile of its own. The block fails if the page had a fault."""
    context = browser.new_context(**options)
    tab = Tab(context.new_page())
    tab.page.on("pageerror", lambda error: tab.faults.append(str(error)))
    tab.page.on("request", lambda request: tab.asked.append(request.url.removeprefix(url)))
    tab.page.on(
        "console",
        lambda message: (
            tab.faults.append(message.text)
            if message.type in ("error", "warning") and not message.text.startswith(_ASKED_IN_VAIN)
            else None
        ),
    )
    try:
        tab.page.goto(url)
        yield tab
        assert tab.faults == []
    finally:
        context.close()
