"""The console in a real browser, on the real stack."""

import re
import uuid

import psycopg
import pytest
from selenium.webdriver.common.keys import Keys

from cli.database_sessions import one_session
from shared.keys.service import find_principal
from shared.keys.sessions import SessionSeal
from shared.settings import Settings
from tests.support.browser import opened_browser
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

MANY = 50_000  # events
LONGEST_TASK = 200.0
"""Milliseconds of one task of the page; an idle machine needs a quarter of it."""

ALL_PAGES = (
    "/overview",
    "/runs",
    "/assistants",
    "/threads",
    "/structures",
    "/keys",
    "/workers",
    "/retention",
    "/health",
)
HOSTILE = "<img src=x onerror=alert(1)>\u202egnp.exe\x1b[31m"


@pytest.fixture(scope="module")
def window(stack):
    with opened_browser(stack.file["api_url"]) as window:
        window.sign_in(stack.file["api_key"])
        yield window


@pytest.fixture
def browser(window):
    """The window of the module; whatever a test does in it, no page may break its policy."""
    yield window
    assert window.violations() == []


def fresh_link(stack):
    """A link for the key of dev, as dev makes it."""
    servers = {name: stack.file[name] for name in ("database_url", "redis_url")}
    with one_session(Settings.model_validate(servers)) as session:
        principal = find_principal(session, stack.file["api_key"])
        return SessionSeal.of(session).new_link(principal.key_id)


def test_the_link_of_dev_signs_in_once(stack):
    printed = wait_until(
        lambda: re.search(r"Console  (\S+)", stack.output), timeout=60, what="the link to be printed"
    )
    path, _, _ = printed[1].removeprefix(stack.file["api_url"] + "/console").partition("=")
    path = f"{path}={fresh_link(stack)}"  # the printed one is too old if many tests came first
    with opened_browser(stack.file["api_url"]) as other:
        other.open(path)
        other.wait(lambda: other.path == "/overview", "the start page")
        other.driver.delete_all_cookies()
        other.open(path)
        other.wait_for_text("has been used")


def test_no_page_keeps_anybody_out(browser, stack):
    """As far as axe-core sees it; and no page is wider than a narrow window."""
    run_id = stack.create_run(args=["Hi"], input=HOSTILE)
    run = stack.wait_for(run_id)
    found = {}
    for path in (
        *ALL_PAGES,
        f"/runs/{run_id}",
        f"/assistants/{run['assistant_id']}",
        f"/runs/{run_id}/compare",
    ):
        browser.open(path)
        browser.find("h1")
        if barriers := browser.barriers():
            found[path] = barriers
        browser.driver.set_window_size(500, 900)
        if browser.run("return document.documentElement.scrollWidth > window.innerWidth"):
            found[f"{path}, narrow"] = ["it is wider than the window"]
        browser.driver.set_window_size(1280, 1000)
    assert found == {}


def test_a_run_is_followed_to_its_end_without_a_reload(browser, stack):
    run_id = stack.create_run(args=["Hi"], model="openai/words-40-100", stream=True)
    browser.open(f"/runs/{run_id}")
    browser.run("window.isTheSame = true")
    browser.wait_for_text("word3", "#transcript")  # while it streams
    browser.wait_for_text("SUCCEEDED", "#live")
    browser.wait_for_text("word39", "#transcript")
    browser.wait_for_text("AssistantRunCompleted", "#type")
    assert browser.run("return window.isTheSame") is True
    transcript = browser.text("#transcript")
    assert transcript.count("word39") == 1
    browser.find("#type").send_keys("AssistantRunCompleted")
    browser.wait(lambda: browser.text("#shown").startswith("1 of "), "the filter")
    assert len(browser.all("#events .row")) == 1
    browser.find("#find").send_keys("WORD17", Keys.ENTER)
    browser.wait_for_text("Found.", "#found")
    assert browser.text("mark") == "word17"


def test_a_run_is_cancelled_and_run_again(browser, stack):
    run_id = stack.create_run(args=["Hi"], model="openai/words-2000-100")
    browser.open(f"/runs/{run_id}")
    stack.wait_for(run_id, "RUNNING")
    browser.click("form[action$='/cancel'] button")
    browser.wait_for_text("CANCELLED", "#live")
    browser.wait_for_text("stopped how", "#live")
    browser.click(".actions form[action$='/again'] button")
    browser.wait(lambda: browser.path not in {f"/runs/{run_id}", ""}, "another run")
    stack.cancel(browser.path.rpartition("/")[2])


