"""The console as a browser asks for it, without one."""

import re
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import select

from api.console import pages, parts
from api.console.pages import NOTHING
from api.console.route import COOKIE
from shared.db import unit_of_work
from shared.keys import service as keys
from shared.keys.sessions import LIFETIME, LINK_LIFETIME, SessionSeal
from shared.lifecycle import RunStatus
from shared.models import ApiKey, KeyScope, ProcessKind, Run
from shared.organizations import admin
from shared.processes import beats
from shared.processes.beats import Load
from tests.integration.api.browsing import HTML, Browser
from tests.support.waiting import wait_until

HOSTILE = "<script>alert(1)</script>\u202egnp.exe\x1b[31m" + "w" * 5000


PAGES = (
    *("overview", "runs", "assistants", "threads", "structures", "keys", "workers", "retention", "health"),
)


def test_each_page_is_there(browser, factories):
    factories.run(status=RunStatus.SUCCEEDED)
    factories.structure_run()
    for name in PAGES:
        answer = browser.get(f"/{name}")
        assert answer.status_code == 200, answer.text
        assert "<h1>" in answer.text
        part = browser.get(f"/{name}", **{"HX-Request": "true"})
        assert part.status_code == 200
        assert "<html" not in part.text


def test_a_run_is_shown_in_every_status(browser, factories):
    for status in RunStatus:
        for run in (factories.run(status=status), factories.structure_run(status=status)):
            answer = browser.get(f"/runs/{run.id}")
            assert answer.status_code == 200, answer.text
            assert status.value in answer.text
    events = browser.get(f"/runs/{run.id}/events").json()
    assert events["events"][0]["n"] == 0
    event = events["events"][0]["id"]
    assert browser.get(f"/events/{event}").status_code == 200
    assert browser.get(f"/events/{event}/json").json()["run_id"] == str(run.id)
    assert browser.get(f"/runs/{run.id}/log").json()["lines"] == []


def test_assistants_threads_and_structures_have_a_page(browser, factories):
    run = factories.run(new_thread=True)
    structure = factories.structure_run().structure_id
    for path in (f"/assistants/{run.assistant_id}", f"/threads/{run.thread_id}", f"/structures/{structure}"):
        assert browser.get(path).status_code == 200


def test_every_answer_has_the_policy(browser):
    for path in ("/runs", "/sign-in", "/nothing", f"/runs/{uuid.uuid4()}", "/static/console.css"):
        answer = browser.get(path)
        assert answer.headers["content-security-policy"] == pages.POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_page_holds_a_script_or_a_style_of_its_own(browser, factories):
    run = factories.run(status=RunStatus.SUCCEEDED)
    for path in (*(f"/{name}" for name in PAGES), f"/runs/{run.id}", f"/assistants/{run.assistant_id}"):
        html = browser.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?! src=\")", html)
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html)


def test_the_files_are_served_from_the_wheel(anonymous):
    for name, kind in pages.KINDS.items():
        answer = anonymous.get(f"/console/static/{name}")
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)


def test_no_other_file_is_served(anonymous):
    assert anonymous.get("/console/static/htmx.LICENSE").status_code == 404
    assert anonymous.get("/console/static/..%2fpages.py").status_code == 404


