"""Chromium, if this machine has it with its driver: `apt-get install chromium chromium-driver`."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extras import require

# Set in .ci/run, which installs both: there a test that skips would go unnoticed.
EXPECTED = bool(os.environ.get("FINETUNE_EXPECTED_BROWSER"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser without a window, which notes what it is told and what it asks for."""
    webdriver = require("selenium.webdriver")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs and not EXPECTED:
        pytest.skip("Chromium and its driver are not installed")
    assert None not in programs, "Expected chromium and chromedriver to be installed."
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    try:
        yield driver
    finally:
        driver.quit()


class Browser:
    """A page that is open."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, address: str, *, width: int = 1600, dark: bool = False) -> None:
        """Go to a page, in a window of this width."""
        self.messages()
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=1400,
                     deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get(address)
        # It may return before the page's script has run.
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def command(self, name: str, **options: Any) -> Any:
        """Ask the browser itself."""
        return self.driver.execute_cdp_cmd(name, options)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def texts(self, selector: str) -> list[str]:
        """What the elements show."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector
        )

    def messages(self) -> list[str]:
        """What was said on the console since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def asked_for(self) -> list[str]:
        """Addresses that were asked for since the last time."""
        events = [json.loads(entry["message"])["message"]
                  for entry in self.driver.get_log("performance")]  # fmt: skip
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def wait(self, script: str) -> None:
        """Wait until an expression of the page's is true; what the console says tells why not."""
        end = time.monotonic() + 60
        while not self.run(f"return {script}"):
            assert time.monotonic() < end, (script, self.messages(), self.asked_for())
            time.sleep(0.05)

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.run("const e = document.documentElement; return e.scrollWidth - e.clientWidth")

    def contrast(self, selector: str) -> float:
        """Of text and the page's ground, as the Web Content Accessibility Guidelines have it."""
        return self.run(
            """
            const light = (colour) => {
              const [r, g, b] = colour.match(/[0-9.]+/g).map((v) => v / 255)
                .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
              return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const text = light(getComputedStyle(document.querySelector(arguments[0])).color);
            const ground = light(getComputedStyle(document.body).backgroundColor);
            return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
            """,
            selector,
        )


@pytest.fixture
def browser(chromium: Any) -> Browser:
    """The browser, at no page."""
    chromium.get("about:blank")
    page = Browser(chromium)
    page.messages()
    page.asked_for()
    return page


@pytest.fixture(scope="session")
def as_address() -> Callable[[Path], str]:
    """The address of a file."""
    return lambda path: path.resolve().as_uri()