@pytest.mark.full_length
def test_three_hundred_runs_are_cancelled_at_once(browser, stack):
    """With a count before, and progress that goes on by itself."""
    assistant = stack.create_assistant(model="openai/words-5000-100")
    for _ in range(300):
        stack.create_run(assistant, args=["Hi"])
    browser.open(f"/runs?subject={assistant}")
    browser.click("[name=which][value=all]")
    browser.click("[name=action][value=cancel]")
    browser.find("#count")
    assert browser.text("#count") == "300", browser.text()
    browser.click("#bulk button")
    browser.wait(lambda: "Done." in browser.text("#bulk"), "the end")
    assert browser.text("#done") == "300"
    listed = stack.client.get(f"/api/assistants/{assistant}/runs", params={"status": "CANCELLED"}).json()
    assert listed["pagination"]["total_count"] == 300


def test_an_assistant_answers_in_a_chat_and_remembers(browser, stack):
    assistant = stack.create_assistant(model="echo")
    browser.open(f"/assistants/{assistant}")
    for number, said in enumerate(("Good morning", "Good night"), 1):
        browser.find("[name=said]").clear()
        browser.find("[name=said]").send_keys(said)
        browser.click("#say button")
        browser.wait(lambda number=number: len(browser.all("[data-chat][data-state=ended]")) == number, said)
        assert said in browser.all("[data-chat]")[number - 1].text
    thread = browser.find("#thread input").get_attribute("value")
    messages = stack.client.get(f"/api/threads/{thread}/messages").json()["messages"]
    assert len(messages) == 2


@pytest.mark.full_length
def test_a_key_is_made_and_its_session_ends_with_it(browser, stack):
    name = f"key {uuid.uuid4().hex[:8]}"
    browser.open("/keys")
    browser.find("#new-key [name=name]").send_keys(name)
    browser.run("document.querySelector('[name=scope]').value = 'read'")
    browser.click("#new-key button")
    secret = browser.find("#secret").text
    with opened_browser(stack.file["api_url"]) as other:
        other.sign_in(secret)
        other.open("/runs")
        assert other.all("[name=action]") == []
        browser.open("/keys")
        browser.click(f"[aria-label='Delete the key {name}…']")
        browser.click(f"[aria-label='Delete the key {name}']")
        browser.wait(lambda: name not in browser.text(), "the key to be gone")

        def is_out():
            other.open("/runs")
            return other.path.startswith("/sign-in")

        other.wait(is_out, "the session to end")


def test_it_works_without_a_mouse(browser, stack):
    run_id = stack.create_run(args=["Hi"])
    stack.wait_for(run_id)
    browser.open(f"/runs?id={run_id[:8]}")
    browser.find(f"a[href$='{run_id}']")
    for _ in range(60):
        browser.press(Keys.TAB)
        if browser.focused().endswith(run_id):
            break
    browser.press(Keys.ENTER)
    browser.wait(lambda: browser.path == f"/runs/{run_id}", "the page of the run")
    browser.find("#events .row")
    for _ in range(60):
        browser.press(Keys.TAB)
        if "/events/" in browser.focused():
            break
    browser.press(Keys.ENTER)
    browser.wait(lambda: browser.path.startswith("/events/"), "the page of an event")
    assert "AssistantRunQueued" in browser.text("h1")


@pytest.mark.full_length
def test_a_list_pauses_while_somebody_chooses(browser, stack):
    assistant = stack.create_assistant()
    first = stack.create_run(assistant)
    stack.wait_for(first)
    browser.open(f"/runs?subject={assistant}")
    browser.click(f"input[value='{first}']")
    second = stack.create_run(assistant)
    stack.wait_for(second)
    browser.refresh()
    assert browser.all(f"input[value='{second}']") == []
    assert browser.find(f"input[value='{first}']").is_selected()
    assert browser.text("#waits") == "The list waits while you choose."
    browser.click(f"input[value='{first}']")
    browser.find(f"input[value='{second}']")
    assert browser.text("#waits") == ""


@pytest.mark.full_length
def test_one_box_chooses_all_runs_of_the_page(browser, stack):
    """By keyboard; and the list waits meanwhile, as for a single one."""
    assistant = stack.create_assistant()
    for _ in range(2):
        stack.wait_for(stack.create_run(assistant))
    browser.open(f"/runs?subject={assistant}")
    browser.find("#choose-page")
    browser.run("document.getElementById('choose-page').focus()")
    browser.press(Keys.SPACE)
    assert [box.is_selected() for box in browser.all("[name=run]")] == [True, True]
    assert browser.text("#chosen") == "(2)"
    later = stack.create_run(assistant)
    stack.wait_for(later)
    browser.refresh()
    assert browser.all(f"input[value='{later}']") == []
    browser.press(Keys.TAB, Keys.SPACE)  # the first run not
    assert browser.text("#chosen") == "(1)"
    assert browser.run("return document.getElementById('choose-page').indeterminate") is True
    browser.press(Keys.SPACE)
    assert browser.find("#choose-page").is_selected()
    browser.click("[name=action][value=cancel]")
    browser.wait_for_text("2 runs", "#bulk")
    browser.open(f"/runs?subject={assistant}")
    browser.click("#choose-page")
    browser.click("#choose-page")
    assert browser.text("#chosen") == ""
    newest = stack.create_run(assistant)
    browser.find(f"input[value='{newest}']")


