"""The console while a server is away: a banner, the last known state, and no word for programmers."""

from collections.abc import Generator

import psutil
import pytest

from tests.support.browser import Browser, opened_browser
from tests.support.faults import family, frozen, kill
from tests.support.invariants import await_database
from tests.support.stack import Stack

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

WORDS_FOR_PROGRAMMERS = ("Traceback", "psycopg", "sqlalchemy", "Error:")


@pytest.fixture
def run_id(broken_stack: Stack) -> Generator[str]:
    """A run that no worker takes."""
    run_id = broken_stack.create_run(args=["Hi"])
    yield run_id
    broken_stack.cancel(run_id)


@pytest.fixture
def browser(broken_stack: Stack, run_id: str) -> Generator[Browser]:
    """A window with the run in a list."""
    with opened_browser(broken_stack.file["api_url"]) as browser:
        browser.sign_in(broken_stack.file["api_key"])
        browser.open(f"/runs?id={run_id[:8]}")
        browser.find(f"a[href$='{run_id}']")
        assert browser.text("#banner") == ""
        yield browser


def test_a_page_keeps_its_last_state_while_postgresql_is_away(
    broken_stack: Stack, browser: Browser, run_id: str, database_url: str
) -> None:
    stack = broken_stack
    window = browser.driver.current_window_handle
    with frozen([psutil.Process(stack.process.pid)]):  # who would start it again
        kill(psutil.Process(stack.file["pids"]["postgres"]))
        browser.wait_for_text("This is the state of", "#banner")
        assert run_id[:8] in browser.text("#live table")
        browser.driver.switch_to.new_window("tab")
        browser.open("/overview")
        assert browser.find("#problem").text
        assert not any(word in browser.driver.page_source for word in WORDS_FOR_PROGRAMMERS)
        browser.driver.switch_to.window(window)
    await_database(database_url)
    browser.wait(lambda: not browser.text("#banner"), "the banner to go")
    assert run_id[:8] in browser.text("#live table")


def test_a_page_says_that_it_has_no_answer_while_postgresql_hangs(
    broken_stack: Stack, browser: Browser, run_id: str
) -> None:
    """Nothing refuses a connection then, so only limits of our own end a wait."""
    window = browser.driver.current_window_handle
    with frozen(family(broken_stack.file["pids"]["postgres"])):
        browser.wait_for_text("This is the state of", "#banner")
        assert run_id[:8] in browser.text("#live table")
        browser.driver.switch_to.new_window("tab")
        browser.open("/overview")
        assert browser.find("#problem").text
        browser.driver.switch_to.window(window)
    browser.wait(lambda: not browser.text("#banner"), "the banner to go")


def test_every_page_says_that_redis_is_away_and_goes_on(
    broken_stack: Stack, browser: Browser, run_id: str
) -> None:
    with frozen([psutil.Process(broken_stack.file["pids"]["redis"])]):
        browser.wait_for_text("Redis is away", "#banner")
        browser.open("/runs")
        browser.find(f"a[href$='{run_id}']")
        assert "Redis is away" in browser.text("#banner")
    browser.wait(lambda: not browser.text("#banner"), "the banner to go")