def test_the_prefix_itself_leads_to_the_start_page(anonymous):
    answer = anonymous.get("/console", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/console/overview")


def test_the_cookie_is_closed_to_scripts_and_to_other_sites(anonymous, secret):
    answer = anonymous.post(
        "/console/sign-in",
        data={"key": secret},
        headers={"Host": "runs.example.com"},
        follow_redirects=False,
    )
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/console", "secure"))
    assert secret.lower() not in cookie


def test_on_the_machine_itself_the_cookie_needs_no_tls(anonymous, secret):
    answer = anonymous.post(
        "/console/sign-in", data={"key": secret}, headers={"Host": "127.0.0.1:8000"}, follow_redirects=False
    )
    assert "secure" not in answer.headers["set-cookie"].lower()


def test_without_a_session_one_is_sent_to_sign_in_and_back(anonymous, secret):
    anonymous.headers.pop("Authorization", None)
    answer = anonymous.get("/console/runs?status=FAILED", headers=HTML, follow_redirects=False)
    assert answer.status_code == 303
    target = answer.headers["location"]
    assert target == "/console/sign-in?next=%2Fconsole%2Fruns%3Fstatus%3DFAILED"
    signed = anonymous.post(
        "/console/sign-in",
        data={"key": secret, "next": "/console/runs?status=FAILED"},
        follow_redirects=False,
    )
    assert signed.headers["location"] == "/console/runs?status=FAILED"


def test_nobody_is_sent_elsewhere_after_signing_in(anonymous, secret):
    for wanted in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/console/\\x",
        "/api/users",
    ):
        answer = anonymous.post(
            "/console/sign-in", data={"key": secret, "next": wanted}, follow_redirects=False
        )
        assert answer.headers["location"] == "/console/overview"


def test_a_forged_session_is_none(browser):
    token = browser.client.cookies[COOKIE]
    browser.client.cookies.clear()
    for forged in ("", token[:-4] + "AAAA", "x" * 500):
        headers = {"Cookie": f"{COOKIE}={forged}", **HTML}
        assert browser.client.get("/console/runs", headers=headers).status_code == 303


def test_a_session_is_no_key_of_the_api(browser):
    assert browser.client.get("/api/assistants").status_code == 401
    bearer = {"Authorization": f"Bearer {browser.client.cookies[COOKIE]}"}
    assert browser.client.get("/api/assistants", headers=bearer).status_code == 401


def test_a_session_ends(sessions, secret):
    now = 1_000_000_000.0
    with unit_of_work(sessions) as session:
        seal = SessionSeal(SessionSeal.of(session).key, clock=lambda: now)
        key_id = session.scalar(select(ApiKey.id))
    token = seal.new_session(key_id)
    assert seal.find_session(token).key_id == key_id
    late = SessionSeal(seal.key, clock=lambda: now + LIFETIME.total_seconds() + 1)
    assert late.find_session(token) is None
    assert seal.find_session(seal.new_link(key_id)) is None


def test_a_session_ends_within_seconds_of_its_key(browser, factories, sessions):
    assert browser.get("/runs").status_code == 200
    with unit_of_work(sessions) as session:
        keys.delete_key(session, factories.default_principal(), factories.default_principal().key_id)
    wait_until(lambda: browser.get("/runs").status_code == 303)


def test_signing_out_takes_the_session_away(browser):
    assert browser.post("/sign-out").status_code == 303
    assert COOKIE not in browser.client.cookies


def link_of(sessions, factories):
    with unit_of_work(sessions) as session:
        return SessionSeal.of(session).new_link(factories.default_principal().key_id)


def test_a_link_signs_in_once(anonymous, sessions, factories, secret):
    link = link_of(sessions, factories)
    for _ in range(2):  # a preview of the link does not use it up
        assert "signs in once" in anonymous.get(f"/console/sign-in?link={link}").text
    first = anonymous.post("/console/sign-in", data={"link": link}, follow_redirects=False)
    assert first.status_code == 303
    second = anonymous.post("/console/sign-in", data={"link": link}, follow_redirects=False)
    assert second.status_code == 401
    assert "has been used" in second.text


def test_a_link_that_is_old_is_none(sessions, factories, secret):
    with unit_of_work(sessions) as session:
        key = SessionSeal.of(session).key
        link = SessionSeal(key, clock=lambda: 1e9).new_link(factories.default_principal().key_id)
        late = SessionSeal(key, clock=lambda: 1e9 + LINK_LIFETIME.total_seconds() + 1)
        with pytest.raises(Exception, match="not valid"):
            late.use_link(session, link)