@pytest.mark.full_length
def test_the_focus_survives_the_refresh_of_a_list(browser, stack):
    assistant = stack.create_assistant()
    first = stack.create_run(assistant)
    stack.wait_for(first)
    browser.open(f"/runs?subject={assistant}")
    browser.find(f"a[href$='{first}']")
    browser.run("document.querySelector(`a[href$='${arguments[0]}']`).focus()", first)
    second = stack.create_run(assistant)
    browser.find(f"a[href$='{second}']")  # above it
    assert browser.focused().endswith(first)
    browser.press(Keys.ENTER)
    browser.wait(lambda: browser.path == f"/runs/{first}", "the page of the run")


@pytest.mark.full_length
def test_a_list_waits_while_the_focus_is_in_a_row_that_would_go(browser, stack):
    assistant = stack.create_assistant(model="openai/words-5000-100")
    run_id = stack.create_run(assistant, args=["Hi"])
    stack.wait_for(run_id, "RUNNING")
    browser.open(f"/runs?subject={assistant}&status=RUNNING")
    browser.find(f"a[href$='{run_id}']")
    browser.run("document.querySelector(`a[href$='${arguments[0]}']`).focus()", run_id)
    stack.cancel(run_id)
    browser.refresh()
    browser.wait_for_text("The list waits while you are in this row.", "#waits")
    assert browser.focused().endswith(run_id)
    browser.run("document.querySelector('[name=which]').focus()")
    browser.find("#no-runs")


def test_workers_show_their_slots(browser):
    browser.open("/workers")
    slots = (
        "return [...document.querySelectorAll('#live tbody td:nth-child(4)')].map((each) => each.textContent)"
    )

    def has_slots():
        """Whether one tells its slots: another test may have killed the one before."""
        return any(text.isdecimal() and int(text) > 0 for text in browser.run(slots))

    browser.wait(has_slots, "a worker with slots")


@pytest.fixture
def long_run(stack):
    """A run with more events than any run of ours has; it is no whole one, so the stack does not keep it."""
    run_id = stack.create_run(args=["Hi"])
    stack.wait_for(run_id)
    with psycopg.connect(stack.file["database_url"]) as connection:
        connection.execute(
            """
            INSERT INTO run_events (run_id, seq, event_id, origin, type, payload, "timestamp", attempt, size)
            SELECT %(run)s, last + n, gen_random_uuid(), 'ASSISTANT', 'TextChunkEvent',
                jsonb_build_object('type', 'TextChunkEvent', 'token', CASE WHEN n = 100
                    THEN repeat('w', 1000000)
                    ELSE %(text)s || n::text || ' ' END), extract(epoch FROM now()), 1, 100
            FROM generate_series(1, %(many)s) AS n,
                (SELECT max(seq) AS last FROM run_events WHERE run_id = %(run)s)
            """,
            {"run": run_id, "many": MANY, "text": HOSTILE},
        )
        connection.execute("UPDATE runs SET event_count = event_count + %s WHERE id = %s", (MANY, run_id))
    yield run_id
    assert stack.client.delete(f"/api/assistant-runs/{run_id}", timeout=60).status_code == 204


@pytest.mark.full_length
@pytest.mark.quiet
def test_fifty_thousand_hostile_events_keep_the_page_responsive(browser, stack, long_run):
    browser.open(f"/runs/{long_run}")
    total = stack.client.get(f"/api/assistant-runs/{long_run}/events?limit=1").json()["total_count"]
    browser.wait(lambda: browser.text("#shown") == f"{total} of {total} events", "all events")
    assert len(browser.all("#events .row")) < 60
    assert browser.run("return document.getElementsByTagName('*').length") < 12_000
    assert browser.all("#transcript img") == []
    assert "\u202e" not in browser.run("return document.getElementById('transcript').textContent")
    longest = browser.run("return window.longest")
    assert longest < LONGEST_TASK
    # What measures it sees a task that is long.
    browser.run("setTimeout(() => { const end = performance.now() + 300; while (performance.now() < end); })")
    browser.wait(lambda: browser.run("return window.longest") >= 250, "the long task to be seen")


@pytest.mark.full_length
def test_an_outage_leaves_the_last_state_and_says_so(browser, stack):
    browser.open("/runs")
    before = browser.text("#live table")
    browser.driver.execute_cdp_cmd("Network.enable", {})
    browser.driver.set_network_conditions(offline=True, latency=0, throughput=0)
    try:
        browser.refresh()
        browser.wait_for_text("This is the state of", "#banner")
        assert browser.text("#live table") == before
    finally:
        browser.driver.delete_network_conditions()
        browser.driver.get_log("browser")  # the failed request, which is the point
    browser.refresh()
    wait_until(lambda: browser.text("#banner") == "", timeout=60)
