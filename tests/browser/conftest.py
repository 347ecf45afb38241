"""A real Chromium, and a page that writes down every request and every complaint of the browser."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.support.processes import ROOT, need

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Wire:
    """Everything that left the browser, as bytes, and everything it complained about."""

    sent: list[bytes] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def note(self, request: Request) -> None:
        head = f"{request.method} {request.url} {request.headers}".encode()
        self.sent.append(head + b"\n" + (request.post_data_buffer or b""))

    @property
    def whole(self) -> bytes:
        return b"\n".join(self.sent)


@pytest.fixture(scope="module", autouse=True)
def _beside_playwrights_loop() -> Iterator[None]:
    """Playwright keeps an event loop in the test's thread, where Django would refuse to touch the database."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    yield
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="module")
def browser(_beside_playwrights_loop: None) -> Iterator[Browser]:
    """One Chromium for each module: Playwright's event loop must be gone before another module runs one of its own."""
    chromium = need("chromium", "chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def libsodium() -> Path:
    """The folder of the sealing library, copied from the npm package as `npm ci && npm run vendor` does."""
    folder = ROOT / "static" / "vendor"
    if not (folder / "libsodium-wrappers.js").is_file():
        npm = need("npm", "npm")
        for command in ([npm, "ci", "--ignore-scripts"], [npm, "run", "vendor"]):
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def page(browser: Browser, wire: Wire, libsodium: Path) -> Iterator[Page]:
    """A fresh browser window, 1280 px wide, English, light."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB", color_scheme="light")
    made = context.new_page()
    made.on("request", wire.note)
    made.on("console", lambda said: wire.complaints.append(said.text) if said.type in ("error", "warning") else None)
    made.on("pageerror", lambda error: wire.complaints.append(str(error)))
    made.set_default_timeout(15_000)
    yield made
    context.close()
