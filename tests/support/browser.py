"""A real Chromium, the system's own, and what a test asks of it."""

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE: Final = 60.0  # seconds for what takes one or two on an idle machine

AXE: Final = Path(__file__).with_name("axe-4.14.1.min.js")
"""axe-core: finds what keeps people from using a page."""

OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)

_WATCH: Final = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({ type: "longtask", buffered: true });
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""


@contextmanager
def _replaced_is_stale() -> Generator[None]:
    """Say of an element that the page replaces at this moment what the driver says a moment later."""
    try:
        yield
    except WebDriverException as error:
        if "does not belong to the document" in str(error.msg):
            raise StaleElementReferenceException(error.msg) from error
        raise


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome, base: str) -> None:
        self.driver = driver
        self.base = base
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})

    def open(self, path: str) -> None:
        """Load a page of the console."""
        self.driver.get(f"{self.base}/console{path}")

    def find(self, selector: str) -> WebElement:
        """Return an element once it is there."""
        return self.wait(lambda: self.driver.find_element(By.CSS_SELECTOR, selector), selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Click an element once it is there; a live page may replace it just then."""

        def is_clicked() -> bool:
            self.driver.find_element(By.CSS_SELECTOR, selector).click()
            return True

        self.wait(is_clicked, selector)

    def text(self, selector: str = "main") -> str:
        """Return the text of an element at the moment; the empty text if it is not there."""
        try:
            with _replaced_is_stale():
                return self.driver.find_element(By.CSS_SELECTOR, selector).text
        except (NoSuchElementException, StaleElementReferenceException):
            return ""

    def wait(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Wait until a condition holds."""
        ignored = (NoSuchElementException, StaleElementReferenceException)
        waiting = WebDriverWait(self.driver, PATIENCE, 0.1, ignored_exceptions=ignored)

        def holds(_driver: webdriver.Chrome) -> Any:
            with _replaced_is_stale():
                return condition()

        return waiting.until(holds, what)

    def wait_for_text(self, text: str, selector: str = "main") -> None:
        self.wait(lambda: text in self.text(selector), f"{text!r} in {selector}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def press(self, *keys: str) -> None:
        """Press keys, in whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        """Return the address or the id of what has the focus."""
        return str(self.run("return document.activeElement.href || document.activeElement.id"))

    def refresh(self) -> None:
        """Have the live part of the page refresh itself at once, and wait for the answer."""
        self.run(
            """
            const live = document.getElementById("live");
            live.removeAttribute("data-answered");
            const note = () => live.setAttribute("data-answered", "");
            live.addEventListener("htmx:afterRequest", note, { once: true });
            live.dispatchEvent(new CustomEvent("refresh"));
            """
        )
        self.find("#live[data-answered]")

    @property
    def path(self) -> str:
        return self.driver.current_url.removeprefix(f"{self.base}/console")

    def sign_in(self, secret: str) -> None:
        self.open("/sign-in")
        self.find("[name=key]").send_keys(secret)
        self.click("main button")
        self.wait(lambda: self.path == "/overview", "the start page")

    def barriers(self) -> list[str]:
        """Return what axe-core finds wrong with the page."""
        self.run(AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document).then((found) => done(found.violations.map("
            "(one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html).join(' | ')}`)));"
        )
        return list(found)

    def violations(self) -> list[str]:
        """Return the breaches of the page's policy, and the errors in the browser's log."""
        logged = [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]
        return [*self.run("return window.violations"), *logged]


@contextmanager
def opened_browser(base: str) -> Generator[Browser]:
    """Open a window; skip the test where the system has no Chromium."""
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        pytest.skip("Debian's chromium and chromium-driver are not installed (scripts/install-system-tests)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(programs[1])))
    try:
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        yield Browser(driver, base)
    finally:
        driver.quit()
