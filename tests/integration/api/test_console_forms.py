"""Forms of the console: what nobody edited stays as it is, and what makes no sense is told."""

import re
from html import unescape

import pytest
from sqlalchemy import select

from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Assistant, Run
from tests.integration.api.browsing import HTML

TEXTS = [
    "",
    "plain",
    "\n\nleading lines",
    "  spaces around  ",
    "سلام\u200fabc\u200bdef\u2028x",
    'tab\tand <textarea> & "quotes" \'',
    "carriage\r\nreturn",
    "lone\rreturn",
    "override \u202egnp.exe",
    "isolate \u2066x\u2069 and \x1b[31m",
    "x" * 150_000,
]


def fields_of(html, action):
    """What a browser would post of a form if nobody edited it."""
    (form,) = re.findall(rf'<form[^>]* action="[^"]*{re.escape(action)}".*?</form>', html, re.DOTALL)
    fields = {
        name: unescape(value).replace("\n", "")
        for name, value in re.findall(r'<input[^>]*name="(\w+)"[^>]*? value="([^"]*)"', form)
    }
    for name, value in re.findall(r'<textarea[^>]*name="(\w+)"[^>]*>(.*?)</textarea>', form, re.DOTALL):
        # A parser drops one line end at the beginning, and a browser sends line ends as CR LF.
        text = unescape(value).replace("\r\n", "\n").replace("\r", "\n").removeprefix("\n")
        fields[name] = text.replace("\n", "\r\n")
    return fields


@pytest.mark.parametrize("text", TEXTS)
def test_an_assistant_that_is_saved_unedited_stays_as_it_is(browser, client, sessions, text):
    short = text[:200]
    with unit_of_work(sessions) as session:
        assistant = session.scalars(select(Assistant)).first()
    if assistant is None:
        browser.post("/assistants", name="x", description="", model="", input="", metadata="")
        with unit_of_work(sessions) as session:
            assistant = session.scalars(select(Assistant)).one()
    with unit_of_work(sessions) as session:
        stored = session.get(Assistant, assistant.id)
        stored.name, stored.description, stored.input = short or "Bee", short, text or None
    path = f"/assistants/{assistant.id}"
    given = fields_of(browser.get(path).text, path)
    assert browser.client.post(f"/console{path}", data=given, headers=HTML).status_code == 303
    with unit_of_work(sessions) as session:
        found = session.get(Assistant, assistant.id)
        assert (found.name, found.description, found.input) == (short or "Bee", short, text or None)


@pytest.mark.parametrize("text", TEXTS)
def test_a_run_again_with_the_same_input_has_the_same_input(browser, factories, sessions, text):
    run = factories.run(status=RunStatus.SUCCEEDED, input=text or None)
    path = f"/runs/{run.id}/again"
    html = browser.get(f"/runs/{run.id}").text
    forms = re.findall(rf'<form[^>]* action="[^"]*{re.escape(path)}".*?</form>', html, re.DOTALL)
    for form in forms:
        given = fields_of(form, path)
        assert browser.client.post(f"/console{path}", data=given, headers=HTML).status_code == 303
    assert len(forms) == (2 if text in TEXTS[:6] else 1)
    with unit_of_work(sessions) as session:
        inputs = session.scalars(select(Run.input).where(Run.id != run.id)).all()
    assert inputs == [text or None] * len(forms)


@pytest.mark.parametrize(
    ("args", "is_editable"),
    [([], True), ([""], False), (["a", "b"], True), (["a\nb", "c"], False), (["x\u200by", ""], True)],
)
def test_a_run_of_a_structure_again_with_the_same_arguments_has_them(
    browser, factories, sessions, args, is_editable
):
    run = factories.structure_run(status=RunStatus.SUCCEEDED, args=args)
    path = f"/runs/{run.id}/again"
    html = browser.get(f"/runs/{run.id}").text
    forms = re.findall(rf'<form[^>]* action="[^"]*{re.escape(path)}".*?</form>', html, re.DOTALL)
    assert len(forms) == 1 + is_editable
    for form in forms:
        given = fields_of(form, path)
        assert browser.client.post(f"/console{path}", data=given, headers=HTML).status_code == 303
    with unit_of_work(sessions) as session:
        found = session.scalars(select(Run.args).where(Run.structure_id.is_not(None), Run.id != run.id)).all()
    assert found == [args] * len(forms)


FAULTS = {
    "status=bogus": "There is no status",
    "reason=nothing": "There is no reason",
    "kind=structures": "There is no kind of runs",
    "stat=FAILED": "There is no filter",
    "metadata=a%00=b": "A key of metadata is printable text.",
    "metadata=a=%00": "String should match pattern",
    f"metadata={'k' * 500}=b": "at most",
}


@pytest.mark.parametrize(("query", "said"), FAULTS.items())
def test_a_filter_that_means_nothing_is_told_and_no_action_follows_it(browser, factories, query, said):
    run = factories.run()
    answer = browser.get(f"/runs?{query}")
    assert answer.status_code == 200
    assert said in answer.text
    assert run.id.hex[:8] not in answer.text
    for which in ("all", "chosen"):
        fields = {"action": "cancel", "which": which, "run": str(run.id), "filter": query}
        refused = browser.post("/runs/bulk", **fields)
        assert refused.status_code == 400
        assert said in refused.text
    following = browser.post("/runs/bulk/next", action="cancel", all="1", filter=query, chosen=str(run.id))
    assert following.status_code == 400


@pytest.mark.parametrize("query", ["status=queued", "kind=Assistant", "status=QUEUED&status="])
def test_a_filter_may_be_written_in_any_case(browser, factories, query):
    run = factories.run()
    factories.run(status=RunStatus.SUCCEEDED)
    answer = browser.get(f"/runs?{query}")
    assert 'role="alert"' not in answer.text
    assert run.id.hex[:8] in answer.text


@pytest.mark.parametrize("page", ["assistants", "threads"])
def test_metadata_that_no_list_can_have_is_told(browser, page):
    answer = browser.get(f"/{page}?metadata=a%00=b")
    assert answer.status_code == 200
    assert "A key of metadata is printable text." in answer.text


@pytest.mark.parametrize("position", ["9" * 5000, "-1", "x", "1e3"])
def test_a_position_that_is_none_begins_or_ends(browser, factories, position):
    run = factories.run()
    answer = browser.post("/runs/bulk/next", action="cancel", chosen=str(run.id), position=position)
    assert answer.status_code == 200
    assert "Done." in answer.text