@pytest.mark.parametrize("setting_overrides", [{"key_refusals": 1}])
def test_wrong_keys_are_paced(anonymous):
    statuses = {
        anonymous.post("/console/sign-in", data={"key": f"ry_{number}"}).status_code for number in range(100)
    }
    assert statuses == {401, 429}


def test_a_form_of_another_origin_signs_nobody_in(anonymous, secret):
    answer = anonymous.post(
        "/console/sign-in", data={"key": secret}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_an_action_without_the_token_of_the_session_is_refused(browser, factories):
    run = factories.run()
    for token in ("", "x" * 48, "\u00e9"):
        answer = browser.client.post(f"/console/runs/{run.id}/cancel", data={"csrf": token}, headers=HTML)
        assert answer.status_code == 403


def test_a_read_only_session_acts_on_nothing(narrow, factories):
    browser = narrow(KeyScope.READ)
    run = factories.run()
    for path in (
        f"/runs/{run.id}/cancel",
        f"/runs/{run.id}/again",
        "/runs/bulk",
        "/runs/bulk/next",
        "/assistants",
        f"/assistants/{run.assistant_id}",
        f"/assistants/{run.assistant_id}/say",
        "/keys",
    ):
        assert browser.post(path).status_code == 403, path
    html = browser.get(f"/runs/{run.id}").text + browser.get("/runs").text + browser.get("/keys").text
    forms = set(re.findall(r'<form [^>]*action="/console/([^"]+)', html))
    assert {one for one in forms if not one.endswith("/compare")} == {"sign-out", "runs", "runs/bulk"}
    assert '<button name="action"' not in html


def test_what_is_anothers_is_the_same_page_as_what_is_unknown(browser, factories):
    stranger = factories.principal()
    run = factories.run(stranger, new_thread=True)
    structure = factories.structure_run(stranger)
    for path in (
        "/runs/{}",
        "/runs/{}/events",
        "/runs/{}/events/stream",
        "/runs/{}/log",
        "/runs/{}/compare",
        "/assistants/{}",
        "/threads/{}",
        "/structures/{}",
        "/events/{}",
        "/events/{}/json",
    ):
        unknown = browser.get(path.format(uuid.uuid4()))
        malformed = browser.get(path.format("x"))
        assert unknown.status_code == malformed.status_code == 404
        for identifier in (run.id, run.assistant_id, run.thread_id, structure.id, structure.structure_id):
            assert browser.get(path.format(identifier)).text == unknown.text == malformed.text


def test_a_run_of_another_organization_is_neither_cancelled_nor_repeated(browser, factories, sessions):
    run = factories.run(factories.principal())
    assert browser.post(f"/runs/{run.id}/cancel").status_code == 404
    assert browser.post(f"/runs/{run.id}/again").status_code == 404
    answer = browser.post("/runs/bulk/next", action="cancel", chosen=str(run.id), count="1")
    assert "1 refused" in answer.text
    with sessions() as session:
        assert session.get_one(Run, run.id).status is RunStatus.QUEUED


def test_hostile_text_is_shown_as_text(browser, factories):
    run = factories.run(input=HOSTILE, metadata={"k": HOSTILE[:100]})
    assistant = factories.assistant(name=HOSTILE[:200], description="x")
    for path in (f"/runs/{run.id}", "/assistants", f"/assistants/{assistant.id}", "/runs"):
        html = browser.get(path).text
        assert "<script>alert" not in html
        assert "\u202e" not in html
        assert "\x1b" not in html


def test_a_run_is_cancelled_and_run_again(browser, factories, sessions):
    run = factories.run(input="first", metadata={"a": "b"})
    assert browser.post(f"/runs/{run.id}/cancel").headers["location"] == f"/console/runs/{run.id}"
    answers = [browser.post(f"/runs/{run.id}/again"), browser.post(f"/runs/{run.id}/again", input="2\r\n")]
    again, edited = (uuid.UUID(answer.headers["location"].rpartition("/")[2]) for answer in answers)
    with sessions() as session:
        assert session.get_one(Run, run.id).status is RunStatus.CANCELLED
        repeated = session.get_one(Run, again)
        assert (repeated.input, repeated.meta) == ("first", {"a": "b"})
        assert session.get_one(Run, edited).input == "2\n"


def test_a_run_of_a_structure_is_run_again_with_other_arguments(browser, factories, sessions):
    run = factories.structure_run(args=["a"])
    answer = browser.post(f"/runs/{run.id}/again", kind="structure", input="b\r\nc")
    with sessions() as session:
        made = session.get_one(Run, uuid.UUID(answer.headers["location"].rpartition("/")[2]))
        assert (made.args, made.structure_id) == (["b", "c"], run.structure_id)


def fields_of(html):
    """The hidden fields of the form of a bulk action."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html.replace("&amp;", "&")))


def test_all_that_match_are_cancelled_with_a_count_before_and_progress_after(browser, factories, sessions):
    assistant = factories.assistant()
    runs = [factories.run(assistant=assistant) for _ in range(60)]
    ended = factories.run(assistant=assistant, status=RunStatus.SUCCEEDED)
    asked = browser.post("/runs/bulk", action="cancel", which="all", filter=f"subject={assistant.id}").text
    assert '<strong id="count">60</strong>' in asked
    seen = []
    while "bulk/next" in asked:
        fields = fields_of(asked)
        fields.pop("csrf")
        asked = browser.post("/runs/bulk/next", **fields).text
        seen.append(int(re.search(r'id="done">(\d+)<', asked)[1]))
    assert seen == [50, 60]
    with sessions() as session:
        statuses = {session.get_one(Run, run.id).status for run in runs}
        assert statuses == {RunStatus.CANCELLED}
        assert session.get_one(Run, ended.id).status is RunStatus.SUCCEEDED


def test_the_chosen_are_run_again(browser, factories, sessions):
    runs = [factories.run(status=RunStatus.SUCCEEDED) for _ in range(3)]
    asked = browser.client.post(
        "/console/runs/bulk",
        data={
            "csrf": fields_of(browser.get("/runs").text)["csrf"],
            "action": "again",
            "which": "chosen",
            "run": [str(run.id) for run in runs[:2]],
        },
    ).text
    assert '<strong id="count">2</strong>' in asked
    fields = fields_of(asked)
    fields.pop("csrf")
    assert "Done." in browser.post("/runs/bulk/next", **fields).text
    listed = browser.client.get("/console/runs?status=QUEUED", headers=HTML).text
    assert listed.count('<span class="status queued">') == 2


def test_the_filters_live_in_the_address(browser, factories):
    failed = factories.run(status=RunStatus.FAILED, metadata={"team": "blue"})
    other = factories.run(status=RunStatus.SUCCEEDED)
    structure = factories.structure_run()

    def shows(query):
        html = browser.get(f"/runs?{query}").text
        return [str(run.id) in html for run in (failed, other, structure)]

    assert shows("") == [True, True, False]
    assert shows("kind=structure") == [False, False, True]
    assert shows("status=FAILED") == [True, False, False]
    assert shows("status=FAILED&status=SUCCEEDED") == [True, True, False]
    assert shows("metadata=team%3Dblue") == [True, False, False]
    assert shows(f"id={failed.id.hex[:12]}") == [True, False, False]
    assert shows(f"subject={failed.assistant_id}") == [True, True, False]
    assert shows("created_before=2001-01-01T00:00") == [False, False, False]
    assert shows("reason=TimedOut") == [False, False, False]


def test_a_filter_that_makes_no_sense_is_told(browser):
    for query in ("id=zz", "thread=x", "created_after=yesterday", "metadata=x", "at=1", "at=9-x"):
        answer = browser.get(f"/runs?{query}")
        assert answer.status_code == 200
        assert 'role="alert"' in answer.text


def test_pages_go_on_where_the_last_one_ended(browser, factories):
    assistant = factories.assistant()
    runs = {factories.run(assistant=assistant).id.hex[:8] for _ in range(55)}
    first = browser.get("/runs").text
    following = re.search(r'href="/console(/runs\?[^"]+)" rel="next"', first)[1].replace("&amp;", "&")
    second = browser.get(following).text
    seen = [set(re.findall(r"<code>(\w{8})</code></a></td>", html)) & runs for html in (first, second)]
    assert (len(seen[0]), len(seen[1]), seen[0] | seen[1]) == (50, 5, runs)


def test_two_runs_are_compared_and_the_first_difference_is_marked(browser, factories):
    one = factories.run(status=RunStatus.SUCCEEDED, input="a")
    two = factories.run(status=RunStatus.FAILED, input="b")
    html = browser.get(f"/runs/{one.id}/compare?with={two.id}").text
    assert "input (differs)" in html
    assert "The first difference is at" in html
    assert "The events are alike." in browser.get(f"/runs/{one.id}/compare?with={one.id}").text


def test_an_assistant_is_made_edited_tried_and_deleted(browser, sessions):
    made = browser.post("/assistants", name="Bee", description="hums", model="echo", input="Hum.")
    path = made.headers["location"].removeprefix("/console")
    assert "Bee" in browser.get(path).text
    assert browser.post(path, name="Wasp", description="", model="", input="").status_code == 303
    assert "Wasp" in browser.get(path).text
    said = browser.post(f"{path}/say", said="Hello", thread="")
    run_id = re.search(r'data-chat="/console/runs/([\w-]+)"', said.text)[1]
    with sessions() as session:
        run = session.get_one(Run, uuid.UUID(run_id))
        assert (run.input, run.stream, run.thread_id is not None) == ("Hello", True, True)
        thread = run.thread_id
    again = browser.post(f"{path}/say", said="More", thread=str(thread))
    assert again.status_code == 200
    assert browser.post(f"{path}/delete").headers["location"] == "/console/assistants"
    assert browser.get(path).status_code == 404


def test_an_assistant_that_makes_no_sense_is_refused(browser):
    for fields in ({"name": ""}, {"name": "x" * 201}, {"name": "x", "model": "nonsense"}):
        assert browser.post("/assistants", **fields).status_code == 400


def test_a_key_is_made_shown_once_and_deleted(browser):
    made = browser.post("/keys", name="for CI", scope="read").text
    secret = re.search(r'id="secret">(ry_[\w-]+)<', made)[1]
    headers = {"Authorization": f"Bearer {secret}"}
    assert browser.client.get("/api/assistants", headers=headers).status_code == 200
    assert browser.client.post("/api/assistants", json={"name": "x"}, headers=headers).status_code == 403
    listed = browser.get("/keys").text
    assert secret not in listed
    identifier = re.search(r"for CI.*?/console(/keys/[\w-]+/delete)", listed, re.DOTALL)[1]
    assert browser.post(identifier).status_code == 303
    assert "for CI" not in browser.get("/keys").text


class TestOff:
    """The console by its setting."""

    @pytest.fixture
    def setting_overrides(self):
        return {"console": "off"}

    def test_it_can_be_off(self, anonymous):
        for path in ("", "/overview", "/sign-in", "/static/console.css"):
            answer = anonymous.get(f"/console{path}")
            assert (answer.status_code, answer.json()["type"]) == (404, "NotFound")


def test_metadata_is_shown_edited_and_lists_are_narrowed_by_it(browser, client, sessions):
    made = client.post("/api/assistants", json={"name": "Ann", "metadata": {"team": "r\u202eed"}}).json()
    client.post("/api/assistants", json={"name": "Bea"})
    client.post("/api/threads", json={"name": "Talk", "metadata": {"team": "red", "tense": [HOSTILE]}})
    own = f"/assistants/{made['assistant_id']}"
    page = browser.get(own).text
    assert "r\\u202eed" in page
    assert "\u202e" not in page
    answer = browser.post(own, name="Ann", metadata='{"team": "red", "env": "a=b, c"}')
    assert answer.status_code == 303, answer.text
    for path, name in (("/assistants", "Ann"), ("/threads", "Talk")):
        shown = browser.get(f"{path}?metadata=team=red").text
        assert f">{name}<" in shown
        assert "Bea" not in shown
        assert f">{name}<" not in browser.get(f"{path}?metadata=team=blue").text
        for wrong in ("team", ",".join(f"k{number}=" for number in range(17))):
            refused = browser.get(f"{path}?metadata={wrong}").text
            assert 'role="alert">Metadata has' in refused
            assert f">{name}<" not in refused
    thread = client.get("/api/threads").json()["threads"][0]["thread_id"]
    assert "&#34;red&#34;" in browser.get(f"/threads/{thread}").text
    for wrong in ('{"team": 5}', "nonsense", "[1]"):
        answer = browser.post(own, name="Ann", metadata=wrong)
        assert answer.status_code == 400
        assert "Traceback" not in answer.text


def test_workers_show_their_slots(browser, sessions):
    with unit_of_work(sessions) as session:
        beats.beat(session, "blue@host", ProcessKind.WORKER, load=Load(50, 7))
        beats.beat(session, "old@host", ProcessKind.WORKER)  # of the release before
    rows = re.findall(r"<bdi>(\w+@host)</bdi></td>(.*?)</tr>", browser.get("/workers").text)
    cells = {name: re.findall(r"<td>(.*?)</td>", row) for name, row in rows}
    assert cells["blue@host"][1:] == ["50", "7", "0"]
    assert cells["old@host"][1:] == [NOTHING, NOTHING, "0"]


def test_retention_says_what_is_kept_and_what_the_next_purge_takes(browser, factories, sessions):
    run = factories.run(status=RunStatus.SUCCEEDED)
    with unit_of_work(sessions) as session:
        old = session.get_one(Run, run.id)
        for name in ("created_at", "queued_at", "started_at", "completed_at"):
            setattr(old, name, getattr(old, name) - timedelta(days=40))
    before = browser.get("/retention").text
    assert "<strong>for ever</strong>" in before
    assert '<dd id="due-runs">0</dd>' in before
    with unit_of_work(sessions) as session:
        admin.set_retention(session, run.organization_id, {"retention_runs": timedelta(days=30)})
    after = browser.get("/retention").text
    assert "<strong>30d</strong>" in after
    assert '<dd id="due-runs">1</dd>' in after
    assert "the next purge</dd>" in after
    assert run.id.hex[:8] in after


def test_windows_of_an_organization_share_a_part_for_a_moment_and_nobody_else_s(
    browser, narrow, factories, monkeypatch
):
    def rows(browser, query=""):
        return browser.get(f"/runs{query}", **{"HX-Request": "true"}).text.count('<tr id="run-')

    factories.run()
    assert rows(browser) == 1
    factories.run()
    assert rows(browser) == 1  # as another window was told
    assert rows(browser, "?kind=assistant") == 2  # another address
    assert browser.get("/runs").text.count('<tr id="run-') == 2  # a whole page is never of a moment ago
    monkeypatch.setattr(parts, "TTL", 0.0)
    assert rows(browser) == 2
    monkeypatch.undo()
    reader = narrow(KeyScope.READ)
    part = reader.get("/runs", **{"HX-Request": "true"}).text
    assert 'type="checkbox"' not in part
    stranger = Browser(browser.client)
    stranger.sign_in(factories.principal_and_secret()[1])
    assert rows(stranger) == 0


def test_a_part_that_windows_share_has_no_token_of_a_session(browser, factories):
    factories.run()
    for path in ("/runs", "/overview", "/workers"):
        assert "csrf" not in browser.get(path, **{"HX-Request": "true"}).text


def test_the_parts_that_are_remembered_are_bounded(browser, monkeypatch):
    monkeypatch.setattr(parts, "MOST", 3)
    for number in range(5):
        browser.get(f"/runs?id=abcd{number}", **{"HX-Request": "true"})
    assert len(parts._known) == 3
