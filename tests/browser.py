"""Pages as a browser shows them: a headless Chromium that is cut off from every network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Milliseconds after which a page is taken for broken; a busy machine needs many more than an idle one.
PATIENCE = 180_000


@dataclass
class Shown:
    """A page, what it asked of a network, and what went wrong in it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def executable() -> str:
    """The browser that is installed; without one the test is skipped, or fails where CI is set."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no browser on PATH (one of {', '.join(NAMES)})"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser, closed afterwards."""
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, path: Path, width: int = 1280, height: int = 900) -> Iterator[Shown]:
    """The file `path` in a window of width x height px, once all that it holds is loaded; requests beyond files fail."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE)
    shown = Shown(page)

    def answer(route: Route) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            shown.requests.append(route.request.url)
            route.abort()

    page.route("**/*", answer)
    page.on("console", lambda message: shown.problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: shown.problems.append(str(error)))
    try:
        page.goto(path.as_uri(), wait_until="load")
        yield shown
    finally:
        page.close()
