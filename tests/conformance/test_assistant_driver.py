"""The framework's assistant driver, unmodified: threads that remember, and rules that reach the model."""

import pytest
from griptape.artifacts import TextArtifact
from griptape.drivers.assistant.griptape_cloud import GriptapeCloudAssistantDriver
from griptape.events import TextChunkEvent
from griptape.structures import Agent
from griptape.tasks import AssistantTask
from griptape.utils import Stream

pytestmark = pytest.mark.timeout(300)

ANSWER = "word0 word1 word2 word3 word4"


@pytest.fixture
def make_driver(cloud, stack):
    """A driver as a user makes it, of a new assistant unless one is given."""

    def make_driver(assistant_id=None, **options):
        assistant_id = assistant_id or stack.create_assistant(model="openai/words-5")
        return GriptapeCloudAssistantDriver(**cloud, assistant_id=assistant_id, **options)

    return make_driver


@pytest.fixture
def make_ruleset(stack):
    """Make a ruleset of one rule; return its id."""

    def make_ruleset(text):
        rule = stack.client.post("/api/rules", json={"name": "rule", "rule": text}).json()
        body = {"name": "ruleset", "rule_ids": [rule["rule_id"]]}
        return stack.client.post("/api/rulesets", json=body).json()["ruleset_id"]

    return make_ruleset


@pytest.fixture
def thread(stack):
    """Read a thread."""
    return lambda thread_id: stack.client.get(f"/api/threads/{thread_id}").json()


def said(messages):
    """What the user and the model have said to each other, without the system's part."""
    return [
        (message["role"], message["content"].strip()) for message in messages if message["role"] != "system"
    ]


def system(messages):
    return "".join(str(message["content"]) for message in messages if message["role"] == "system")


def test_two_turns_are_one_conversation(make_driver, prompts, thread, unique):
    driver = make_driver()
    first, second = (driver.run(TextArtifact(f"{turn} {unique}")) for turn in ("one", "two"))
    assert first.meta["thread_id"] == second.meta["thread_id"] == driver.thread_id
    (asked_first,), (asked_second,) = prompts(f"one {unique}"), prompts(f"two {unique}")
    assert said(asked_first) == [("user", f"one {unique}")]
    assert said(asked_second) == [
        ("user", f"one {unique}"),
        ("assistant", ANSWER),
        ("user", f"two {unique}"),
    ]
    assert thread(driver.thread_id)["message_count"] == 2


def test_every_driver_gets_a_thread_of_its_own(make_driver, prompts, unique):
    assistant_id = make_driver().assistant_id
    one, other = make_driver(assistant_id), make_driver(assistant_id)
    one.run(TextArtifact("a secret"))
    other.run(TextArtifact(unique))
    assert one.thread_id != other.thread_id
    assert said(prompts(unique)[0]) == [("user", unique)]


def test_a_thread_is_found_again_by_its_alias(make_driver, prompts, thread, unique):
    alias = f"{unique} & söhne #1+1"
    drivers = [make_driver(thread_alias=alias) for _ in range(2)]
    answers = [driver.run(TextArtifact(f"{turn} {unique}")) for turn, driver in enumerate(drivers)]
    assert len({answer.meta["thread_id"] for answer in answers}) == 1
    assert said(prompts(f"1 {unique}")[0])[:2] == [("user", f"0 {unique}"), ("assistant", ANSWER)]
    assert thread(drivers[0].thread_id)["alias"] == alias


def test_another_spelling_of_an_alias_is_another_thread(make_driver, unique):
    one, other = make_driver(thread_alias=unique), make_driver(thread_alias=unique.upper())
    for driver in (one, other):
        driver.run(TextArtifact("Hi"))
    assert one.thread_id != other.thread_id


def test_no_thread_is_made_where_none_is_wanted(make_driver, prompts, unique):
    driver = make_driver(auto_create_thread=False)
    answers = [driver.run(TextArtifact(f"{turn} {unique}")) for turn in ("one", "two")]
    assert [answer.meta["thread_id"] for answer in answers] == [None, None]
    assert said(prompts(f"two {unique}")[0]) == [("user", f"two {unique}")]


def test_a_new_thread_streams_and_remembers(make_driver, stack, prompts, unique):
    assistant_id = stack.create_assistant(model="openai/words-20-50")
    driver = make_driver(assistant_id, stream=True, thread_alias=unique)
    agent = Agent(tasks=[AssistantTask("{{ args[0] }}", assistant_driver=driver)])
    for turn in ("one", "two"):
        pieces = list(Stream(agent, event_types=[TextChunkEvent]).run(f"{turn} {unique}"))
        assert "".join(piece.value for piece in pieces).split() == [f"word{n}" for n in range(20)]
        assert len(pieces) >= 3
    assert len(said(prompts(f"two {unique}")[0])) == 3


@pytest.mark.parametrize(
    ("replaced", "added", "expected"),
    [
        (None, [], {"own"}),
        (["one"], [], {"one"}),
        ([], [], set()),
        (None, ["one"], {"own", "one"}),
        (["one"], ["two"], {"one", "two"}),
        ([], ["two"], {"two"}),
    ],
    ids=["the assistant's", "replaced", "none", "added", "replaced and added", "none and added"],
)
def test_rules_reach_the_model(make_driver, make_ruleset, stack, prompts, unique, replaced, added, expected):
    rules = {name: f"Mention {name} of {unique}." for name in ("own", "one", "two")}
    ids = {name: make_ruleset(text) for name, text in rules.items()}
    assistant_id = stack.create_assistant(model="openai/words-5", ruleset_ids=[ids["own"]])
    driver = make_driver(
        assistant_id,
        ruleset_ids=None if replaced is None else [ids[name] for name in replaced],
        additional_ruleset_ids=[ids[name] for name in added],
    )
    driver.run(TextArtifact(unique))
    (messages,) = prompts(unique)
    assert {name for name, text in rules.items() if text in system(messages)} == expected


def test_the_input_of_a_driver_stands_in_for_the_assistants(make_driver, stack, prompts, unique):
    assistant_id = stack.create_assistant(model="openai/words-5", input="The assistant's own")
    make_driver(assistant_id, input=f"The driver's {unique}").run()
    ((_, content),) = said(prompts(unique)[0])
    assert content == f"The driver's {unique}"
